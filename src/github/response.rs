//! Reads and classifies GitHub's responses.

use std::borrow::Cow;

use serde_json::Value;

use super::schema::Envelope;
use crate::core::failure::{self, FailureKind, GithubResponse, MappingError, ServiceError};
use crate::core::text::quoted;
use crate::http::Response;

/// The oldest version of GitHub Enterprise Server that has all fields of the documents (the
/// manual, "GitHub Enterprise Server").
pub const OLDEST_SERVER: &str = "3.16";

/// Number of bytes of a body that can explain a failure.
const MAX_EXPLANATION: usize = 16 * 1024;

/// A failure of GitHub as a whole, or of one target while GitHub answers for others.
#[derive(Debug)]
pub(super) enum GithubError {
    Service(ServiceError),
    Target(MappingError),
    /// GitHub gave up at a part of one target. Without its extras, it may answer.
    Part(MappingError),
}

impl GithubError {
    /// Separates the failure of one target (inner error) from the failure of GitHub (outer error).
    pub fn split<T>(result: Result<T, Self>) -> Result<Result<T, MappingError>, ServiceError> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Self::Target(error) | Self::Part(error)) => Ok(Err(error)),
            Err(Self::Service(error)) => Err(error),
        }
    }
}

impl From<ServiceError> for GithubError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<MappingError> for GithubError {
    fn from(error: MappingError) -> Self {
        Self::Target(error)
    }
}

/// Fails if the response is a failure of GitHub or of the request.
pub(super) fn check(response: &Response) -> Result<(), ServiceError> {
    if response.status.is_success() {
        let wait = classified(response, "").wait();
        return match is_limit(response) {
            true => Err(response.error(FailureKind::RateLimited(wait), response.reason())),
            false => Ok(()),
        };
    }
    failure::github(&classified(response, &explanation(response))).map_err(|kind| {
        let permissions = response.header("x-accepted-github-permissions");
        let message = match permissions.filter(|_| kind == FailureKind::Refused) {
            Some(permissions) => {
                format!("{}; needed: {}", response.reason(), quoted(permissions))
            }
            None => response.reason(),
        };
        response.error(kind, message)
    })
}

/// Returns true if a response with the status of an answer only names a rate limit, which GitHub
/// does for some secondary limits. What an issue says about limits does not count.
fn is_limit(response: &Response) -> bool {
    let beginning = explanation(response);
    if !failure::names_rate_limit(&beginning) {
        return false;
    }
    match response.json() {
        Ok(Value::Object(body)) => {
            let text = |name| body.get(name).and_then(Value::as_str);
            let is_answer =
                body.get("data").is_some_and(Value::is_object) || text("html_url").is_some();
            let said = [text("message"), text("documentation_url")];
            !is_answer && said.into_iter().flatten().any(failure::names_rate_limit)
        }
        // An answer that was cut off begins like a whole one.
        Ok(_) | Err(_) => !beginning.trim_start().starts_with(['{', '[']),
    }
}

/// Returns the GraphQL envelope, with the errors that concern only a part. All messages in it are
/// printable.
pub(super) fn envelope(response: &Response) -> Result<Envelope, ServiceError> {
    check(response)?;
    let unusable = |reason: &str| {
        ServiceError::unavailable(format!("the answer is not a GraphQL answer: {reason}"))
    };
    let mut envelope: Envelope = response
        .json()
        .map_err(|error| unusable(&quoted(&error.to_string())))?;
    let has_data = envelope.data.is_object();
    if !has_data && envelope.errors.is_empty() {
        return Err(unusable("it has neither data nor errors"));
    }
    for error in &mut envelope.errors {
        error.message = quoted(&error.message);
    }
    let wait = classified(response, "").wait();
    let failures = envelope.errors.iter().filter_map(|error| {
        let code = error.extensions["code"].as_str();
        if !has_data && failure::is_outside_schema(code) {
            return Some((FailureKind::Unknown, unknown(&error.message)));
        }
        // GitHub may put null in the place of everything that it did not get to.
        if error.path.is_empty() && failure::names_rate_limit(&error.message) {
            return Some((FailureKind::RateLimited(wait), error.message.clone()));
        }
        let kind = failure::graphql(error.kind.as_deref(), &error.message, has_data, wait)?;
        Some((kind, error.message.clone()))
    });
    // What GitHub does not know also makes it reject the rest, such as variables without a use.
    let order = |kind| match kind {
        FailureKind::RateLimited(_) => 0,
        FailureKind::Unknown => 1,
        _ => 2,
    };
    let Some((kind, message)) = failures.min_by_key(|(kind, _)| (order(*kind), *kind)) else {
        return Ok(envelope);
    };
    let failure = response.error(kind, message);
    if !envelope.is_partial() {
        return Err(failure);
    }
    match kind {
        FailureKind::RateLimited(_) => envelope.limit = Some(failure),
        FailureKind::TooHeavy => {}
        _ => return Err(failure),
    }
    Ok(envelope)
}

fn unknown(message: &str) -> String {
    format!(
        "this GitHub does not know a part of what agira-worker asks for ({message}); agira-worker needs GitHub Enterprise Server {OLDEST_SERVER} or newer, and for github.com its own latest version"
    )
}

/// Returns the beginning of the body. It may be JSON with a message and the address of its
/// documentation, or a page.
fn explanation(response: &Response) -> Cow<'_, str> {
    let beginning = response.body.get(..MAX_EXPLANATION);
    String::from_utf8_lossy(beginning.unwrap_or(&response.body))
}

fn classified<'a>(response: &'a Response, message: &'a str) -> GithubResponse<'a> {
    let number = |name| response.header(name)?.parse::<i64>().ok();
    let reset = number("x-ratelimit-reset").zip(response.date());
    GithubResponse {
        status: response.status.as_u16(),
        retry_after: response.retry_after(),
        remaining: response.header("x-ratelimit-remaining"),
        until_reset: reset.and_then(|(reset, date)| reset.checked_sub(date.timestamp())),
        message,
    }
}
