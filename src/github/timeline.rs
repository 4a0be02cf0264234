//! Collects the pull requests that belong to an issue (design.md, "The decision table"): those that
//! close it, closed it or have a closing keyword for it, and those that a person connected and
//! nobody disconnected later. Plain mentions do not count.

use std::collections::HashSet;

use super::schema::{NodeState, Pages, PullRequestNode, Source, TimelineItem, github_id};
use crate::core::closing_keyword;
use crate::core::model::{Address, PullRequestRef, Relation, Repository};
use crate::core::text::{quoted, storable};

/// Collects pull requests over all pages of an issue's references and timeline, in the order of the
/// timeline.
#[derive(Debug)]
pub(super) struct PullRequestCollector {
    issue: Address,
    closing: Vec<PullRequestRef>,
    connected: Vec<PullRequestRef>,
    /// A node was hidden from our credentials.
    pub some_hidden: bool,
}

impl PullRequestCollector {
    pub fn new(issue: Address) -> Self {
        Self {
            issue,
            closing: Vec::new(),
            connected: Vec::new(),
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
        self.closing.extend(reference(node, Relation::Closes));
    }

    fn add_event(&mut self, event: &TimelineItem) {
        match event {
            TimelineItem::ClosedEvent {
                closer: Some(Source::PullRequest(node)),
            } => self.add_closing(node),
            TimelineItem::ClosedEvent {
                closer:
                    Some(Source::Commit {
                        associated_pull_requests: Some(candidates),
                        ..
                    }),
            } => {
                self.some_hidden |= candidates.nodes().any(Option::is_none);
                for node in candidates.nodes().flatten() {
                    // An open pull request may contain the closing commit, too; it did not close
                    // anything.
                    if node.state == NodeState::Merged {
                        self.add_closing(node);
                    }
                }
            }
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

    /// Returns each pull request once; `Closes` wins over `Connected`.
    pub fn into_pull_requests(self) -> Vec<PullRequestRef> {
        let mut ids = HashSet::new();
        self.closing
            .into_iter()
            .chain(self.connected)
            .filter(|reference| ids.insert(reference.github_id))
            .collect()
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
