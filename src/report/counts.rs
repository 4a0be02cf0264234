//! The parts of a report. The names are those of the JSON report, on which scripts depend.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::explanation::Explanation;
use super::subject::Subject;
use crate::core::agira_object::ObjectType;
use crate::core::model::{Kind, Snapshot};
use crate::core::plan::{Action, Plan, WriteReason};

/// Result of a run for one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The plan was applied.
    Synced,
    /// There was nothing to do.
    Unchanged,
    /// The mapping failed; its error gives the reason.
    Failed,
    /// The claim was released, and nothing else was changed.
    GivenBack,
    /// The plan was printed (`--dry-run`).
    Planned,
}

/// An object that was written to Weaviate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub object_type: ObjectType,
    pub change: Change,
}

/// The effect of a write on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Weaviate did not have it.
    New,
    /// Weaviate had it with another status.
    Updated,
    /// Agira had written it.
    Replaced,
}

impl Written {
    /// Describes the write of an object; `None` if the push decides about it.
    pub fn new(object_type: ObjectType, reason: &WriteReason) -> Option<Self> {
        let change = match reason {
            WriteReason::Create => Change::New,
            WriteReason::Update { .. } => Change::Updated,
            WriteReason::Replace => Change::Replaced,
            WriteReason::Decide => return None,
        };
        Some(Self {
            object_type,
            change,
        })
    }
}

/// Next attempt of a mapping that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Only after a change on GitHub, or if a person asks for it.
    Parked,
    /// At this time (UTC).
    At(DateTime<Utc>),
}

/// One mapping of the report.
#[derive(Debug, Serialize)]
pub struct MappingReport<'a> {
    /// Primary key; null for a row that a dry run would insert.
    pub mapping_id: Option<i64>,
    pub item_id: i64,
    /// `Issue` or `PR`.
    pub kind: Kind,
    /// `owner/name`; null when the mapping has no usable address.
    pub repository: Option<String>,
    pub number: i32,
    pub outcome: Outcome,
    /// Actions that were applied, or would be.
    pub actions: &'a [Action],
    /// Reason why the mapping failed or was released.
    pub error: Option<&'a str>,
    /// Weaviate's reasons for rejecting objects of the mapping, which are delivered again later.
    pub delivery_error: Option<&'a str>,
    /// Facts and answers behind the actions; only in a dry run of named mappings.
    pub explanation: Option<&'a Explanation>,
    /// Name of the mapping for a person, with its item.
    #[serde(skip)]
    pub subject: Subject,
    /// The plan, and GitHub's facts behind it.
    #[serde(skip)]
    pub plan: Option<(&'a Plan, &'a Snapshot)>,
    /// Objects that Weaviate took.
    #[serde(skip)]
    pub written: &'a [Written],
    /// Number of objects that wait, because Weaviate did not answer.
    #[serde(skip)]
    pub waiting: u64,
    /// The next attempt after a failure.
    #[serde(skip)]
    pub next: Option<Next>,
}

impl<'a> MappingReport<'a> {
    /// Returns an entry without actions, error and explanation.
    pub fn new(subject: &Subject, outcome: Outcome) -> Self {
        Self {
            mapping_id: subject.mapping.is_stored().then_some(subject.mapping.0),
            item_id: subject.item.0,
            kind: subject.kind,
            repository: subject.repository(),
            number: subject.number(),
            outcome,
            actions: &[],
            error: None,
            delivery_error: None,
            explanation: None,
            subject: subject.clone(),
            plan: None,
            written: &[],
            waiting: 0,
            next: None,
        }
    }

    /// Adds the plan, and GitHub's facts behind it.
    pub fn with_plan(self, plan: &'a Plan, snapshot: &'a Snapshot) -> Self {
        Self {
            actions: &plan.actions,
            plan: Some((plan, snapshot)),
            ..self
        }
    }

    /// Adds the reason why the mapping failed or was released.
    pub fn because(self, reason: &'a str) -> Self {
        Self {
            error: Some(reason),
            ..self
        }
    }
}

/// Requests to Weaviate and the results of its objects.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WeaviateCounts {
    pub requests: u64,
    /// Objects that were missing.
    pub created: u64,
    /// Objects that had another status.
    pub updated: u64,
    /// Objects that needed no write.
    pub unchanged: u64,
    /// Objects that Weaviate rejected. They wait for their next delivery, too.
    pub failed: u64,
    /// Objects of this run that wait in outboxes, because Weaviate did not answer.
    pub pending: u64,
    /// Vectorizer of the class, `none` without one; null if the run did not read the class.
    /// `status` shows what the last run that read it saw.
    pub vectorizer: Option<String>,
}

impl WeaviateCounts {
    /// Counts an object that Weaviate accepted.
    pub fn count_write(&mut self, reason: &WriteReason) {
        match reason {
            WriteReason::Create => self.created += 1,
            WriteReason::Update { .. } | WriteReason::Replace | WriteReason::Decide => {
                self.updated += 1;
            }
        }
    }
}

/// Requests to GitHub and the state of the GraphQL budget.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GithubCounts {
    pub requests: u64,
    /// GraphQL points that this run spent.
    pub points: u64,
    /// GraphQL points that are left.
    pub remaining: Option<i64>,
    /// Time when the budget is refilled (UTC).
    pub reset_at: Option<DateTime<Utc>>,
}

/// Statements sent to PostgreSQL.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DatabaseCounts {
    pub statements: u64,
}
