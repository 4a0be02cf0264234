//! Everything that a plan is made from.

use chrono::{DateTime, Duration, Utc};

use super::super::model::{Item, Mapping, Snapshot};
use super::super::records::Records;

/// The operator's choices, from the policy flags.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Statuses that a closed issue does not change, besides the protected ones.
    pub keep_status: Vec<String>,
    /// The only close reasons that move items; `None` allows all.
    pub close_reasons: Option<Vec<String>>,
    /// Time (UTC) before which close events are handled without moving the item.
    pub ignore_closed_before: Option<DateTime<Utc>>,
    /// Permission to replace issue and pull request objects that Agira wrote.
    pub replace_foreign: bool,
    /// Shortest time until a healthy mapping is rechecked.
    pub recheck_after: Duration,
    /// Failures after which a mapping is parked.
    pub max_attempts: i32,
}

/// One mapping with everything that its plan depends on.
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct PlanInput<'a> {
    pub mapping: &'a Mapping,
    /// The mapping's item, as earlier plans of the same slice leave it.
    pub item: &'a Item,
    pub snapshot: &'a Snapshot,
    /// Records of the slice, as earlier plans leave them.
    pub records: &'a Records,
    pub policy: &'a Policy,
}
