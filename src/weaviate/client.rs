//! Requests to Weaviate and what their failures mean.

use anyhow::Context;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::Value;

use super::class::Vectors;
use crate::core::failure;
use crate::http::{Answer, Http, ServiceError, Timeouts, bearer};
use crate::signal::Signals;

/// One Weaviate server.
#[derive(Debug)]
pub struct Weaviate {
    http: Http,
    base: String,
    /// How existing objects' vectors are kept; known once the class was read.
    pub(super) vectors: Option<Vectors>,
    /// The server offers GraphQL, as far as we know; found out once per run.
    pub(super) graphql: bool,
}

impl Weaviate {
    /// A client for the server at `url` (`https://HOST[:PORT]`).
    ///
    /// # Errors
    /// When the key cannot be a key, or TLS cannot be set up.
    pub fn new(url: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            headers.insert(
                AUTHORIZATION,
                bearer(key).context(
                    "WEAVIATE_API_KEY holds a character that no key has, such as a space or a line break; set it anew",
                )?,
            );
        }
        let http = Http::new(url, headers)?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
            vectors: None,
            graphql: true,
        })
    }

    /// The same client, which asks nothing more once one of `signals` was caught.
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.http.signals = signals;
        self
    }

    /// The same client with another patience.
    pub fn with_patience(mut self, patience: Timeouts) -> Self {
        self.http.patience = patience;
        self
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.http.requests()
    }

    /// One request to `path`, answered with JSON.
    pub(super) fn send(
        &mut self,
        path: &str,
        build: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Value, ServiceError> {
        let url = format!("{}{path}", self.base);
        self.http
            .send(|client| build(client, &url), |answer| json(&answer))
    }
}

fn json(answer: &Answer) -> Result<Value, ServiceError> {
    failure::weaviate(answer.status.as_u16())
        .map_err(|failure| ServiceError::of(failure, answer.status, answer.reason()))?;
    answer.json().map_err(|_| {
        ServiceError::Unavailable(format!(
            "the answer is not JSON (is WEAVIATE_URL a Weaviate server?): {}",
            answer.reason()
        ))
    })
}
