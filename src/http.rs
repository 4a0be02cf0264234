//! One HTTP client for both services: a kept-alive connection, bounded bodies, timeouts, and
//! retries within the run.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Context;
use backon::{BlockingRetryable, ExponentialBuilder};
use chrono::{DateTime, Utc};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url, redirect};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;

use crate::core::failure::{FailureKind, ServiceError};
use crate::core::text::{quoted, well_formed_json};
use crate::signal::{Signal, Signals};

/// Largest body that is accepted, in bytes, so that no response can fill the memory. A response
/// about 50 issues is far smaller.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    /// Body after decompression.
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn error(&self, kind: FailureKind, message: String) -> ServiceError {
        ServiceError {
            kind,
            status: Some(self.status.as_u16()),
            message,
        }
    }

    /// Returns the service's explanation from the body, shortened for an error message. Each
    /// service has several forms of it, and a proxy in between has its own.
    pub(crate) fn reason(&self) -> String {
        if self.status.is_redirection()
            && let Some(target) = self
                .header("location")
                .and_then(|location| location.parse::<Url>().ok())
        {
            // The rest of the address may contain a secret.
            let host = target.host_str().unwrap_or_default();
            let target = quoted(&format!("{}://{host}", target.scheme()));
            return format!(
                "{} redirects to {target}, which is not followed",
                self.status
            );
        }
        let body: serde_json::Value = self.json().unwrap_or_default();
        let message = body["message"]
            .as_str()
            .or_else(|| body["error"][0]["message"].as_str());
        let text = message.map_or_else(
            || {
                let text = String::from_utf8_lossy(&self.body);
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            },
            str::to_owned,
        );
        if text.is_empty() {
            return format!("{} without a body", self.status);
        }
        quoted(&text)
    }

    /// Parses the body as JSON, and replaces characters in untrusted text that JSON cannot
    /// represent.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
            .or_else(|_| serde_json::from_str(&well_formed_json(&self.body)))
    }

    /// Removes the secret from a failure response: a proxy's error page may repeat it.
    fn redacted(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|_| !self.status.is_success()) {
            let body = String::from_utf8_lossy(&self.body);
            self.body = body.replace(secret, "(secret)").into_bytes();
        }
        self
    }

    /// Returns the service's clock (UTC).
    pub(crate) fn date(&self) -> Option<DateTime<Utc>> {
        let date = DateTime::parse_from_rfc2822(self.header("date")?).ok()?;
        Some(date.to_utc())
    }

    /// Returns the seconds that `Retry-After` names, as a number or as a date of the service's
    /// clock (RFC 9110, section 10.2.3).
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let value = self.header("retry-after")?;
        let seconds = value.parse().or_else(|_| {
            let until = DateTime::parse_from_rfc2822(value)?;
            let now = self.date().unwrap_or_else(Utc::now);
            Ok::<i64, chrono::ParseError>((until.to_utc() - now).num_seconds().max(0))
        });
        u64::try_from(seconds.ok()?).ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Time limits for requests to one service.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Limit for one request, response included.
    pub answer: Duration,
    /// Delay before the first retry; the second one waits twice as long.
    pub retry: Duration,
}

impl Default for Timeouts {
    /// Returns values that let a run end within its grace period after a signal (design.md,
    /// "Failure model").
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            retry: Duration::from_millis(250),
        }
    }
}

/// An HTTP client for one service: serial, with one kept-alive connection.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    /// Root of all addresses, without a slash at its end.
    pub(crate) root: String,
    /// Variable that holds the address, for messages.
    variable: &'static str,
    /// Host and port, for messages.
    peer: String,
    /// Header of every request; its secret is redacted in every failure response.
    authorization: Option<HeaderValue>,
    /// Number of requests, retries included.
    pub(crate) requests: u64,
    pub(crate) timeouts: Timeouts,
    pub(crate) signals: Signals,
    /// Time after which no request begins.
    pub(crate) deadline: Option<Instant>,
}

impl Http {
    /// Returns a client for the service below `address`, which `variable` sets, that sends `headers` with every request.
    /// The client follows no redirects, because the credentials must not reach another host. It
    /// uses the environment's proxies only with https, because a proxy could read the credentials
    /// otherwise.
    pub(crate) fn new(
        variable: &'static str,
        address: &str,
        headers: HeaderMap,
    ) -> anyhow::Result<Self> {
        let mut builder = Client::builder();
        if !address.starts_with("https:") {
            // Plain http needs no certificates, and reading the system's roots would take most of a
            // short run.
            builder = builder.no_proxy().tls_certs_only(std::iter::empty());
        }
        let client = builder
            .user_agent(concat!("agira-worker/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .build()
            .context("setting up HTTP failed")?;
        Ok(Self {
            client,
            variable,
            peer: peer(address),
            root: address.trim_end_matches('/').to_owned(),
            authorization: None,
            requests: 0,
            timeouts: Timeouts::default(),
            signals: Signals::default(),
            deadline: None,
        })
    }

    /// Returns true after the deadline.
    pub(crate) fn is_out_of_time(&self) -> bool {
        is_reached(self.deadline, Duration::ZERO)
    }

    /// Waits, but not for longer than until a signal or the deadline, which the next request
    /// reports.
    pub(crate) fn wait(&self, duration: Duration) {
        let begin = Instant::now();
        while self.signals.caught().is_none() && !self.is_out_of_time() {
            let left = duration.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    pub(crate) fn authorize(&mut self, authorization: HeaderValue) {
        self.authorization = Some(authorization);
    }

    /// Sends the request that `build` returns and hands the response to `read`. Retries a few times
    /// while `read`, or the connection, reports [`FailureKind::Unavailable`]. Sends nothing after a
    /// signal or the deadline.
    pub(crate) fn send<T>(
        &mut self,
        build: impl Fn(&Client) -> RequestBuilder,
        read: impl Fn(Response) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let (client, requests, timeouts) = (&self.client, &mut self.requests, self.timeouts);
        let (authorization, signals) = (self.authorization.as_ref(), &self.signals);
        let (variable, peer) = (self.variable, &self.peer);
        let deadline = self.deadline;
        let secret = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let once = || {
            // Only one request fits into the grace period after a signal.
            if let Some(signal) = signals.caught() {
                return Err(interrupted(signal));
            }
            if is_reached(deadline, Duration::ZERO) {
                return Err(ServiceError::new(
                    FailureKind::OutOfTime,
                    "the time budget is used up",
                ));
            }
            *requests += 1;
            let mut request = build(client);
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let result = receive(request, timeouts.answer, variable, peer)
                .map(|response| response.redacted(secret))
                .and_then(&read);
            match (result, signals.caught()) {
                // The signal forbids retries, so that the failure may not be the service's.
                (Err(error), Some(signal))
                    if matches!(error.kind, FailureKind::Unavailable | FailureKind::TooHeavy) =>
                {
                    Err(interrupted(signal))
                }
                (result, _) => result,
            }
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(timeouts.retry)
            .with_max_times(2)
            .with_jitter();
        once.retry(backoff)
            .when(|error| {
                // The longest delay is three times the first one.
                error.kind == FailureKind::Unavailable && !is_reached(deadline, timeouts.retry * 3)
            })
            .notify(|error, delay| log::debug!("{error}; trying again in {delay:?}"))
            .call()
    }
}

/// Returns true if less than `wait` is left until the deadline.
fn is_reached(deadline: Option<Instant>, wait: Duration) -> bool {
    deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) <= wait)
}

fn interrupted(signal: Signal) -> ServiceError {
    ServiceError::new(
        FailureKind::Interrupted,
        format!("stopped by {}", signal.as_str()),
    )
}

/// Returns host and port of an address, and a hint if requests may go through a proxy.
fn peer(address: &str) -> String {
    let Ok(url) = address.parse::<Url>() else {
        return String::new();
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .find(is_set);
    match proxy.filter(|_| url.scheme() == "https") {
        Some(proxy) => format!("{host}:{port} ({proxy} is set)"),
        None => format!("{host}:{port}"),
    }
}

/// Returns the likeliest cause of a connection that failed, to be added to the error. `variable`
/// holds the address.
fn likely(said: &str, variable: &str) -> String {
    let private =
        "if its certificate comes from a private CA, name a file with that CA in SSL_CERT_FILE";
    let plain = "it seems to speak no TLS: write http:// instead of https:// in";
    let other = "its certificate is for another host name than that in";
    let causes = [
        (
            "Connection refused",
            "nothing listens there; if this lasts, check",
            true,
        ),
        (
            "lookup",
            "this host name is not known here; if this lasts, check",
            true,
        ),
        ("UnknownIssuer", private, false),
        ("BadSignature", private, false),
        ("NotValidForName", other, true),
        ("not valid for name", other, true),
        ("InvalidContentType", plain, true),
        ("corrupt message", plain, true),
    ];
    match causes.iter().find(|(part, ..)| said.contains(part)) {
        Some((_, cause, true)) => format!("; {cause} {variable}"),
        Some((_, cause, false)) => format!("; {cause}"),
        None => String::new(),
    }
}

fn receive(
    request: RequestBuilder,
    timeout: Duration,
    variable: &str,
    peer: &str,
) -> Result<Response, ServiceError> {
    let too_heavy = |message| ServiceError::new(FailureKind::TooHeavy, message);
    let timed_out = || too_heavy(format!("no answer within {timeout:?} from {peer}"));
    let mut response = request.timeout(timeout).send().map_err(|error| {
        if error.is_timeout() {
            return timed_out();
        }
        // The caller names the service; the rest of the address may contain a secret. The last
        // cause says what the others only introduce.
        let error = anyhow::Error::from(error.without_url());
        let said = error.root_cause().to_string();
        let cause = likely(&said, variable);
        ServiceError::unavailable(format!("no answer from {peer}: {said}{cause}"))
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let read = response.by_ref().take(MAX_BYTES + 1).read_to_end(&mut body);
    read.map_err(|error| match error.downcast::<reqwest::Error>() {
        Ok(error) if error.is_timeout() => timed_out(),
        Ok(error) => {
            ServiceError::unavailable(format!("the answer was cut off: {}", error.without_url()))
        }
        Err(error) => ServiceError::unavailable(format!("the answer was cut off: {error}")),
    })?;
    if body.len() as u64 > MAX_BYTES {
        return Err(too_heavy(format!(
            "the answer has more than {} MiB",
            MAX_BYTES >> 20
        )));
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}

/// Returns an `Authorization` header that no log shows; `None` if the secret contains a character
/// that no token has, such as a space, a line break or a letter outside ASCII. (A header may
/// have such a letter, but servers close the connection then.)
pub(crate) fn bearer(secret: &str) -> Option<HeaderValue> {
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
    fn only_a_valid_token_becomes_a_header() {
        assert!(
            bearer("github_pat_1")
                .is_some_and(|header| header == "Bearer github_pat_1" && header.is_sensitive())
        );
        for bad in ["two\nlines", "two words", "t\u{1}ken", "t\u{f6}ken"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
