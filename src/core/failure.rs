//! What every answer of GitHub, Weaviate and PostgreSQL means that is not the one that was asked for: the one place that
//! tells a mapping's own failure, which counts an attempt, from the environment's, which never does (design, section 5).

/// GitHub's limits end within the hour. No time is named that does not exist, whatever a header says.
const LONGEST_WAIT: u64 = 365 * 24 * 60 * 60;

/// Why a service did not do what it was asked. All are the environment's failures but [`Failure::Rejected`], where the
/// request was about one thing alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// It tells us to wait, for so many seconds if it says so: nothing is asked meanwhile.
    Limited(Option<u64>),
    /// It refuses the credentials: a person has to act.
    Refused,
    /// It is overloaded or broken: asked again at once, few times, and then by a later run.
    Unavailable,
    /// It gave up over the size of the request: a smaller one may do.
    TooHeavy,
    /// It understood the request and rejects it: asking again does not help.
    Rejected,
}

/// Why GitHub shows nothing of one issue or pull request, while it answers for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotShown {
    /// It is not there, and only REST tells why ("Get an issue").
    NotFound,
    /// Transferred to another address: looking again does not help.
    Moved,
    /// Deleted, moved or hidden: looking again does not help.
    Gone,
    /// Deleted: looking again does not help.
    Deleted,
    /// The repository's failure: this token does not see it.
    Hidden,
    /// The mapping's own failure, which may pass.
    Failed,
}

/// Why PostgreSQL did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// The environment's: the connection is gone, or the server is going down or full. A later run does better.
    Lost,
    /// Somebody is in the way: the transaction is repeated, and then left to a later run.
    Conflict,
    /// The statement took too long: what it was for has failed, or all of it, and a later run may do better.
    Slow,
    /// The environment's: nothing can be written, or not by us. A person has to act.
    Forbidden,
    /// The statement's own failure.
    Refused,
}

/// What of an answer of GitHub tells whether it is a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signs<'a> {
    /// The status code.
    pub status: u16,
    /// The seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<&'a str>,
    /// The seconds from `Date` to `x-ratelimit-reset`: both are GitHub's clock.
    pub until_reset: Option<i64>,
    /// What the body says.
    pub said: &'a str,
}

impl Signs<'_> {
    /// GitHub's page "Rate limits for the REST API": `Retry-After`, else the reset when nothing is left; in seconds.
    pub fn wait(&self) -> Option<u64> {
        let until_reset = self.until_reset.filter(|_| self.is_exhausted());
        let named = self
            .retry_after
            .or_else(|| until_reset.and_then(|seconds| u64::try_from(seconds).ok()));
        named.map(|seconds| seconds.min(LONGEST_WAIT))
    }

    fn is_exhausted(&self) -> bool {
        self.remaining == Some("0")
    }
}

/// An answer of GitHub, by its status. GitHub's page "Troubleshooting the REST API": a 403 is a rate limit only if a header
/// or the message says so.
///
/// # Errors
/// The failure, if it is one.
pub fn github(signs: &Signs<'_>) -> Result<(), Failure> {
    let is_limit =
        signs.is_exhausted() || signs.retry_after.is_some() || speaks_of_limit(signs.said);
    match signs.status {
        200..=299 => Ok(()),
        403 if is_limit => Err(Failure::Limited(signs.wait())),
        401 | 403 => Err(Failure::Refused),
        429 => Err(Failure::Limited(signs.wait())),
        // GitHub's words for having run out of its ten seconds.
        502 | 504 => Err(Failure::TooHeavy),
        500.. => Err(Failure::Unavailable),
        _ => Err(Failure::Rejected),
    }
}

/// An error of a GraphQL answer with status 200, by its type and message; `wait` is what [`Signs::wait`] says. `None`: it
/// spoils only what its path names.
pub fn graphql(
    kind: Option<&str>,
    said: &str,
    has_data: bool,
    wait: Option<u64>,
) -> Option<Failure> {
    match kind {
        Some("RATE_LIMITED" | "RATE_LIMIT") => Some(Failure::Limited(wait)),
        Some("RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED") => Some(Failure::TooHeavy),
        _ if has_data => None,
        Some("INSUFFICIENT_SCOPES" | "FORBIDDEN") => Some(Failure::Refused),
        Some("SERVICE_UNAVAILABLE") => Some(Failure::Unavailable),
        _ if speaks_of_limit(said) => Some(Failure::Limited(wait)),
        // The same words as with 502 and 504.
        _ if said.contains("Something went wrong") || said.contains("in time") => {
            Some(Failure::TooHeavy)
        }
        _ => Some(Failure::Rejected),
    }
}

/// An error that spoils what its path names: the repository itself, or something in it.
pub fn spoiled(kind: Option<&str>, is_repository: bool) -> NotShown {
    match kind {
        Some("NOT_FOUND") if !is_repository => NotShown::NotFound,
        Some("NOT_FOUND" | "FORBIDDEN" | "INSUFFICIENT_SCOPES") => NotShown::Hidden,
        _ => NotShown::Failed,
    }
}

/// REST's answer about an issue that GraphQL does not find, by its status. `leads_elsewhere`: its `Location` is not GitHub's,
/// such as a proxy's page for signing in, and says nothing about the issue.
pub fn not_found(status: u16, leads_elsewhere: bool) -> NotShown {
    match status {
        301 | 302 | 307 | 308 if !leads_elsewhere => NotShown::Moved,
        404 => NotShown::Gone,
        410 => NotShown::Deleted,
        _ => NotShown::Failed,
    }
}

/// An answer of Weaviate, by its status.
///
/// # Errors
/// The failure, if it is one.
pub fn weaviate(status: u16) -> Result<(), Failure> {
    match status {
        200..=299 => Ok(()),
        401 | 403 => Err(Failure::Refused),
        // A usage limit or a lack of memory: nothing that this request could do better.
        429 | 500.. => Err(Failure::Unavailable),
        _ => Err(Failure::Rejected),
    }
}

/// What Weaviate says in an answer with status 200, of one object of a batch or instead of what GraphQL was asked for: not
/// every such failure is the object's or the query's.
pub fn weaviate_said(said: &str) -> Failure {
    // A full disk, whose state an operator has to end; `MAXIMUM_CONCURRENT_GET_REQUESTS`.
    let is_ours_to_wait_for =
        said.contains("store is read-only") || said.contains("429 Too many requests");
    if is_ours_to_wait_for {
        Failure::Unavailable
    } else {
        Failure::Rejected
    }
}

/// An error of PostgreSQL, by its code ("PostgreSQL Error Codes"); without one it comes from the driver, and `is_broken` says
/// whether that has lost the connection.
pub fn postgres(code: Option<&str>, is_broken: bool) -> DatabaseFailure {
    match code {
        None if is_broken => DatabaseFailure::Lost,
        None => DatabaseFailure::Refused,
        // Serialization failure, deadlock, lock timeout.
        Some("40001" | "40P01" | "55P03") => DatabaseFailure::Conflict,
        Some("57014") => DatabaseFailure::Slow,
        // A standby, or a server that takes no writes because its disk is full; a privilege, column or table that is missing.
        Some("25006" | "42501" | "42703" | "42P01") => DatabaseFailure::Forbidden,
        // Idle in transaction; classes: connection, resources (disk, memory), intervention by an operator, system.
        Some("25P03") => DatabaseFailure::Lost,
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

fn speaks_of_limit(said: &str) -> bool {
    said.to_lowercase().contains("rate limit")
}

#[cfg(test)]
mod tests;
