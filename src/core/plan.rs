//! The decision table of the design's section 4: from what was read to what one mapping needs.

use std::fmt;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde::Serialize;

use super::agira_object::{AgiraObject, ObjectType};
use super::model::*;
use super::note::{Attention, Note, Question};
use super::outbox::Outbox;
use super::records::{Link, MappingRow, ObjectState, Records};
use super::text::Printable;

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
        change: WriteReason,
    },
}

/// Why an object is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum WriteReason {
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

/// What one mapping needs. No actions: nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes, in the order in which they are made.
    pub actions: Vec<Action>,
    /// How the decision table was answered, in its order.
    pub notes: Vec<Note>,
}

impl Plan {
    /// The objects to write, as they wait until Weaviate has answered for them; `None`: none.
    pub fn outbox(&self, planned_at: DateTime<Utc>) -> Option<Outbox> {
        let mut outbox = Outbox {
            planned_at,
            item: false,
            object: None,
        };
        for action in &self.actions {
            if let Action::Write { object, .. } = action {
                match object.object_type {
                    ObjectType::Item => outbox.item = true,
                    _ => outbox.object = Some((**object).clone()),
                }
            }
        }
        (!outbox.is_empty()).then_some(outbox)
    }

    /// The same plan with nothing but its Weaviate actions, as `push-weaviate` carries it out.
    pub fn only_writes(mut self) -> Self {
        self.actions
            .retain(|action| matches!(action, Action::Write { .. }));
        self.notes.retain(|note| note.question.is_about_objects());
        self
    }

    /// How many objects Weaviate has as they should be.
    pub fn unchanged_objects(&self) -> usize {
        self.notes
            .iter()
            .filter(|note| note.question == Question::ObjectStatus && !note.answer)
            .count()
    }

    fn yes(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, true, Attention::None, facts);
    }

    fn no(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, false, Attention::None, facts);
    }

    fn surprise(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, true, Attention::Surprising, facts);
    }

    fn warn(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, true, Attention::Warning, facts);
    }

    fn note(
        &mut self,
        question: Question,
        answer: bool,
        attention: Attention,
        facts: impl Into<String>,
    ) {
        self.notes.push(Note {
            question,
            answer,
            facts: facts.into(),
            attention,
        });
    }
}

/// What a plan is made from. `known` holds the item and everything else that was read, as earlier plans of the same
/// slice leave it.
pub struct PlanInput<'a> {
    /// The mapping.
    pub mapping: &'a Mapping,
    /// Its item.
    pub item: &'a Item,
    /// What GitHub said.
    pub snapshot: &'a Snapshot,
    /// What else was read.
    pub records: &'a Records,
    /// What the operator decided.
    pub policy: &'a Policy,
}

/// Decides what one mapping needs, and notes every answer that it depends on.
pub fn plan(seen: &PlanInput<'_>) -> Plan {
    let mut plan = Plan::default();
    identity(seen, &mut plan);
    state(seen, &mut plan);
    match &seen.snapshot.details {
        Details::Issue {
            closed_at,
            close_reason,
            pull_requests,
            some_hidden,
        } => {
            let moved_to = close_event(seen, *closed_at, *close_reason, &mut plan);
            links(seen, pull_requests, *some_hidden, &mut plan);
            let item = Item {
                status: moved_to.unwrap_or_else(|| seen.item.status.clone()),
                ..seen.item.clone()
            };
            object(seen, AgiraObject::of_item(&item), true, &mut plan);
        }
        Details::PullRequest {
            merged_at,
            merge_commit_sha,
            ..
        } => {
            plan.no(Question::CloseEvent, "a pull request never moves its item");
            merge(seen, *merged_at, merge_commit_sha.as_deref(), &mut plan);
        }
    }
    let own = AgiraObject::of_mapping(seen.mapping, seen.item, seen.snapshot);
    object(seen, own, seen.mapping.id.is_stored(), &mut plan);
    plan.notes.sort_by_key(|note| note.question);
    plan
}

fn identity(seen: &PlanInput<'_>, plan: &mut Plan) {
    // The plan of its issue may have corrected it in this very slice.
    let row = seen.records.row(seen.mapping.id);
    let (stored, real) = (
        row.map_or(seen.mapping.github_id, |row| row.github_id),
        seen.snapshot.github_id,
    );
    if stored == real {
        return plan.no(Question::GithubId, format!("both are {real}"));
    }
    match seen.records.row_with_github_id(real) {
        Some(row) => plan.warn(
            Question::GithubId,
            format!("keeps its GitHub id: row {} has {real}", row.id),
        ),
        None => {
            plan.yes(
                Question::GithubId,
                format!("{stored} is stored, and no row has {real}"),
            );
            plan.actions.push(Action::SetGithubId {
                row: seen.mapping.id,
                from: stored,
                to: real,
            });
        }
    }
}

fn state(seen: &PlanInput<'_>, plan: &mut Plan) {
    let (stored, real) = (&seen.mapping.state, seen.snapshot.state.as_str());
    if stored == real {
        return plan.no(Question::State, format!("both are {real}"));
    }
    plan.yes(
        Question::State,
        format!("{} is stored, {real} there", Printable(stored)),
    );
    plan.actions.push(Action::RecordState {
        from: stored.clone(),
        to: real,
    });
}

/// The status that the item gets, if a close event moves it.
fn close_event(
    seen: &PlanInput<'_>,
    closed_at: Option<DateTime<Utc>>,
    reason: Option<CloseReason>,
    plan: &mut Plan,
) -> Option<ItemStatus> {
    let status = Printable(&seen.item.status.0);
    let closed_at = match (seen.snapshot.state, closed_at) {
        (State::Closed, Some(closed_at)) => closed_at,
        (State::Closed, None) => {
            plan.no(
                Question::CloseEvent,
                "the issue is closed, but GitHub does not say since when",
            );
            return None;
        }
        _ => {
            plan.no(Question::CloseEvent, "the issue is open");
            if seen.mapping.state != State::Open.as_str() {
                plan.surprise(
                    Question::Reopened,
                    format!("issue is open again: item left in {status}"),
                );
            }
            return None;
        }
    };
    match seen.mapping.handled_closed_at {
        Some(dealt) if dealt == closed_at => {
            plan.no(
                Question::CloseEvent,
                format!("that of {} was dealt with before: item left", time(dealt)),
            );
            return None;
        }
        dealt => {
            let dealt = dealt.map_or("none".to_owned(), |dealt| {
                format!("that of {}", time(dealt))
            });
            plan.yes(
                Question::CloseEvent,
                format!("closed {}; dealt with before: {dealt}", time(closed_at)),
            );
        }
    }
    let moves = exceptions(seen.policy, &seen.item.status, closed_at, reason)
        .into_iter()
        .all(|(question, answer)| {
            match &answer {
                Ok(facts) => plan.no(question, facts),
                Err(why) => plan.surprise(question, format!("item left in {status}: {why}")),
            }
            answer.is_ok()
        });
    let moved_to = moves.then(ItemStatus::testing);
    if let Some(to) = moved_to.clone() {
        plan.yes(
            Question::ItemMoves,
            format!("{status} => {to}, unless a person moves it before the run does"),
        );
        plan.actions.push(Action::MoveItem {
            from: seen.item.status.clone(),
            to,
        });
    }
    plan.actions.push(Action::RememberClose { closed_at });
    moved_to
}

/// What can keep a close event from moving the item: why it does not, or why it does.
fn exceptions(
    policy: &Policy,
    status: &ItemStatus,
    closed_at: DateTime<Utc>,
    reason: Option<CloseReason>,
) -> [(Question, Result<String, String>); 4] {
    let shown = Printable(&status.0);
    let protected = match ItemStatus::PROTECTED.contains(&status.0.as_str()) {
        true => Err("a closed issue does not change this status".to_owned()),
        false => Ok(format!(
            "{shown} is none of {}",
            ItemStatus::PROTECTED.join(", ")
        )),
    };
    let kept = match policy.keep_status.as_slice() {
        [] => Ok("it names none".to_owned()),
        named if named.contains(&status.0) => Err("--keep-status names this status".to_owned()),
        named => Ok(format!("it names {}", named.join(", "))),
    };
    let left_out = match (&policy.close_reasons, reason) {
        (None, _) => Ok("it leaves none out".to_owned()),
        (Some(_), None) => Ok("GitHub names no reason".to_owned()),
        (Some(wanted), Some(reason)) if wanted.iter().any(|wanted| wanted == reason.as_str()) => {
            Ok(format!("it names {}", wanted.join(", ")))
        }
        (Some(_), Some(reason)) => Err(format!(
            "the issue was closed as {}, which --close-reason does not name",
            reason.as_str()
        )),
    };
    let too_old = match policy.ignore_closed_before {
        None => Ok("it names no time".to_owned()),
        Some(limit) if closed_at < limit => Err(format!(
            "closed {}, before --ignore-closed-before",
            time(closed_at)
        )),
        Some(limit) => Ok(format!("it names {}", time(limit))),
    };
    [
        (Question::ProtectedStatus, protected),
        (Question::KeepStatus, kept),
        (Question::CloseReason, left_out),
        (Question::ClosedBefore, too_old),
    ]
}

fn links(
    seen: &PlanInput<'_>,
    pull_requests: &[PullRequestRef],
    some_hidden: bool,
    plan: &mut Plan,
) {
    let mut supported = Vec::new();
    if pull_requests.is_empty() {
        plan.no(Question::PullRequest, "GitHub names none");
    }
    for pull_request in pull_requests {
        let (row, place) = match row_for(seen, pull_request, plan) {
            RowFor::Existing(row) => (Some(row), format!("row {row}")),
            RowFor::Inserted => (None, "a new row".to_owned()),
            RowFor::None => continue,
        };
        let linked = row.and_then(|row| {
            supported.push(row);
            let pair = (seen.mapping.id, row);
            seen.records
                .links
                .iter()
                .find(|link| (link.issue, link.pull_request) == pair)
        });
        let PullRequestRef {
            github_id,
            address,
            relation,
            ..
        } = pull_request;
        let wanted = (seen.mapping.item_id, *relation);
        let before = linked.map_or("none", |link| link.relation.as_str());
        plan.yes(
            Question::PullRequest,
            format!(
                "{address} {} ({place}); linked so far: {before}",
                relation.label()
            ),
        );
        if linked.map(|link| (link.item_id, link.relation)) != Some(wanted) {
            plan.actions.push(Action::Link {
                pull_request: address.clone(),
                github_id: *github_id,
                relation: *relation,
                from: linked.map(|link| link.relation),
            });
        }
    }
    if some_hidden {
        return plan.no(
            Question::Unlink,
            "something is hidden from this token, and what is not named may be that",
        );
    }
    let gone =
        |link: &&Link| link.issue == seen.mapping.id && !supported.contains(&link.pull_request);
    let gone: Vec<MappingId> = seen
        .records
        .links
        .iter()
        .filter(gone)
        .map(|link| link.pull_request)
        .collect();
    if gone.is_empty() {
        plan.no(Question::Unlink, "every stored link has GitHub's support");
    }
    for row in gone {
        plan.yes(
            Question::Unlink,
            format!("GitHub does not name row {row}'s pull request"),
        );
        plan.actions.push(Action::Unlink { row });
    }
}

/// The mapping row of a pull request that belongs to the issue.
enum RowFor {
    Existing(MappingId),
    Inserted,
    None,
}

fn row_for(seen: &PlanInput<'_>, pull_request: &PullRequestRef, plan: &mut Plan) -> RowFor {
    let item_id = seen.mapping.item_id;
    let address = &pull_request.address;
    let not_linked = |plan: &mut Plan, reason: String| {
        plan.warn(
            Question::PullRequest,
            format!("pull request {address} not linked: {reason}"),
        );
        RowFor::None
    };
    let mut existing = seen.records.row_with_github_id(pull_request.github_id);
    if let Some(row) = existing
        && row.kind != Kind::PullRequest
    {
        return not_linked(
            plan,
            format!("row {}, which is no pull request, has its id", row.id),
        );
    }
    if existing.is_none()
        && let Some(row) = seen
            .records
            .row_at_address(item_id, Kind::PullRequest, address)
    {
        let (from, to) = (row.github_id, pull_request.github_id);
        plan.yes(
            Question::GithubId,
            format!("row {} of {address} has {from}, GitHub says {to}", row.id),
        );
        plan.actions.push(Action::SetGithubId {
            row: row.id,
            from,
            to,
        });
        existing = Some(row);
    }
    if let Some(row) = existing {
        row_state(row, pull_request.state.as_str(), plan);
        return RowFor::Existing(row.id);
    }
    if let Some(row) = seen
        .records
        .row_with_number(item_id, Kind::PullRequest, address.number)
    {
        return not_linked(plan, format!("row {} of the item has that number", row.id));
    }
    if pull_request.url.chars().count() > LONGEST_URL {
        return not_linked(
            plan,
            format!("its address is longer than {LONGEST_URL} characters"),
        );
    }
    plan.actions.push(Action::InsertPullRequest {
        pull_request: pull_request.clone(),
    });
    RowFor::Inserted
}

/// What the issue's look tells of a pull request's state.
fn row_state(row: &MappingRow, real: &'static str, plan: &mut Plan) {
    if row.state == real {
        return plan.no(
            Question::MakeDue,
            format!("row {} and GitHub both have {real}", row.id),
        );
    }
    let differs = format!(
        "row {} has {}, GitHub says {real}",
        row.id,
        Printable(&row.state)
    );
    if row.is_scheduled {
        return plan.no(
            Question::MakeDue,
            format!("{differs}, but its own look comes anyway"),
        );
    }
    plan.yes(Question::MakeDue, differs);
    plan.actions.push(Action::MakeDue {
        row: row.id,
        from: row.state.clone(),
        to: real,
    });
}

fn merge(
    seen: &PlanInput<'_>,
    merged_at: Option<DateTime<Utc>>,
    commit: Option<&str>,
    plan: &mut Plan,
) {
    if seen.snapshot.state != State::Merged {
        return plan.no(
            Question::Merge,
            format!("it is {}", seen.snapshot.state.as_str()),
        );
    }
    let missing =
        |stored: &str, real: &str| (stored.is_empty() && !real.is_empty()).then(|| real.to_owned());
    let body = missing(&seen.mapping.pr_body, &seen.snapshot.body);
    let commit = missing(&seen.mapping.merge_commit_sha, commit.unwrap_or_default());
    let merged_at = merged_at.filter(|_| seen.mapping.merged_at.is_none());
    if body.is_none() && commit.is_none() && merged_at.is_none() {
        return plan.no(
            Question::Merge,
            "nothing that is stored is empty and known at GitHub",
        );
    }
    plan.yes(
        Question::Merge,
        "it is merged, and something that GitHub knows is not stored",
    );
    plan.actions.push(Action::RecordMerge {
        body,
        commit,
        merged_at,
    });
}

fn object(seen: &PlanInput<'_>, object: AgiraObject, of_stored_row: bool, plan: &mut Plan) {
    let (key, status) = (object.key(), Printable(&object.status).to_string());
    let change = write_reason(
        seen.records.object_state(&key, of_stored_row),
        &object,
        seen.policy,
    );
    match &change {
        Some(WriteReason::Decide) => plan.yes(
            Question::ObjectUnknown,
            format!("Weaviate could not be asked about {key}"),
        ),
        Some(WriteReason::Create) => {
            plan.yes(Question::ObjectMissing, format!("{key} is not there"))
        }
        Some(WriteReason::Update { .. } | WriteReason::Replace) | None => {
            plan.no(Question::ObjectMissing, format!("{key} is there"));
        }
    }
    match &change {
        Some(WriteReason::Update { from }) => {
            let from = Printable(from.as_deref().unwrap_or("none")).to_string();
            plan.yes(
                Question::ObjectStatus,
                format!("{key} has {from} there, and is to have {status}"),
            );
        }
        Some(WriteReason::Replace) => {
            plan.yes(
                Question::ObjectForeign,
                format!("Agira wrote {key}, and --replace-foreign is given"),
            );
        }
        None => plan.no(
            Question::ObjectStatus,
            format!("{key} has {status} there and here, so that it is left"),
        ),
        Some(WriteReason::Create | WriteReason::Decide) => {}
    }
    plan.actions.extend(change.map(|change| Action::Write {
        object: Box::new(object),
        change,
    }));
}

/// The user's rule: create what is missing, update what has another status, leave the rest alone. `None`: leave.
pub fn write_reason(
    stored: Option<&ObjectState>,
    object: &AgiraObject,
    policy: &Policy,
) -> Option<WriteReason> {
    let foreign = policy.replace_foreign && object.parent_object_id.is_some();
    match stored {
        None => Some(WriteReason::Decide),
        Some(ObjectState::Missing) => Some(WriteReason::Create),
        Some(ObjectState::Present { status, .. }) if status.as_deref() != Some(&object.status) => {
            Some(WriteReason::Update {
                from: status.clone(),
            })
        }
        Some(ObjectState::Present {
            without_parent: true,
            ..
        }) if foreign => Some(WriteReason::Replace),
        Some(ObjectState::Present { .. }) => None,
    }
}

/// A time for a person: RFC 3339, UTC, whole seconds.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Keeps what is known current while a slice is planned: a plan's changes are carried to the plans after it, in a dry run as in
/// a real one. Rows that it inserts get ids that no stored row has.
pub fn carry(known: &mut Records, mapping: &Mapping, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::SetGithubId { row, to, .. } => {
                change_row(known, *row, |row| row.github_id = *to)
            }
            Action::RecordState { to, .. } => {
                change_row(known, mapping.id, |row| row.state = (*to).to_owned())
            }
            Action::MoveItem { to, .. } => {
                if let Some(item) = known.items.get_mut(&mapping.item_id) {
                    item.status = to.clone();
                }
            }
            Action::InsertPullRequest { pull_request } => {
                let placeholders = known.rows.iter().filter(|row| !row.id.is_stored()).count();
                known.rows.push(MappingRow {
                    id: MappingId(-1 - placeholders as i64),
                    item_id: mapping.item_id,
                    github_id: pull_request.github_id,
                    kind: Kind::PullRequest,
                    number: pull_request.address.number,
                    state: pull_request.state.as_str().to_owned(),
                    html_url: pull_request.url.clone(),
                    is_scheduled: true,
                });
            }
            Action::Link {
                github_id,
                relation,
                ..
            } => {
                let Some(pull_request) = known.row_with_github_id(*github_id).map(|row| row.id)
                else {
                    continue;
                };
                known
                    .links
                    .retain(|link| (link.issue, link.pull_request) != (mapping.id, pull_request));
                let link = Link {
                    issue: mapping.id,
                    pull_request,
                    item_id: mapping.item_id,
                    relation: *relation,
                };
                known.links.push(link);
            }
            Action::Unlink { row } => {
                known
                    .links
                    .retain(|link| (link.issue, link.pull_request) != (mapping.id, *row));
            }
            Action::MakeDue { row, .. } => change_row(known, *row, |row| row.is_scheduled = true),
            Action::Write { object, change } if *change != WriteReason::Decide => {
                let parentless = object.object_type == ObjectType::Item;
                let stored = ObjectState::Present {
                    status: Some(object.status.clone()),
                    without_parent: parentless,
                };
                known.objects.insert(object.key().uuid(), stored);
            }
            // Decided when it is pushed; the mapping's own facts, which no other plan reads.
            Action::Write { .. } | Action::RememberClose { .. } | Action::RecordMerge { .. } => {}
        }
    }
}

fn change_row(known: &mut Records, id: MappingId, change: impl FnOnce(&mut MappingRow)) {
    if let Some(row) = known.rows.iter_mut().find(|row| row.id == id) {
        change(row);
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetGithubId { row, from, to } => {
                write!(out, "GitHub id of row {row}: {from} => {to}")
            }
            Self::RecordState { from, to } => write!(out, "state: {} => {to}", Printable(from)),
            Self::RecordMerge {
                body,
                commit,
                merged_at,
            } => {
                out.write_str("merge data:")?;
                if body.is_some() {
                    out.write_str(" body")?;
                }
                if let Some(commit) = commit {
                    write!(out, " commit {}", Printable(commit))?;
                }
                if let Some(merged_at) = merged_at {
                    write!(out, " merged at {}", time(*merged_at))?;
                }
                Ok(())
            }
            Self::MoveItem { from, to } => {
                write!(out, "item status: {} => {to}", Printable(&from.0))
            }
            Self::RememberClose { closed_at } => {
                write!(out, "remember close event of {}", time(*closed_at))
            }
            Self::InsertPullRequest { pull_request } => {
                write!(
                    out,
                    "insert row for pull request {} ({})",
                    pull_request.address,
                    pull_request.state.as_str()
                )
            }
            Self::Link {
                pull_request,
                relation,
                from,
                ..
            } => {
                let from = from.map_or("none", Relation::as_str);
                write!(
                    out,
                    "link to pull request {pull_request}: {from} => {}",
                    relation.as_str()
                )
            }
            Self::Unlink { row } => write!(
                out,
                "link to row {row}: removed, GitHub no longer supports it"
            ),
            Self::MakeDue { row, from, to } => {
                write!(
                    out,
                    "row {row} becomes due: its state {} is {to} at GitHub",
                    Printable(from)
                )
            }
            Self::Write { object, change } => write!(out, "Weaviate {}: {change}", object.key()),
        }
    }
}

impl fmt::Display for WriteReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => out.write_str("create (missing there)"),
            Self::Update { from } => {
                let from = from.as_deref().unwrap_or("none");
                write!(out, "update (status there is {})", Printable(from))
            }
            Self::Replace => out.write_str("replace (Agira wrote it with the item's text)"),
            Self::Decide => out.write_str("decide when pushed (Weaviate could not be asked)"),
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

fn serialize_address<S: serde::Serializer>(
    pull_request: &PullRequestRef,
    out: S,
) -> Result<S::Ok, S::Error> {
    out.collect_str(&pull_request.address)
}

fn serialize_key<S: serde::Serializer>(object: &AgiraObject, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&object.key())
}

impl PartialEq for PullRequestRef {
    fn eq(&self, other: &Self) -> bool {
        self.github_id == other.github_id
            && self.state == other.state
            && self.relation == other.relation
    }
}

impl Eq for PullRequestRef {}

#[cfg(test)]
mod tests;
