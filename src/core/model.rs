//! The types of the glossary (design.md, "Glossary").
#![expect(missing_docs, reason = "fields whose names and types say everything")]

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Primary key of a mapping row (`core_externalissuemapping.id`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct MappingId(pub i64);

impl MappingId {
    /// Returns true if the row exists in the database. A row that a dry run would insert has a
    /// negative id.
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
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ItemId(pub i64);

/// GitHub's own id of an issue or a pull request (`fullDatabaseId`, beyond 32 bits), as Agira
/// stores it, or of a repository (`databaseId`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GithubId(pub i64);

/// Implements Display for newtypes: it displays the number or the text inside.
macro_rules! display_inner {
    ($($type:ty),+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    )+};
}

display_inner!(ItemId, GithubId, ItemStatus, Repository);

/// Kind of a mapping: it links an issue or a pull request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Kind {
    Issue,
    #[serde(rename = "PR")]
    PullRequest,
    /// Any other text, since PostgreSQL does not restrict the column. The check of such a mapping
    /// fails.
    #[default]
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

    /// Returns the value as Agira stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "Issue",
            Self::PullRequest => "PR",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the name for a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::PullRequest => "pull request",
            Self::Unknown => "mapping of unknown kind",
        }
    }
}

/// State of an issue or pull request on GitHub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// Closed; for a pull request: without a merge.
    Closed,
    /// Merged; pull requests only.
    Merged,
}

impl State {
    /// Returns the value as Agira stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// GitHub's reason for a close event (`stateReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    Completed,
    NotPlanned,
    Duplicate,
}

impl CloseReason {
    /// Returns GitHub's name in REST's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotPlanned => "not_planned",
            Self::Duplicate => "duplicate",
        }
    }
}

/// An item's status: free text for PostgreSQL, one of [`ItemStatus::ALL`] for Agira.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemStatus(pub String);

impl ItemStatus {
    /// Status of an item whose issue was closed.
    pub const TESTING: &'static str = "Testing";
    /// Last status of an item.
    pub const CLOSED: &'static str = "Closed";
    /// Statuses that a closed issue never changes, because the item has come at least that far.
    pub const PROTECTED: [&'static str; 3] = [Self::TESTING, "ReadyForRelease", Self::CLOSED];
    /// All statuses that Agira has.
    pub const ALL: [&'static str; 7] = [
        "Inbox",
        "Backlog",
        "Working",
        Self::TESTING,
        "Review",
        "ReadyForRelease",
        Self::CLOSED,
    ];

    /// Returns the status `Testing`.
    pub fn testing() -> Self {
        Self(Self::TESTING.to_owned())
    }
}

/// A GitHub repository, `owner/name` in GitHub's spelling. Names are equal whatever their case, as
/// on GitHub.
#[derive(Debug, Clone)]
pub struct Repository(String);

impl Repository {
    /// Reads `owner/name`; `None` if a part is missing or has a character that no address can have.
    pub fn parse(full_name: &str) -> Option<Self> {
        let (owner, name) = full_name.split_once('/')?;
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let is_name = |part: &str| !part.is_empty() && part.chars().all(fits);
        (is_name(owner) && is_name(name)).then(|| Self(full_name.to_owned()))
    }

    /// Returns the part before the slash.
    pub fn owner(&self) -> &str {
        self.parts().0
    }

    /// Returns the part after the slash.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or_default()
    }

    /// Returns `owner/name` as GitHub spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key under which the repository is stored, in lower case.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Repository {}

/// Repository and number of an issue or pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub repository: Repository,
    pub number: i32,
}

impl Address {
    /// Reads a page's address, `https://HOST/OWNER/NAME/issues/N` or `.../pull/N`, whatever follows
    /// the number.
    pub fn parse(html_url: &str) -> Option<Self> {
        let (_, rest) = html_url.split_once("://")?;
        let mut parts = rest.split('/').skip(1);
        let mut part = || parts.next();
        let (owner, name, page, number) = (part()?, part()?, part()?, part()?);
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

/// Returns true if two addresses of pages are on the same host.
pub fn same_host(one: &str, other: &str) -> bool {
    let host = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next().map(str::to_lowercase)
    };
    host(one) == host(other)
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}#{}", self.repository, self.number)
    }
}

/// An item as read from the database. Times are UTC; texts are empty when unknown.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: ItemId,
    pub title: String,
    pub description: String,
    pub solution_description: String,
    pub status: ItemStatus,
    pub project_id: i64,
    /// Organisation; an item may have none.
    pub organisation_id: Option<i64>,
    pub created_at: DateTime<Utc>,
    /// Time of the last change by Django or the worker.
    pub updated_at: DateTime<Utc>,
    /// Repository of the item's project; `None` if the project does not name a valid one.
    pub project_repository: Option<Repository>,
}

/// A mapping row as read from the database. Times are UTC.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    pub id: MappingId,
    pub item_id: ItemId,
    /// GitHub's id as stored; Agira may have stored a wrong one.
    pub github_id: GithubId,
    pub number: i32,
    pub kind: Kind,
    /// State as stored: free text.
    pub state: String,
    /// Address of the page; may be empty.
    pub html_url: String,
    /// Body of the merged pull request; empty when unknown.
    pub pr_body: String,
    /// Merge commit; empty when unknown.
    pub merge_commit_sha: String,
    pub merged_at: Option<DateTime<Utc>>,
    /// `worker_due_at`.
    pub due_at: Option<DateTime<Utc>>,
    /// `worker_recheck_at`.
    pub recheck_at: Option<DateTime<Utc>>,
    /// Failed attempts since the last success.
    pub attempts: i32,
    /// Last failure; `None` when healthy.
    pub error: Option<String>,
    /// GitHub's `updatedAt` at the last check that succeeded, GitHub's clock.
    pub external_updated_at: Option<DateTime<Utc>>,
    /// Time of the last check, also of one that failed later, GitHub's clock.
    pub checked_at: Option<DateTime<Utc>>,
    /// `closedAt` of the last close event that was handled.
    pub handled_closed_at: Option<DateTime<Utc>>,
    /// Objects wait for Weaviate.
    pub has_outbox: bool,
    /// `worker_claimed_until`: end of the claim of the run that holds the row.
    pub claimed_until: Option<DateTime<Utc>>,
}

impl Mapping {
    /// Returns true if the mapping failed and has no next attempt.
    pub fn is_parked(&self) -> bool {
        self.due_at.is_none() && self.recheck_at.is_none() && self.error.is_some()
    }

    /// Returns the address that the mapping means (design.md, "The decision table"): its
    /// `html_url`, or its number in the project's repository if `html_url` is empty. The error
    /// names the remedy.
    pub fn address(&self, item: &Item) -> Result<Address, String> {
        let (number, html_url) = (self.number, &self.html_url);
        if self.kind == Kind::Unknown {
            return Err("kind is neither Issue nor PR; correct it".to_owned());
        }
        if !html_url.is_empty() {
            return Address::parse(html_url).ok_or_else(|| {
                format!(
                    "html_url {html_url:?} is not the address of an issue or pull request; \
                     correct it, or empty it to use the project's repository"
                )
            });
        }
        let repository = item.project_repository.clone().ok_or_else(|| {
            format!(
                "html_url is empty and project {} names no repository; \
                 set github_owner and github_repo of the project",
                item.project_id
            )
        })?;
        if number <= 0 {
            let error = "is not the number of an issue or pull request";
            return Err(format!("number {number} {error}"));
        }
        Ok(Address { repository, number })
    }
}

/// The state of one issue or pull request on GitHub at one moment. Times are UTC, of GitHub's
/// clock.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub github_id: GithubId,
    /// GitHub's id of the repository.
    pub repository_id: Option<GithubId>,
    /// Current address: GitHub follows renames silently.
    pub address: Address,
    /// Address of the page.
    pub url: String,
    pub state: State,
    pub title: String,
    pub body: String,
    /// Names of all labels.
    pub labels: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Names of parts that GitHub could not answer about, such as `labels`. They are incomplete.
    pub missing: Vec<&'static str>,
    pub details: Details,
}

/// Name of the latest reopening among the missing parts of a snapshot.
pub const REOPENINGS: &str = "reopenings";

/// The part of a snapshot that only issues, or only pull requests, have.
#[derive(Debug, Clone)]
pub enum Details {
    Issue {
        /// Time of the last closing, which identifies a close event.
        closed_at: Option<DateTime<Utc>>,
        close_reason: Option<CloseReason>,
        /// Time of the latest reopening; `None` also if the missing parts have [`REOPENINGS`].
        reopened_at: Option<DateTime<Utc>>,
        /// Pull requests that belong to the issue.
        pull_requests: Vec<PullRequestRef>,
        /// GitHub hides a node from this token or could not answer about all, so that a pull
        /// request may be missing.
        some_hidden: bool,
    },
    PullRequest {
        merged_at: Option<DateTime<Utc>>,
        merge_commit_sha: Option<String>,
        /// Paths of the changed files.
        files: TruncatedList,
        /// Headlines of the commits.
        commits: TruncatedList,
    },
}

impl Snapshot {
    /// Returns the kind of the GitHub object.
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
    pub first: Vec<String>,
    /// Length of the whole list.
    pub total: usize,
}

/// A pull request as an issue's snapshot names it.
#[derive(Debug, Clone)]
pub struct PullRequestRef {
    pub github_id: GithubId,
    /// Current address, which may be in another repository than the issue's.
    pub address: Address,
    /// Address of the page.
    pub url: String,
    pub state: State,
    pub relation: Relation,
}

/// Compares id, state and relation: GitHub's id identifies a pull request wherever it is.
impl PartialEq for PullRequestRef {
    fn eq(&self, other: &Self) -> bool {
        let facts = |one: &Self| (one.github_id, one.state, one.relation);
        facts(self) == facts(other)
    }
}

impl Eq for PullRequestRef {}

impl fmt::Display for PullRequestRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

/// Relation of a pull request to an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The pull request closes the issue, closed it, or has a closing keyword for it.
    Closes,
    /// A person connected the two by hand.
    Connected,
}

impl Relation {
    /// Returns the value as stored in `worker_pull_request_link.relation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closes => "closes",
            Self::Connected => "connected",
        }
    }

    /// Returns the predicate for a person, after the pull request's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closes => "closes it",
            Self::Connected => "was connected by hand",
        }
    }

    /// Reads a stored relation; the table's CHECK allows no others.
    pub fn parse(stored: &str) -> Self {
        match stored {
            "connected" => Self::Connected,
            _ => Self::Closes,
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
    fn other_addresses_are_refused() {
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
