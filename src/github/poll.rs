//! What changed in many repositories since given times, in few requests (design, section 3, step 2).

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::{Connection, GraphqlError};
use super::client::{Github, NotAnswered};
use super::fetch::LookError;
use super::queries;
use crate::core::discovery::{RemoteChange, RemoteRef};
use crate::core::model::{GithubId, Repository};
use crate::core::text::{quoted, storable};
use crate::http::ServiceError;

/// Pages of one repository that are read in one poll.
const MOST_PAGES: usize = 20;

/// What is asked about one repository.
#[derive(Debug, Clone)]
pub struct Poll {
    /// The repository.
    pub repository: Repository,
    /// Issues that changed since then (UTC, GitHub's clock).
    pub issues_since: DateTime<Utc>,
    /// Pull requests that changed since then (UTC, GitHub's clock).
    pub pull_requests_since: DateTime<Utc>,
}

/// What changed in one repository.
#[derive(Debug, Clone, Default)]
pub struct RepositoryChanges {
    /// Issues, oldest change first.
    pub issues: Vec<RemoteChange>,
    /// Pull requests, newest change first.
    pub pull_requests: Vec<RemoteChange>,
    /// There is more than is read in one poll.
    pub is_far_behind: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangesPage {
    issues: Option<Connection<Node>>,
    pull_requests: Option<Connection<Node>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    full_database_id: Option<String>,
    url: String,
    updated_at: DateTime<Utc>,
    closing_issues_references: Option<Connection<Reference>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    full_database_id: Option<String>,
    url: String,
}

/// How far one repository has been read.
struct PollProgress<'a> {
    poll: &'a Poll,
    result: Result<RepositoryChanges, LookError>,
    /// Where to go on; `None`: there is nothing more to read.
    issues: Option<Option<String>>,
    pull_requests: Option<Option<String>>,
    pages: usize,
}

impl PollProgress<'_> {
    fn is_over(&self) -> bool {
        self.result.is_err() || (self.issues.is_none() && self.pull_requests.is_none())
    }

    fn fail(&mut self, error: LookError) {
        self.result = Err(error);
    }

    fn take(&mut self, answered: ChangesPage) {
        let Ok(changes) = &mut self.result else {
            return;
        };
        self.issues = answered
            .issues
            .as_ref()
            .and_then(Connection::next)
            .map(Some);
        changes.issues.extend(
            answered
                .issues
                .into_iter()
                .flat_map(|page| page.nodes)
                .flatten()
                .map(change),
        );
        let since = self.poll.pull_requests_since;
        let reaches_back = |page: &Connection<Node>| {
            page.nodes
                .last()
                .and_then(Option::as_ref)
                .is_some_and(|node| node.updated_at >= since)
        };
        let more = answered
            .pull_requests
            .as_ref()
            .filter(|page| reaches_back(page))
            .and_then(Connection::next);
        self.pull_requests = more.map(Some);
        let nodes = answered
            .pull_requests
            .into_iter()
            .flat_map(|page| page.nodes)
            .flatten();
        changes
            .pull_requests
            .extend(nodes.filter(|node| node.updated_at >= since).map(change));
        self.pages += 1;
        if self.pages >= MOST_PAGES && (self.issues.is_some() || self.pull_requests.is_some()) {
            changes.is_far_behind = true;
            self.issues = None;
            self.pull_requests = None;
        }
    }
}

impl Github {
    /// What changed in each repository; the answers come in the order of `polls`. One that fails never spoils the others.
    ///
    /// # Errors
    /// When GitHub as a whole cannot be asked.
    pub fn changes(
        &mut self,
        polls: &[Poll],
    ) -> Result<Vec<Result<RepositoryChanges, LookError>>, ServiceError> {
        let mut readings: Vec<PollProgress<'_>> = polls
            .iter()
            .map(|poll| PollProgress {
                poll,
                result: Ok(RepositoryChanges::default()),
                issues: Some(None),
                pull_requests: Some(None),
                pages: 0,
            })
            .collect();
        loop {
            let mut open = readings
                .iter_mut()
                .filter(|reading| !reading.is_over())
                .peekable();
            let group_of = |reading: &PollProgress<'_>| self.group(reading.poll.repository.owner());
            let group = open.peek().map(|first| group_of(first));
            let open = open.filter(|reading| Some(group_of(reading)) == group);
            let mut batch: Vec<&mut PollProgress<'_>> = open.take(self.looks_per_request).collect();
            let Some(first) = batch.first() else {
                return Ok(readings.into_iter().map(|reading| reading.result).collect());
            };
            if let Err(reason) = self.admit(first.poll.repository.owner())? {
                batch
                    .iter_mut()
                    .for_each(|reading| reading.fail(LookError::RepositoryHidden(reason.clone())));
                continue;
            }
            let Err(error) = self.read(&mut batch) else {
                continue;
            };
            if let NotAnswered::ThisOne(reason) = self.not_answered(batch.len(), error)? {
                batch
                    .iter_mut()
                    .for_each(|reading| reading.fail(LookError::Failed(reason.clone())));
            }
        }
    }

    fn read(&mut self, batch: &mut [&mut PollProgress<'_>]) -> Result<(), ServiceError> {
        let mut variables = Map::new();
        for (
            index,
            PollProgress {
                poll,
                issues,
                pull_requests,
                ..
            },
        ) in batch.iter().enumerate()
        {
            variables.insert(format!("o{index}"), poll.repository.owner().into());
            variables.insert(format!("n{index}"), poll.repository.name().into());
            let since = poll.issues_since.to_rfc3339_opts(SecondsFormat::Secs, true);
            variables.insert(format!("s{index}"), since.into());
            variables.insert(format!("moreIssues{index}"), issues.is_some().into());
            variables.insert(format!("issues{index}"), issues.clone().flatten().into());
            variables.insert(
                format!("morePullRequests{index}"),
                pull_requests.is_some().into(),
            );
            variables.insert(
                format!("pullRequests{index}"),
                pull_requests.clone().flatten().into(),
            );
        }
        let (mut data, errors) =
            self.query(&queries::changes(batch.len()), &Value::Object(variables))?;
        for (index, reading) in batch.iter_mut().enumerate() {
            let alias = format!("r{index}");
            let spoils = |error: &&GraphqlError| {
                error.path.first().and_then(Value::as_str) == Some(&alias) && !error.hides_a_node()
            };
            let repository = &reading.poll.repository;
            if let Some(error) = errors.iter().find(spoils) {
                let reason = format!(
                    "repository {repository} cannot be read with {}: {}",
                    self.words(),
                    error.describe()
                );
                reading.fail(LookError::RepositoryHidden(reason));
                continue;
            }
            let value = data.get_mut(&alias).map_or(Value::Null, Value::take);
            match serde_json::from_value(value) {
                Ok(answered) => reading.take(answered),
                Err(error) => {
                    let error = quoted(&error.to_string());
                    let reason = format!(
                        "GitHub says nothing usable about repository {repository}: {error}"
                    );
                    reading.fail(LookError::RepositoryHidden(reason));
                }
            }
        }
        Ok(())
    }
}

fn change(node: Node) -> RemoteChange {
    let closes = node
        .closing_issues_references
        .into_iter()
        .flat_map(|page| page.nodes)
        .flatten();
    RemoteChange {
        subject: named(node.full_database_id, node.url),
        updated_at: node.updated_at,
        closes: closes
            .map(|reference| named(reference.full_database_id, reference.url))
            .collect(),
    }
}

fn named(id: Option<String>, url: String) -> RemoteRef {
    RemoteRef {
        github_id: id.and_then(|id| id.parse().ok()).map(GithubId),
        url: storable(url),
    }
}
