//! Requests to GitHub and what their failures mean.

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::answer::{Envelope, GraphqlError, RateLimit};
use super::app::App;
use super::queries;
use crate::core::failure::{self, Failure, Signs};
use crate::core::text::quoted;
use crate::http::{Answer, Http, ServiceError, Timeouts, bearer};
use crate::signal::Signals;

/// Issues or pull requests looked at in the first request of a run (design, section 3, step 4); as many repositories are
/// polled in one.
const LOOKS_PER_REQUEST: usize = 25;
/// The same once GitHub has answered for that many; more than a day's changes, so it matters for backlogs only.
const MOST_LOOKS_PER_REQUEST: usize = 50;

/// No issue is transferred that often; addresses that lead in a circle must not keep a run for ever.
const MOST_REDIRECTS: usize = 5;

/// GitHub, seen through one token, or as a GitHub App through the tokens of its installations.
#[derive(Debug)]
pub struct Github {
    http: Http,
    /// `None`: one token is all there is.
    app: Option<App>,
    rest: String,
    graphql: String,
    limits: Limits,
    seen_at: Option<DateTime<Utc>>,
    /// Doubled when GitHub answers, up to `most_looks`; halved when it cannot answer in time.
    pub(super) looks_per_request: usize,
    /// What GitHub has not yet found too much in this run.
    most_looks: usize,
}

/// What GitHub said about our budget.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// GraphQL points spent by this run.
    pub points: u64,
    /// Points left until the reset.
    pub remaining: Option<i64>,
    /// When the budget is filled up again (UTC, GitHub's clock).
    pub reset_at: Option<DateTime<Utc>>,
}

/// What follows when GitHub gave no answer, but is there.
#[derive(Debug)]
pub(super) enum NotAnswered {
    /// The same is asked again in smaller requests.
    AskForFewer,
    /// The one thing that was asked about fails alone, for this reason.
    ThisOne(String),
}

impl Github {
    /// A client for the REST root `api_url` (`https://api.github.com`, or `https://HOST/api/v3` for GitHub Enterprise);
    /// GraphQL's address follows from it.
    ///
    /// # Errors
    /// When the token cannot be a token, or TLS cannot be set up.
    pub fn new(api_url: &str, token: &str) -> anyhow::Result<Self> {
        let mut github = Self::anonymous(api_url)?;
        github.http.authorize(bearer(token).context(
            "GITHUB_TOKEN holds a character that no token has, such as a space or a line break; set it anew",
        )?);
        Ok(github)
    }

    /// A client that asks as a GitHub App; see [`Github::new`] for `api_url`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_app(api_url: &str, app: App) -> anyhow::Result<Self> {
        Ok(Self {
            app: Some(app),
            ..Self::anonymous(api_url)?
        })
    }

    fn anonymous(api_url: &str) -> anyhow::Result<Self> {
        let rest = api_url.trim_end_matches('/').to_owned();
        let graphql = match rest.strip_suffix("/v3") {
            Some(enterprise) => format!("{enterprise}/graphql"),
            None => format!("{rest}/graphql"),
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/vnd.github+json"),
        );
        headers.insert(
            "x-github-api-version",
            HeaderValue::from_static("2022-11-28"),
        );
        let http = Http::new(api_url, headers)?;
        Ok(Self {
            http,
            app: None,
            rest,
            graphql,
            limits: Limits::default(),
            seen_at: None,
            looks_per_request: LOOKS_PER_REQUEST,
            most_looks: MOST_LOOKS_PER_REQUEST,
        })
    }

    /// GitHub answered for a full request of looks: the next may be larger.
    pub(super) fn could_answer(&mut self) {
        self.looks_per_request = (self.looks_per_request * 2).min(self.most_looks);
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.http.requests()
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

    /// What GitHub said about our budget so far.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// GitHub's own clock when it last answered (UTC).
    pub fn answered_at(&self) -> Option<DateTime<Utc>> {
        self.seen_at
    }

    /// That GitHub refuses what it knows us by, and what to check about it, for messages.
    pub fn login(&self) -> (&'static str, &'static str) {
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

    /// What requests are made with now, for messages.
    pub(super) fn words(&self) -> String {
        self.app
            .as_ref()
            .map_or_else(|| "this token".to_owned(), App::words)
    }

    /// What belongs to owners with the same group can be asked about in one request.
    pub fn group(&self, owner: &str) -> String {
        self.app
            .as_ref()
            .map(|app| app.group(owner))
            .unwrap_or_default()
    }

    /// Has to come before requests about what belongs to `owner`; the inner error says why nothing of it can be read.
    pub(super) fn admit(&mut self, owner: &str) -> Result<Result<(), String>, ServiceError> {
        match &mut self.app {
            Some(app) => app.admit(&mut self.http, &self.rest, owner),
            None => Ok(Ok(())),
        }
    }

    /// One request; where GitHub refuses an installation's token, once more with another one.
    fn send<T>(
        &mut self,
        build: impl Fn(&Client) -> RequestBuilder,
        read: impl Fn(Answer) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        if let Some(app) = self.app.as_mut().filter(|app| app.may_renew()) {
            let first = self
                .http
                .send(&build, |answer| match answer.status.as_u16() {
                    401 => Ok(None),
                    _ => read(answer).map(Some),
                })?;
            match first {
                Some(result) => return Ok(result),
                None => app.renew(&mut self.http, &self.rest)?,
            }
        }
        self.http.send(build, read)
    }

    /// One GraphQL request. Errors that spoil only a part come back beside the data.
    pub(super) fn query(
        &mut self,
        query: &str,
        variables: &Value,
    ) -> Result<(Value, Vec<GraphqlError>), ServiceError> {
        let body = json!({ "query": query, "variables": variables });
        let url = self.graphql.clone();
        let (envelope, date) = self.send(
            |client| client.post(&url).json(&body),
            |answer| {
                let date = date(&answer);
                envelope(answer).map(|envelope| (envelope, date))
            },
        )?;
        self.seen_at = date.or(self.seen_at);
        let limit = envelope
            .data
            .get("rateLimit")
            .cloned()
            .and_then(|limit| serde_json::from_value(limit).ok());
        if let Some(RateLimit {
            cost,
            remaining,
            reset_at,
        }) = limit
        {
            self.limits.points += cost;
            self.limits.remaining = Some(remaining);
            self.limits.reset_at = Some(reset_at);
        }
        Ok((envelope.data, envelope.errors))
    }

    /// What follows when GitHub gave no answer about `asked` issues or repositories: no request of this run will be that large
    /// again, and what fails alone while GitHub answers otherwise is the failure of what was asked about.
    ///
    /// # Errors
    /// `error`, when GitHub does not answer the lightest of questions either, or has understood what it was asked.
    pub(super) fn not_answered(
        &mut self,
        asked: usize,
        error: ServiceError,
    ) -> Result<NotAnswered, ServiceError> {
        let (ServiceError::TooHeavy(reason) | ServiceError::Unavailable(reason)) = &error else {
            return Err(error);
        };
        // What is too heavy is likely to be so because of its size; anything else is first of all GitHub's failure.
        let by_size = asked > 1 && matches!(error, ServiceError::TooHeavy(_));
        if !by_size && let Err(other) = self.query(queries::ALIVE, &json!({})) {
            let is_the_same = matches!(
                other,
                ServiceError::TooHeavy(_) | ServiceError::Unavailable(_)
            );
            return Err(if is_the_same { error } else { other });
        }
        if asked == 1 {
            return Ok(NotAnswered::ThisOne(format!(
                "GitHub could not answer: {reason}"
            )));
        }
        self.most_looks = asked.div_ceil(2);
        self.looks_per_request = self.most_looks;
        log::info!(
            "GitHub could not answer for {asked} at once ({reason}); going on with {}",
            self.most_looks
        );
        Ok(NotAnswered::AskForFewer)
    }

    /// One REST request, led on as long as GitHub leads below our own root: from a repository's old name to its new
    /// one, from a transferred issue to where it is. An answer that rejects the request comes back, too.
    pub(super) fn get(&mut self, path: &str) -> Result<Answer, ServiceError> {
        let mut answer = self.get_once(&format!("{}{path}", self.rest))?;
        for _ in 0..MOST_REDIRECTS {
            let location = answer
                .header("location")
                .filter(|location| self.is_ours(location))
                .map(str::to_owned);
            match location {
                Some(location) if answer.status.is_redirection() => {
                    answer = self.get_once(&location)?
                }
                _ => break,
            }
        }
        Ok(answer)
    }

    fn get_once(&mut self, url: &str) -> Result<Answer, ServiceError> {
        self.send(
            |client| client.get(url),
            |answer| match failed(&answer) {
                Ok(()) | Err(ServiceError::Rejected { .. }) => Ok(answer),
                Err(error) => Err(error),
            },
        )
    }

    /// Whether an address is below our own REST root: no other one may see the token.
    pub(super) fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.rest)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

fn envelope(answer: Answer) -> Result<Envelope, ServiceError> {
    failed(&answer)?;
    let no_answer =
        |what: &str| ServiceError::Unavailable(format!("the answer is no GraphQL answer: {what}"));
    let mut envelope: Envelope = answer
        .json()
        .map_err(|error| no_answer(&quoted(&error.to_string())))?;
    if !envelope.data.is_object() && envelope.errors.is_empty() {
        return Err(no_answer("it has neither data nor errors"));
    }
    for error in &mut envelope.errors {
        error.message = quoted(&error.message);
    }
    let (status, wait) = (answer.status, signs(&answer, "").wait());
    let of_all = envelope.errors.iter().filter_map(|error| {
        let failure = failure::graphql(
            error.kind.as_deref(),
            &error.message,
            envelope.data.is_object(),
            wait,
        )?;
        Some((failure, &error.message))
    });
    if let Some((failure, said)) = of_all.min() {
        return Err(ServiceError::of(failure, status, said.clone()));
    }
    Ok(envelope)
}

pub(super) fn failed(answer: &Answer) -> Result<(), ServiceError> {
    let mut reason = if answer.status.is_success() {
        String::new()
    } else {
        answer.reason()
    };
    failure::github(&signs(answer, &reason)).map_err(|failure| {
        if let (Failure::Refused, Some(names)) =
            (failure, answer.header("x-accepted-github-permissions"))
        {
            reason.push_str(&format!("; needed: {}", quoted(names)));
        }
        ServiceError::of(failure, answer.status, reason)
    })
}

fn signs<'a>(answer: &'a Answer, said: &'a str) -> Signs<'a> {
    let number = |name| answer.header(name)?.parse::<i64>().ok();
    let reset = number("x-ratelimit-reset").zip(date(answer));
    Signs {
        status: answer.status.as_u16(),
        retry_after: number("retry-after").and_then(|seconds| u64::try_from(seconds).ok()),
        remaining: answer.header("x-ratelimit-remaining"),
        until_reset: reset.and_then(|(reset, date)| reset.checked_sub(date.timestamp())),
        said,
    }
}

pub(super) fn date(answer: &Answer) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(answer.header("date")?)
        .ok()
        .map(|date| date.to_utc())
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
        assert!(github.is_ours("https://api.github.com/repositories/1/issues/2"));
        assert!(!github.is_ours("https://api.github.com.evil.example/x"));
        assert!(!github.is_ours("http://api.github.com/x"));
    }
}
