//! Headers, limits and the REST routes. GraphQL is one of the routes.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use super::rest_threads::Asked;
use super::{Fault, State, Version, graphql};
use crate::http::{Request, Response};

/// GraphQL points and REST requests of a user per hour.
pub(super) const LIMIT: i64 = 5000;

/// Answers one request.
pub fn answer(state: &mut State, request: &Request) -> Response {
    let now = Utc::now() + Duration::seconds(state.settings.clock_ahead);
    let reset = now + Duration::minutes(30);
    let response = match faulted(state).or_else(|| failing_poll(state, request)) {
        Some(response) => response,
        None => admitted(state, request, now, reset).unwrap_or_else(|refused| refused),
    };
    let remaining = state.settings.points.max(0).to_string();
    let has = |name: &str| response.headers.iter().any(|(header, _)| header == name);
    let headers = [
        ("date", now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
        ("x-ratelimit-limit", LIMIT.to_string()),
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-reset", reset.timestamp().to_string()),
    ];
    let absent: Vec<_> = headers.into_iter().filter(|(name, _)| !has(name)).collect();
    absent
        .into_iter()
        .fold(response, |response, (name, value)| {
            response.header(name, &value)
        })
}

/// Returns the response of a fault that concerns the whole request; other faults are applied in GraphQL.
fn faulted(state: &mut State) -> Option<Response> {
    match state.faults.first() {
        Some(Fault::Answer(response)) => {
            let response = response.clone();
            state.faults.remove(0);
            Some(response)
        }
        Some(Fault::Alias { .. }) | None => None,
    }
}

/// Returns the response to a poll, if it names a repository for which polls fail.
fn failing_poll(state: &State, request: &Request) -> Option<Response> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    body["query"]
        .as_str()
        .filter(|query| query.contains("query Poll("))?;
    let variables = &body["variables"];
    let text = |key: String| variables[key].as_str().map(str::to_lowercase);
    let names = (0..).map_while(|index| {
        Some(format!(
            "{}/{}",
            text(format!("o{index}"))?,
            text(format!("n{index}"))?
        ))
    });
    names
        .into_iter()
        .find_map(|name| state.failing_polls.get(&name).cloned())
}

fn admitted(
    state: &mut State,
    request: &Request,
    now: DateTime<Utc>,
    reset: DateTime<Utc>,
) -> Result<Response, Response> {
    if request.header("user-agent").is_none_or(str::is_empty) {
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
        return Err(Response {
            body: text.as_bytes().to_vec(),
            ..Response::empty(403)
        });
    }
    let path = request
        .path
        .strip_prefix("/api/v3")
        .unwrap_or(&request.path);
    if let Some(answer) = state
        .app
        .as_mut()
        .and_then(|app| app.answer(request, path, now))
    {
        return Ok(answer);
    }
    let given = request
        .header("authorization")
        .ok_or_else(|| message(401, "Requires authentication"))?;
    let token = given
        .strip_prefix("Bearer ")
        .or_else(|| given.strip_prefix("token "));
    let account = token.and_then(|token| state.app.as_mut()?.account(token, now));
    if token != Some(&state.settings.token) && account.is_none() {
        return Err(message(401, "Bad credentials"));
    }
    let refusal = state.app.as_mut().filter(|_| account.is_some());
    if let Some(refusal) = refusal.and_then(|app| app.refusals.pop_front()) {
        return Err(refusal);
    }
    if let Some(wait) = account.as_ref().and_then(|account| {
        let app = state.app.as_ref()?;
        app.limited.get(account).copied()
    }) {
        let refused = message(403, "You have exceeded a secondary rate limit.");
        return Err(match wait {
            Some(seconds) => refused.header("retry-after", &seconds.to_string()),
            None => refused,
        });
    }
    state.world.opened.clone_from(&account);
    if path == "/graphql" || path == "/api/graphql" {
        return Ok(match request.method.as_str() {
            "POST" => graphql::answer(state, &request.body, reset),
            _ => message(404, "Not Found"),
        });
    }
    if let Some(version) = request.header("x-github-api-version")
        && !["2022-11-28", "2026-03-10"].contains(&version)
    {
        return Err(message(
            400,
            &format!("\"{version}\" is not a supported version."),
        ));
    }
    if state.settings.points <= 0 {
        return Err(message(403, "API rate limit exceeded for user ID 1."));
    }
    if request.method != "GET" {
        return Err(message(404, "Not Found"));
    }
    if path == "/user" {
        return user(state, account.is_some());
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let number = |text: &str| text.parse().map_err(|_| message(404, "Not Found"));
    let asked = match parts.as_slice() {
        [_, _, _, "issues", _] | ["repositories", _, "issues", _] => Asked::Issue,
        [_, _, _, "issues", _, "timeline"] | ["repositories", _, "issues", _, "timeline"] => {
            Asked::Timeline
        }
        [_, _, _, "pulls", _] | ["repositories", _, "pulls", _] => Asked::PullRequest,
        _ => return Err(message(404, "Not Found")),
    };
    match parts.as_slice() {
        ["repos", owner, name, _, thread, ..] => {
            let name = format!("{owner}/{name}");
            let repository = state.world.repository(&name);
            let number = number(thread)?;
            // GraphQL follows a renamed repository silently; REST redirects to the new name.
            match repository.filter(|repository| !repository.name.eq_ignore_ascii_case(&name)) {
                Some(renamed) => Ok(asked.moved(renamed, number, &root(request))),
                None => Ok(asked.answer(state, repository, number, request)),
            }
        }
        ["repositories", id, _, thread, ..] => {
            let repository = state.world.repository_with_id(number(id)?);
            Ok(asked.answer(state, repository, number(thread)?, request))
        }
        _ => Err(message(404, "Not Found")),
    }
}

/// Answers whose token it is; that of an installation belongs to nobody.
fn user(state: &State, is_installation: bool) -> Result<Response, Response> {
    if is_installation {
        return Err(message(403, "Resource not accessible by integration"));
    }
    let user = Response::json(200, &json!({ "login": "octo-bot", "id": 1 }));
    let user = match &state.settings.scopes {
        Some(scopes) => user.header("x-oauth-scopes", scopes),
        None => user,
    };
    Ok(match state.settings.version {
        Version::Today => user,
        Version::WithoutEnableDuplicate => user.header("x-github-enterprise-version", "3.16.2"),
        Version::Server3_15 => user.header("x-github-enterprise-version", "3.15.9"),
    })
}

/// Returns the REST root as the client addressed it.
pub(super) fn root(request: &Request) -> String {
    let prefix = if request.path.starts_with("/api/v3/") {
        "/api/v3"
    } else {
        ""
    };
    format!(
        "http://{}{prefix}",
        request.header("host").unwrap_or_default()
    )
}

pub(super) fn message(status: u16, message: &str) -> Response {
    Response::json(
        status,
        &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
    )
}
