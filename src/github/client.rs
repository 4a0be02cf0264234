//! Requests to GitHub: GraphQL and REST, with a token or as a GitHub App.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::queries;
use super::response::{self, GithubError};
use super::schema::{GraphqlError, RateLimit};
use super::sizes::BatchSize;
use crate::core::failure::{FailureKind, ServiceError};
use crate::http::{Http, Response, Timeouts, bearer};
use crate::signal::Signals;

/// Sizes of the first and the largest fetch of a run (design.md, "The pipeline"). Only a backlog
/// has so many targets that requests grow.
const FETCHES: BatchSize = BatchSize::new(25, 50);
/// Size of polls, of which each repository needs little.
const POLLS: BatchSize = BatchSize::new(50, 50);
/// Size of requests for lists below nodes.
const LISTS: BatchSize = BatchSize::new(100, 100);

/// Time in which GitHub makes a new token of an installation known everywhere, and the waits before
/// a refused one is tried again, as multiples of the first retry's delay: 5 s, 1 s and 2 s. A
/// refusal of one repository would be believed, so that the last wait, 2 s, is for the rest of that
/// time.
const SPREAD: u32 = 20;
const SPREAD_WAITS: [u32; 2] = [4, 8];
const LAST_SPREAD_WAIT: u32 = 8;

/// Largest number of redirects to follow. No issue moves that often, and a circle must not last
/// forever.
const MAX_REDIRECTS: usize = 5;

/// A client for GitHub, with one token or with the tokens of a GitHub App's installations.
#[derive(Debug)]
pub struct Github {
    pub(super) http: Http,
    /// The GitHub App; `None` if the client has one token.
    pub(super) app: Option<App>,
    graphql: String,
    /// GitHub has the argument that [`queries::without_duplicates`] removes.
    has_duplicates: bool,
    /// GitHub refused a token that was so new that it may have been unknown to it.
    refused_fresh: bool,
    /// The limit that came with the answer which is being read; no request may follow.
    pub(super) reached: Option<ServiceError>,
    limits: Limits,
    answered_at: Option<DateTime<Utc>>,
    pub(super) fetches: BatchSize,
    pub(super) polls: BatchSize,
    pub(super) lists: BatchSize,
    /// Keys ([`Github::batch_key`]) whose installations are not asked, because of their limits.
    left_out: BTreeSet<String>,
    /// Limits that were reached since the last [`Github::take_limits`].
    new_limits: Vec<(String, ServiceError)>,
}

/// Our rate limit on GitHub.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// GraphQL points spent by this run.
    pub points: u64,
    /// Points left until the reset.
    pub remaining: Option<i64>,
    /// Time of the next reset (UTC, GitHub's clock).
    pub reset_at: Option<DateTime<Utc>>,
}

impl Github {
    /// Returns a client for the REST root `api_url` (`https://api.github.com`, or
    /// `https://HOST/api/v3` for GitHub Enterprise); GraphQL's address follows from it.
    ///
    /// # Errors
    /// Fails if the token contains a character that no token has, or TLS cannot be set up.
    pub fn new(api_url: &str, token: &str) -> anyhow::Result<Self> {
        let mut github = Self::unauthorized(api_url)?;
        github.http.authorize(bearer(token).context(
            "GITHUB_TOKEN holds a character that no token has, such as a space or a line break; set it again",
        )?);
        Ok(github)
    }

    /// Returns a client with the credentials of a GitHub App; see [`Github::new`] for `api_url`.
    pub fn with_app(api_url: &str, app: App) -> anyhow::Result<Self> {
        Ok(Self {
            app: Some(app),
            ..Self::unauthorized(api_url)?
        })
    }

    fn unauthorized(api_url: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/vnd.github+json");
        headers.insert(ACCEPT, json);
        let version = HeaderValue::from_static("2022-11-28");
        headers.insert("x-github-api-version", version);
        let http = Http::new("GITHUB_API_URL", api_url, headers)?;
        let root = http.root.strip_suffix("/v3").unwrap_or(&http.root);
        Ok(Self {
            graphql: format!("{root}/graphql"),
            http,
            app: None,
            has_duplicates: true,
            refused_fresh: false,
            reached: None,
            limits: Limits::default(),
            answered_at: None,
            fetches: FETCHES,
            polls: POLLS,
            lists: LISTS,
            left_out: BTreeSet::new(),
            new_limits: Vec::new(),
        })
    }

    /// Waits as long as before the first retry of a request that failed.
    pub(super) fn wait_for_retry(&self) {
        self.http.wait(self.http.timeouts.retry);
    }

    /// Returns the number of requests, retries included.
    pub fn requests(&self) -> u64 {
        self.http.requests
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

    /// Replaces the default waiting times.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.http.timeouts = timeouts;
        self
    }

    /// Returns our rate limit as of GitHub's latest answer.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns GitHub's own clock at its latest answer (UTC).
    pub fn answered_at(&self) -> Option<DateTime<Utc>> {
        self.answered_at
    }

    /// Returns the message for refused credentials, and what to check about them.
    pub fn refusal(&self) -> (&'static str, &'static str) {
        match self.app {
            Some(_) => (
                "GitHub refuses the GitHub App",
                "GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY_FILE, where the App is installed and what it may read",
            ),
            None => (
                "GitHub refuses the token",
                "GITHUB_TOKEN and its permissions",
            ),
        }
    }

    /// Returns the name of the current credentials for messages.
    pub(super) fn label(&self) -> String {
        let app = self.app.as_ref();
        app.map_or_else(|| "this token".to_owned(), App::label)
    }

    /// Returns a key that is the same for owners whose repositories can share a request.
    pub fn batch_key(&self, owner: &str) -> String {
        let app = self.app.as_ref();
        app.map(|app| app.batch_key(owner)).unwrap_or_default()
    }

    /// Asks nothing more about the targets with this key ([`Github::batch_key`]).
    pub fn leave_out(&mut self, key: &str) {
        self.left_out.insert(key.to_owned());
    }

    /// Returns true if nothing is asked about the repositories of this owner.
    pub fn leaves_out(&self, owner: &str) -> bool {
        self.left_out.contains(&self.batch_key(owner))
    }

    /// Returns the installations that reached a limit since the last call, by their keys.
    pub fn take_limits(&mut self) -> Vec<(String, ServiceError)> {
        std::mem::take(&mut self.new_limits)
    }

    /// Takes up a rate limit that concerns one of several installations. Returns any other failure.
    pub(super) fn take_up_limit(
        &mut self,
        key: &str,
        error: ServiceError,
    ) -> Result<(), ServiceError> {
        if key.is_empty() || !matches!(error.kind, FailureKind::RateLimited(_)) {
            return Err(error);
        }
        self.leave_out(key);
        self.new_limits.push((key.to_owned(), error));
        Ok(())
    }

    /// Selects the credentials for the following requests about repositories of `owner`.
    pub(super) fn authorize_for(&mut self, owner: &str) -> Result<(), GithubError> {
        self.refused_fresh = false;
        match &mut self.app {
            Some(app) => app.authorize_for(&mut self.http, owner),
            None => Ok(()),
        }
    }

    /// Sends one request; repeats it with a new token if GitHub refuses an installation's token.
    fn send<T>(
        &mut self,
        build: impl Fn(&Client) -> RequestBuilder,
        read: impl Fn(Response) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        if let Some(limit) = &self.reached {
            return Err(limit.clone());
        }
        let spread = self.spread();
        if let Some(app) = self.app.as_mut().filter(|app| app.may_renew(spread)) {
            let result = self
                .http
                .send(&build, |response| match response.status.as_u16() {
                    401 => Ok(None),
                    _ => read(response).map(Some),
                })?;
            if let Some(result) = result {
                return Ok(result);
            }
            app.renew(&mut self.http)?;
        }
        self.http.send(build, read)
    }

    /// Returns the time after which GitHub knows a new token everywhere.
    fn spread(&self) -> Duration {
        self.http.timeouts.retry * SPREAD
    }

    /// Repeats a request while GitHub refuses a token that it created some seconds ago.
    fn patiently<T>(
        &mut self,
        send: impl Fn(&mut Self) -> Result<T, ServiceError>,
        is_refused: impl Fn(&Result<T, ServiceError>) -> bool,
    ) -> Result<T, ServiceError> {
        let mut waits = SPREAD_WAITS.into_iter();
        let mut last_wait = Some(LAST_SPREAD_WAIT);
        loop {
            let result = send(self);
            let spread = self.spread();
            let Some(app) = &mut self.app else {
                return result;
            };
            if !is_refused(&result) {
                if result.is_ok() {
                    app.accepted();
                }
                return result;
            }
            self.refused_fresh = app.is_fresh(spread);
            let wait = waits.next();
            let wait = wait.or_else(|| last_wait.take().filter(|_| result.is_ok()));
            match wait.filter(|_| self.refused_fresh) {
                Some(wait) => self.http.wait(self.http.timeouts.retry * wait),
                None => return result,
            }
        }
    }

    /// Explains the failure of GitHub as a whole: a refused token that was new passes by itself.
    pub(super) fn explained(&self, error: ServiceError) -> ServiceError {
        if error.kind != FailureKind::Refused || !self.refused_fresh {
            return error;
        }
        ServiceError::unavailable(format!(
            "GitHub refuses a token of {} that it created a moment ago ({}); if this stays so, check where the App is installed and what it may read",
            self.label(),
            error.message
        ))
    }

    /// Sends one GraphQL request. Returns the data, and the errors that concern only a part of it.
    pub(super) fn query(
        &mut self,
        query: &str,
        variables: &Value,
    ) -> Result<(Value, Vec<GraphqlError>), ServiceError> {
        let Some(without) = queries::without_duplicates(query) else {
            return self.send_query(query, variables);
        };
        if self.has_duplicates {
            match self.send_query(query, variables) {
                Err(error) if error.kind == FailureKind::Unknown => self.has_duplicates = false,
                answer => return answer,
            }
        }
        self.send_query(&without, variables)
    }

    fn send_query(
        &mut self,
        query: &str,
        variables: &Value,
    ) -> Result<(Value, Vec<GraphqlError>), ServiceError> {
        let body = json!({ "query": query, "variables": variables });
        let url = self.graphql.clone();
        let send = |github: &mut Self| {
            github.send(
                |client| client.post(&url).json(&body),
                |response| Ok((response::envelope(&response)?, response.date())),
            )
        };
        let (envelope, date) = self.patiently(send, |result| match result {
            Ok((envelope, _)) => envelope.errors.iter().any(GraphqlError::is_refusal),
            Err(error) => error.kind == FailureKind::Refused,
        })?;
        self.reached = envelope.limit;
        self.answered_at = date.or(self.answered_at);
        if let Ok(limit) = RateLimit::deserialize(&envelope.data["rateLimit"]) {
            self.limits.points += limit.cost;
            self.limits.remaining = Some(limit.remaining);
            self.limits.reset_at = Some(limit.reset_at);
        }
        Ok((envelope.data, envelope.errors))
    }

    /// Sends one REST request. Follows redirects below our own root, which GitHub sends for renamed
    /// repositories and transferred issues; `url` is then the last address. Also returns a response
    /// that rejects the request.
    pub(super) fn get(&mut self, url: &mut String) -> Result<Response, ServiceError> {
        let mut response = self.get_once(url)?;
        for _ in 0..MAX_REDIRECTS {
            let location = response.header("location").filter(|location| {
                response.status.is_redirection() && self.is_below_root(location)
            });
            let Some(location) = location.map(str::to_owned) else {
                break;
            };
            *url = location;
            response = self.get_once(url)?;
        }
        Ok(response)
    }

    fn get_once(&mut self, url: &str) -> Result<Response, ServiceError> {
        let send = |github: &mut Self| {
            github.send(
                |client| client.get(url),
                |response| match response::check(&response) {
                    Err(error) if error.kind != FailureKind::Rejected => Err(error),
                    _ => Ok(response),
                },
            )
        };
        self.patiently(
            send,
            |result| matches!(result, Err(error) if error.kind == FailureKind::Refused),
        )
    }

    /// Returns the address of a path below our REST root.
    pub(super) fn rest_url(&self, path: &str) -> String {
        format!("{}{path}", self.http.root)
    }

    /// Returns true if an address is below our REST root. No other address may receive the token.
    pub(super) fn is_below_root(&self, url: &str) -> bool {
        url.strip_prefix(&self.http.root)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_graphql(api_url: &str, expected: &str) {
        assert_eq!(Github::new(api_url, "token").unwrap().graphql, expected);
    }

    #[test]
    fn graphqls_address_follows_from_rests() {
        check_graphql("https://api.github.com", "https://api.github.com/graphql");
        check_graphql("https://api.github.com/", "https://api.github.com/graphql");
        check_graphql(
            "https://ghe.example/api/v3",
            "https://ghe.example/api/graphql",
        );
        check_graphql(
            "https://ghe.example/api/v3/",
            "https://ghe.example/api/graphql",
        );
    }

    #[test]
    fn the_token_is_sent_to_our_own_root_only() {
        let github = Github::new("https://api.github.com", "token").unwrap();
        assert!(github.is_below_root("https://api.github.com/repositories/1/issues/2"));
        assert!(!github.is_below_root("https://api.github.com.evil.example/x"));
        assert!(!github.is_below_root("http://api.github.com/x"));
    }
}
