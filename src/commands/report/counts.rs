//! The parts of a report.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::core::model::Kind;
use crate::core::plan::WriteReason;

/// What became of one mapping; the names are those of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its plan was carried out.
    Synced,
    /// There was nothing to do.
    Unchanged,
    /// It failed; its error says why.
    Failed,
    /// It was given back as it was.
    GivenBack,
    /// Its plan was printed (`--dry-run`).
    Planned,
}

/// One mapping of the report.
#[derive(Debug, Serialize)]
pub struct MappingReport {
    /// The mapping; null for a row that a dry run would insert.
    pub mapping_id: Option<i64>,
    /// Its item.
    pub item_id: i64,
    /// `Issue` or `PR`.
    pub kind: Kind,
    /// `owner/name`; null when its address cannot be read.
    pub repository: Option<String>,
    /// Number in it.
    pub number: i32,
    /// What became of it.
    pub outcome: Outcome,
    /// What was done, or would be.
    pub actions: Vec<Value>,
    /// Why it failed, or was given back.
    pub error: Option<String>,
    /// In a dry run of named mappings: everything that led to the actions.
    pub explanation: Option<Value>,
}

/// What Weaviate was asked and what it took.
#[derive(Debug, Default, Serialize)]
pub struct WeaviateCounts {
    /// Requests sent.
    pub requests: u64,
    /// Objects that were missing.
    pub created: u64,
    /// Objects whose status was another one.
    pub updated: u64,
    /// Objects that were left alone.
    pub unchanged: u64,
    /// Objects that Weaviate rejected.
    pub failed: u64,
    /// Objects that wait in outboxes of this run.
    pub pending: u64,
}

impl WeaviateCounts {
    /// Counts an object that Weaviate took.
    pub fn written(&mut self, change: &WriteReason) {
        match change {
            WriteReason::Create => self.created += 1,
            WriteReason::Update { .. } | WriteReason::Replace | WriteReason::Decide => {
                self.updated += 1
            }
        }
    }
}

/// What GitHub was asked.
#[derive(Debug, Default, Serialize)]
pub struct GithubCounts {
    /// Requests sent.
    pub requests: u64,
    /// GraphQL points spent.
    pub points: u64,
    /// GraphQL points left.
    pub remaining: Option<i64>,
    /// When they are filled up again (UTC).
    pub reset_at: Option<DateTime<Utc>>,
}

/// What PostgreSQL was asked.
#[derive(Debug, Default, Serialize)]
pub struct DatabaseCounts {
    /// Statements sent.
    pub statements: u64,
}
