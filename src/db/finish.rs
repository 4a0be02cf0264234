//! Records the start, success or failure of checks, and deliveries; one statement records a whole
//! slice.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use postgres::types::Json;
use serde::Serialize;
use uuid::Uuid;

use super::row::{DELIVERY_AT, HELD, column, numbers};
use super::session::{Db, Parameters, leave_to_expire};
use crate::core::model::MappingId;

/// A mapping whose check succeeded.
#[derive(Debug, Clone, Serialize)]
pub struct SuccessRecord {
    /// Mapping that the run holds.
    pub id: MappingId,
    /// The due time at the claim (UTC). A later mark has set another due time, which stays.
    pub due_at: Option<DateTime<Utc>>,
    /// Time of the next recheck (UTC).
    pub recheck_at: DateTime<Utc>,
    /// GitHub's `updatedAt` (UTC).
    pub external_updated_at: DateTime<Utc>,
    /// Weaviate has all objects of the mapping.
    pub pushed: bool,
}

/// An outbox that Weaviate did not take as a whole, and that waits for its next delivery.
#[derive(Debug, Clone, Serialize)]
pub struct DelayRecord {
    /// Mapping that the run holds.
    pub id: MappingId,
    /// Rejected deliveries of this outbox, including this one.
    pub attempts: i32,
    /// Weaviate's reasons, which `status` shows; `None` if it has rejected nothing this time: those
    /// of an earlier delivery stay.
    pub error: Option<String>,
    /// Time of the next delivery (UTC).
    pub at: DateTime<Utc>,
}

/// A mapping whose check failed.
#[derive(Debug, Clone, Serialize)]
pub struct FailureRecord {
    /// Mapping that the run holds.
    pub id: MappingId,
    /// Failed attempts since the last success, including this one.
    pub attempts: i32,
    /// The reason, which `status` shows.
    pub error: String,
    /// Time of the next attempt (UTC); without this and a recheck time, the mapping is parked.
    pub due_at: Option<DateTime<Utc>>,
    /// Time of the next recheck (UTC) of a mapping that waits for its repository.
    pub recheck_at: Option<DateTime<Utc>>,
    /// GitHub's `updatedAt` (UTC), when the fetch succeeded.
    pub external_updated_at: Option<DateTime<Utc>>,
    /// GitHub was asked, so that changes until then are not marked again.
    pub was_checked: bool,
}

impl Db {
    /// Records that the fetch of these mappings is about to begin. Otherwise, if the fetch killed
    /// the process, every later poll would mark the same change again. `checked_at` is GitHub's
    /// clock (UTC).
    pub fn record_check_start(
        &mut self,
        run: Uuid,
        ids: &[MappingId],
        checked_at: DateTime<Utc>,
    ) -> Result<()> {
        let sql = format!(
            "/* record_check_start */ UPDATE core_externalissuemapping m SET worker_checked_at = $3
             WHERE {HELD} FOR UPDATE SKIP LOCKED))"
        );
        self.write(
            "recording the start of a check",
            &sql,
            &[&run, &numbers(ids), &checked_at],
        )
        .map(drop)
    }

    /// Records successes and ends the claims. `checked_at` is GitHub's clock at the check (UTC). If
    /// this fails, the claims expire, and the mappings are checked again.
    pub fn record_success(
        &mut self,
        run: Uuid,
        records: &[SuccessRecord],
        now: DateTime<Utc>,
        checked_at: DateTime<Utc>,
    ) -> Result<()> {
        let ids = column(records, |one| one.id.0);
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET
                worker_claim = NULL, worker_claimed_until = NULL, worker_attempts = 0, worker_error = NULL, worker_error_at = NULL,
                last_synced_at = $4, worker_checked_at = $5, worker_external_updated_at = t.external_updated_at,
                worker_recheck_at = t.recheck_at,
                worker_due_at = CASE WHEN m.worker_due_at IS DISTINCT FROM t.due_at THEN m.worker_due_at END,
                worker_outbox = CASE WHEN NOT t.pushed THEN m.worker_outbox END,
                worker_delivery_attempts = CASE WHEN t.pushed THEN 0 ELSE m.worker_delivery_attempts END,
                worker_delivery_error = CASE WHEN NOT t.pushed THEN m.worker_delivery_error END,
                worker_delivery_at = CASE WHEN NOT t.pushed THEN {DELIVERY_AT} END,
                worker_pushed_at = CASE WHEN t.pushed THEN $4 ELSE m.worker_pushed_at END
             FROM jsonb_to_recordset($3) AS t(id bigint, due_at timestamptz, recheck_at timestamptz,
                external_updated_at timestamptz, pushed bool)
             WHERE m.id = t.id AND {HELD} {lock})) RETURNING m.id"
            )
        };
        let doing = "recording the success of mappings";
        let parameters: Parameters<'_> = &[&run, &ids, &Json(records), &now, &checked_at];
        self.end_claims("record_success", doing, sql, parameters)
    }

    /// Records failures and ends the claims. If this fails, the claims expire, and the mappings
    /// become suspects.
    pub fn record_failure(
        &mut self,
        run: Uuid,
        records: &[FailureRecord],
        now: DateTime<Utc>,
        checked_at: DateTime<Utc>,
    ) -> Result<()> {
        let ids = column(records, |one| one.id.0);
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET
                worker_claim = NULL, worker_claimed_until = NULL, worker_attempts = t.attempts, worker_error = t.error,
                worker_error_at = $4, worker_due_at = t.due_at, worker_recheck_at = t.recheck_at, worker_delivery_at = {DELIVERY_AT},
                worker_checked_at = CASE WHEN t.was_checked THEN $5 ELSE m.worker_checked_at END,
                worker_external_updated_at = coalesce(t.external_updated_at, m.worker_external_updated_at)
             FROM jsonb_to_recordset($3) AS t(id bigint, attempts int, error text, due_at timestamptz, recheck_at timestamptz,
                external_updated_at timestamptz, was_checked bool)
             WHERE m.id = t.id AND {HELD} {lock})) RETURNING m.id"
            )
        };
        let doing = "recording the failure of mappings";
        let parameters: Parameters<'_> = &[&run, &ids, &Json(records), &now, &checked_at];
        self.end_claims("record_failure", doing, sql, parameters)
    }

    /// Records when the next delivery of outboxes comes; the claims go on. A row that another
    /// session has locked keeps its time.
    pub fn record_delays(&mut self, run: Uuid, records: &[DelayRecord]) -> Result<()> {
        let ids = column(records, |one| one.id.0);
        let sql = format!(
            "/* record_delays */ UPDATE core_externalissuemapping m SET worker_delivery_attempts = t.attempts,
                worker_delivery_error = coalesce(t.error, m.worker_delivery_error), worker_delivery_at = t.at
             FROM jsonb_to_recordset($3) AS t(id bigint, attempts int, error text, at timestamptz)
             WHERE m.id = t.id AND {HELD} FOR UPDATE SKIP LOCKED))"
        );
        let doing = "recording what Weaviate rejected";
        self.write(doing, &sql, &[&run, &ids, &Json(records)])
            .map(drop)
    }

    /// Records that outboxes were delivered, and ends the claims; due times and attempts stay.
    /// Mappings in `stale` lose an outbox that no longer agrees with their rows, and are marked. If
    /// this fails, later runs deliver the outboxes again.
    pub fn record_delivery(
        &mut self,
        run: Uuid,
        ids: &[MappingId],
        stale: &[MappingId],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (dropped, delivered): (Vec<i64>, Vec<i64>) = ids
            .iter()
            .map(|id| id.0)
            .partition(|id| stale.contains(&MappingId(*id)));
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET worker_claim = NULL, worker_claimed_until = NULL,
                worker_outbox = NULL, worker_delivery_attempts = 0, worker_delivery_error = NULL, worker_delivery_at = NULL,
                worker_pushed_at = coalesce($3, m.worker_pushed_at)
             WHERE {HELD} {lock})) RETURNING m.id"
            )
        };
        let doing = "recording deliveries to Weaviate";
        if !delivered.is_empty() {
            self.end_claims(
                "record_delivery",
                doing,
                sql,
                &[&run, &delivered, &Some(now)],
            )?;
        }
        if !stale.is_empty() {
            let drop = format!("/* drop_outbox */ {}", sql("FOR UPDATE"));
            // A dropped outbox without a mark would not be planned again before the next recheck.
            let result = self.transaction(|db| {
                db.query(&drop, &[&run, &dropped, &None::<DateTime<Utc>>])?;
                db.mark(stale, now)
            });
            leave_to_expire(result).with_context(|| format!("{doing} failed"))?;
        }
        Ok(())
    }
}
