//! The words of the design's section 1 as types.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Primary key of a mapping row (`core_externalissuemapping.id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MappingId(pub i64);

impl MappingId {
    /// Whether the row exists in the database. A dry run gives rows that it would insert a negative id.
    pub fn is_stored(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for MappingId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stored() {
            write!(out, "{}", self.0)
        } else {
            out.write_str("new")
        }
    }
}

/// Primary key of an item (`core_item.id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub i64);

impl fmt::Display for ItemId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// GitHub's own id of an issue or a pull request (`fullDatabaseId`, beyond 32 bits), as Agira stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GithubId(pub i64);

impl fmt::Display for GithubId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a mapping stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Kind {
    /// `kind = 'Issue'`.
    Issue,
    /// `kind = 'PR'`.
    #[serde(rename = "PR")]
    PullRequest,
    /// Anything else: PostgreSQL does not restrict the column. Such a row is a failure that names it.
    #[serde(rename = "unknown")]
    Unknown,
}

impl Kind {
    /// Reads a stored kind.
    pub fn parse(stored: &str) -> Self {
        match stored {
            "Issue" => Self::Issue,
            "PR" => Self::PullRequest,
            _ => Self::Unknown,
        }
    }

    /// The value as Agira stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "Issue",
            Self::PullRequest => "PR",
            Self::Unknown => "unknown",
        }
    }

    /// The words for a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::PullRequest => "pull request",
            Self::Unknown => "mapping of unknown kind",
        }
    }
}

/// State of an issue or pull request at GitHub, in the words that Agira stores in `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Open.
    Open,
    /// Closed; for a pull request: without having been merged.
    Closed,
    /// Merged; pull requests only.
    Merged,
}

impl State {
    /// The value as Agira stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// Why GitHub says an issue was closed (`stateReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Done.
    Completed,
    /// Will not be done.
    NotPlanned,
    /// Duplicate of another issue.
    Duplicate,
}

impl CloseReason {
    /// GitHub's word for it, in REST's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotPlanned => "not_planned",
            Self::Duplicate => "duplicate",
        }
    }
}

/// An item's status: free text for PostgreSQL, one of [`ItemStatus::KNOWN`] for Agira.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemStatus(pub String);

impl ItemStatus {
    /// Where the item of a closed issue goes.
    pub const TESTING: &'static str = "Testing";
    /// Agira's end of an item's life.
    pub const CLOSED: &'static str = "Closed";
    /// Statuses that a closed issue never changes, because a person or the worker has put the item at least that far.
    pub const PROTECTED: [&'static str; 3] = [Self::TESTING, "ReadyForRelease", Self::CLOSED];
    /// All statuses that Agira knows.
    pub const KNOWN: [&'static str; 7] = [
        "Inbox",
        "Backlog",
        "Working",
        Self::TESTING,
        "Review",
        "ReadyForRelease",
        Self::CLOSED,
    ];

    /// `Testing`.
    pub fn testing() -> Self {
        Self(Self::TESTING.to_owned())
    }
}

impl fmt::Display for ItemStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A GitHub repository, `owner/name` in GitHub's spelling.
#[derive(Debug, Clone)]
pub struct Repository {
    full_name: String,
    slash: usize,
}

impl Repository {
    /// Reads `owner/name`; `None` when either part is missing or holds what no address can hold.
    pub fn parse(full_name: &str) -> Option<Self> {
        let (owner, name) = full_name.split_once('/')?;
        let fits = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        };
        (fits(owner) && fits(name)).then(|| Self {
            full_name: full_name.to_owned(),
            slash: owner.len(),
        })
    }

    /// The part before the slash.
    pub fn owner(&self) -> &str {
        self.full_name.get(..self.slash).unwrap_or_default()
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.full_name.get(self.slash + 1..).unwrap_or_default()
    }

    /// `owner/name` as GitHub spells it.
    pub fn as_str(&self) -> &str {
        &self.full_name
    }

    /// The key under which a repository is stored: GitHub's names do not depend on case.
    pub fn key(&self) -> String {
        self.full_name.to_lowercase()
    }
}

/// Names are equal whatever their case, as at GitHub.
impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        self.full_name.eq_ignore_ascii_case(&other.full_name)
    }
}

impl Eq for Repository {}

impl fmt::Display for Repository {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.full_name.fmt(out)
    }
}

/// Repository and number: where GitHub is asked about a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The repository.
    pub repository: Repository,
    /// Number of the issue or pull request in it.
    pub number: i32,
}

impl Address {
    /// Reads a page's address, `https://HOST/OWNER/NAME/issues/N` or `.../pull/N`, whatever follows the number.
    pub fn parse(html_url: &str) -> Option<Self> {
        let (_, rest) = html_url.split_once("://")?;
        let mut parts = rest.split('/').skip(1);
        let (owner, name, page, number) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if page != "issues" && page != "pull" {
            return None;
        }
        let digits = number.split(['?', '#']).next()?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        Some(Self {
            repository: Repository::parse(&format!("{owner}/{name}"))?,
            number,
        })
    }
}

/// Whether two addresses of pages are on the same host.
pub fn same_host(one: &str, other: &str) -> bool {
    let host = |url: &str| {
        url.split_once("://")
            .and_then(|(_, rest)| rest.split('/').next())
            .map(str::to_lowercase)
    };
    host(one) == host(other)
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}#{}", self.repository, self.number)
    }
}

/// An item as read from the database.
#[derive(Debug, Clone)]
pub struct Item {
    /// Primary key.
    pub id: ItemId,
    /// Title.
    pub title: String,
    /// Description; empty when unknown.
    pub description: String,
    /// Description of the solution; empty when unknown.
    pub solution_description: String,
    /// Status.
    pub status: ItemStatus,
    /// Project.
    pub project_id: i64,
    /// Organisation, which an item need not have.
    pub organisation_id: Option<i64>,
    /// When it was created (UTC).
    pub created_at: DateTime<Utc>,
    /// When Django, or the worker, last changed it (UTC).
    pub updated_at: DateTime<Utc>,
    /// `owner/name` as the item's project names it; `None` when the project has no usable repository.
    pub project_repository: Option<Repository>,
}

/// A mapping row as read from the database.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Primary key.
    pub id: MappingId,
    /// The item it belongs to.
    pub item_id: ItemId,
    /// GitHub's id as stored; Agira may have stored a wrong one.
    pub github_id: GithubId,
    /// Number as stored.
    pub number: i32,
    /// Issue or pull request.
    pub kind: Kind,
    /// State as stored: free text.
    pub state: String,
    /// Address of the page; may be empty.
    pub html_url: String,
    /// Body of the merged pull request; empty when unknown.
    pub pr_body: String,
    /// Merge commit; empty when unknown.
    pub merge_commit_sha: String,
    /// When the pull request was merged (UTC).
    pub merged_at: Option<DateTime<Utc>>,
    /// `worker_due_at` (UTC).
    pub due_at: Option<DateTime<Utc>>,
    /// `worker_recheck_at` (UTC).
    pub recheck_at: Option<DateTime<Utc>>,
    /// Failed attempts since the last success.
    pub attempts: i32,
    /// Last failure; `None` when healthy.
    pub error: Option<String>,
    /// `closedAt` of the last close event that was dealt with (UTC).
    pub handled_closed_at: Option<DateTime<Utc>>,
    /// Whether objects wait for Weaviate.
    pub has_outbox: bool,
    /// `worker_claimed_until` (UTC): until when the run that holds it is believed to be alive.
    pub claimed_until: Option<DateTime<Utc>>,
}

impl Mapping {
    /// A row that says where it belongs and nothing else: nobody has looked at it yet.
    pub fn inserted(
        id: MappingId,
        item_id: ItemId,
        github_id: GithubId,
        number: i32,
        kind: Kind,
        state: &str,
        html_url: &str,
    ) -> Self {
        Self {
            id,
            item_id,
            github_id,
            number,
            kind,
            state: state.to_owned(),
            html_url: html_url.to_owned(),
            pr_body: String::new(),
            merge_commit_sha: String::new(),
            merged_at: None,
            due_at: None,
            recheck_at: None,
            attempts: 0,
            error: None,
            handled_closed_at: None,
            has_outbox: false,
            claimed_until: None,
        }
    }

    /// Whether it failed for the last time: no further attempt comes by itself.
    pub fn is_parked(&self) -> bool {
        self.due_at.is_none() && self.recheck_at.is_none() && self.error.is_some()
    }

    /// Which GitHub object the mapping means (design, section 3): by its own address; where that is empty, by number
    /// in the project's repository.
    ///
    /// # Errors
    /// A sentence that says what is missing, and what a person can do.
    pub fn address(&self, item: &Item) -> Result<Address, String> {
        if self.kind == Kind::Unknown {
            return Err("kind is neither Issue nor PR; correct it".to_owned());
        }
        if !self.html_url.is_empty() {
            return Address::parse(&self.html_url).ok_or_else(|| {
                format!(
                    "html_url {:?} is not the address of an issue or pull request; correct it, or empty it to use the project's repository",
                    self.html_url
                )
            });
        }
        let repository = item.project_repository.clone().ok_or_else(|| {
            format!(
                "html_url is empty and project {} names no repository; set github_owner and github_repo of the project",
                item.project_id
            )
        })?;
        if self.number <= 0 {
            return Err(format!(
                "number {} is not the number of an issue or pull request",
                self.number
            ));
        }
        Ok(Address {
            repository,
            number: self.number,
        })
    }
}

/// What GitHub said about one issue or pull request at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// GitHub's id.
    pub github_id: GithubId,
    /// Where it is now: GitHub follows renames silently.
    pub address: Address,
    /// Address of the page.
    pub url: String,
    /// State.
    pub state: State,
    /// Title.
    pub title: String,
    /// Body.
    pub body: String,
    /// Names of all labels.
    pub labels: Vec<String>,
    /// Created (UTC, GitHub's clock).
    pub created_at: DateTime<Utc>,
    /// Last changed (UTC, GitHub's clock).
    pub updated_at: DateTime<Utc>,
    /// What only issues, or only pull requests, have.
    pub details: Details,
}

/// What only issues, or only pull requests, have.
#[derive(Debug, Clone)]
pub enum Details {
    /// An issue's.
    Issue {
        /// When it was closed last (UTC, GitHub's clock); the identity of a close event.
        closed_at: Option<DateTime<Utc>>,
        /// Why.
        close_reason: Option<CloseReason>,
        /// The pull requests that belong to it.
        pull_requests: Vec<PullRequestRef>,
        /// Something that may name a pull request is hidden from this token, so that one may be missing.
        some_hidden: bool,
    },
    /// A pull request's.
    PullRequest {
        /// When it was merged (UTC, GitHub's clock).
        merged_at: Option<DateTime<Utc>>,
        /// The commit that merged it.
        merge_commit_sha: Option<String>,
        /// Paths of the changed files.
        files: TruncatedList,
        /// Headlines of the commits.
        commits: TruncatedList,
    },
}

impl Snapshot {
    /// Issue or pull request.
    pub fn kind(&self) -> Kind {
        match self.details {
            Details::Issue { .. } => Kind::Issue,
            Details::PullRequest { .. } => Kind::PullRequest,
        }
    }
}

/// The first entries of a list that may be longer.
#[derive(Debug, Clone, Default)]
pub struct TruncatedList {
    /// The entries that were read.
    pub first: Vec<String>,
    /// How many there are in all.
    pub total: usize,
}

/// A pull request as an issue's look names it: identity, address and state.
#[derive(Debug, Clone)]
pub struct PullRequestRef {
    /// GitHub's id.
    pub github_id: GithubId,
    /// Repository, which may be another one than the issue's, and number.
    pub address: Address,
    /// Address of the page.
    pub url: String,
    /// State.
    pub state: State,
    /// How it belongs to the issue.
    pub relation: Relation,
}

/// How a pull request belongs to an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It closes the issue, closed it, or says in its text that it does.
    Closes,
    /// A person connected it by hand.
    Connected,
}

impl Relation {
    /// The value as stored in `worker_pull_request_link.relation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closes => "closes",
            Self::Connected => "connected",
        }
    }

    /// The words for a person, after the pull request's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closes => "closes it",
            Self::Connected => "was connected by hand",
        }
    }

    /// Reads a stored relation; the table's CHECK allows no others.
    pub fn parse(stored: &str) -> Self {
        if stored == "connected" {
            Self::Connected
        } else {
            Self::Closes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn address(html_url: &str) -> Option<String> {
        Address::parse(html_url).map(|address| address.to_string())
    }

    #[test]
    fn addresses_of_issues_and_pull_requests_are_read() {
        assert_eq!(
            address("https://github.com/acme/shop/issues/12").as_deref(),
            Some("acme/shop#12")
        );
        assert_eq!(
            address("https://ghe.example/a-b/c.d_e/pull/7#issuecomment-1").as_deref(),
            Some("a-b/c.d_e#7")
        );
        assert_eq!(
            address("https://github.com/acme/shop/pull/7/files?w=1").as_deref(),
            Some("acme/shop#7")
        );
    }

    #[test]
    fn other_addresses_are_not() {
        for other in [
            "",
            "github.com/acme/shop/issues/12",
            "https://github.com/acme/shop/wiki/12",
            "https://github.com/acme/shop/issues/",
            "https://github.com/acme/shop/issues/0",
            "https://github.com/acme/shop/issues/-3",
            "https://github.com/acme/shop/issues/99999999999999999999",
            "https://github.com/ac me/shop/issues/1",
            "https://github.com//shop/issues/1",
        ] {
            assert_eq!(address(other), None, "{other}");
        }
    }

    #[test]
    fn repositories_are_equal_whatever_their_case() {
        assert_eq!(
            Repository::parse("Acme/Shop"),
            Repository::parse("acme/shop")
        );
        assert_eq!(Repository::parse("acme/shop/x"), None);
        assert_eq!(Repository::parse("acme"), None);
    }
}
