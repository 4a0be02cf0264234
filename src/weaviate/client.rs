//! Requests to Weaviate, and the classes of their failures.

use std::time::Instant;

use anyhow::Context;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::core::failure::{self, ServiceError};
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
    /// The server has not rejected a GraphQL query so far.
    pub(super) has_graphql: bool,
}

impl Weaviate {
    /// Returns a client for the server at `url` (`https://HOST[:PORT]`).
    ///
    /// # Errors
    /// Fails if the key contains a character that no key has, or TLS cannot be set up.
    pub fn new(url: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        let mut http = Http::new(url, HeaderMap::new())?;
        if let Some(key) = api_key {
            http.authorize(bearer(key).context(
                "WEAVIATE_API_KEY holds a character that no key has, such as a space or a line break; set it again",
            )?);
        }
        Ok(Self {
            http,
            vectors: None,
            has_graphql: true,
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

    /// Replaces the default waiting times.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.http.timeouts = timeouts;
        self
    }

    /// Returns the number of requests, retries included.
    pub fn requests(&self) -> u64 {
        self.http.requests
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

fn json(response: &Response) -> Result<Value, ServiceError> {
    failure::weaviate(response.status.as_u16())
        .map_err(|kind| response.error(kind, response.reason()))?;
    response.json().map_err(|_| {
        ServiceError::unavailable(format!(
            "the answer is not JSON (is WEAVIATE_URL a Weaviate server?): {}",
            response.reason()
        ))
    })
}
