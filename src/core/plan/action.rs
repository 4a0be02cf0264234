//! A plan: the changes that one mapping needs, with the notes that explain them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::super::agira_object::{AgiraObject, ObjectType};
use super::super::model::{Address, GithubId, ItemStatus, MappingId, PullRequestRef, Relation};
use super::super::note::{Attention, Kept, Note, Question};
use super::super::outbox::Outbox;
use super::super::text::{Printable, timestamp};

/// One change that a mapping needs. `from` is the old value, `to` is GitHub's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub enum Action {
    /// Correction of a wrong GitHub id.
    SetGithubId {
        /// The mapping itself, or the row of a pull request of the issue.
        row: MappingId,
        from: GithubId,
        to: GithubId,
    },
    /// New state of the issue or pull request, with Agira's activity row.
    RecordState { from: String, to: &'static str },
    /// Merge data that Agira's webhook would have stored. Only fields that are empty in the row
    /// have a value.
    RecordMerge {
        body: Option<String>,
        commit: Option<String>,
        /// Time of the merge (UTC, GitHub's clock).
        merged_at: Option<DateTime<Utc>>,
    },
    /// New status of the item, with Agira's activity row.
    MoveItem {
        /// The status that was read. If the item has another one when it is locked, a person was
        /// faster.
        from: ItemStatus,
        to: ItemStatus,
    },
    /// Record of a close event as handled.
    RememberClose {
        /// GitHub's `closedAt` (UTC).
        closed_at: DateTime<Utc>,
    },
    /// New mapping row for a pull request.
    InsertPullRequest {
        #[serde(serialize_with = "display")]
        pull_request: PullRequestRef,
    },
    /// New or changed link between the issue and a pull request.
    Link {
        #[serde(serialize_with = "display")]
        pull_request: Address,
        /// GitHub's id of the pull request, which its row has by then.
        github_id: GithubId,
        relation: Relation,
        /// The stored relation; `None` if there is no link yet.
        from: Option<Relation>,
    },
    /// Removal of a link that GitHub no longer confirms. The pull request's row stays.
    Unlink { row: MappingId },
    /// Mark on a pull request's row whose state differs on GitHub. Its own check records the state.
    MakeDue {
        row: MappingId,
        from: String,
        to: &'static str,
    },
    /// Object to write to Weaviate.
    Write {
        #[serde(serialize_with = "display")]
        object: Box<AgiraObject>,
        change: WriteReason,
    },
}

/// Reason to write an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the field is described with its variant")]
pub enum WriteReason {
    /// Weaviate does not have the object.
    Create,
    /// Weaviate has the object with another status, `from`.
    Update { from: Option<String> },
    /// Agira wrote the object, and `--replace-foreign` is set.
    Replace,
    /// The status in Weaviate is unknown; the push decides.
    Decide,
}

/// The changes that one mapping needs. An empty plan means that nothing has to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes, in the order in which they are made.
    pub actions: Vec<Action>,
    /// Answers of the decision table, in its order.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Leaves every object to a later push, because Weaviate cannot be asked.
    pub fn postpone_writes(&mut self) {
        for action in &mut self.actions {
            if let Action::Write { change, .. } = action {
                *change = WriteReason::Decide;
            }
        }
    }

    /// Returns the outbox with the objects to write; `None` if there are none.
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

    /// Keeps only the actions that write objects, for `push-weaviate`.
    pub fn only_writes(mut self) -> Self {
        self.actions
            .retain(|action| matches!(action, Action::Write { .. }));
        self.notes.retain(|note| note.question.is_about_objects());
        self
    }

    /// Counts the objects that Weaviate has with the right status.
    pub fn unchanged_objects(&self) -> usize {
        self.notes
            .iter()
            .filter(|note| note.question == Question::ObjectStatus && !note.answer)
            .count()
    }

    /// Notes the answer "yes".
    pub(super) fn yes(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, true, Attention::None, facts.into());
    }

    /// Notes the answer "no".
    pub(super) fn no(&mut self, question: Question, facts: impl Into<String>) {
        self.note(question, false, Attention::None, facts.into());
    }

    /// Notes a "yes" after which a person may wonder why nothing happens.
    pub(super) fn surprise(&mut self, question: Question, facts: String) {
        self.note(question, true, Attention::Surprising, facts);
    }

    /// Notes a "yes" because of which an item keeps its status.
    pub(super) fn keep(&mut self, question: Question, facts: String, kept: Kept) {
        self.surprise(question, facts);
        if let Some(note) = self.notes.last_mut() {
            note.kept = Some(kept);
        }
    }

    /// Notes a "yes" that a person has to correct.
    pub(super) fn warn(&mut self, question: Question, facts: String) {
        self.note(question, true, Attention::Warning, facts);
    }

    fn note(&mut self, question: Question, answer: bool, attention: Attention, facts: String) {
        self.notes.push(Note {
            question,
            answer,
            facts,
            attention,
            kept: None,
        });
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
                let body = body.as_ref().map(|_| "body".to_owned());
                let commit = commit.as_deref().map(Printable);
                let commit = commit.map(|commit| format!("commit {commit}"));
                let merged_at = merged_at.map(|time| format!("merged at {}", timestamp(time)));
                let parts = [body, commit, merged_at].into_iter().flatten();
                let parts: Vec<String> = parts.collect();
                write!(out, "merge data: {}", parts.join(", "))
            }
            Self::MoveItem { from, to } => {
                write!(out, "item status: {} => {to}", Printable(&from.0))
            }
            Self::RememberClose { closed_at } => {
                write!(out, "remember close event of {}", timestamp(*closed_at))
            }
            Self::InsertPullRequest { pull_request } => {
                let state = pull_request.state.as_str();
                write!(out, "insert row for pull request {pull_request} ({state})")
            }
            Self::Link {
                pull_request,
                relation,
                from,
                ..
            } => {
                let (from, to) = (from.map_or("none", Relation::as_str), relation.as_str());
                write!(out, "link to pull request {pull_request}: {from} => {to}")
            }
            Self::Unlink { row } => {
                write!(
                    out,
                    "link to row {row}: removed, GitHub no longer confirms it"
                )
            }
            Self::MakeDue { row, from, to } => {
                let from = Printable(from);
                write!(
                    out,
                    "row {row} becomes due: its state is {from}, but {to} on GitHub"
                )
            }
            Self::Write { object, change } => write!(out, "Weaviate {object}: {change}"),
        }
    }
}

impl fmt::Display for WriteReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => out.write_str("create (it is missing)"),
            Self::Update { from: None } => out.write_str("update (Weaviate has no status of it)"),
            Self::Update { from: Some(from) } => {
                write!(out, "update (Weaviate still has {})", Printable(from))
            }
            Self::Replace => out.write_str("replace (Agira wrote it with the item's text)"),
            Self::Decide => out.write_str("decide at the push (what Weaviate has is unknown)"),
        }
    }
}

fn display<S: Serializer>(value: &impl fmt::Display, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}
