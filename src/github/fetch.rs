//! Fetches many issues and pull requests in few requests.

use serde_json::Value;

use super::batch::{AliasAnswer, Target};
use super::client::Github;
use super::extras::{Asked, Extras, switches};
use super::queries::{self, ListBelow};
use super::response::GithubError;
use super::schema::*;
use super::sizes::BatchSize;
use crate::core::failure::{
    self, FailureKind, ISSUES_OFF, MappingError, MappingErrorKind, NO_ANSWER, ServiceError,
};
use crate::core::model::*;
use crate::core::text::{quoted, storable};

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
    kind: Kind,
    answer: Option<Result<Snapshot, MappingError>>,
}

/// The facts that GitHub shows of one issue or pull request.
struct Look {
    github_id: GithubId,
    repository_id: Option<GithubId>,
    address: Address,
    node: Box<IssueOrPullRequest>,
    extras: Extras,
}

impl Target for Fetch<'_> {
    type Part = Look;
    type Node = PullRequestNode;

    const ALIAS: &'static str = "t";
    const LIST: ListBelow = ListBelow::PullRequests;
    const LISTS_MAY_END: bool = true;

    fn document(batch: &[&mut Self]) -> String {
        let kinds: Vec<Kind> = batch.iter().map(|fetch| fetch.kind).collect();
        queries::fetch_query(&kinds)
    }

    fn size(github: &mut Github) -> &mut BatchSize {
        &mut github.fetches
    }

    fn lists(look: &mut Look) -> Vec<&mut Below<PullRequestNode>> {
        look.extras.related.unknown().collect()
    }

    fn switches(&self) -> &'static [&'static str] {
        switches(self.kind)
    }

    /// Issues come first, so that there are few different documents.
    fn rank(&self) -> u8 {
        u8::from(self.kind == Kind::PullRequest)
    }

    fn repository(&self) -> &Repository {
        &self.address.repository
    }

    fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    fn variables(&self) -> Vec<(&'static str, Value)> {
        vec![("i", self.address.number.into())]
    }

    fn read(
        &self,
        github: &mut Github,
        answer: AliasAnswer,
        asked: Asked,
    ) -> Result<Look, GithubError> {
        match answer {
            Ok(value) => github.look(value, asked, (self.address, self.kind)),
            Err(error) => {
                let is_part = error.path.len() > 1 && asked == Asked::Everything;
                let error = github.fetch_error(&error, self.address)?;
                match error.kind {
                    MappingErrorKind::Unanswered if is_part => Err(GithubError::Part(error)),
                    _ => Err(error.into()),
                }
            }
        }
    }

    fn record(&mut self, part: Result<Look, MappingError>) {
        self.answer = Some(part.map(Look::into_snapshot));
    }
}

impl Github {
    /// Fetches issues and pull requests. One of another kind than expected comes without its extras.
    /// `targets` must not contain one twice, and should be sorted by [`Github::batch_key`]. A
    /// failure of one target never affects the others. After each request, `progress` gets the
    /// number of its answers.
    pub fn fetch(&mut self, targets: &[(Address, Kind)], progress: &dyn Fn(usize)) -> Fetched {
        let mut fetches: Vec<Fetch<'_>> = targets
            .iter()
            .map(|(address, kind)| Fetch {
                address,
                kind: *kind,
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
        let route = format!("/issues/{}", target.number);
        let mut url = self.rest_url(&format!("/repos/{}{route}", target.repository));
        let result = self.get(&mut url);
        // A renamed repository keeps the number; a moved issue says nothing about its old
        // repository.
        let was_moved = !url.ends_with(&route);
        let response = match result {
            Err(error) if error.kind == FailureKind::Refused && was_moved => {
                return Ok(self.out_of_sight(target));
            }
            // GraphQL accepted the token, so that this refusal concerns only the repository.
            Err(error) if error.kind == FailureKind::Refused => {
                return Ok(MappingError::hidden(format!(
                    "repository {} may not be read with {}: GitHub says: {}",
                    target.repository,
                    self.label(),
                    error.message
                )));
            }
            Err(error) => {
                let message = self.only_this_fails(error)?;
                return Ok(MappingError::unanswered(format!(
                    "{NO_ANSWER} {target}: {message}"
                )));
            }
            Ok(response) => response,
        };
        let (status, location) = (response.status.as_u16(), response.header("location"));
        let moved_to = |address: &str| {
            format!(
                "{target} was moved to {}; put the new address into html_url",
                quoted(address)
            )
        };
        let leads_outside = location.is_some_and(|location| !self.is_below_root(location));
        let reason = response.reason();
        let kind = failure::rest_issue(status, leads_outside, &reason);
        let repository = &target.repository;
        let message = match (kind, status) {
            (MappingErrorKind::RepositoryHidden, _) if was_moved => {
                return Ok(self.out_of_sight(target));
            }
            (MappingErrorKind::RepositoryHidden, 410) => format!(
                "{ISSUES_OFF} {repository}: GitHub says: {reason}; turn them on, or delete the mappings"
            ),
            (MappingErrorKind::RepositoryHidden, _) => format!(
                "repository {repository} was taken down: GitHub says: {reason}; correct the address, or delete the mappings"
            ),
            (MappingErrorKind::Gone, 404) => return Ok(self.out_of_sight(target)),
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
            _ => format!("asking for {target} gave status {status}: {reason}"),
        };
        Ok(MappingError::new(kind, message))
    }

    /// Returns the error of a target that is nowhere, or where these credentials cannot see it.
    fn out_of_sight(&self, target: &Address) -> MappingError {
        let message = format!(
            "{target} does not exist or is hidden from {}; give it access, or delete the mapping",
            self.label()
        );
        MappingError::new(MappingErrorKind::Gone, message)
    }

    fn look(
        &mut self,
        value: Value,
        asked: Asked,
        (target, expected): (&Address, Kind),
    ) -> Result<Look, GithubError> {
        let node: RepositoryNode =
            serde_json::from_value(value).map_err(|error| unexpected(&error.to_string()))?;
        let (name, repository_id) = (node.name_with_owner, node.database_id.map(GithubId));
        let repository = Repository::parse(&name)
            .ok_or_else(|| unexpected(&format!("{name:?} is not the name of a repository")))?;
        let mut node = node.issue_or_pull_request.ok_or_else(|| {
            let message = format!("{NO_ANSWER} {target}: null, and no error");
            GithubError::Part(MappingError::unanswered(message))
        })?;
        let github_id = github_id(node.full_database_id.as_deref()).ok_or_else(|| {
            MappingError::failed(format!(
                "GitHub named no usable id (fullDatabaseId) for {target}"
            ))
        })?;
        let address = Address {
            repository,
            number: node.number,
        };
        let kind = match node.details {
            NodeDetails::Issue { .. } => Kind::Issue,
            NodeDetails::PullRequest { .. } => Kind::PullRequest,
        };
        let pages = std::mem::take(&mut node.pages);
        let extras = match kind == expected {
            true => self.extras(pages, kind, asked, (target, address.clone()))?,
            false => Extras::new(target, address.clone()),
        };
        Ok(Look {
            github_id,
            repository_id,
            address,
            node,
            extras,
        })
    }
}

impl Look {
    fn into_snapshot(mut self) -> Snapshot {
        let (node, extras) = (self.node, &mut self.extras);
        extras.finish();
        Snapshot {
            github_id: self.github_id,
            repository_id: self.repository_id,
            address: self.address,
            url: storable(node.url),
            state: node.state.into(),
            title: storable(node.title),
            body: storable(node.body),
            labels: std::mem::take(&mut extras.labels),
            created_at: node.created_at,
            updated_at: node.updated_at,
            missing: std::mem::take(&mut extras.missing),
            details: match node.details {
                NodeDetails::Issue {
                    state_reason,
                    closed_at,
                } => Details::Issue {
                    closed_at,
                    close_reason: state_reason.as_deref().and_then(close_reason),
                    reopened_at: extras.reopened_at,
                    some_hidden: extras.related.some_hidden,
                    pull_requests: self.extras.related.into_pull_requests(),
                },
                NodeDetails::PullRequest {
                    merged_at,
                    merge_commit,
                } => Details::PullRequest {
                    merged_at,
                    merge_commit_sha: merge_commit.map(|commit| storable(commit.text)),
                    files: self.extras.files,
                    commits: self.extras.commits,
                },
            },
        }
    }
}

fn unexpected(reason: &str) -> MappingError {
    MappingError::failed(format!("GitHub answered unexpectedly: {}", quoted(reason)))
}

fn close_reason(reason: &str) -> Option<CloseReason> {
    match reason {
        "COMPLETED" => Some(CloseReason::Completed),
        "NOT_PLANNED" => Some(CloseReason::NotPlanned),
        "DUPLICATE" => Some(CloseReason::Duplicate),
        _ => None,
    }
}
