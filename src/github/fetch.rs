//! Fetches many issues and pull requests in few requests.

use serde_json::{Value, json};

use super::batch::{AliasAnswer, Target};
use super::client::Github;
use super::queries;
use super::response::GithubError;
use super::schema::*;
use super::timeline::PullRequestCollector;
use crate::core::failure::{
    self, FailureKind, MappingError, MappingErrorKind, NO_ANSWER, ServiceError,
};
use crate::core::model::*;
use crate::core::text::{quoted, storable};

/// Largest number of pages to read of each connection of one target. Hardly an issue has that many,
/// and a circle of cursors must not last forever.
const MAX_PAGES: usize = 40;

/// The result of fetching many issues and pull requests.
#[derive(Debug)]
pub struct Fetched {
    /// One answer for each target, in the order of the targets; `None` if its turn did not come.
    pub answers: Vec<Option<Result<Snapshot, MappingError>>>,
    /// The failure of GitHub as a whole, or the end of the run, that left targets without an
    /// answer.
    pub ended_by: Option<ServiceError>,
}

struct Fetch<'a> {
    address: &'a Address,
    answer: Option<Result<Snapshot, MappingError>>,
}

impl Target for Fetch<'_> {
    type Part = Snapshot;

    const DOCUMENT: fn(usize) -> String = queries::fetch_query;
    const ALIAS: &'static str = "t";
    const GROWS: bool = true;

    fn repository(&self) -> &Repository {
        &self.address.repository
    }

    fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    fn variables(&self) -> Vec<(&'static str, Value)> {
        vec![("i", self.address.number.into())]
    }

    fn read(&self, github: &mut Github, answer: AliasAnswer) -> Result<Snapshot, GithubError> {
        match answer {
            Ok(value) => github.snapshot(value, self.address),
            Err(error) => Err(github.fetch_error(&error, self.address)?.into()),
        }
    }

    fn record(&mut self, part: Result<Snapshot, MappingError>) {
        self.answer = Some(part);
    }
}

impl Github {
    /// Fetches issues and pull requests. `targets` must not contain one twice, and should be sorted
    /// by [`Github::batch_key`]. A failure of one target never affects the others. After each
    /// request, `progress` gets the number of its answers.
    pub fn fetch(&mut self, targets: &[Address], progress: &dyn Fn(usize)) -> Fetched {
        let mut fetches: Vec<Fetch<'_>> = targets
            .iter()
            .map(|address| Fetch {
                address,
                answer: None,
            })
            .collect();
        let ended_by = self.query_all(&mut fetches, progress).err();
        Fetched {
            answers: fetches.into_iter().map(|fetch| fetch.answer).collect(),
            ended_by,
        }
    }

    /// Turns a GraphQL error about one target into the error of its mapping.
    fn fetch_error(
        &mut self,
        error: &GraphqlError,
        target: &Address,
    ) -> Result<MappingError, ServiceError> {
        let (error_type, is_repository) = (error.kind.as_deref(), error.path.len() <= 1);
        let (reason, repository, label) = (error.describe(), &target.repository, self.label());
        let Some(kind) = failure::graphql_path(error_type, is_repository) else {
            return self.rest_error(target);
        };
        let message = match (kind, error_type) {
            (MappingErrorKind::Unanswered, _) => {
                format!("{NO_ANSWER} {target}: {reason}")
            }
            (MappingErrorKind::RepositoryHidden, Some("NOT_FOUND")) => format!(
                "repository {repository} is hidden from {label}: {reason}; give it access, or correct the address"
            ),
            (MappingErrorKind::RepositoryHidden, _) => format!(
                "repository {repository} may not be read with {label}: {reason}; it needs to read issues, pull requests and contents"
            ),
            _ => reason,
        };
        Ok(MappingError::new(kind, message))
    }

    /// Asks REST why GraphQL does not have the target (GitHub's page "Get an issue": 301, 404,
    /// 410).
    fn rest_error(&mut self, target: &Address) -> Result<MappingError, ServiceError> {
        let path = format!("/repos/{}/issues/{}", target.repository, target.number);
        let response = match self.get(&path) {
            // GraphQL accepted the token, so that this refusal concerns only the repository.
            Err(error) if error.kind == FailureKind::Refused => {
                return Ok(MappingError::hidden(format!(
                    "repository {} may not be read with {}: GitHub says: {}",
                    target.repository,
                    self.label(),
                    error.message
                )));
            }
            response => response?,
        };
        let (status, location) = (response.status.as_u16(), response.header("location"));
        let moved_to = |address: &str| {
            format!(
                "{target} was moved to {}; put the new address into html_url",
                quoted(address)
            )
        };
        let leads_outside = location.is_some_and(|location| !self.is_below_root(location));
        let kind = failure::rest_issue(status, leads_outside);
        let message = match (kind, status) {
            (MappingErrorKind::Gone, 404) => format!(
                "{target} does not exist or is hidden from {}; give it access, or delete the mapping",
                self.label()
            ),
            (MappingErrorKind::Gone, 410) => format!(
                "{target} was deleted on GitHub; delete the mapping, or correct its html_url"
            ),
            (MappingErrorKind::Gone, _) => {
                moved_to(location.unwrap_or("an address that GitHub does not name"))
            }
            (_, 200) => {
                let page: Value = response.json().map_err(|error| {
                    let error = quoted(&error.to_string());
                    ServiceError::unavailable(format!("the answer is not JSON: {error}"))
                })?;
                let url = page["html_url"].as_str().unwrap_or_default();
                if Address::parse(url).is_some_and(|address| address != *target) {
                    return Ok(MappingError::new(MappingErrorKind::Gone, moved_to(url)));
                }
                format!("REST has {target}, but GraphQL does not")
            }
            _ => format!(
                "asking for {target} gave status {status}: {}",
                response.reason()
            ),
        };
        Ok(MappingError::new(kind, message))
    }

    fn snapshot(&mut self, value: Value, target: &Address) -> Result<Snapshot, GithubError> {
        let node: RepositoryNode =
            serde_json::from_value(value).map_err(|error| unexpected(&error.to_string()))?;
        let name = node.name_with_owner;
        let repository = Repository::parse(&name)
            .ok_or_else(|| unexpected(&format!("{name:?} is not the name of a repository")))?;
        let node = node
            .issue_or_pull_request
            .ok_or_else(|| unexpected(&format!("nothing about {target}, and no error")))?;
        let github_id = github_id(node.full_database_id.as_deref()).ok_or_else(|| {
            MappingError::failed(format!(
                "GitHub named no usable id (fullDatabaseId) for {target}"
            ))
        })?;
        let address = Address {
            repository,
            number: node.number,
        };
        let mut labels = Vec::new();
        let mut related = PullRequestCollector::new(address.clone());
        let cut = self.read_pages(node.pages, target, |page| {
            related.add_page(&page);
            labels.extend(visible(page.labels).map(|label| storable(label.text)));
        })?;
        if let Some(reason) = cut {
            related.some_hidden = true;
            log::warn!(
                "{target}: not all labels and pull requests were read, because {reason}; its links stay, \
                 and the next recheck asks again"
            );
        }
        Ok(Snapshot {
            github_id,
            address,
            url: storable(node.url),
            state: node.state.into(),
            title: storable(node.title),
            body: storable(node.body),
            labels,
            created_at: node.created_at,
            updated_at: node.updated_at,
            details: details(node.details, related, target),
        })
    }

    /// Passes the first and all following pages to `read`. Each request asks for the next page of
    /// every connection that has one. Returns the reason why pages are left, if some are.
    fn read_pages(
        &mut self,
        first: Pages,
        target: &Address,
        mut read: impl FnMut(Pages),
    ) -> Result<Option<String>, GithubError> {
        let failed = |reason: &str| {
            MappingError::failed(format!("a further page of {target} failed: {reason}"))
        };
        let mut pages = first;
        for count in 1.. {
            let labels = next(&pages.labels);
            let references = next(&pages.closed_by_pull_requests_references);
            let timeline = next(&pages.timeline_items);
            read(pages);
            if labels.is_none() && references.is_none() && timeline.is_none() {
                break;
            }
            if count == MAX_PAGES {
                return Ok(Some(format!("it has more than {MAX_PAGES} pages")));
            }
            let variables = json!({
                "owner": target.repository.owner(), "name": target.repository.name(), "number": target.number,
                "moreLabels": labels.is_some(), "labels": labels,
                "moreReferences": references.is_some(), "references": references,
                "moreTimeline": timeline.is_some(), "timeline": timeline,
            });
            let (mut data, errors) = match self.query(&queries::pages_query(), &variables) {
                // Whoever has more pages than a run has time for would never be recorded.
                Err(error) if error.kind == FailureKind::OutOfTime && count > 1 => {
                    return Ok(Some(error.message));
                }
                answer => answer?,
            };
            let mut value = alias_answer(&mut data, &errors, "repository").map_err(|error| {
                let is_repository = error.path.len() <= 1;
                let kind = failure::graphql_path(error.kind.as_deref(), is_repository);
                match (kind, failed(&error.message)) {
                    (Some(MappingErrorKind::Unanswered), failed) => {
                        MappingError::unanswered(failed.message)
                    }
                    (_, failed) => failed,
                }
            })?;
            pages = serde_json::from_value(value["issueOrPullRequest"].take())
                .map_err(|error| failed(&quoted(&error.to_string())))?;
        }
        Ok(None)
    }
}

fn unexpected(reason: &str) -> MappingError {
    MappingError::failed(format!("GitHub answered unexpectedly: {}", quoted(reason)))
}

fn details(node: NodeDetails, related: PullRequestCollector, target: &Address) -> Details {
    match node {
        NodeDetails::Issue {
            state_reason,
            closed_at,
        } => Details::Issue {
            closed_at,
            close_reason: state_reason.as_deref().and_then(close_reason),
            some_hidden: related.some_hidden,
            pull_requests: related.into_pull_requests(),
        },
        NodeDetails::PullRequest {
            merged_at,
            merge_commit,
            files,
            commits,
        } => Details::PullRequest {
            merged_at,
            merge_commit_sha: merge_commit.map(|commit| storable(commit.text)),
            files: truncated(files, target, "changed files", |file| file.text),
            commits: truncated(commits, target, "commits", |node| node.commit.text),
        },
    }
}

fn truncated<T>(
    connection: Option<Connection<T>>,
    target: &Address,
    noun: &str,
    text: impl Fn(T) -> String,
) -> TruncatedList {
    let total = connection.as_ref().and_then(|page| page.total_count);
    let first: Vec<String> = visible(connection)
        .map(|node| storable(text(node)))
        .collect();
    let (read, total) = (first.len(), total.unwrap_or(first.len()));
    if total > read {
        log::info!("{target}: the first {read} of {total} {noun} are indexed");
    }
    TruncatedList { first, total }
}

fn close_reason(reason: &str) -> Option<CloseReason> {
    match reason {
        "COMPLETED" => Some(CloseReason::Completed),
        "NOT_PLANNED" => Some(CloseReason::NotPlanned),
        "DUPLICATE" => Some(CloseReason::Duplicate),
        _ => None,
    }
}
