//! Plans the mappings of a slice; each plan sees the changes of the plans before it. Pure: this
//! step reads and writes nothing.

use chrono::{DateTime, Utc};

use super::job::Scope;
use super::observe::{Dropped, Observed, Rest, Vectors};
use super::state::Run;
use crate::core::failure::MappingError;
use crate::core::model::Snapshot;
use crate::core::plan::{Plan, PlanInput, Policy, carry, plan};
use crate::core::records::Records;
use crate::db::Claimed;
use crate::report::Subject;

/// A mapping with its plan.
pub struct PlannedMapping {
    pub claimed: Claimed,
    pub snapshot: Snapshot,
    pub plan: Plan,
}

impl PlannedMapping {
    /// Returns the name of the mapping, by the address that GitHub returned.
    pub fn subject(&self) -> Subject {
        Subject::at(
            &self.claimed.mapping,
            &self.claimed.item,
            &self.snapshot.address,
        )
    }

    /// Returns the mapping as one that dropped out of the steps.
    pub fn drop(self, error: MappingError) -> Dropped {
        Dropped {
            subject: self.subject(),
            claimed: self.claimed,
            error,
            updated_at: Some(self.snapshot.updated_at),
        }
    }
}

/// A slice with its plans.
pub struct Planned {
    pub mappings: Vec<PlannedMapping>,
    /// Records as the plans leave them.
    pub records: Records,
    pub vectors: Vectors,
    pub rest: Rest,
}

/// Plans a slice.
pub fn slice(run: &Run, observed: Observed) -> Planned {
    let policy = match run.scope {
        Scope::Everything => run.policy.clone(),
        // `push-weaviate` moves no items, so that an item's object has the item's current status.
        Scope::WeaviateOnly => Policy {
            ignore_closed_before: Some(DateTime::<Utc>::MAX_UTC),
            ..run.policy.clone()
        },
    };
    let Observed {
        snapshots,
        mut records,
        vectors,
        rest,
    } = observed;
    let mut mappings = Vec::with_capacity(snapshots.len());
    for (mut claimed, snapshot) in snapshots {
        if let Some(item) = records.items.get(&claimed.item.id) {
            claimed.item = item.clone();
        }
        let Claimed { mapping, item } = &claimed;
        let mut plan = plan(&PlanInput {
            mapping,
            item,
            snapshot: &snapshot,
            records: &records,
            policy: &policy,
        });
        if run.scope == Scope::WeaviateOnly {
            plan = plan.only_writes();
        }
        carry(&mut records, mapping, &plan);
        mappings.push(PlannedMapping {
            claimed,
            snapshot,
            plan,
        });
    }
    Planned {
        mappings,
        records,
        vectors,
        rest,
    }
}
