//! Collects the pull requests that belong to an issue (design.md, "The decision table"): those that
//! close it, closed it or have a closing keyword for it, and those that a person connected and
//! nobody disconnected later. Plain mentions do not count.

use std::collections::HashSet;

use super::schema::{
    Below, NodeState, Pages, PullRequestNode, Source, TimelineItem, github_id, visible,
};
use crate::core::closing_keyword;
use crate::core::model::{Address, PullRequestRef, Relation, Repository};
use crate::core::text::{quoted, storable};

/// Collects pull requests over all pages of an issue's references and timeline, in the order of the
/// timeline.
#[derive(Debug)]
pub(super) struct PullRequestCollector {
    issue: Address,
    closing: Vec<Closing>,
    connected: Vec<PullRequestRef>,
    /// Commits of the issue's repository that merged a pull request in `closing`.
    merges: HashSet<String>,
    /// A node was hidden from our credentials.
    pub some_hidden: bool,
}

/// The closer of an issue.
#[derive(Debug)]
enum Closing {
    PullRequest(PullRequestRef),
    /// A commit, with the pull requests that contain it.
    Commit {
        oid: String,
        pull_requests: Below<PullRequestNode>,
    },
}

impl PullRequestCollector {
    pub fn new(issue: Address) -> Self {
        Self {
            issue,
            closing: Vec::new(),
            connected: Vec::new(),
            merges: HashSet::new(),
            some_hidden: false,
        }
    }

    /// Adds the pull requests of one page. A null node is hidden from our credentials.
    pub fn add_page(&mut self, page: &Pages) {
        self.some_hidden |= page.hidden.is_some();
        let references = page.closed_by_pull_requests_references.as_ref();
        for node in references.iter().flat_map(|page| page.nodes()) {
            match node {
                Some(node) => self.add_closing(node),
                None => self.some_hidden = true,
            }
        }
        for event in page.timeline_items.iter().flat_map(|page| page.nodes()) {
            match event {
                Some(event) => self.add_event(event),
                None => self.some_hidden = true,
            }
        }
    }

    fn add_closing(&mut self, node: &PullRequestNode) {
        let Some(found) = reference(node, Relation::Closes) else {
            return;
        };
        // Elsewhere, such as in a fork, anybody can merge a commit once more.
        if node.state == NodeState::Merged && found.address.repository == self.issue.repository {
            let commit = node.merge_commit.as_ref();
            self.merges.extend(commit.map(|commit| commit.text.clone()));
        }
        self.closing.push(Closing::PullRequest(found));
    }

    /// Returns the pull requests that contain a commit that closed the issue, which GitHub has to be
    /// asked for. That of a commit that merged one of the others is known.
    pub fn unknown(&mut self) -> impl Iterator<Item = &mut Below<PullRequestNode>> {
        let merges = &self.merges;
        self.closing.iter_mut().filter_map(move |one| match one {
            Closing::Commit { oid, pull_requests } if !merges.contains(oid) => Some(pull_requests),
            _ => None,
        })
    }

    fn add_event(&mut self, event: &TimelineItem) {
        match event {
            TimelineItem::ClosedEvent {
                closer: Some(Source::PullRequest(node)),
            } => self.add_closing(node),
            TimelineItem::ClosedEvent {
                closer: Some(Source::Commit { id, oid }),
            } => self.closing.push(Closing::Commit {
                oid: oid.clone(),
                pull_requests: Below::new(id.clone()),
            }),
            TimelineItem::ConnectedEvent { source, subject } => {
                self.connected.extend(connected(source, subject));
            }
            TimelineItem::DisconnectedEvent { source, subject } => {
                if let Some(disconnected) = connected(source, subject) {
                    self.connected
                        .retain(|connected| connected.github_id != disconnected.github_id);
                }
            }
            TimelineItem::CrossReferencedEvent {
                will_close_target,
                source: Some(Source::PullRequest(node)),
            } => {
                if *will_close_target || self.has_closing_keyword(node) {
                    self.add_closing(node);
                }
            }
            TimelineItem::ClosedEvent { .. }
            | TimelineItem::CrossReferencedEvent { .. }
            | TimelineItem::Other => {}
        }
    }

    fn has_closing_keyword(&self, node: &PullRequestNode) -> bool {
        let home = Repository::parse(&node.repository.text);
        home.is_some_and(|home| closing_keyword::closes(&node.body, &home, &node.url, &self.issue))
    }

    /// Returns the reason why pull requests with a closing commit could not be read. Nobody knows
    /// then whether there are more.
    pub fn missing(&mut self) -> Option<String> {
        let mut reason = None;
        let mut some_hidden = false;
        for list in self.unknown() {
            some_hidden |= list.missing.is_some();
            some_hidden |= list
                .list
                .iter()
                .flat_map(|page| page.nodes())
                .any(Option::is_none);
            reason = reason.or_else(|| list.missing.clone());
        }
        self.some_hidden |= some_hidden;
        reason
    }

    /// Returns each pull request once; `Closes` wins over `Connected`.
    pub fn into_pull_requests(self) -> Vec<PullRequestRef> {
        let mut ids = HashSet::new();
        let closing = self
            .closing
            .into_iter()
            .flat_map(Closing::into_pull_requests);
        closing
            .chain(self.connected)
            .filter(|reference| ids.insert(reference.github_id))
            .collect()
    }
}

impl Closing {
    fn into_pull_requests(self) -> Vec<PullRequestRef> {
        match self {
            Self::PullRequest(found) => vec![found],
            // An open pull request may contain the closing commit, too; it did not close anything.
            Self::Commit { pull_requests, .. } => visible(pull_requests.list)
                .filter(|node| node.state == NodeState::Merged)
                .filter_map(|node| reference(&node, Relation::Closes))
                .collect(),
        }
    }
}

/// Returns the pull request of a connection, which may be either end: the timelines of both ends
/// have the event.
fn connected(source: &Option<Source>, subject: &Option<Source>) -> Option<PullRequestRef> {
    let node = [source, subject].into_iter().find_map(|end| match end {
        Some(Source::PullRequest(node)) => Some(node),
        _ => None,
    });
    node.and_then(|node| reference(node, Relation::Connected))
}

fn reference(node: &PullRequestNode, relation: Relation) -> Option<PullRequestRef> {
    let id = github_id(node.full_database_id.as_deref());
    let repository = Repository::parse(&node.repository.text);
    let (Some(github_id), Some(repository)) = (id, repository) else {
        log::warn!(
            "GitHub named pull request {} without a usable id; it is left out",
            quoted(&node.url)
        );
        return None;
    };
    Some(PullRequestRef {
        github_id,
        address: Address {
            repository,
            number: node.number,
        },
        url: storable(node.url.clone()),
        state: node.state.into(),
        relation,
    })
}
