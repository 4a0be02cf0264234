//! What both HTTP adapters share: one kept-alive client, bounded bodies, what a failure means, retries within the run.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use backon::{BlockingRetryable, ExponentialBuilder};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::core::failure::Failure;
use crate::core::text::{quoted, well_formed_json};
use crate::signal::{Signal, Signals};

/// Larger answers are refused instead of filling the memory. A page of 25 issues stays far below.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// Why a service did not do what it was asked: a [`Failure`] with what was said, or no answer at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// The service told us to wait.
    RateLimited {
        /// For how long, if it said so.
        wait: Option<Duration>,
        /// What it said.
        reason: String,
    },
    /// The credentials are refused; trying again does not help.
    Refused(String),
    /// Not reachable, overloaded, or its answer is no answer.
    Unavailable(String),
    /// It was not asked: somebody wants this process to end.
    Interrupted(Signal),
    /// It gave up over the size of this request; a smaller one may do.
    TooHeavy(String),
    /// It understood the request and rejected it.
    Rejected {
        /// The status code.
        status: u16,
        /// What it said.
        reason: String,
    },
}

impl fmt::Display for ServiceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimited {
                wait: Some(wait),
                reason,
            } => {
                write!(
                    out,
                    "rate limit reached, to be asked again in {} s: {reason}",
                    wait.as_secs()
                )
            }
            Self::RateLimited { wait: None, reason } => write!(out, "rate limit reached: {reason}"),
            Self::Refused(reason) => write!(out, "credentials refused: {reason}"),
            Self::Unavailable(reason) => write!(out, "not available: {reason}"),
            Self::Interrupted(signal) => write!(out, "stopped by {}", signal.as_str()),
            Self::TooHeavy(reason) => write!(out, "could not answer in time: {reason}"),
            Self::Rejected { status, reason } => {
                write!(out, "request rejected with status {status}: {reason}")
            }
        }
    }
}

impl std::error::Error for ServiceError {}

impl ServiceError {
    /// The failure that an answer with that status tells of.
    pub(crate) fn of(failure: Failure, status: StatusCode, reason: String) -> Self {
        match failure {
            Failure::Limited(wait) => Self::RateLimited {
                wait: wait.map(Duration::from_secs),
                reason,
            },
            Failure::Refused => Self::Refused(reason),
            Failure::Unavailable => Self::Unavailable(reason),
            Failure::TooHeavy => Self::TooHeavy(reason),
            Failure::Rejected => Self::Rejected {
                status: status.as_u16(),
                reason,
            },
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, decompressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body for an error message: what the service says, whatever form it says it in. Both
    /// services have several forms, and a proxy between has its own.
    pub fn reason(&self) -> String {
        let location = self
            .header("location")
            .filter(|_| self.status.is_redirection());
        if let Some(target) = location.and_then(|location| location.parse::<Url>().ok()) {
            // The rest of the address may hold what a log must not.
            let target = format!(
                "{}://{}",
                target.scheme(),
                target.host_str().unwrap_or_default()
            );
            return format!(
                "{} leads to {}, where nothing is sent",
                self.status,
                quoted(&target)
            );
        }
        let parsed: Option<serde_json::Value> = self.json().ok();
        let said = parsed.as_ref().and_then(|body| {
            body["message"]
                .as_str()
                .or_else(|| body["error"][0]["message"].as_str())
                .map(str::to_owned)
        });
        let text = said.unwrap_or_else(|| {
            String::from_utf8_lossy(&self.body)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        });
        if text.is_empty() {
            return format!("{} without a body", self.status);
        }
        quoted(&text)
    }

    /// The body as JSON; what no text can hold of it is replaced, since a stranger may have written it.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
            .or_else(|_| serde_json::from_str(&well_formed_json(&self.body)))
    }

    /// The same answer; where it tells of a failure, without the secret that it may repeat: a proxy's page does.
    fn without(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|_| !self.status.is_success()) {
            self.body = String::from_utf8_lossy(&self.body)
                .replace(secret, "(secret)")
                .into_bytes();
        }
        self
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// How long a service is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For one request, answer included.
    pub answer: Duration,
    /// Before it is asked again for the first time; twice as long for the second.
    pub retry: Duration,
}

impl Default for Timeouts {
    /// Short enough for a run to end within its grace after a signal; design, section 5.
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            retry: Duration::from_millis(250),
        }
    }
}

/// An HTTP client for one service: serial, with one kept-alive connection.
#[derive(Debug)]
pub struct Http {
    client: Client,
    /// Sent with every request; no answer that repeats it may be quoted with it.
    authorization: Option<HeaderValue>,
    requests: u64,
    pub(crate) patience: Timeouts,
    pub(crate) signals: Signals,
}

impl Http {
    /// A client for the service at `address` that sends `headers` with every request and follows no redirects: a redirect
    /// is an answer that the adapter has to understand, and must not carry credentials to another host. Proxies of the
    /// environment are used with https only: with plain http they would be sent the credentials.
    ///
    /// # Errors
    /// When the TLS roots cannot be loaded.
    pub fn new(address: &str, mut headers: HeaderMap) -> anyhow::Result<Self> {
        let authorization = headers.remove(AUTHORIZATION);
        let builder = Client::builder();
        // Nobody's certificate is asked for over plain http: reading the system's roots would be most of a short run.
        let builder = if address.starts_with("https:") {
            builder
        } else {
            builder.no_proxy().tls_certs_only(std::iter::empty())
        };
        let client = builder
            .user_agent(concat!("agira-worker/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .build()
            .context("setting up HTTP failed")?;
        Ok(Self {
            client,
            authorization,
            requests: 0,
            patience: Timeouts::default(),
            signals: Signals::default(),
        })
    }

    /// Sends this with every request from now on.
    pub(crate) fn authorize(&mut self, authorization: HeaderValue) {
        self.authorization = Some(authorization);
    }

    /// Requests sent so far, retries included.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Sends what `build` makes and hands the answer to `read`; what `read` calls unavailable is tried again, few
    /// times, as is a request that got no answer.
    ///
    /// # Errors
    /// What `read` says, that the service is not available, or that a signal was caught.
    pub fn send<T>(
        &mut self,
        build: impl Fn(&Client) -> RequestBuilder,
        read: impl Fn(Answer) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let (client, requests, patience) = (&self.client, &mut self.requests, self.patience);
        let secret = self
            .authorization
            .as_ref()
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let authorized = || match &self.authorization {
            Some(authorization) => build(client).header(AUTHORIZATION, authorization),
            None => build(client),
        };
        let signals = &self.signals;
        let once = || {
            // One request fits into the grace after a signal, two do not.
            if let Some(signal) = signals.caught() {
                return Err(ServiceError::Interrupted(signal));
            }
            *requests += 1;
            let result = answer(authorized(), patience.answer)
                .map(|answer| answer.without(secret))
                .and_then(&read);
            match (result, signals.caught()) {
                // Whether the service is to blame will not be found out any more.
                (Err(ServiceError::Unavailable(_) | ServiceError::TooHeavy(_)), Some(signal)) => {
                    Err(ServiceError::Interrupted(signal))
                }
                (result, _) => result,
            }
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(patience.retry)
            .with_max_times(2)
            .with_jitter();
        once.retry(backoff)
            .when(|error| matches!(error, ServiceError::Unavailable(_)))
            .notify(|error, delay| log::debug!("{error}; trying again in {delay:?}"))
            .call()
    }
}

fn answer(request: RequestBuilder, timeout: Duration) -> Result<Answer, ServiceError> {
    let too_late = || ServiceError::TooHeavy(format!("no answer within {timeout:?}"));
    let failed = |error: reqwest::Error| match error.is_timeout() {
        true => too_late(),
        // The address may hold what nobody needs to see in a log; the caller names the service.
        false => {
            ServiceError::Unavailable(format!("{:#}", anyhow::Error::from(error.without_url())))
        }
    };
    let mut response = request.timeout(timeout).send().map_err(failed)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let read = response
        .by_ref()
        .take(MOST_BYTES + 1)
        .read_to_end(&mut body);
    read.map_err(|error| match error.downcast::<reqwest::Error>() {
        Ok(error) if error.is_timeout() => too_late(),
        Ok(error) => {
            ServiceError::Unavailable(format!("the answer was cut off: {}", error.without_url()))
        }
        Err(error) => ServiceError::Unavailable(format!("the answer was cut off: {error}")),
    })?;
    if body.len() as u64 > MOST_BYTES {
        return Err(ServiceError::TooHeavy(format!(
            "the answer has more than {} MiB",
            MOST_BYTES >> 20
        )));
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// An `Authorization` header that no log shows; `None`: the secret has a character that no token has, such as a space or
/// a line break. Headers can hold more than ASCII, but servers hang up on it.
pub fn bearer(secret: &str) -> Option<HeaderValue> {
    let is_token = secret.bytes().all(|byte| byte.is_ascii_graphic());
    let text = Zeroizing::new(format!("Bearer {secret}"));
    let mut value = HeaderValue::from_str(&text).ok().filter(|_| is_token)?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_token_becomes_a_header() {
        assert!(
            bearer("github_pat_1")
                .is_some_and(|header| header == "Bearer github_pat_1" && header.is_sensitive())
        );
        for bad in ["two\nlines", "two words", "t\u{1}ken", "t\u{f6}ken"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
