//! Applies the plans of mappings together, in one short transaction without HTTP in it (design.md,
//! "The pipeline").

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use postgres::Error;
use postgres::types::Json;
use serde::{Deserialize, Serialize};

use super::change::{Change, Sets};
use super::claim::Lease;
use super::error::{classify, describe, ends_session, is_lock_timeout};
use super::session::{Db, Repeatable};
use super::value::Row;
use crate::core::failure::DatabaseFailure;
use crate::core::model::*;

/// Replaces the session's `lock_timeout` in a transaction that does not wait.
const NO_PATIENCE: &str = "10ms";

/// Replaces the session's `statement_timeout` for several plans together: one that is too slow is
/// found among them, and the others do not pay a minute each time.
const TOGETHER: &str = "10s";

/// The reason for the later plans of an item.
pub const BEHIND: &str = "an earlier mapping of its item was not applied";

/// The effect of plans that were applied together.
#[derive(Debug, Default)]
pub struct ApplyOutcome {
    /// One result for each plan, in their order: whether its item was moved (`Some(false)` when a
    /// person changed the status first), or the reason why nothing of the plan was applied.
    pub plans: Vec<Result<Option<bool>, ApplyError>>,
    /// Rows that were inserted for pull requests, which this run holds.
    pub inserted: Vec<MappingId>,
    /// Number of links that were added or changed.
    pub linked: u64,
}

/// The reason why nothing of a plan was applied.
#[derive(Debug)]
pub enum ApplyError {
    /// The plan is stale: this run lost its claim, or another session changed data that the plan
    /// depends on. The mapping is released.
    Stale(String),
    /// Another session changes the same rows. The mapping is released if repeating does not help.
    Conflict(String),
    /// Another session keeps rows of the plan locked. The mapping is released if it does so for
    /// too long.
    Locked(String),
    /// Another session keeps a whole table locked, so that the same plans in parts get no further.
    TableLocked(String),
    /// PostgreSQL refuses a change of this plan.
    Refused(String),
    /// PostgreSQL cannot be reached, or refuses every change.
    Lost(Error),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        match classify(&error) {
            DatabaseFailure::Lost | DatabaseFailure::Forbidden => Self::Lost(error),
            DatabaseFailure::Conflict => {
                let kind = match is_lock_timeout(&error) {
                    true => Self::Locked,
                    false => Self::Conflict,
                };
                kind(format!(
                    "another session is working on its rows: {}",
                    describe(&error)
                ))
            }
            DatabaseFailure::Slow | DatabaseFailure::Refused => {
                Self::Refused(format!("the database refuses it: {}", describe(&error)))
            }
        }
    }
}

impl Repeatable for ApplyError {
    fn conflict(&self) -> Option<String> {
        match self {
            Self::Conflict(reason) => Some(reason.clone()),
            // The wait was long enough.
            Self::Locked(_)
            | Self::TableLocked(_)
            | Self::Stale(_)
            | Self::Refused(_)
            | Self::Lost(_) => None,
        }
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Lost(error) if ends_session(error))
    }
}

/// A row that a plan changes, as the plan knew it.
#[derive(Debug, Serialize)]
struct Wanted<'a> {
    id: MappingId,
    /// The item of the plan's own mapping; `None` for another row, which may have changed.
    item: Option<ItemId>,
    closed_at: Option<DateTime<Utc>>,
    state: Option<&'a str>,
    /// The plan changes the item, or refers to it.
    needs_item: bool,
}

/// A row of [`Wanted`] that exists and has not changed.
#[derive(Debug, Deserialize)]
struct Found {
    id: i64,
    is_own: bool,
    /// No other session has locked the row, or the item that the plan needs.
    is_free: bool,
}

impl<'a> Wanted<'a> {
    fn own(change: &'a Change<'_>) -> Self {
        let mapping = &change.claimed.mapping;
        Self {
            id: mapping.id,
            item: Some(mapping.item_id),
            closed_at: mapping.handled_closed_at,
            state: Some(&mapping.state),
            needs_item: change.needs_item(),
        }
    }

    fn other(id: MappingId) -> Self {
        Self {
            id,
            item: None,
            closed_at: None,
            state: None,
            needs_item: false,
        }
    }
}

impl Db {
    /// Applies plans, all in one transaction. Those that are stale or whose rows another session has
    /// locked drop out, together with the later plans of their items. With `waits`, none is locked
    /// that is free within the session's `lock_timeout`. An error leaves the database unchanged.
    pub fn apply(
        &mut self,
        changes: &[Change<'_>],
        waits: bool,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<ApplyOutcome, ApplyError> {
        self.transaction(|db| {
            let found = db.lock(changes, waits, lease)?;
            let mut outcome = ApplyOutcome {
                plans: admitted(changes, &found),
                ..ApplyOutcome::default()
            };
            let mut sets = Sets::default();
            // Agira sorts activities by time alone: each plan and its move have times of their own.
            let mut at = now;
            for (change, plan) in changes.iter().zip(&outcome.plans) {
                if plan.is_ok() {
                    sets.add(change, at);
                    at += Duration::microseconds(2);
                }
            }
            let moved = db.write_sets(&sets, &mut outcome, now, lease)?;
            for (change, plan) in changes.iter().zip(&mut outcome.plans) {
                if let Ok(is_moved) = plan {
                    let item = change.claimed.mapping.item_id;
                    *is_moved = change.moves_item().then(|| moved.contains(&item));
                }
            }
            Ok(outcome)
        })
    }

    /// Locks the rows that the plans change, and the items that they need; returns the rows that
    /// have not changed since the plans were made. Rows come in the order of their ids and before
    /// the items, so that two runs that wait do not wait for each other.
    fn lock(
        &mut self,
        changes: &[Change<'_>],
        waits: bool,
        lease: Lease,
    ) -> Result<Vec<Found>, ApplyError> {
        let own = changes.iter().map(Wanted::own);
        let others = changes.iter().flat_map(Change::other_rows);
        let wanted: Vec<Wanted<'_>> = own.chain(others.map(Wanted::other)).collect();
        let skip = if waits { "" } else { "SKIP LOCKED" };
        let unchanged =
            "m.id = t.id AND (t.item IS NULL OR m.worker_claim = $2 AND m.item_id = t.item
                AND m.worker_closed_at IS NOT DISTINCT FROM t.closed_at AND m.state = t.state)";
        let sql = format!(
            "/* apply_lock */ WITH t AS MATERIALIZED (
                SELECT *, item IS NOT NULL AS is_own
                FROM jsonb_to_recordset($1) AS t(id bigint, item bigint, closed_at timestamptz, state text, needs_item bool)
             ), free AS MATERIALIZED (
                SELECT t.* FROM t JOIN core_externalissuemapping m ON {unchanged} ORDER BY m.id FOR UPDATE OF m {skip}
             ), items AS MATERIALIZED (
                SELECT i.id FROM core_item i WHERE i.id = ANY(ARRAY(SELECT item FROM free WHERE needs_item))
                ORDER BY i.id FOR NO KEY UPDATE {skip}
             ), settings AS MATERIALIZED (
                SELECT set_config(name, coalesce(value, current_setting(name)), true) AS value
                FROM (VALUES ('lock_timeout', $3), ('statement_timeout', $4)) AS s(name, value)
             )
             SELECT json_build_object('id', t.id, 'is_own', t.is_own, 'is_free',
                EXISTS (SELECT FROM free WHERE free.id = t.id AND free.is_own = t.is_own) AND (NOT t.needs_item
                    OR EXISTS (SELECT FROM items WHERE items.id = t.item)
                    OR NOT EXISTS (SELECT FROM core_item i WHERE i.id = t.item)))
             FROM t JOIN core_externalissuemapping m ON {unchanged} WHERE (SELECT count(value) FROM settings) > 0"
        );
        let patience = (!waits).then_some(NO_PATIENCE);
        let time = (changes.len() > 1).then_some(TOGETHER);
        let result = self.query(&sql, &[&Json(&wanted), &lease.run, &patience, &time]);
        let rows = result.map_err(|error| match ApplyError::from(error) {
            // No row was waited for.
            ApplyError::Locked(reason) if !waits => ApplyError::TableLocked(reason),
            error => error,
        })?;
        Ok(rows.iter().map(Row::decoded).collect::<Result<_, _>>()?)
    }

    /// Makes all changes; returns the items that were moved.
    fn write_sets(
        &mut self,
        sets: &Sets<'_>,
        outcome: &mut ApplyOutcome,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<HashSet<ItemId>, ApplyError> {
        self.unlink(sets)?;
        self.set_github_ids(sets)?;
        outcome.inserted = self.insert_pull_requests(sets, now, lease)?;
        outcome.linked = self.link(sets, now)?;
        if outcome.linked < sets.links.len() as u64 {
            let reason =
                "a pull request has no row, because the plan that was to insert it was not applied";
            return Err(ApplyError::Stale(reason.to_owned()));
        }
        if !sets.marks.is_empty() {
            self.mark(&sets.marks, now)?;
        }
        let moved = self.move_items(sets)?;
        self.record(sets)?;
        Ok(moved)
    }
}

/// Returns for each plan the reason why it cannot be applied now. A later plan of an item depends on
/// the earlier ones.
fn admitted(changes: &[Change<'_>], found: &[Found]) -> Vec<Result<Option<bool>, ApplyError>> {
    let found: HashMap<(bool, i64), bool> = found
        .iter()
        .map(|row| ((row.is_own, row.id), row.is_free))
        .collect();
    let mut dropped: HashMap<ItemId, fn(String) -> ApplyError> = HashMap::new();
    let plans = changes.iter().map(|change| {
        let Mapping { id, item_id, .. } = change.claimed.mapping;
        let is_free = |is_own, id: MappingId| found.get(&(is_own, id.0)).copied();
        let is_held = || {
            let mut others = change.other_rows();
            others.any(|row| is_free(false, row) == Some(false))
        };
        let (error, reason) = match (dropped.get(&item_id), is_free(true, id)) {
            (Some(error), _) => (*error, BEHIND),
            (None, None) => {
                let reason = "its row was changed or taken over in the meantime";
                (ApplyError::Stale as fn(String) -> ApplyError, reason)
            }
            (None, Some(true)) if !is_held() => return Ok(None),
            (None, Some(_)) => {
                let reason = "another session is working on its rows, and keeps them locked";
                (ApplyError::Locked as fn(String) -> ApplyError, reason)
            }
        };
        dropped.insert(item_id, error);
        Err(error(reason.to_owned()))
    });
    plans.collect()
}
