//! Headers, limits and the REST routes; GraphQL is one of the routes.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use super::world::{Gone, Repository, Thread, split};
use super::{Fault, State, graphql};
use crate::http::{Request, Response};

/// GraphQL points and REST requests of a user in an hour.
pub(super) const LIMIT: i64 = 5000;

/// Answers one request.
pub fn answer(state: &mut State, request: &Request) -> Response {
    let now = Utc::now() + Duration::seconds(state.settings.clock_ahead);
    let reset = now + Duration::minutes(30);
    let response = match faulted(state) {
        Some(response) => response,
        None => admitted(state, request, reset).unwrap_or_else(|refused| refused),
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
    absent.into_iter().fold(response, |response, (name, value)| response.header(name, &value))
}

/// The answer of a fault that concerns the whole request; the others wait for GraphQL.
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

fn admitted(state: &mut State, request: &Request, reset: DateTime<Utc>) -> Result<Response, Response> {
    if request.header("user-agent").is_none_or(str::is_empty) {
        let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
        return Err(Response { body: text.as_bytes().to_vec(), ..Response::empty(403) });
    }
    let given = request.header("authorization").ok_or_else(|| message(401, "Requires authentication"))?;
    let token = given.strip_prefix("Bearer ").or_else(|| given.strip_prefix("token "));
    if token != Some(&state.settings.token) {
        return Err(message(401, "Bad credentials"));
    }
    let path = request.path.strip_prefix("/api/v3").unwrap_or(&request.path);
    if path == "/graphql" || path == "/api/graphql" {
        return Ok(match request.method.as_str() {
            "POST" => graphql::answer(state, &request.body, reset),
            _ => message(404, "Not Found"),
        });
    }
    if let Some(version) = request.header("x-github-api-version")
        && !["2022-11-28", "2026-03-10"].contains(&version)
    {
        return Err(message(400, &format!("\"{version}\" is not a supported version.")));
    }
    if state.settings.points <= 0 {
        return Err(message(403, "API rate limit exceeded for user ID 1."));
    }
    if request.method != "GET" {
        return Err(message(404, "Not Found"));
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let number = |text: &str| text.parse().map_err(|_| message(404, "Not Found"));
    match parts.as_slice() {
        ["repos", owner, name, "issues", issue] => {
            let asked = format!("{owner}/{name}");
            let repository = state.world.repository(&asked);
            let number = number(issue)?;
            // Where GraphQL follows a repository's new name silently, REST leads to it.
            match repository.filter(|repository| !repository.name.eq_ignore_ascii_case(&asked)) {
                Some(renamed) => Ok(moved(renamed, number, &root(request))),
                None => Ok(thread(state, repository, number, &root(request))),
            }
        }
        ["repositories", id, "issues", issue] => {
            let repository = state.world.repository_with_id(number(id)?);
            Ok(thread(state, repository, number(issue)?, &root(request)))
        }
        _ => Err(message(404, "Not Found")),
    }
}

/// The REST root as the client knows it.
fn root(request: &Request) -> String {
    let prefix = if request.path.starts_with("/api/v3/") { "/api/v3" } else { "" };
    format!("http://{}{prefix}", request.header("host").unwrap_or_default())
}

fn thread(state: &State, repository: Option<&Repository>, number: i32, root: &str) -> Response {
    let Some(repository) = repository else { return message(404, "Not Found") };
    match (repository.threads.get(&number), repository.gone.get(&number)) {
        (Some(thread), _) => Response::json(200, &shown(repository, number, thread)),
        (None, Some(Gone::Deleted)) => message(410, "This issue was deleted"),
        (None, Some(Gone::Transferred(new))) => {
            let (name, number) = split(new);
            match state.world.repository(name) {
                Some(home) => moved(home, number, root),
                None => message(404, "Not Found"),
            }
        }
        (None, None) => message(404, "Not Found"),
    }
}

fn moved(home: &Repository, number: i32, root: &str) -> Response {
    let location = format!("{root}/repositories/{}/issues/{number}", home.id);
    Response::json(301, &json!({ "message": "Moved Permanently", "url": location })).header("location", &location)
}

/// As far as the issue endpoints go. The id of a pull request there is that of its issue record: another number.
fn shown(repository: &Repository, number: i32, thread: &Thread) -> Value {
    let (page, id, state, title, body) = match thread {
        Thread::Issue(issue) => ("issues", issue.github_id, issue.state, &issue.title, &issue.body),
        Thread::PullRequest(found) => ("pull", found.github_id + 1_000_000_000, found.state, &found.title, &found.body),
    };
    let mut shown = json!({
        "id": id, "number": number, "title": title, "body": body,
        "state": if state == "OPEN" { "open" } else { "closed" },
        "html_url": format!("https://github.com/{}/{page}/{number}", repository.name),
    });
    if let Thread::PullRequest(pull_request) = thread {
        shown["pull_request"] = json!({ "merged_at": pull_request.merged_at });
    }
    shown
}

fn message(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}
