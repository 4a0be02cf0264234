//! Looks at many issues and pull requests in few requests.

use serde_json::{Map, Value, json};

use super::answer::*;
use super::client::{Github, NotAnswered};
use super::queries;
use super::timeline::{self, Belonging};
use crate::core::failure::{self, NotShown};
use crate::core::model::*;
use crate::core::text::{quoted, storable};
use crate::http::ServiceError;

/// No issue has that many pages; a cursor that leads in a circle must not keep a run for ever.
const MOST_PAGES: usize = 1000;

/// Why there is no snapshot of one issue or pull request, split only where a caller acts differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookError {
    /// It is deleted, moved or hidden; looking again does not help.
    Gone(String),
    /// Its whole repository cannot be seen.
    RepositoryHidden(String),
    /// Anything else.
    Failed(String),
}

/// One alias's share of an answer.
type Look = Result<Snapshot, LookError>;

/// What came of looking.
#[derive(Debug)]
pub struct Fetched {
    /// As far as GitHub was asked, in the order of the targets.
    pub answers: Vec<Look>,
    /// Why GitHub as a whole cannot be asked any further.
    pub ended_by: Option<ServiceError>,
}

impl Github {
    /// Looks at issues and pull requests of whatever repositories; the answers come in the order of `targets`, which
    /// should not name one twice. One that fails never spoils the others. After each request `go_on` is told how many
    /// answers came, and says whether there may be another request.
    pub fn fetch(&mut self, targets: &[Address], go_on: &dyn Fn(usize) -> bool) -> Fetched {
        let mut answers = Vec::with_capacity(targets.len());
        let ended_by = self.look_at_all(targets, go_on, &mut answers).err();
        Fetched { answers, ended_by }
    }

    fn look_at_all(
        &mut self,
        targets: &[Address],
        go_on: &dyn Fn(usize) -> bool,
        looks: &mut Vec<Look>,
    ) -> Result<(), ServiceError> {
        let mut may_ask = true;
        while may_ask && looks.len() < targets.len() {
            let rest = &targets[looks.len()..];
            let group = rest
                .first()
                .map(|target| self.group(target.repository.owner()));
            let is_together =
                |target: &&Address| Some(self.group(target.repository.owner())) == group;
            let batch = &rest[..rest
                .iter()
                .take(self.looks_per_request)
                .take_while(is_together)
                .count()];
            if let Some(first) = batch.first()
                && let Err(reason) = self.admit(first.repository.owner())?
            {
                may_ask = go_on(batch.len());
                looks.extend(
                    batch
                        .iter()
                        .map(|_| Err(LookError::RepositoryHidden(reason.clone()))),
                );
                continue;
            }
            match self.look_at_once(batch) {
                Ok(found) => {
                    if found.len() == self.looks_per_request {
                        self.could_answer();
                    }
                    may_ask = go_on(found.len());
                    looks.extend(found);
                }
                Err(error) => match self.not_answered(batch.len(), error)? {
                    NotAnswered::AskForFewer => may_ask = go_on(0),
                    NotAnswered::ThisOne(reason) => {
                        may_ask = go_on(1);
                        looks.push(Err(LookError::Failed(reason)));
                    }
                },
            }
        }
        Ok(())
    }

    fn look_at_once(&mut self, targets: &[Address]) -> Result<Vec<Look>, ServiceError> {
        let mut variables = Map::new();
        for (index, target) in targets.iter().enumerate() {
            variables.insert(format!("o{index}"), target.repository.owner().into());
            variables.insert(format!("n{index}"), target.repository.name().into());
            variables.insert(format!("i{index}"), target.number.into());
        }
        let (mut data, errors) =
            self.query(&queries::look(targets.len()), &Value::Object(variables))?;
        let mut looks = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            let alias = format!("t{index}");
            let spoils = |error: &&GraphqlError| {
                error.path.first().and_then(Value::as_str) == Some(&alias) && !error.hides_a_node()
            };
            let error = errors.iter().find(spoils);
            let look = match error {
                Some(error) => Err(self.routed(error, target)?),
                None => self.snapshot(
                    data.get_mut(&alias).map_or(Value::Null, Value::take),
                    target,
                )?,
            };
            looks.push(look);
        }
        Ok(looks)
    }

    /// What an error says about the target that its path names.
    fn routed(
        &mut self,
        error: &GraphqlError,
        target: &Address,
    ) -> Result<LookError, ServiceError> {
        let said = error.describe();
        let is_repository = error.path.len() == 1;
        let repository = &target.repository;
        Ok(
            match failure::spoiled(error.kind.as_deref(), is_repository) {
                NotShown::Hidden if error.kind.as_deref() == Some("NOT_FOUND") => {
                    LookError::RepositoryHidden(format!(
                        "repository {repository} cannot be seen with {}: {said}; give it access, or correct the address",
                        self.words()
                    ))
                }
                NotShown::Hidden => LookError::RepositoryHidden(format!(
                    "repository {repository} may not be read with {}: {said}; it needs to read issues, pull requests and contents",
                    self.words()
                )),
                NotShown::NotFound => self.why_not_found(target)?,
                _ => LookError::Failed(said),
            },
        )
    }

    /// GraphQL does not say why something is not found; REST does ("Get an issue": 301, 404, 410).
    fn why_not_found(&mut self, target: &Address) -> Result<LookError, ServiceError> {
        let path = format!("/repos/{}/issues/{}", target.repository, target.number);
        let answer = match self.get(&path) {
            // GraphQL took the token: it is this repository that it does not open.
            Err(ServiceError::Refused(reason)) => {
                let repository = &target.repository;
                return Ok(LookError::RepositoryHidden(format!(
                    "repository {repository} may not be read with {}: GitHub says: {reason}",
                    self.words()
                )));
            }
            answer => answer?,
        };
        let (status, location) = (answer.status.as_u16(), answer.header("location"));
        let moved_to = |address: &str| {
            LookError::Gone(format!(
                "{target} was moved to {}; put the new address into html_url",
                quoted(address)
            ))
        };
        let leads_elsewhere = location.is_some_and(|location| !self.is_ours(location));
        Ok(match failure::not_found(status, leads_elsewhere) {
            NotShown::Moved => moved_to(location.unwrap_or("an address that GitHub keeps")),
            NotShown::Gone => LookError::Gone(format!(
                "{target} is not found: deleted, moved or hidden from {}; give it access, or delete the mapping",
                self.words()
            )),
            NotShown::Deleted => LookError::Gone(format!(
                "{target} was deleted at GitHub; delete the mapping, or correct its html_url"
            )),
            _ if status == 200 => {
                let page: Value = answer.json().map_err(|error| {
                    ServiceError::Unavailable(format!(
                        "the answer is not JSON: {}",
                        quoted(&error.to_string())
                    ))
                })?;
                let url = page["html_url"].as_str().unwrap_or_default();
                match Address::parse(url) {
                    Some(address) if address != *target => moved_to(url),
                    _ => LookError::Failed(format!("{target} is found by REST but not by GraphQL")),
                }
            }
            _ => LookError::Failed(format!(
                "asking for {target} gave status {status}: {}",
                answer.reason()
            )),
        })
    }

    fn snapshot(&mut self, value: Value, target: &Address) -> Result<Look, ServiceError> {
        let unexpected = |what: String| {
            Ok(Err(LookError::Failed(format!(
                "GitHub answered unexpectedly: {}",
                quoted(&what)
            ))))
        };
        if value.is_null() {
            return Ok(Err(LookError::RepositoryHidden(format!(
                "GitHub says nothing about repository {}; give the token access, or correct the address",
                target.repository
            ))));
        }
        let repository: RepositoryNode = match serde_json::from_value(value) {
            Ok(repository) => repository,
            Err(error) => return unexpected(error.to_string()),
        };
        let Some(home) = Repository::parse(&repository.name_with_owner) else {
            return unexpected(format!(
                "{:?} is no repository name",
                repository.name_with_owner
            ));
        };
        match repository.issue_or_pull_request {
            Some(IssueOrPullRequest::Issue(issue)) => self.issue(*issue, home, target),
            Some(IssueOrPullRequest::PullRequest(pull_request)) => {
                self.pull_request(*pull_request, home, target)
            }
            None => unexpected(format!("nothing about {target}, and no error")),
        }
    }

    fn issue(
        &mut self,
        issue: Issue,
        home: Repository,
        target: &Address,
    ) -> Result<Look, ServiceError> {
        let Some(github_id) = github_id(issue.full_database_id.as_deref()) else {
            return Ok(Err(no_id(target)));
        };
        let address = Address {
            repository: home,
            number: issue.number,
        };
        let mut belonging = Belonging::to(address.clone());
        let mut labels = Vec::new();
        let complete = self.all_pages(issue.pages, target, |pages| {
            labels.extend(
                pages
                    .labels
                    .iter()
                    .flat_map(|labels| &labels.nodes)
                    .flatten()
                    .map(|label| label.name.clone()),
            );
            belonging.page(pages);
        })?;
        if let Err(error) = complete {
            return Ok(Err(error));
        }
        Ok(Ok(Snapshot {
            github_id,
            address,
            url: storable(issue.url),
            state: match issue.issue_state {
                IssueState::Open => State::Open,
                IssueState::Closed => State::Closed,
            },
            title: storable(issue.title),
            body: storable(issue.body),
            labels: labels.into_iter().map(storable).collect(),
            created_at: issue.created_at,
            updated_at: issue.updated_at,
            details: Details::Issue {
                closed_at: issue.closed_at,
                close_reason: issue.state_reason.as_deref().and_then(close_reason),
                some_hidden: belonging.some_hidden(),
                pull_requests: belonging.into_pull_requests(),
            },
        }))
    }

    fn pull_request(
        &mut self,
        found: PullRequest,
        home: Repository,
        target: &Address,
    ) -> Result<Look, ServiceError> {
        let Some(github_id) = github_id(found.full_database_id.as_deref()) else {
            return Ok(Err(no_id(target)));
        };
        let files = bounded(found.files, target, "changed files", |file| file.path);
        let commits = bounded(found.commits, target, "commits", |node| {
            node.commit.message_headline
        });
        let mut labels = Vec::new();
        let pages = IssuePages {
            labels: found.labels,
            ..IssuePages::default()
        };
        let complete = self.all_pages(pages, target, |pages| {
            labels.extend(
                pages
                    .labels
                    .iter()
                    .flat_map(|labels| &labels.nodes)
                    .flatten()
                    .map(|label| label.name.clone()),
            );
        })?;
        if let Err(error) = complete {
            return Ok(Err(error));
        }
        Ok(Ok(Snapshot {
            github_id,
            address: Address {
                repository: home,
                number: found.number,
            },
            url: storable(found.url),
            state: timeline::state(found.pull_request_state),
            title: storable(found.title),
            body: storable(found.body),
            labels: labels.into_iter().map(storable).collect(),
            created_at: found.created_at,
            updated_at: found.updated_at,
            details: Details::PullRequest {
                merged_at: found.merged_at,
                merge_commit_sha: found.merge_commit.map(|commit| storable(commit.oid)),
                files,
                commits,
            },
        }))
    }

    /// Hands over the first pages and all that follow them, of all connections at once.
    fn all_pages(
        &mut self,
        first: IssuePages,
        target: &Address,
        mut take: impl FnMut(&IssuePages),
    ) -> Result<Result<(), LookError>, ServiceError> {
        let failed = |what: String| {
            Ok(Err(LookError::Failed(format!(
                "a further page of {target} failed: {what}"
            ))))
        };
        let mut pages = first;
        for _ in 0..MOST_PAGES {
            take(&pages);
            let labels = pages.labels.as_ref().and_then(Connection::next);
            let references = pages
                .closed_by_pull_requests_references
                .as_ref()
                .and_then(Connection::next);
            let timeline = pages.timeline_items.as_ref().and_then(Connection::next);
            if labels.is_none() && references.is_none() && timeline.is_none() {
                return Ok(Ok(()));
            }
            let variables = json!({
                "owner": target.repository.owner(), "name": target.repository.name(), "number": target.number,
                "moreLabels": labels.is_some(), "labels": labels,
                "moreReferences": references.is_some(), "references": references,
                "moreTimeline": timeline.is_some(), "timeline": timeline,
            });
            let (mut data, errors) = self.query(&queries::pages(), &variables)?;
            if let Some(error) = errors.iter().find(|error| !error.hides_a_node()) {
                return failed(error.message.clone());
            }
            let value = data
                .pointer_mut("/repository/issueOrPullRequest")
                .map_or(Value::Null, Value::take);
            pages = match serde_json::from_value(value) {
                Ok(pages) => pages,
                Err(error) => return failed(quoted(&error.to_string())),
            };
        }
        failed(format!("it has more than {MOST_PAGES}"))
    }
}

fn bounded<T>(
    connection: Option<Connection<T>>,
    target: &Address,
    what: &str,
    text: impl Fn(T) -> String,
) -> TruncatedList {
    let Some(connection) = connection else {
        return TruncatedList::default();
    };
    let first: Vec<String> = connection
        .nodes
        .into_iter()
        .flatten()
        .map(|node| storable(text(node)))
        .collect();
    let total = connection.total_count.unwrap_or(first.len());
    if total > first.len() {
        log::info!(
            "{target}: the first {} of {total} {what} are indexed",
            first.len()
        );
    }
    TruncatedList { first, total }
}

fn github_id(full_database_id: Option<&str>) -> Option<GithubId> {
    full_database_id
        .and_then(|id| id.parse().ok())
        .map(GithubId)
}

fn no_id(target: &Address) -> LookError {
    LookError::Failed(format!(
        "GitHub named no usable id (fullDatabaseId) for {target}"
    ))
}

fn close_reason(reason: &str) -> Option<CloseReason> {
    match reason {
        "COMPLETED" => Some(CloseReason::Completed),
        "NOT_PLANNED" => Some(CloseReason::NotPlanned),
        "DUPLICATE" => Some(CloseReason::Duplicate),
        _ => None,
    }
}
