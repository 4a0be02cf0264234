//! Reads the extras of one issue or pull request: labels, the pull requests that belong to it, the
//! latest reopening, changed files and commits. GitHub may fail at one of these for ever while it
//! answers for the rest, so that each can be left out.

use chrono::{DateTime, Utc};
use serde_json::{Map, json};

use super::client::Github;
use super::queries;
use super::response::GithubError;
use super::schema::*;
use super::timeline::PullRequestCollector;
use crate::core::failure::{self, FailureKind, MappingError, MappingErrorKind, NO_ANSWER};
use crate::core::model::*;
use crate::core::text::{quoted, storable};

/// Largest number of pages to read of each connection of one target. Hardly an issue has that many,
/// and a circle of cursors must not last forever.
pub(super) const MAX_PAGES: usize = 40;

/// One extra.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    Labels,
    References,
    Timeline,
    Reopenings,
    Files,
    Commits,
}

/// A connection whose next page is to be read, after this cursor.
type Open = (Extra, Option<String>);

impl Extra {
    const ISSUE: &[Self] = &[
        Self::Labels,
        Self::References,
        Self::Timeline,
        Self::Reopenings,
    ];
    const PULL_REQUEST: &[Self] = &[Self::Labels, Self::Files, Self::Commits];

    /// Returns the extras of an issue or pull request; one of an unknown kind is asked about as an
    /// issue.
    fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::PullRequest => Self::PULL_REQUEST,
            Kind::Issue | Kind::Unknown => Self::ISSUE,
        }
    }

    /// Returns the name for messages and objects.
    fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::References | Self::Timeline => "pull requests",
            Self::Reopenings => REOPENINGS,
            Self::Files => "changed files",
            Self::Commits => "commits",
        }
    }

    /// Returns the switch in the documents, and the variable of its cursor.
    fn variables(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Labels => ("moreLabels", Some("labels")),
            Self::References => ("moreReferences", Some("references")),
            Self::Timeline => ("moreTimeline", Some("timeline")),
            Self::Reopenings => ("moreReopenings", None),
            Self::Files => ("moreFiles", None),
            Self::Commits => ("moreCommits", None),
        }
    }

    /// Returns the cursor of the next page, if there is one; `None` if `pages` lacks the extra.
    fn next(self, pages: &Pages) -> Option<Option<String>> {
        fn next_of<T>(connection: &Option<Connection<T>>) -> Option<Option<String>> {
            let usable = connection.as_ref().filter(|page| page.is_usable());
            usable.map(Connection::next)
        }
        match self {
            Self::Labels => next_of(&pages.labels),
            Self::References => next_of(&pages.closed_by_pull_requests_references),
            Self::Timeline => next_of(&pages.timeline_items),
            Self::Reopenings => {
                let read = pages.reopenings.as_ref().filter(|page| page.is_usable());
                read.filter(|page| page.nodes().all(Option::is_some))
                    .map(|_| None)
            }
            // Only the first page of these counts.
            Self::Files => next_of(&pages.files).map(|_| None),
            Self::Commits => next_of(&pages.commits).map(|_| None),
        }
    }
}

/// Returns the switches of the extras in the documents; a light request sets all of them to false.
pub(super) fn switches(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::PullRequest => &["moreLabels", "moreFiles", "moreCommits"],
        Kind::Issue | Kind::Unknown => &[
            "moreLabels",
            "moreReferences",
            "moreTimeline",
            "moreReopenings",
        ],
    }
}

/// The extras that were read, and the names of those that were not.
pub(super) struct Extras {
    target: Address,
    pub labels: Vec<String>,
    pub related: PullRequestCollector,
    /// Time of the latest reopening (UTC, GitHub's clock).
    pub reopened_at: Option<DateTime<Utc>>,
    pub files: TruncatedList,
    pub commits: TruncatedList,
    /// Names of extras of which a part or everything could not be read.
    pub missing: Vec<&'static str>,
    /// The reason why the latest of these could not be read.
    reason: String,
    /// The reason why a node is hidden, if GitHub gives one.
    hidden: Option<String>,
    /// One of these may have an answer if it is asked for again.
    may_pass: bool,
}

/// The reason why GitHub has no page, while it answers other queries.
enum NoPage {
    /// The reason may pass.
    Silence(String),
    TooHeavy(String),
}

impl Extras {
    /// Returns extras of which nothing was read.
    pub fn new(target: &Address, address: Address) -> Self {
        Self {
            target: target.clone(),
            labels: Vec::new(),
            related: PullRequestCollector::new(address),
            reopened_at: None,
            files: TruncatedList::default(),
            commits: TruncatedList::default(),
            missing: Vec::new(),
            reason: String::new(),
            hidden: None,
            may_pass: false,
        }
    }

    /// Adds the pages of what was asked for; returns what has a further page.
    fn add(&mut self, pages: Pages, asked: &[Open]) -> Vec<Open> {
        let mut open = Vec::new();
        for (extra, _) in asked {
            match extra.next(&pages) {
                Some(None) => {}
                Some(cursor) => open.push((*extra, cursor)),
                None => {
                    self.may_pass = true;
                    self.leave_out(&[(*extra, None)], "null in their place");
                }
            }
        }
        self.related.add_page(&pages);
        self.hidden = self.hidden.take().or(pages.hidden);
        self.labels
            .extend(visible(pages.labels).map(|label| storable(label.text)));
        let reopenings = visible(pages.reopenings).map(|reopening| reopening.created_at);
        self.reopened_at = self.reopened_at.max(reopenings.max());
        if pages.files.is_some() {
            self.files = truncated(pages.files, &self.target, "changed files", |file| file.text);
        }
        if pages.commits.is_some() {
            let text = |node: CommitNode| node.commit.text;
            self.commits = truncated(pages.commits, &self.target, "commits", text);
        }
        open
    }

    /// Leaves out what is still open.
    fn leave_out(&mut self, open: &[Open], reason: &str) {
        for (extra, _) in open {
            if matches!(extra, Extra::References | Extra::Timeline) {
                self.related.some_hidden = true;
            }
            if !self.missing.contains(&extra.name()) {
                self.missing.push(extra.name());
            }
            reason.clone_into(&mut self.reason);
        }
    }

    /// Leaves out what is still open and has no page.
    fn give_up(&mut self, open: &[Open], reason: NoPage) {
        match reason {
            NoPage::TooHeavy(reason) => self.leave_out(open, &reason),
            NoPage::Silence(reason) => {
                self.may_pass = true;
                self.leave_out(open, &reason);
            }
        }
    }

    /// Reports what is hidden, and what could not be read.
    pub fn finish(&mut self) {
        self.hidden = self.hidden.take().or(self.related.missing());
        if let Some(reason) = &self.hidden {
            log::warn!(
                "{}: a part of what refers to it is hidden ({reason}); links stay",
                self.target
            );
        }
        if !self.missing.is_empty() {
            log::warn!(
                "{}: not all of its {} could be read ({}); links stay, and the next recheck asks again",
                self.target,
                self.missing.join(", "),
                self.reason
            );
        }
    }
}

/// The part of a target that GitHub was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Everything,
    /// No extras, because GitHub could not answer with them. Each is asked for alone.
    Facts,
}

impl Github {
    /// Reads the extras of the issue or pull request at `address`, from its first pages on. Without
    /// these, it asks for each extra alone.
    pub(super) fn extras(
        &mut self,
        first: Pages,
        kind: Kind,
        asked: Asked,
        (target, address): (&Address, Address),
    ) -> Result<Extras, GithubError> {
        let mut extras = Extras::new(target, address);
        let all: Vec<Open> = Extra::of(kind).iter().map(|extra| (*extra, None)).collect();
        let mut open = Vec::new();
        if asked == Asked::Facts {
            for one in all.chunks(1) {
                open.extend(self.add_pages(&mut extras, one, kind, true)?);
            }
        } else {
            open = extras.add(first, &all);
        }
        let mut count = 1;
        while !open.is_empty() {
            if count == MAX_PAGES {
                extras.leave_out(&open, &format!("there are more than {MAX_PAGES} pages"));
                break;
            }
            // An issue that has more pages than a run has time for would never be recorded.
            let may_end = asked == Asked::Facts || count > 1;
            open = self.add_pages(&mut extras, &open, kind, may_end)?;
            count += 1;
        }
        if asked == Asked::Everything && extras.may_pass {
            let message = format!("{NO_ANSWER} a part of {target}: {}", extras.reason);
            return Err(GithubError::Part(MappingError::unanswered(message)));
        }
        Ok(extras)
    }

    /// Adds the next page of each open extra; returns what has another one. At the end of the time
    /// budget, it leaves out the rest if `may_end` is true.
    fn add_pages(
        &mut self,
        extras: &mut Extras,
        open: &[Open],
        kind: Kind,
        may_end: bool,
    ) -> Result<Vec<Open>, GithubError> {
        match self.pages(&extras.target, open, kind) {
            Ok(Ok(pages)) => return Ok(extras.add(pages, open)),
            Ok(Err(reason)) => extras.give_up(open, reason),
            Err(GithubError::Service(error)) if may_end && error.kind == FailureKind::OutOfTime => {
                extras.leave_out(open, &error.message);
            }
            Err(error) => return Err(error),
        }
        Ok(Vec::new())
    }

    /// Asks for the next page of each open extra.
    fn pages(
        &mut self,
        target: &Address,
        open: &[Open],
        kind: Kind,
    ) -> Result<Result<Pages, NoPage>, GithubError> {
        let mut variables = Map::new();
        variables.insert("owner".to_owned(), target.repository.owner().into());
        variables.insert("name".to_owned(), target.repository.name().into());
        variables.insert("number".to_owned(), target.number.into());
        let switches = switches(kind).iter();
        variables.extend(switches.map(|name| ((*name).to_owned(), false.into())));
        for (extra, after) in open {
            let (switch, cursor) = extra.variables();
            variables.insert(switch.to_owned(), true.into());
            if let Some(cursor) = cursor {
                variables.insert(cursor.to_owned(), json!(after));
            }
        }
        let (mut data, errors) = match self.query(&queries::pages_query(kind), &variables.into()) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(NoPage::TooHeavy(self.only_this_fails(error)?))),
        };
        let mut value = match alias_answer(&mut data, &errors, "repository") {
            Ok(value) => value,
            Err(GraphqlError {
                kind,
                path,
                message,
                ..
            }) => {
                return match failure::graphql_path(kind.as_deref(), path.len() <= 1) {
                    Some(MappingErrorKind::Unanswered) => Ok(Err(NoPage::Silence(message))),
                    _ => {
                        let message = format!("a further page of {target} failed: {message}");
                        Err(MappingError::failed(message).into())
                    }
                };
            }
        };
        let pages = serde_json::from_value(value["issueOrPullRequest"].take());
        Ok(pages.map_err(|error| NoPage::Silence(quoted(&error.to_string()))))
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
