//! Issues, timelines and pull requests as the REST endpoints show them.

use serde_json::{Value, json};

use super::State;
use super::rest::{message, root};
use super::world::{Closer, Event, Gone, Issue, PullRequest, Repository, Shown, Thread, split};
use crate::http::{Request, Response};

/// Kind of a REST request about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// "Get an issue", which answers for pull requests, too.
    Issue,
    /// "List timeline events for an issue".
    Timeline,
    /// "Get a pull request".
    PullRequest,
}

impl Asked {
    /// Answers a request about a number of a repository; `None` if the token cannot read the repository.
    pub fn answer(
        self,
        state: &State,
        repository: Option<&Repository>,
        number: i32,
        request: &Request,
    ) -> Response {
        let Some(repository) = repository else {
            return message(404, "Not Found");
        };
        let shown = repository.thread(number);
        match repository.shown {
            Shown::WithoutIssues if shown.is_none() => {
                return message(410, "Issues are disabled for this repo");
            }
            Shown::NameOnly => return message(451, "Repository access blocked"),
            Shown::Refused(policy) => return message(403, policy),
            _ => {}
        }
        match (self, shown, repository.gone.get(&number)) {
            (Self::Issue, Some(thread), _) => {
                Response::json(200, &as_issue(repository, number, thread))
            }
            (Self::Timeline, Some(thread), _) => timeline(state, thread, request),
            (Self::PullRequest, Some(Thread::PullRequest(found)), _) => {
                Response::json(200, &as_pull_request(repository, number, found))
            }
            (Self::PullRequest, _, _) => message(404, "Not Found"),
            (_, None, Some(Gone::Deleted)) => message(410, "This issue was deleted"),
            (_, None, Some(Gone::Transferred(new))) => {
                let (name, number) = split(new);
                match state.world.repository(name) {
                    Some(home) => self.moved(home, number, &root(request)),
                    None => message(404, "Not Found"),
                }
            }
            (_, None, None) => message(404, "Not Found"),
        }
    }

    /// Redirects to the current address of the number.
    pub fn moved(self, home: &Repository, number: i32, root: &str) -> Response {
        let route = match self {
            Self::Issue => format!("issues/{number}"),
            Self::Timeline => format!("issues/{number}/timeline"),
            Self::PullRequest => format!("pulls/{number}"),
        };
        let location = format!("{root}/repositories/{}/{route}", home.id);
        Response::json(
            301,
            &json!({ "message": "Moved Permanently", "url": location }),
        )
        .header("location", &location)
    }
}

/// Returns the fields of the issue endpoints. The id of a pull request there is that of its issue record, which is
/// another number.
fn as_issue(repository: &Repository, number: i32, thread: &Thread) -> Value {
    let (page, id, state, title, body) = match thread {
        Thread::Issue(issue) => (
            "issues",
            issue.github_id,
            issue.state,
            &issue.title,
            &issue.body,
        ),
        Thread::PullRequest(found) => (
            "pull",
            found.github_id + 1_000_000_000,
            found.state,
            &found.title,
            &found.body,
        ),
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

/// Returns the state; a merged pull request is `closed` here.
fn as_pull_request(repository: &Repository, number: i32, found: &PullRequest) -> Value {
    json!({
        "id": found.github_id, "number": number, "title": found.title, "body": found.body,
        "state": if found.state == "OPEN" { "open" } else { "closed" },
        "html_url": format!("https://github.com/{}/pull/{number}", repository.name),
        "merged": found.state == "MERGED", "merged_at": found.merged_at, "merge_commit_sha": found.merge_commit,
    })
}

/// Returns one page of a timeline, with the address of the next page in `link`. The timelines of pull requests are not
/// simulated: they are empty.
fn timeline(state: &State, thread: &Thread, request: &Request) -> Response {
    let given = |name: &str, otherwise: usize| match request.parameter(name) {
        Some(text) => text
            .parse()
            .ok()
            .filter(|given| *given > 0)
            .unwrap_or(otherwise),
        None => otherwise,
    };
    let (size, page) = (given("per_page", 30).min(100), given("page", 1));
    let shown: Vec<Value> = match thread {
        Thread::Issue(issue) => issue
            .timeline
            .iter()
            .filter_map(|event| as_event(state, issue, event))
            .collect(),
        Thread::PullRequest(_) => Vec::new(),
    };
    let events: Vec<&Value> = shown
        .iter()
        .skip((page - 1).saturating_mul(size))
        .take(size)
        .collect();
    let response = Response::json(200, &json!(events));
    if page.saturating_mul(size) >= shown.len() {
        return response;
    }
    let path = request
        .path
        .strip_prefix("/api/v3")
        .unwrap_or(&request.path);
    let next = format!(
        "<{}{path}?per_page={size}&page={}>; rel=\"next\"",
        root(request),
        page + 1
    );
    response.header("link", &next)
}

/// Returns an event; `None` if the token cannot read the other end. REST does not name a pull request that was
/// connected.
fn as_event(state: &State, issue: &Issue, event: &Event) -> Option<Value> {
    let plain =
        |name: &str| json!({ "event": name, "created_at": issue.updated_at, "commit_id": null });
    Some(match event {
        Event::Closed(Closer::Commit(_)) => {
            let mut closed = plain("closed");
            closed["commit_id"] = json!("c0ffee");
            closed
        }
        Event::Closed(_) => plain("closed"),
        Event::Reopened(_) => plain("reopened"),
        Event::Connected(_) => plain("connected"),
        Event::Disconnected(_) => plain("disconnected"),
        Event::CrossReferenced { source, .. } => {
            let (home, number, source) = state.world.thread(source)?;
            let mut shown = as_issue(home, number, source);
            shown["repository"] = json!({ "full_name": home.name });
            json!({
                "event": "cross-referenced", "created_at": issue.updated_at,
                "source": { "type": "issue", "issue": shown },
            })
        }
    })
}
