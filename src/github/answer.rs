//! GitHub's GraphQL answers as types. Anything may be null: it is hidden, gone, or GitHub gave up half-way.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::core::text::quoted;

/// The envelope of every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    #[serde(default)]
    pub data: serde_json::Value,
    #[serde(default)]
    pub errors: Vec<GraphqlError>,
}

/// One error; its path names the alias that it spoils.
#[derive(Debug, Deserialize)]
pub(super) struct GraphqlError {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub path: Vec<serde_json::Value>,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub extensions: serde_json::Value,
}

impl GraphqlError {
    /// What it says, for an operator.
    pub fn describe(&self) -> String {
        format!(
            "GitHub says: {} ({})",
            self.message,
            quoted(self.kind.as_deref().unwrap_or("no type"))
        )
    }

    /// Whether it only says that one of the things that an issue or pull request names is hidden from this token, such
    /// as a mention in another organisation that demands its single sign-on. The answer has null in the place of that
    /// node. A permission that the token lacks is another matter: without it, pull requests would get lost in silence.
    pub fn hides_a_node(&self) -> bool {
        let is_hidden = match self.kind.as_deref() {
            Some("NOT_FOUND") => true,
            Some("FORBIDDEN") => self.extensions["saml_failure"] == true,
            _ => false,
        };
        is_hidden && self.path.iter().any(|part| part == "nodes")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateLimit {
    pub cost: u64,
    pub remaining: i64,
    pub reset_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RepositoryNode {
    pub name_with_owner: String,
    pub issue_or_pull_request: Option<IssueOrPullRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum IssueOrPullRequest {
    Issue(Box<Issue>),
    PullRequest(Box<PullRequest>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Issue {
    pub full_database_id: Option<String>,
    pub number: i32,
    pub url: String,
    pub issue_state: IssueState,
    pub state_reason: Option<String>,
    pub title: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub pages: IssuePages,
}

/// The connections of an issue; one that was not asked for is absent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IssuePages {
    pub labels: Option<Connection<Label>>,
    pub closed_by_pull_requests_references: Option<Connection<PullRequestNode>>,
    pub timeline_items: Option<Connection<TimelineItem>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullRequest {
    pub full_database_id: Option<String>,
    pub number: i32,
    pub url: String,
    pub pull_request_state: PullRequestState,
    pub title: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub merged_at: Option<DateTime<Utc>>,
    pub merge_commit: Option<Oid>,
    pub files: Option<Connection<File>>,
    pub commits: Option<Connection<CommitNode>>,
    pub labels: Option<Connection<Label>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<T> {
    #[serde(default = "Vec::new")]
    pub nodes: Vec<Option<T>>,
    pub page_info: Option<PageInfo>,
    pub total_count: Option<usize>,
}

impl<T> Connection<T> {
    /// The cursor of the next page, if there is one.
    pub fn next(&self) -> Option<String> {
        self.page_info
            .as_ref()
            .filter(|info| info.has_next_page)
            .and_then(|info| info.end_cursor.clone())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub has_next_page: bool,
    pub end_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Label {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Oid {
    pub oid: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub path: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct CommitNode {
    pub commit: Commit,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commit {
    pub message_headline: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum IssueState {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum PullRequestState {
    Open,
    Closed,
    Merged,
}

/// A pull request that an issue names.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullRequestNode {
    pub full_database_id: Option<String>,
    pub number: i32,
    pub url: String,
    pub pull_request_state: PullRequestState,
    pub repository: RepositoryName,
    /// Only where the text matters.
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub body: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RepositoryName {
    pub name_with_owner: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum TimelineItem {
    ClosedEvent {
        closer: Option<Closer>,
    },
    ConnectedEvent {
        source: Option<Referenced>,
        subject: Option<Referenced>,
    },
    DisconnectedEvent {
        source: Option<Referenced>,
        subject: Option<Referenced>,
    },
    #[serde(rename_all = "camelCase")]
    CrossReferencedEvent {
        will_close_target: bool,
        source: Option<Referenced>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum Closer {
    PullRequest(PullRequestNode),
    #[serde(rename_all = "camelCase")]
    Commit {
        associated_pull_requests: Option<Connection<PullRequestNode>>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum Referenced {
    PullRequest(PullRequestNode),
    #[serde(other)]
    Other,
}

impl Referenced {
    pub fn pull_request(&self) -> Option<&PullRequestNode> {
        match self {
            Self::PullRequest(pull_request) => Some(pull_request),
            Self::Other => None,
        }
    }
}
