//! The parts of GitHub's GraphQL schema that the queries ask for. Any field may be null, because it
//! is hidden or gone, or because GitHub gave up half-way.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::core::failure::{self, FailureKind, MappingErrorKind, ServiceError};
use crate::core::model::{GithubId, State};
use crate::core::text::quoted;

/// Field of a pull request in a list that may be null: without it, GitHub is asked about more.
const MERGE_COMMIT: &str = "mergeCommit";

/// Connections that GitHub can fail at while it answers for the rest of an issue or pull request.
const EXTRAS: [&str; 6] = [
    "labels",
    "closedByPullRequestsReferences",
    "timelineItems",
    "reopenings",
    "files",
    "commits",
];

#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    #[serde(default)]
    pub data: Value,
    #[serde(default)]
    pub errors: Vec<GraphqlError>,
    /// The limit after which no request may follow, although there is data.
    #[serde(skip)]
    pub limit: Option<ServiceError>,
}

impl Envelope {
    /// Returns true if there is data about some of several aliases.
    pub fn is_partial(&self) -> bool {
        let data = self.data.as_object().into_iter().flatten();
        let aliases = data.filter(|(name, _)| *name != "rateLimit");
        let values: Vec<&Value> = aliases.map(|(_, value)| value).collect();
        values.len() > 1 && values.iter().any(|value| !value.is_null())
    }
}

/// One error; its path starts with the alias that it concerns.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GraphqlError {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub path: Vec<Value>,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub extensions: Value,
}

impl GraphqlError {
    pub fn describe(&self) -> String {
        format!(
            "GitHub says: {} ({})",
            self.message,
            quoted(self.kind.as_deref().unwrap_or("no type"))
        )
    }

    /// Returns the error of an alias that is null without an error.
    fn silence() -> Self {
        Self {
            kind: None,
            path: Vec::new(),
            message: "null, and no error".to_owned(),
            extensions: Value::Null,
        }
    }

    /// Returns true if the error makes the value of this alias unusable.
    fn affects(&self, alias: &str) -> bool {
        self.is_within(alias)
            && !self.is_hidden_node()
            && !self.is_at_merge_commit()
            && self.extra().is_none()
    }

    fn is_within(&self, alias: &str) -> bool {
        self.path.first().is_some_and(|first| first == alias)
    }

    /// Returns true if the error concerns only the commit that merged a pull request of a list.
    fn is_at_merge_commit(&self) -> bool {
        let mut after = self.path.iter().skip_while(|part| *part != "nodes");
        after.any(|part| part == MERGE_COMMIT)
    }

    /// Returns true if GitHub may answer about this part in a smaller request.
    pub fn is_too_heavy(&self) -> bool {
        let kind = failure::graphql(self.kind.as_deref(), &self.message, true, None);
        kind == Some(FailureKind::TooHeavy)
    }

    /// Returns the extra of an issue or pull request that GitHub gave up at.
    fn extra(&self) -> Option<&str> {
        if self.is_at_merge_commit() || self.is_too_heavy() {
            return None;
        }
        let extra = self.path.get(2)?.as_str()?;
        (EXTRAS.contains(&extra) && !self.is_hidden()).then_some(extra)
    }

    /// Returns true if the error says that the credentials must not see this part.
    pub fn is_hidden(&self) -> bool {
        failure::graphql_poll(self.kind.as_deref()) != MappingErrorKind::Unanswered
    }

    /// Returns true if the error may mean that the credentials are refused.
    pub fn is_refusal(&self) -> bool {
        self.kind.as_deref() == Some("FORBIDDEN") && !self.is_hidden_node()
    }

    /// Returns true if the error only reports that one node of a list, or a part of one, is hidden,
    /// such as a mention in an organisation whose access policy refuses these credentials. Anybody
    /// can mention an issue, so that this says nothing about its repository.
    fn is_hidden_node(&self) -> bool {
        let is_hidden = matches!(self.kind.as_deref(), Some("NOT_FOUND" | "FORBIDDEN"));
        is_hidden && self.path.iter().any(|part| part == "nodes") && !self.is_at_merge_commit()
    }
}

/// Takes the value of one alias from the data, or returns the error that affects it. An error
/// without a path counts for every alias that is null. An extra that has a passing error is null;
/// the reason why a node of one is hidden becomes the value's [`Pages::hidden`].
pub(super) fn alias_answer(
    data: &mut Value,
    errors: &[GraphqlError],
    alias: &str,
) -> Result<Value, GraphqlError> {
    let mut value = data.get_mut(alias).map_or(Value::Null, Value::take);
    if let Some(error) = errors.iter().find(|error| error.affects(alias)) {
        return Err(error.clone());
    }
    if value.is_null() {
        let any = errors.iter().find(|error| error.path.is_empty());
        return Err(any.cloned().unwrap_or_else(GraphqlError::silence));
    }
    for error in errors.iter().filter(|error| error.is_within(alias)) {
        match (error.extra(), value.get_mut("issueOrPullRequest")) {
            (Some(extra), Some(Value::Object(fields))) => {
                fields.insert(extra.to_owned(), Value::Null);
            }
            // Without a value for an extra that must not be null, nothing has one.
            (Some(_), _) => return Err(error.clone()),
            // Where GitHub may put null, only the error tells that the node is hidden.
            (None, Some(Value::Object(fields))) if error.is_hidden_node() => {
                fields.insert("hidden".to_owned(), error.describe().into());
            }
            (None, _) => {}
        }
    }
    Ok(value)
}

/// Returns the reason why a node of a list, or a part of one, is hidden below an alias.
pub(super) fn hidden_node(errors: &[GraphqlError], alias: &str) -> Option<String> {
    let mut within = errors.iter().filter(|error| error.is_within(alias));
    within
        .find(|error| error.is_hidden_node())
        .map(GraphqlError::describe)
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
    pub database_id: Option<i64>,
    pub issue_or_pull_request: Option<Box<IssueOrPullRequest>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IssueOrPullRequest {
    pub full_database_id: Option<String>,
    pub number: i32,
    pub url: String,
    #[serde(alias = "issueState", alias = "pullRequestState")]
    pub state: NodeState,
    pub title: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(flatten)]
    pub pages: Pages,
    #[serde(flatten)]
    pub details: NodeDetails,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename", rename_all_fields = "camelCase")]
pub(super) enum NodeDetails {
    Issue {
        state_reason: Option<String>,
        closed_at: Option<DateTime<Utc>>,
    },
    PullRequest {
        merged_at: Option<DateTime<Utc>>,
        merge_commit: Option<Text>,
    },
}

/// The connections; one that was not asked for is absent, and one that GitHub gave up at is null.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pages {
    pub labels: Option<Connection<Text>>,
    pub closed_by_pull_requests_references: Option<Connection<PullRequestNode>>,
    pub timeline_items: Option<Connection<TimelineItem>>,
    pub reopenings: Option<Connection<Reopening>>,
    pub files: Option<Connection<Text>>,
    pub commits: Option<Connection<CommitNode>>,
    /// The reason why a node, or a part of one, is hidden.
    pub hidden: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<T> {
    /// Null if GitHub gave up at this connection.
    pub nodes: Option<Vec<Option<T>>>,
    pub page_info: Option<PageInfo>,
    pub total_count: Option<usize>,
}

impl<T> Connection<T> {
    /// Returns true if there is no hole in the place of the nodes or of the next page's cursor.
    pub fn is_usable(&self) -> bool {
        let page = self.page_info.as_ref();
        let lacks_cursor = page.is_some_and(|page| page.has_next_page && page.end_cursor.is_none());
        self.nodes.is_some() && !lacks_cursor
    }

    /// Returns the cursor of the next page, if there is one.
    pub fn next(&self) -> Option<String> {
        let page = self.page_info.as_ref()?;
        page.end_cursor.clone().filter(|_| page.has_next_page)
    }

    /// Adds the next page.
    pub fn append(&mut self, page: Self) {
        let nodes = self.nodes.get_or_insert_default();
        nodes.extend(page.nodes.into_iter().flatten());
        self.page_info = page.page_info;
    }

    /// Returns all nodes; a hidden one is `None`.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = &Option<T>> {
        self.nodes.iter().flatten()
    }
}

/// A list below a node of another list, for which GitHub is asked on its own.
#[derive(Debug)]
pub(super) struct Below<T> {
    /// Id of the node.
    pub id: String,
    pub list: Option<Connection<T>>,
    /// The reason why the list, or a part of it, could not be read.
    pub missing: Option<String>,
    /// Nothing more is asked about it.
    pub is_read: bool,
}

impl<T> Below<T> {
    pub fn new(id: String) -> Self {
        Self {
            id,
            list: None,
            missing: None,
            is_read: false,
        }
    }

    /// Takes the first page; `hidden` says why one of its nodes is hidden.
    pub fn begin(&mut self, list: Option<Connection<T>>, hidden: Option<String>) {
        let is_usable = list.as_ref().is_some_and(Connection::is_usable);
        let is_last = list.as_ref().is_none_or(|list| list.next().is_none());
        // GitHub may also put null in the place of all nodes.
        self.is_read = is_last && (is_usable || hidden.is_some());
        (self.list, self.missing) = (list, hidden);
    }

    /// Ends the list; `missing` says why it is not whole.
    pub fn end(&mut self, missing: Option<String>) {
        self.missing = missing.or(self.missing.take());
        self.is_read = true;
    }
}

/// Returns the nodes of a connection that are not hidden.
pub(super) fn visible<T>(connection: Option<Connection<T>>) -> impl Iterator<Item = T> {
    connection
        .into_iter()
        .filter_map(|page| page.nodes)
        .flatten()
        .flatten()
}

/// Returns the id of a node; `None` if it is absent or unusable.
pub(super) fn github_id(full_database_id: Option<&str>) -> Option<GithubId> {
    full_database_id?.parse().ok().map(GithubId)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub has_next_page: bool,
    pub end_cursor: Option<String>,
}

/// A node with one text.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Text {
    #[serde(alias = "name", alias = "nameWithOwner", alias = "oid")]
    #[serde(alias = "path", alias = "messageHeadline")]
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct CommitNode {
    pub commit: Text,
}

/// The state of an issue or a pull request; an issue is never merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum NodeState {
    Open,
    Closed,
    Merged,
}

impl From<NodeState> for State {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Open => Self::Open,
            NodeState::Closed => Self::Closed,
            NodeState::Merged => Self::Merged,
        }
    }
}

/// A pull request in an issue's references or timeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullRequestNode {
    pub full_database_id: Option<String>,
    pub number: i32,
    pub url: String,
    #[serde(rename = "pullRequestState")]
    pub state: NodeState,
    pub repository: Text,
    /// The commit that merged it; absent where it tells nothing.
    pub merge_commit: Option<Text>,
    /// Description; empty in places where a closing keyword does not count.
    #[serde(default)]
    pub body: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reopening {
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum TimelineItem {
    ClosedEvent {
        closer: Option<Source>,
    },
    ConnectedEvent {
        source: Option<Source>,
        subject: Option<Source>,
    },
    DisconnectedEvent {
        source: Option<Source>,
        subject: Option<Source>,
    },
    #[serde(rename_all = "camelCase")]
    CrossReferencedEvent {
        will_close_target: bool,
        source: Option<Source>,
    },
    #[serde(other)]
    Other,
}

/// The source of an event; only a close event can have a commit.
#[derive(Debug, Deserialize)]
#[serde(tag = "__typename")]
pub(super) enum Source {
    PullRequest(PullRequestNode),
    Commit {
        id: String,
        oid: String,
    },
    #[serde(other)]
    Other,
}
