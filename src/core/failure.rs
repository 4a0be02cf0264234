//! Classifies every failure response of GitHub, Weaviate and PostgreSQL. Only this file separates a
//! mapping's own failure, which counts an attempt, from the environment's failure, which never does
//! (design.md, "Failure model").

use std::fmt;

/// Longest named wait that is believed, in seconds. GitHub's own limits end within the hour; a
/// longer wait is a mistake, such as a reset in milliseconds.
pub const LONGEST_WAIT: u64 = 2 * 60 * 60;

/// Begin of the message of [`MappingErrorKind::Unanswered`]. A mapping or a repository whose stored
/// error begins like this was left to a later run before.
pub const NO_ANSWER: &str = "GitHub gives no answer about";

/// Begin of the message about one thing that GitHub failed at as a whole, while it answered the
/// lightest query.
pub const CANNOT_ANSWER: &str = "GitHub could not answer";

/// Begin of the message about a repository whose issues are turned off. It can be polled all the
/// same, so that a stored error that begins like this decides what a poll means.
pub const ISSUES_OFF: &str = "issues are turned off in";

/// The classes of a service's failures, the most restrictive first. All are the environment's
/// failures, except [`FailureKind::Rejected`] for a request about one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// A limit is reached. No request may follow for this number of seconds, if the service names
    /// one.
    RateLimited(Option<u64>),
    /// The service refuses the credentials. A person has to act.
    Refused,
    /// The service is unreachable, overloaded or broken. A few retries follow at once, then a later
    /// run.
    Unavailable,
    /// The request is too large for the service. A smaller one may succeed.
    TooHeavy,
    /// The service understood the request and rejects it. A retry does not help.
    Rejected,
    /// The service does not know a part of the request, because one of the two is too old.
    Unknown,
    /// Nothing was sent, because a signal asks this process to end.
    Interrupted,
    /// Nothing was sent, because the time budget of the run is used up.
    OutOfTime,
}

impl FailureKind {
    /// Returns true if the run ends before the request, whatever the service would answer.
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Interrupted | Self::OutOfTime)
    }
}

/// A request that a service did not fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// Decides how the run goes on.
    pub kind: FailureKind,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// The service's own explanation, printable and on one line.
    pub message: String,
}

impl ServiceError {
    /// Returns an error without an HTTP status.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            message: message.into(),
        }
    }

    /// Returns an error for a service that is unreachable, or whose response cannot be used.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unavailable, message)
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.status) {
            (FailureKind::RateLimited(Some(seconds)), _) => {
                write!(out, "rate limit reached, retry in {seconds} s: ")?;
            }
            (FailureKind::RateLimited(None), _) => out.write_str("rate limit reached: ")?,
            (FailureKind::Refused, _) => out.write_str("credentials refused: ")?,
            (FailureKind::Unavailable, _) => out.write_str("not available: ")?,
            (FailureKind::TooHeavy, _) => out.write_str("could not answer in time: ")?,
            (FailureKind::Rejected, Some(status)) => {
                write!(out, "request rejected with status {status}: ")?;
            }
            (FailureKind::Rejected, None) => out.write_str("request rejected: ")?,
            (FailureKind::Unknown | FailureKind::Interrupted | FailureKind::OutOfTime, _) => {}
        }
        out.write_str(&self.message)
    }
}

impl std::error::Error for ServiceError {}

/// The classes of reasons why a mapping cannot be finished. Each has a consequence of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingErrorKind {
    /// The mapping's own failure. A retry with backoff may succeed.
    Failed,
    /// The issue is deleted, moved or hidden, or its address has passed to another one. A retry
    /// does not help.
    Gone,
    /// The repository's failure: it, or all of its issues, cannot be read with our credentials.
    RepositoryHidden,
    /// GitHub answers for others and not for this one, without a lasting reason. The next run asks
    /// again, once without an attempt.
    Unanswered,
    /// Release of the claim without a failure, because another session keeps its rows locked,
    /// GitHub failed at it and others before the time was over, or what GitHub shows is older than
    /// what is recorded. It goes behind what is due.
    Postponed,
    /// Release of the claim without a failure, because the run ends early or another session
    /// changed the data.
    Released,
}

/// The reason why one mapping cannot be finished, while others can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError {
    /// Decides when the next attempt follows.
    pub kind: MappingErrorKind,
    /// Explanation for an operator, with a remedy where there is one.
    pub message: String,
}

impl MappingError {
    /// Returns an error with this message.
    pub fn new(kind: MappingErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Returns a failure that counts an attempt.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(MappingErrorKind::Failed, message)
    }

    /// Returns the release of a claim that goes behind what is due.
    pub fn postponed(message: impl Into<String>) -> Self {
        Self::new(MappingErrorKind::Postponed, message)
    }

    /// Returns true if GitHub gave no answer about this thing. If it is so about everything, the
    /// failure is GitHub's.
    pub fn is_silence(&self) -> bool {
        match self.kind {
            MappingErrorKind::Unanswered => true,
            kind => kind == MappingErrorKind::Failed && self.message.starts_with(CANNOT_ANSWER),
        }
    }

    /// Returns true if the claim is released without a failure.
    pub fn is_release(&self) -> bool {
        matches!(
            self.kind,
            MappingErrorKind::Postponed | MappingErrorKind::Released
        )
    }

    /// Returns the release of a claim.
    pub fn released(message: impl Into<String>) -> Self {
        Self::new(MappingErrorKind::Released, message)
    }

    /// Returns a failure of the whole repository.
    pub fn hidden(message: impl Into<String>) -> Self {
        Self::new(MappingErrorKind::RepositoryHidden, message)
    }

    /// Returns the failure of GitHub to answer about one thing.
    pub fn unanswered(message: impl Into<String>) -> Self {
        Self::new(MappingErrorKind::Unanswered, message)
    }
}

/// The classes of PostgreSQL's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// The environment's failure: the connection is lost, or the server shuts down or is full. A
    /// later run may succeed.
    Lost,
    /// Another session holds rows that the transaction needs. It is retried, and then left to a
    /// later run.
    Conflict,
    /// The statement took too long and was cancelled. A later run may succeed.
    Slow,
    /// The environment's failure: nobody, or at least not this role, can write. A person has to
    /// act.
    Forbidden,
    /// The statement's own failure.
    Refused,
}

/// The parts of a GitHub response that decide whether it is a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct GithubResponse<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<&'a str>,
    /// Seconds from `Date` to `x-ratelimit-reset`: both are GitHub's clock.
    pub until_reset: Option<i64>,
    /// Message and address of the documentation in the body.
    pub message: &'a str,
}

impl GithubResponse<'_> {
    /// Returns the wait in seconds that GitHub demands: `Retry-After`, else the reset when nothing
    /// is left (GitHub's page "Rate limits for the REST API").
    pub fn wait(&self) -> Option<u64> {
        let until_reset = self.until_reset.filter(|_| self.is_exhausted());
        self.retry_after
            .or_else(|| until_reset.and_then(|seconds| u64::try_from(seconds).ok()))
            .map(|seconds| seconds.min(LONGEST_WAIT))
    }

    fn is_exhausted(&self) -> bool {
        self.remaining == Some("0")
    }
}

/// Classifies a response of GitHub. A 403 is a rate limit only if a header or the message names one
/// (GitHub's page "Troubleshooting the REST API").
pub fn github(response: &GithubResponse<'_>) -> Result<(), FailureKind> {
    let is_limit = response.is_exhausted()
        || response.retry_after.is_some()
        || names_rate_limit(response.message);
    match response.status {
        200..=299 => Ok(()),
        403 if is_limit => Err(FailureKind::RateLimited(response.wait())),
        401 | 403 => Err(FailureKind::Refused),
        429 => Err(FailureKind::RateLimited(response.wait())),
        // GitHub sends these statuses for a request that takes more than ten seconds.
        502 | 504 => Err(FailureKind::TooHeavy),
        503 if response.retry_after.is_some_and(|seconds| seconds > 0) => {
            Err(FailureKind::RateLimited(response.wait()))
        }
        500.. => Err(FailureKind::Unavailable),
        _ => Err(FailureKind::Rejected),
    }
}

/// Classifies an error in a GraphQL response with status 200; `wait` comes from
/// [`GithubResponse::wait`]. Returns `None` for an error that concerns only the part that its path
/// names.
pub fn graphql(
    error_type: Option<&str>,
    message: &str,
    has_data: bool,
    wait: Option<u64>,
) -> Option<FailureKind> {
    match error_type {
        Some("RATE_LIMITED" | "RATE_LIMIT") => Some(FailureKind::RateLimited(wait)),
        Some("RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED") => Some(FailureKind::TooHeavy),
        _ if has_data => None,
        Some("INSUFFICIENT_SCOPES" | "FORBIDDEN") => Some(FailureKind::Refused),
        Some("SERVICE_UNAVAILABLE") => Some(FailureKind::Unavailable),
        _ if names_rate_limit(message) => Some(FailureKind::RateLimited(wait)),
        // The messages of 502 and 504.
        _ if message.contains("Something went wrong") || message.ends_with(" in time.") => {
            Some(FailureKind::TooHeavy)
        }
        _ => Some(FailureKind::Rejected),
    }
}

/// Returns true if GitHub rejects a document with an error of this `code` because its schema lacks
/// a part of it.
pub fn is_outside_schema(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "undefinedField"
                | "undefinedType"
                | "argumentNotAccepted"
                | "argumentLiteralsIncompatible"
        )
    )
}

/// Classifies a GraphQL error whose path names a repository or a part of one. Returns `None` if
/// only REST can name the reason (GitHub's page "Get an issue").
pub fn graphql_path(error_type: Option<&str>, is_repository: bool) -> Option<MappingErrorKind> {
    match error_type {
        Some("NOT_FOUND") if !is_repository => None,
        _ => Some(graphql_poll(error_type)),
    }
}

/// Classifies a GraphQL error in a poll. Only these types can mean that a repository is hidden; all
/// others pass.
pub fn graphql_poll(error_type: Option<&str>) -> MappingErrorKind {
    match is_hidden(error_type) {
        true => MappingErrorKind::RepositoryHidden,
        false => MappingErrorKind::Unanswered,
    }
}

/// Returns true if this is the reason of a repository whose issues are turned off. Its pull
/// requests can be read all the same.
pub fn hides_only_issues(reason: &str) -> bool {
    reason.starts_with(ISSUES_OFF)
}

fn is_hidden(error_type: Option<&str>) -> bool {
    matches!(
        error_type,
        Some("NOT_FOUND" | "FORBIDDEN" | "INSUFFICIENT_SCOPES")
    )
}

/// Classifies REST's response about an issue that GraphQL does not have: moved (redirect), hidden
/// or deleted (404), deleted, or in a repository whose issues are turned off (410, which only the
/// message tells apart), or in one that was taken down (451). A `Location` outside GitHub, such as
/// a proxy's login page, says nothing about the issue.
pub fn rest_issue(status: u16, leads_outside: bool, message: &str) -> MappingErrorKind {
    let says = |word| message.to_lowercase().contains(word);
    match status {
        301 | 302 | 307 | 308 if !leads_outside => MappingErrorKind::Gone,
        410 if says("disabled") => MappingErrorKind::RepositoryHidden,
        410 if says("deleted") => MappingErrorKind::Gone,
        451 => MappingErrorKind::RepositoryHidden,
        404 => MappingErrorKind::Gone,
        _ => MappingErrorKind::Failed,
    }
}

/// Classifies a response of Weaviate by its status and its `Retry-After`, in seconds. Weaviate
/// sends none, but the proxies before it do.
pub fn weaviate(status: u16, retry_after: Option<u64>) -> Result<(), FailureKind> {
    let wait = retry_after.filter(|seconds| *seconds > 0);
    let wait = wait.map(|seconds| seconds.min(LONGEST_WAIT));
    match status {
        200..=299 => Ok(()),
        429 | 503 if wait.is_some() => Err(FailureKind::RateLimited(wait)),
        401 | 403 => Err(FailureKind::Refused),
        // A usage limit or a lack of memory: a smaller request does not help.
        429 | 500.. => Err(FailureKind::Unavailable),
        _ => Err(FailureKind::Rejected),
    }
}

/// Words, in lower case, with which Weaviate reports a failure of its own as one of an object or a
/// query: a full disk, its limit `MAXIMUM_CONCURRENT_GET_REQUESTS`, a lack of memory, other nodes,
/// and a vectorizer that is down, has no key (`nil pointer`) or no quota.
const WEAVIATES_OWN: [&str; 16] = [
    "store is read-only",
    "no space left on device",
    "too many open files",
    "429 too many requests",
    "not enough memory",
    "cannot reach enough replicas",
    "connection refused",
    "connection reset",
    "no such host",
    "i/o timeout",
    "deadline exceeded",
    "api key",
    "apikey",
    "nil pointer dereference",
    "rate limit",
    "quota",
];

/// Classifies an error message in a response of Weaviate with status 200. It may be a failure of
/// the server instead of the object or the query.
pub fn weaviate_message(message: &str) -> FailureKind {
    let message = message.to_lowercase();
    let is_of_service = WEAVIATES_OWN.iter().any(|words| message.contains(words));
    match is_of_service || names_failure_of_provider(&message) {
        true => FailureKind::Unavailable,
        false => FailureKind::Rejected,
    }
}

/// Returns true if two or more objects all failed for one reason, apart from ids, numbers and
/// quoted text: then it is the service, and not the objects.
pub fn is_one_reason(reasons: &[&str]) -> bool {
    let mut general = reasons.iter().map(|reason| general(reason));
    let first = general.next();
    reasons.len() > 1 && general.all(|other| Some(other) == first)
}

/// Replaces what differs between objects: words with a digit, and text in quotation marks.
fn general(reason: &str) -> String {
    let mut general = String::with_capacity(reason.len());
    let (mut rest, mut before) = (reason, ' ');
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        let is_opening = matches!(next, '\'' | '"' | '`') && !before.is_alphanumeric();
        let closing = after.find(next).filter(|_| is_opening);
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '-';
        let length = match closing {
            Some(place) => 2 * next.len_utf8() + place,
            None => rest
                .find(|letter| !is_word(letter))
                .unwrap_or(rest.len())
                .max(next.len_utf8()),
        };
        let (part, others) = rest.split_at(length);
        match closing.is_some() || part.contains(|letter: char| letter.is_ascii_digit()) {
            true => general.push('#'),
            false => general.push_str(part),
        }
        before = part.chars().next_back().unwrap_or(' ');
        rest = others;
    }
    general
}

/// Returns true if the message names a status with which a vectorizer's provider refuses the key,
/// or every request for now.
fn names_failure_of_provider(message: &str) -> bool {
    message.split("status").skip(1).any(|rest| {
        let rest = rest.trim_start_matches([':', ' ']);
        let rest = rest.strip_prefix("code").unwrap_or(rest);
        let rest = rest.trim_start_matches([':', ' ']);
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        let status = digits.and_then(|digits| digits.parse::<u16>().ok());
        matches!(status, Some(401 | 402 | 403 | 429 | 500..=599))
    })
}

/// Classifies an error of PostgreSQL by its code ("PostgreSQL Error Codes"). An error without a
/// code comes from the driver; the connection is lost if `is_broken` is true.
pub fn postgres(code: Option<&str>, is_broken: bool) -> DatabaseFailure {
    match code {
        None if is_broken => DatabaseFailure::Lost,
        None => DatabaseFailure::Refused,
        // Serialization failure, deadlock, lock timeout.
        Some("40001" | "40P01" | "55P03") => DatabaseFailure::Conflict,
        Some("57014") => DatabaseFailure::Slow,
        // A read-only server (a standby, or a full disk); a missing privilege, column or table.
        // A pool that mixes up the prepared statements of its clients.
        Some("25006" | "42501" | "42703" | "42P01" | "42P05" | "26000") => {
            DatabaseFailure::Forbidden
        }
        // Idle in transaction, transaction timeout; the classes connection, resources (disk,
        // memory), operator intervention, system.
        Some("25P03" | "25P04") => DatabaseFailure::Lost,
        Some(code)
            if ["08", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class)) =>
        {
            DatabaseFailure::Lost
        }
        Some(_) => DatabaseFailure::Refused,
    }
}

/// Returns true if a message of GitHub, or the address of its documentation, names a rate limit.
/// Older versions of GitHub Enterprise Server call their secondary limit abuse detection.
pub fn names_rate_limit(message: &str) -> bool {
    let message = message.to_lowercase();
    let names = ["rate limit", "rate-limit", "abuse detection"];
    names.iter().any(|name| message.contains(name))
}

#[cfg(test)]
mod tests;
