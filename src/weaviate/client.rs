//! Requests to Weaviate, and the classes of their failures.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use anyhow::Context;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderMap;
use serde_json::Value;
use uuid::Uuid;

use crate::core::failure::{self, FailureKind, ServiceError};
use crate::http::{Http, Response, Timeouts, bearer};
use crate::signal::Signals;

/// The source of an object's vectors when a write replaces the whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VectorSource {
    /// A vectorizer of the server makes the vectors again.
    Generated,
    /// Each object has one vector of its own. A write sends it back.
    One,
    /// Each object has vectors of its own with these names. A write sends them back; the server
    /// makes the others.
    Named(Vec<String>),
}

/// A client for one Weaviate server.
#[derive(Debug)]
pub struct Weaviate {
    http: Http,
    /// Source of the vectors; `None` until the class has been read.
    pub(super) vectors: Option<VectorSource>,
    /// Vectorizer of the class, as the server names it; `None` until the class has been read.
    pub(super) vectorizer: Option<String>,
    /// The server has not rejected a GraphQL query so far.
    pub(super) has_graphql: bool,
    /// Objects that Weaviate failed to read, although it is ready, with its reasons.
    pub(super) unreadable: HashMap<Uuid, String>,
    /// Objects that Weaviate has rejected before.
    rejected: HashSet<Uuid>,
}

impl Weaviate {
    /// Returns a client for the server at `url` (`https://HOST[:PORT]`).
    ///
    /// # Errors
    /// Fails if the key contains a character that no key has, or TLS cannot be set up.
    pub fn new(url: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        let mut http = Http::new("WEAVIATE_URL", url, HeaderMap::new())?;
        if let Some(key) = api_key {
            http.authorize(bearer(key).context(
                "WEAVIATE_API_KEY holds a character that no key has, such as a space or a line break; set it again",
            )?);
        }
        Ok(Self {
            http,
            vectors: None,
            vectorizer: None,
            has_graphql: true,
            unreadable: HashMap::new(),
            rejected: HashSet::new(),
        })
    }

    /// Stops sending requests once one of `signals` is caught.
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.http.signals = signals;
        self
    }

    /// Starts no request after `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.http.deadline = Some(deadline);
    }

    /// Returns true if no request may begin any more.
    pub fn is_out_of_time(&self) -> bool {
        self.http.is_out_of_time()
    }

    /// Remembers objects that Weaviate has rejected before, so that their next failure is their
    /// own, too, even if no other object is accepted.
    pub fn remember_rejected(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.rejected.extend(ids);
    }

    /// Returns true if Weaviate has rejected this object before.
    pub fn was_rejected(&self, id: Uuid) -> bool {
        self.rejected.contains(&id)
    }

    /// Replaces the default waiting times.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.http.timeouts = timeouts;
        self
    }

    /// Returns the number of requests, retries included.
    pub fn requests(&self) -> u64 {
        self.http.requests
    }

    /// Returns true if Weaviate says that it is ready.
    pub(super) fn is_ready(&mut self) -> bool {
        let url = format!("{}/v1/.well-known/ready", self.http.root);
        let read = |response: Response| match response.status.is_success() {
            true => Ok(()),
            false => Err(ServiceError::unavailable(response.reason())),
        };
        self.http.send(|client| client.get(&url), read).is_ok()
    }

    pub(super) fn send(
        &mut self,
        path: &str,
        build: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Value, ServiceError> {
        let url = format!("{}{path}", self.http.root);
        self.http
            .send(|client| build(client, &url), |response| json(&response))
    }
}

/// Returns a failure of Weaviate in an answer with status 200, so that a smaller request does not
/// help.
pub(super) fn of_service(message: impl Into<String>) -> ServiceError {
    ServiceError {
        status: Some(200),
        ..ServiceError::unavailable(message)
    }
}

fn json(response: &Response) -> Result<Value, ServiceError> {
    failure::weaviate(response.status.as_u16(), response.retry_after())
        .map_err(|kind| response.error(kind, response.reason()))?;
    response.json().map_err(|_| {
        let reason = response.reason();
        let message =
            format!("the answer is not JSON (is WEAVIATE_URL a Weaviate server?): {reason}");
        response.error(FailureKind::Unavailable, message)
    })
}
