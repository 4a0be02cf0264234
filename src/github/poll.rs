//! Polls many repositories for changes since their cursors, in few requests (design.md, "The
//! pipeline").

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::batch::{AliasAnswer, Target};
use super::client::Github;
use super::extras::Asked;
use super::queries::{self, ListBelow};
use super::response::GithubError;
use super::schema::{Below, Connection, github_id, visible};
use super::sizes::BatchSize;
use crate::core::discovery::{RemoteChange, RemoteRef};
use crate::core::failure::{
    self, FailureKind, MappingError, MappingErrorKind, NO_ANSWER, ServiceError,
};
use crate::core::model::{GithubId, Repository};
use crate::core::text::{quoted, storable};

/// Largest number of pages of one repository that one poll reads.
const MAX_PAGES: usize = 20;

/// One repository with its cursors.
#[derive(Debug, Clone)]
pub struct Poll {
    /// The repository, in any spelling.
    pub repository: Repository,
    /// Time since which changes of issues are reported (UTC, GitHub's clock).
    pub issues_since: DateTime<Utc>,
    /// Time since which changes of pull requests are reported (UTC, GitHub's clock).
    pub pull_requests_since: DateTime<Utc>,
    /// Only pull requests that changed after this time are asked which issues they close (UTC,
    /// GitHub's clock).
    pub closing_after: DateTime<Utc>,
}

/// The changes of one repository.
#[derive(Debug, Clone, Default)]
pub struct RepositoryChanges {
    /// Issues, oldest change first.
    pub issues: Vec<RemoteChange>,
    /// Pull requests, newest change first.
    pub pull_requests: Vec<RemoteChange>,
    /// There are more changes than one poll reads.
    pub is_far_behind: bool,
    /// GitHub's id of the repository.
    pub github_id: Option<GithubId>,
    /// Issues are turned off: GitHub has none to show.
    pub issues_are_off: bool,
    /// GitHub's own clock at the first answer (UTC). A change that is later is reported and is no
    /// cursor.
    pub answered_at: Option<DateTime<Utc>>,
}

/// The result of polling many repositories.
#[derive(Debug)]
pub struct Polled {
    /// The changes of each repository, in the order of the polls; `None` for one that was not read
    /// to the end.
    pub answers: Vec<Option<Result<RepositoryChanges, MappingError>>>,
    /// The failure of GitHub as a whole that left the others unread.
    pub ended_by: Option<ServiceError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangesPage {
    database_id: Option<i64>,
    has_issues_enabled: Option<bool>,
    issues: Option<Connection<Node>>,
    pull_requests: Option<Connection<Node>>,
    #[serde(skip)]
    answered_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    /// Id of a pull request.
    id: Option<String>,
    updated_at: DateTime<Utc>,
    /// The issues that a changed pull request closes.
    #[serde(skip)]
    closes: Option<Below<Reference>>,
    #[serde(flatten)]
    subject: Reference,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    full_database_id: Option<String>,
    url: String,
}

/// The next page of a connection: `None` after the last page, `Some(None)` for the first page.
type NextPage = Option<Option<String>>;

struct PollProgress<'a> {
    poll: &'a Poll,
    result: Result<RepositoryChanges, MappingError>,
    issues: NextPage,
    pull_requests: NextPage,
    pages: usize,
}

impl<'a> PollProgress<'a> {
    fn new(poll: &'a Poll) -> Self {
        Self {
            poll,
            result: Ok(RepositoryChanges::default()),
            issues: Some(None),
            pull_requests: Some(None),
            pages: 0,
        }
    }
}

impl Target for PollProgress<'_> {
    type Part = ChangesPage;
    type Node = Reference;

    const ALIAS: &'static str = "r";
    const LIST: ListBelow = ListBelow::ClosedIssues;
    /// The next poll reads the page again, with all its lists.
    const LISTS_MAY_END: bool = false;

    fn document(batch: &[&mut Self]) -> String {
        queries::poll_query(batch.len())
    }

    fn size(github: &mut Github) -> &mut BatchSize {
        &mut github.polls
    }

    fn lists(page: &mut ChangesPage) -> Vec<&mut Below<Reference>> {
        let nodes = page.pull_requests.iter_mut();
        let nodes = nodes.flat_map(|page| page.nodes.iter_mut().flatten().flatten());
        nodes.filter_map(|node| node.closes.as_mut()).collect()
    }

    fn switches(&self) -> &'static [&'static str] {
        &[]
    }

    fn repository(&self) -> &Repository {
        &self.poll.repository
    }

    fn is_open(&self) -> bool {
        self.result.is_ok() && (self.issues.is_some() || self.pull_requests.is_some())
    }

    fn variables(&self) -> Vec<(&'static str, Value)> {
        let since = self.poll.issues_since;
        vec![
            ("s", since.to_rfc3339_opts(SecondsFormat::Secs, true).into()),
            ("moreIssues", self.issues.is_some().into()),
            ("issues", self.issues.clone().flatten().into()),
            ("morePullRequests", self.pull_requests.is_some().into()),
            ("pullRequests", self.pull_requests.clone().flatten().into()),
        ]
    }

    fn read(
        &self,
        github: &mut Github,
        answer: AliasAnswer,
        _: Asked,
    ) -> Result<ChangesPage, GithubError> {
        let repository = self.repository();
        let value = answer.map_err(|error| {
            let (kind, reason) = (
                failure::graphql_poll(error.kind.as_deref()),
                error.describe(),
            );
            let message = match kind {
                MappingErrorKind::Unanswered => {
                    format!("{NO_ANSWER} repository {repository}: {reason}")
                }
                _ => format!(
                    "repository {repository} cannot be read with {}: {reason}",
                    github.label()
                ),
            };
            MappingError::new(kind, message)
        })?;
        let unusable = |reason: &str| {
            MappingError::unanswered(format!(
                "{NO_ANSWER} repository {repository} that can be used: {}",
                quoted(reason)
            ))
        };
        let mut page: ChangesPage =
            serde_json::from_value(value).map_err(|error| unusable(&error.to_string()))?;
        let lacks = |asked: &NextPage, page: &Option<Connection<Node>>| {
            asked.is_some() && page.as_ref().is_none_or(|page| !page.is_usable())
        };
        if lacks(&self.issues, &page.issues) || lacks(&self.pull_requests, &page.pull_requests) {
            return Err(unusable("null in the place of what changed").into());
        }
        page.answered_at = github.answered_at();
        let nodes = page.pull_requests.iter_mut();
        let nodes = nodes.flat_map(|page| page.nodes.iter_mut().flatten().flatten());
        for node in nodes.filter(|node| node.updated_at > self.poll.closing_after) {
            node.closes = node.id.take().map(Below::new);
        }
        Ok(page)
    }

    fn record(&mut self, part: Result<ChangesPage, MappingError>) {
        let (changes, page) = match (&mut self.result, part) {
            (Ok(changes), Ok(page)) => (changes, page),
            (result, Err(error)) => {
                *result = Err(error);
                return;
            }
            (Err(_), Ok(_)) => return,
        };
        let since = self.poll.pull_requests_since;
        // Pull requests come newest first. A hidden one does not say when it changed.
        let nodes = page.pull_requests.iter().flat_map(Connection::nodes);
        let last = nodes.flatten().last();
        let reaches_since = last.is_none_or(|node| node.updated_at >= since);
        let next = |page: &Option<Connection<Node>>| page.as_ref()?.next().map(Some);
        self.issues = next(&page.issues);
        self.pull_requests = next(&page.pull_requests).filter(|_| reaches_since);
        changes.issues.extend(visible(page.issues).map(change));
        let pull_requests = visible(page.pull_requests).filter(|node| node.updated_at >= since);
        for node in pull_requests {
            // The issues that GitHub does not name wait for their recheck.
            if let Some(reason) = node.closes.as_ref().and_then(|one| one.missing.as_ref()) {
                log::warn!(
                    "{}: not all issues that {} closes could be read ({reason}); the others wait for their recheck",
                    self.poll.repository,
                    quoted(&node.subject.url)
                );
            }
            changes.pull_requests.push(change(node));
        }
        changes.github_id = page.database_id.map(GithubId);
        changes.issues_are_off = page.has_issues_enabled == Some(false);
        changes.answered_at = changes.answered_at.or(page.answered_at);
        self.pages += 1;
        if self.pages >= MAX_PAGES && (self.issues.is_some() || self.pull_requests.is_some()) {
            changes.is_far_behind = true;
            self.issues = None;
            self.pull_requests = None;
        }
    }
}

impl Github {
    /// Polls repositories. A failure of one repository never affects the others; those that were
    /// not read before the deadline are released.
    pub fn poll(&mut self, polls: &[Poll]) -> Polled {
        let mut targets: Vec<PollProgress<'_>> = polls.iter().map(PollProgress::new).collect();
        let mut ended_by = self.query_all(&mut targets, &|_| {}).err();
        if let Some(error) = ended_by.take_if(|error| error.kind == FailureKind::OutOfTime) {
            for target in targets.iter_mut().filter(|target| target.is_open()) {
                target.record(Err(MappingError::released(error.message.as_str())));
            }
        }
        let answers = targets.into_iter().map(|target| {
            let is_read = !target.is_open();
            is_read.then_some(target.result)
        });
        Polled {
            answers: answers.collect(),
            ended_by,
        }
    }
}

fn change(node: Node) -> RemoteChange {
    RemoteChange {
        subject: remote_ref(node.subject),
        updated_at: node.updated_at,
        closes: visible(node.closes.and_then(|closes| closes.list))
            .map(remote_ref)
            .collect(),
    }
}

fn remote_ref(reference: Reference) -> RemoteRef {
    RemoteRef {
        github_id: github_id(reference.full_database_id.as_deref()),
        url: storable(reference.url),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns true if a poll since 10 o'clock reads another page after one with these pull
    /// requests.
    fn goes_on(pull_requests: &Value) -> bool {
        let since: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        let poll = Poll {
            repository: Repository::parse("acme/shop").unwrap(),
            issues_since: since,
            pull_requests_since: since,
            closing_after: since,
        };
        let mut progress = PollProgress::new(&poll);
        let page = json!({
            "issues": { "nodes": [], "pageInfo": { "hasNextPage": false, "endCursor": null } },
            "pullRequests": { "nodes": pull_requests, "pageInfo": { "hasNextPage": true, "endCursor": "1" } },
        });
        progress.record(Ok(serde_json::from_value(page).unwrap()));
        progress.is_open()
    }

    #[test]
    fn a_hidden_pull_request_at_the_end_of_a_page_ends_no_poll() {
        let at = |hour: u32| {
            json!({ "fullDatabaseId": "1", "url": "https://github.com/acme/shop/pull/1",
                "updatedAt": format!("2026-03-01T{hour:02}:00:00Z") })
        };
        for (nodes, expected) in [
            (json!([at(12), at(11)]), true),
            (json!([at(12), at(11), null]), true),
            (json!([null, null]), true),
            (json!([at(12), at(9)]), false),
            (json!([at(12), at(9), null]), false),
        ] {
            assert_eq!(goes_on(&nodes), expected, "{nodes}");
        }
    }
}
