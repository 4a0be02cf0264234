//! The decision table of the design's section 4: from what was read to what one mapping needs.

use std::fmt;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde::Serialize;

use super::agira_object::{self, AgiraObject, ObjectKey};
use super::known::{Known, Link, Stored};
use super::model::*;
use super::outbox::Outbox;

/// Addresses that are longer do not fit into `core_externalissuemapping.html_url`.
const LONGEST_URL: usize = 200;

/// What the operator decides (design, section 6, policy flags).
#[derive(Debug, Clone)]
pub struct Policy {
    /// Statuses that a closed issue does not change, beyond [`ItemStatus::PROTECTED`].
    pub keep_status: Vec<String>,
    /// Only closings for these reasons move items; `None`: all.
    pub close_reasons: Option<Vec<String>>,
    /// Closings before this time (UTC) are remembered but move nothing.
    pub ignore_closed_before: Option<DateTime<Utc>>,
    /// Objects of issues and pull requests that Agira wrote count as having another status.
    pub replace_foreign: bool,
    /// Time until a look without a reason.
    pub recheck_after: Duration,
    /// Failures until a mapping is parked.
    pub max_attempts: i32,
}

/// One change that a mapping needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// GitHub's id replaces a wrong one.
    SetGithubId {
        /// The row: the mapping itself, or one that Agira made for a pull request of the issue.
        row: MappingId,
        /// The stored id.
        from: GithubId,
        /// GitHub's.
        to: GithubId,
    },
    /// Record the state at GitHub, with Agira's activity row.
    RecordState {
        /// The stored state.
        from: String,
        /// GitHub's.
        to: &'static str,
    },
    /// Fill in what Agira's webhook would have recorded at the merge, where it is still empty.
    RecordMerge {
        /// Body of the pull request, unless one is stored.
        body: Option<String>,
        /// Merge commit, unless one is stored.
        commit: Option<String>,
        /// When it was merged, unless stored.
        merged_at: Option<DateTime<Utc>>,
    },
    /// Move the item, with Agira's activity row.
    MoveItem {
        /// The status that was read; if it is another one when the item is locked, a person was faster.
        from: ItemStatus,
        /// The new status.
        to: ItemStatus,
    },
    /// Remember that this close event was dealt with.
    RememberClose {
        /// GitHub's `closedAt` (UTC).
        closed_at: DateTime<Utc>,
    },
    /// Insert a mapping row for a pull request.
    InsertPullRequest {
        /// The pull request.
        #[serde(serialize_with = "serialize_address")]
        pull_request: PullRequestRef,
    },
    /// Record that a pull request belongs to the issue, or how.
    Link {
        /// The pull request.
        #[serde(serialize_with = "display")]
        pull_request: Address,
        /// Its id at GitHub, which its row has by then.
        github_id: GithubId,
        /// How it belongs to the issue.
        relation: Relation,
        /// How it did until now.
        from: Option<Relation>,
    },
    /// A link that GitHub no longer supports.
    Unlink {
        /// The pull request's row, which stays.
        row: MappingId,
    },
    /// GitHub shows another state for a pull request than its row: its own look will record it.
    MakeDue {
        /// The pull request's row.
        row: MappingId,
        /// The state in the row.
        from: String,
        /// GitHub's.
        to: &'static str,
    },
    /// Write an object to Weaviate.
    Write {
        /// The object.
        #[serde(serialize_with = "serialize_key")]
        object: Box<AgiraObject>,
        /// Why.
        change: Change,
    },
}

/// Why an object is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Weaviate does not have it.
    Create,
    /// Weaviate has another status.
    Update {
        /// The status there.
        from: Option<String>,
    },
    /// Agira wrote it, and `--replace-foreign` was given.
    Replace,
    /// Weaviate could not be asked: decided when it is pushed.
    Decide,
}

/// A decision to change nothing, and why; it is shown but nothing follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Another row has GitHub's id for this mapping, so this row keeps its own.
    IdTaken {
        /// GitHub's id.
        id: GithubId,
        /// The row that has it.
        row: MappingId,
    },
    /// The close event was dealt with before: whatever the item's status, a person decided after it.
    CloseDealtWith {
        /// GitHub's `closedAt` (UTC).
        closed_at: DateTime<Utc>,
    },
    /// The close event moves nothing.
    ItemLeft {
        /// The item's status.
        status: ItemStatus,
        /// Why.
        reason: String,
    },
    /// The issue was reopened; the item stays.
    Reopened {
        /// The item's status.
        status: ItemStatus,
    },
    /// The pull request belongs to the issue but gets no row.
    NotLinked {
        /// The pull request.
        pull_request: Address,
        /// Why.
        reason: String,
    },
    /// Weaviate has the object with this status.
    ObjectLeft {
        /// The object.
        object: ObjectKey,
        /// Its status.
        status: String,
    },
}

impl Note {
    /// Whether a person may wonder why nothing happens: the rest is how things always are.
    pub fn is_surprising(&self) -> bool {
        match self {
            Self::IdTaken { .. } | Self::ItemLeft { .. } | Self::Reopened { .. } | Self::NotLinked { .. } => true,
            Self::CloseDealtWith { .. } | Self::ObjectLeft { .. } => false,
        }
    }
}

/// What one mapping needs. No actions: nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes, in the order in which they are made.
    pub actions: Vec<Action>,
    /// What is left as it is, and why.
    pub notes: Vec<Note>,
}

impl Plan {
    /// The objects to write, as they wait until Weaviate has answered for them; `None`: none.
    pub fn outbox(&self, planned_at: DateTime<Utc>) -> Option<Outbox> {
        let mut outbox = Outbox { planned_at, item: false, object: None };
        for action in &self.actions {
            if let Action::Write { object, .. } = action {
                match object.object_type {
                    agira_object::ObjectType::Item => outbox.item = true,
                    _ => outbox.object = Some((**object).clone()),
                }
            }
        }
        (!outbox.is_empty()).then_some(outbox)
    }

    /// The same plan with nothing but its Weaviate actions, as `push-weaviate` carries it out.
    pub fn only_writes(mut self) -> Self {
        self.actions.retain(|action| matches!(action, Action::Write { .. }));
        self.notes.retain(|note| matches!(note, Note::ObjectLeft { .. }));
        self
    }
}

/// What a plan is made from. `known` holds the item and everything else that was read, as earlier plans of the same
/// slice leave it.
pub struct Observed<'a> {
    /// The mapping.
    pub mapping: &'a Mapping,
    /// Its item.
    pub item: &'a Item,
    /// What GitHub said.
    pub snapshot: &'a Snapshot,
    /// What else was read.
    pub known: &'a Known,
    /// What the operator decided.
    pub policy: &'a Policy,
}

/// Decides what one mapping needs.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    identity(seen, &mut plan);
    state(seen, &mut plan);
    let mut status_after = seen.item.status.clone();
    match &seen.snapshot.details {
        Details::Issue { closed_at, close_reason, pull_requests, some_hidden } => {
            if let (State::Closed, Some(closed_at)) = (seen.snapshot.state, closed_at)
                && let Some(moved_to) = close_event(seen, *closed_at, *close_reason, &mut plan)
            {
                status_after = moved_to;
            }
            links(seen, pull_requests, *some_hidden, &mut plan);
            let item = Item { status: status_after, ..seen.item.clone() };
            object(seen, AgiraObject::of_item(&item), true, &mut plan);
        }
        Details::PullRequest { merged_at, merge_commit_sha, .. } => {
            merge(seen, *merged_at, merge_commit_sha.as_deref(), &mut plan);
        }
    }
    let own = AgiraObject::of_mapping(seen.mapping, seen.item, seen.snapshot);
    object(seen, own, seen.mapping.id.is_stored(), &mut plan);
    plan
}

fn identity(seen: &Observed<'_>, plan: &mut Plan) {
    // The plan of its issue may have corrected it in this very slice.
    let row = seen.known.row(seen.mapping.id);
    let (stored, real) = (row.map_or(seen.mapping.github_id, |row| row.github_id), seen.snapshot.github_id);
    if stored == real {
        return;
    }
    match seen.known.row_of(real) {
        Some(row) => plan.notes.push(Note::IdTaken { id: real, row: row.id }),
        None => plan.actions.push(Action::SetGithubId { row: seen.mapping.id, from: stored, to: real }),
    }
}

fn state(seen: &Observed<'_>, plan: &mut Plan) {
    let (stored, real) = (&seen.mapping.state, seen.snapshot.state);
    if stored == real.as_str() {
        return;
    }
    plan.actions.push(Action::RecordState { from: stored.clone(), to: real.as_str() });
    if seen.snapshot.kind() == Kind::Issue && real == State::Open {
        plan.notes.push(Note::Reopened { status: seen.item.status.clone() });
    }
}

/// The status that the item gets, if the close event moves it.
fn close_event(
    seen: &Observed<'_>,
    closed_at: DateTime<Utc>,
    reason: Option<CloseReason>,
    plan: &mut Plan,
) -> Option<ItemStatus> {
    if seen.mapping.dealt_closed_at == Some(closed_at) {
        plan.notes.push(Note::CloseDealtWith { closed_at });
        return None;
    }
    let from = seen.item.status.clone();
    let kept = kept_because(seen.policy, &from, closed_at, reason);
    let moved_to = match kept {
        Some(reason) => {
            plan.notes.push(Note::ItemLeft { status: from, reason });
            None
        }
        None => {
            plan.actions.push(Action::MoveItem { from, to: ItemStatus::testing() });
            Some(ItemStatus::testing())
        }
    };
    plan.actions.push(Action::RememberClose { closed_at });
    moved_to
}

fn kept_because(
    policy: &Policy,
    status: &ItemStatus,
    closed_at: DateTime<Utc>,
    reason: Option<CloseReason>,
) -> Option<String> {
    if ItemStatus::PROTECTED.contains(&status.0.as_str()) {
        return Some("a closed issue does not change this status".to_owned());
    }
    if policy.keep_status.contains(&status.0) {
        return Some("--keep-status names this status".to_owned());
    }
    if let (Some(wanted), Some(reason)) = (&policy.close_reasons, reason)
        && !wanted.iter().any(|wanted| wanted == reason.as_str())
    {
        return Some(format!("the issue was closed as {}, which --close-reason does not name", reason.as_str()));
    }
    match policy.ignore_closed_before {
        Some(limit) if closed_at < limit => Some(format!("closed {}, before --ignore-closed-before", time(closed_at))),
        _ => None,
    }
}

fn links(seen: &Observed<'_>, pull_requests: &[PullRequestRef], some_hidden: bool, plan: &mut Plan) {
    let mut supported = Vec::new();
    for pull_request in pull_requests {
        let row = match row_for(seen, pull_request, plan) {
            RowFor::Existing(row) => Some(row),
            RowFor::Inserted => None,
            RowFor::None => continue,
        };
        let linked = row.and_then(|row| {
            supported.push(row);
            let pair = (seen.mapping.id, row);
            seen.known.links.iter().find(|link| (link.issue, link.pull_request) == pair)
        });
        let wanted = (seen.mapping.item_id, pull_request.relation);
        if linked.map(|link| (link.item_id, link.relation)) != Some(wanted) {
            plan.actions.push(Action::Link {
                pull_request: pull_request.address.clone(),
                github_id: pull_request.github_id,
                relation: pull_request.relation,
                from: linked.map(|link| link.relation),
            });
        }
    }
    if some_hidden {
        return; // what is not named may be what is hidden
    }
    let gone = |link: &&Link| link.issue == seen.mapping.id && !supported.contains(&link.pull_request);
    plan.actions.extend(seen.known.links.iter().filter(gone).map(|link| Action::Unlink { row: link.pull_request }));
}

/// The mapping row of a pull request that belongs to the issue.
enum RowFor {
    Existing(MappingId),
    Inserted,
    None,
}

fn row_for(seen: &Observed<'_>, pull_request: &PullRequestRef, plan: &mut Plan) -> RowFor {
    let item_id = seen.mapping.item_id;
    let address = &pull_request.address;
    let not_linked = |reason: String| Note::NotLinked { pull_request: address.clone(), reason };
    let mut existing = seen.known.row_of(pull_request.github_id);
    if let Some(row) = existing
        && row.kind != Kind::PullRequest
    {
        plan.notes.push(not_linked(format!("row {}, which is no pull request, has its id", row.id)));
        return RowFor::None;
    }
    if existing.is_none()
        && let Some(row) = seen.known.row_at(item_id, Kind::PullRequest, address)
    {
        let (from, to) = (row.github_id, pull_request.github_id);
        plan.actions.push(Action::SetGithubId { row: row.id, from, to });
        existing = Some(row);
    }
    if let Some(row) = existing {
        let real = pull_request.state.as_str();
        if row.state != real && !row.look_comes {
            plan.actions.push(Action::MakeDue { row: row.id, from: row.state.clone(), to: real });
        }
        return RowFor::Existing(row.id);
    }
    if let Some(row) = seen.known.row_numbered(item_id, Kind::PullRequest, address.number) {
        plan.notes.push(not_linked(format!("row {} of the item has that number", row.id)));
        return RowFor::None;
    }
    if pull_request.url.chars().count() > LONGEST_URL {
        plan.notes.push(not_linked(format!("its address is longer than {LONGEST_URL} characters")));
        return RowFor::None;
    }
    plan.actions.push(Action::InsertPullRequest { pull_request: pull_request.clone() });
    RowFor::Inserted
}

fn merge(seen: &Observed<'_>, merged_at: Option<DateTime<Utc>>, commit: Option<&str>, plan: &mut Plan) {
    if seen.snapshot.state != State::Merged {
        return;
    }
    let missing = |stored: &str, real: &str| (stored.is_empty() && !real.is_empty()).then(|| real.to_owned());
    let body = missing(&seen.mapping.pr_body, &seen.snapshot.body);
    let commit = missing(&seen.mapping.merge_commit_sha, commit.unwrap_or_default());
    let merged_at = merged_at.filter(|_| seen.mapping.merged_at.is_none());
    if body.is_some() || commit.is_some() || merged_at.is_some() {
        plan.actions.push(Action::RecordMerge { body, commit, merged_at });
    }
}

fn object(seen: &Observed<'_>, object: AgiraObject, of_stored_row: bool, plan: &mut Plan) {
    let key = object.key();
    match change(seen.known.stored(&key, of_stored_row), &object, seen.policy) {
        Some(change) => plan.actions.push(Action::Write { object: Box::new(object), change }),
        None => plan.notes.push(Note::ObjectLeft { object: key, status: object.status }),
    }
}

/// The user's rule: create what is missing, update what has another status, leave the rest alone. `None`: leave.
pub fn change(stored: Option<&Stored>, object: &AgiraObject, policy: &Policy) -> Option<Change> {
    let foreign = policy.replace_foreign && object.parent_object_id.is_some();
    match stored {
        None => Some(Change::Decide),
        Some(Stored::Missing) => Some(Change::Create),
        Some(Stored::Present { status, .. }) if status.as_deref() != Some(&object.status) => {
            Some(Change::Update { from: status.clone() })
        }
        Some(Stored::Present { parentless: true, .. }) if foreign => Some(Change::Replace),
        Some(Stored::Present { .. }) => None,
    }
}

/// A time for a person: RFC 3339, UTC, whole seconds.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetGithubId { row, from, to } => write!(out, "GitHub id of row {row}: {from} => {to}"),
            Self::RecordState { from, to } => write!(out, "state: {} => {to}", super::text::Printable(from)),
            Self::RecordMerge { body, commit, merged_at } => {
                out.write_str("merge data:")?;
                if body.is_some() {
                    out.write_str(" body")?;
                }
                if let Some(commit) = commit {
                    write!(out, " commit {}", super::text::Printable(commit))?;
                }
                if let Some(merged_at) = merged_at {
                    write!(out, " merged at {}", time(*merged_at))?;
                }
                Ok(())
            }
            Self::MoveItem { from, to } => write!(out, "item status: {} => {to}", super::text::Printable(&from.0)),
            Self::RememberClose { closed_at } => write!(out, "remember close event of {}", time(*closed_at)),
            Self::InsertPullRequest { pull_request } => {
                write!(out, "insert row for pull request {} ({})", pull_request.address, pull_request.state.as_str())
            }
            Self::Link { pull_request, relation, from, .. } => {
                let from = from.map_or("none", Relation::as_str);
                write!(out, "link to pull request {pull_request}: {from} => {}", relation.as_str())
            }
            Self::Unlink { row } => write!(out, "link to row {row}: removed, GitHub no longer supports it"),
            Self::MakeDue { row, from, to } => {
                write!(out, "row {row} becomes due: its state {} is {to} at GitHub", super::text::Printable(from))
            }
            Self::Write { object, change } => write!(out, "Weaviate {}: {change}", object.key()),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => out.write_str("create (missing there)"),
            Self::Update { from } => {
                let from = from.as_deref().unwrap_or("none");
                write!(out, "update (status there is {})", super::text::Printable(from))
            }
            Self::Replace => out.write_str("replace (Agira wrote it with the item's text)"),
            Self::Decide => out.write_str("decide when pushed (Weaviate could not be asked)"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdTaken { id, row } => write!(out, "keeps its GitHub id: row {row} has {id}"),
            Self::CloseDealtWith { closed_at } => {
                write!(out, "item left: close event of {} was dealt with before", time(*closed_at))
            }
            Self::ItemLeft { status, reason } => {
                write!(out, "item left in {}: {reason}", super::text::Printable(&status.0))
            }
            Self::Reopened { status } => {
                write!(out, "issue is open again: item left in {}", super::text::Printable(&status.0))
            }
            Self::NotLinked { pull_request, reason } => write!(out, "pull request {pull_request} not linked: {reason}"),
            Self::ObjectLeft { object, status } => {
                write!(out, "Weaviate {object}: leave (status there is {})", super::text::Printable(status))
            }
        }
    }
}

impl Serialize for Relation {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

fn display<S: serde::Serializer>(value: &impl fmt::Display, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

fn serialize_address<S: serde::Serializer>(pull_request: &PullRequestRef, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&pull_request.address)
}

fn serialize_key<S: serde::Serializer>(object: &AgiraObject, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&object.key())
}

impl PartialEq for PullRequestRef {
    fn eq(&self, other: &Self) -> bool {
        self.github_id == other.github_id && self.state == other.state && self.relation == other.relation
    }
}

impl Eq for PullRequestRef {}

#[cfg(test)]
mod tests;
