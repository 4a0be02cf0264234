//! Which pull requests belong to an issue (design, section 4): those that close it, closed it or say that they do, and
//! those that a person connected and did not disconnect later. Plain mentions do not count.

use std::collections::HashSet;

use super::answer::{Closer, IssuePages, PullRequestNode, PullRequestState, TimelineItem};
use crate::core::closing_keyword;
use crate::core::model::{Address, GithubId, PullRequestRef, Relation, Repository, State};
use crate::core::text::{quoted, storable};

/// Gathers pull requests over all pages of an issue's references and timeline, in the order of the timeline.
#[derive(Debug)]
pub(super) struct Belonging {
    issue: Address,
    closing: Vec<PullRequestRef>,
    connected: Vec<PullRequestRef>,
    some_hidden: bool,
}

impl Belonging {
    pub fn to(issue: Address) -> Self {
        Self {
            issue,
            closing: Vec::new(),
            connected: Vec::new(),
            some_hidden: false,
        }
    }

    /// Takes what one page names; what is hidden from the token is null there.
    pub fn page(&mut self, page: &IssuePages) {
        for node in page
            .closed_by_pull_requests_references
            .iter()
            .flat_map(|page| &page.nodes)
        {
            match node {
                Some(node) => self.reference(node),
                None => self.some_hidden = true,
            }
        }
        for event in page.timeline_items.iter().flat_map(|page| &page.nodes) {
            match event {
                Some(event) => self.event(event),
                None => self.some_hidden = true,
            }
        }
    }

    /// Whether something was hidden from the token.
    pub fn some_hidden(&self) -> bool {
        self.some_hidden
    }

    /// A closing reference that GitHub keeps.
    fn reference(&mut self, node: &PullRequestNode) {
        self.closing.extend(pull_request(node, Relation::Closes));
    }

    /// An event of the timeline.
    fn event(&mut self, event: &TimelineItem) {
        match event {
            TimelineItem::ClosedEvent {
                closer: Some(Closer::PullRequest(node)),
            } => self.reference(node),
            TimelineItem::ClosedEvent {
                closer:
                    Some(Closer::Commit {
                        associated_pull_requests: Some(candidates),
                    }),
            } => {
                let (read, all) = (
                    candidates.nodes.len(),
                    candidates.total_count.unwrap_or_default(),
                );
                if all > read {
                    log::info!(
                        "{}: of {all} pull requests with the closing commit the first {read} count",
                        self.issue
                    );
                }
                // An open pull request may contain the closing commit, too; it did not close anything.
                let merged =
                    |node: &&PullRequestNode| node.pull_request_state == PullRequestState::Merged;
                candidates
                    .nodes
                    .iter()
                    .flatten()
                    .filter(merged)
                    .for_each(|node| self.reference(node));
            }
            // Which end is the pull request depends on whose timeline it is.
            TimelineItem::ConnectedEvent { source, subject } => {
                let node = [source, subject]
                    .into_iter()
                    .flatten()
                    .find_map(|end| end.pull_request());
                self.connected
                    .extend(node.and_then(|node| pull_request(node, Relation::Connected)));
            }
            TimelineItem::DisconnectedEvent { source, subject } => {
                let node = [source, subject]
                    .into_iter()
                    .flatten()
                    .find_map(|end| end.pull_request());
                if let Some(gone) = node.and_then(|node| pull_request(node, Relation::Connected)) {
                    self.connected
                        .retain(|connected| connected.github_id != gone.github_id);
                }
            }
            TimelineItem::CrossReferencedEvent {
                will_close_target,
                source: Some(source),
            } => {
                if let Some(node) = source.pull_request()
                    && (*will_close_target || self.says_so(node))
                {
                    self.reference(node);
                }
            }
            TimelineItem::ClosedEvent { .. }
            | TimelineItem::CrossReferencedEvent { .. }
            | TimelineItem::Other => {}
        }
    }

    fn says_so(&self, node: &PullRequestNode) -> bool {
        Repository::parse(&node.repository.name_with_owner).is_some_and(|home| {
            [&node.title, &node.body]
                .into_iter()
                .any(|text| closing_keyword::closes(text, &home, &self.issue))
        })
    }

    /// Each pull request once; closing counts for more than being connected.
    pub fn into_pull_requests(self) -> Vec<PullRequestRef> {
        let mut seen = HashSet::new();
        self.closing
            .into_iter()
            .chain(self.connected)
            .filter(|found| seen.insert(found.github_id))
            .collect()
    }
}

fn pull_request(node: &PullRequestNode, relation: Relation) -> Option<PullRequestRef> {
    let id = node
        .full_database_id
        .as_deref()
        .and_then(|id| id.parse().ok());
    let repository = Repository::parse(&node.repository.name_with_owner);
    let (Some(id), Some(repository)) = (id, repository) else {
        log::warn!(
            "GitHub named pull request {} without a usable id; it is left out",
            quoted(&node.url)
        );
        return None;
    };
    Some(PullRequestRef {
        github_id: GithubId(id),
        address: Address {
            repository,
            number: node.number,
        },
        url: storable(node.url.clone()),
        state: state(node.pull_request_state),
        relation,
    })
}

pub(super) fn state(state: PullRequestState) -> State {
    match state {
        PullRequestState::Open => State::Open,
        PullRequestState::Closed => State::Closed,
        PullRequestState::Merged => State::Merged,
    }
}
