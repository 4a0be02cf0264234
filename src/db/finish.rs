//! What is recorded of a look, for a whole slice in one statement each: that it begins, success, failure, or only what
//! concerns Weaviate.

use anyhow::Context;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::claim::HELD;
use super::{Access, Db, describe, is_conflict};
use crate::core::model::MappingId;

/// A mapping that was looked at and dealt with.
#[derive(Debug, Clone)]
pub struct SuccessRecord {
    /// The mapping.
    pub id: MappingId,
    /// The due time that was claimed (UTC); a mark that was made meanwhile has another one, and stays.
    pub due_at: Option<DateTime<Utc>>,
    /// When to look at it without a reason (UTC).
    pub recheck_at: DateTime<Utc>,
    /// GitHub's `updatedAt` (UTC).
    pub external_updated_at: DateTime<Utc>,
    /// Weaviate has everything of it.
    pub pushed: bool,
}

/// A mapping that failed.
#[derive(Debug, Clone)]
pub struct FailureRecord {
    /// The mapping.
    pub id: MappingId,
    /// Failed attempts since the last success, this one included.
    pub attempts: i32,
    /// What happened.
    pub error: String,
    /// When to try again (UTC); `None`: parked.
    pub due_at: Option<DateTime<Utc>>,
    /// GitHub's `updatedAt` (UTC), when the look itself succeeded.
    pub external_updated_at: Option<DateTime<Utc>>,
    /// GitHub was asked for it, and whatever had changed there until then is what failed.
    pub was_checked: bool,
    /// Weaviate has answered for everything of it, also by rejecting it.
    pub outbox_done: bool,
}

impl Db {
    /// Takes down that these mappings are looked at now, `seen_at` by GitHub's clock (UTC): a look that kills this process
    /// takes down nothing more, and the change that it was made for must not be news again and again.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn record_check_start(
        &mut self,
        run: Uuid,
        ids: &[MappingId],
        seen_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let sql = format!(
            "UPDATE core_externalissuemapping m SET worker_checked_at = $3 WHERE {HELD} FOR UPDATE SKIP LOCKED))"
        );
        self.execute(&sql, &[&run, &ids, &seen_at])
            .context("recording that mappings are looked at failed")?;
        Ok(())
    }

    /// Ends the claims of mappings that were dealt with. `seen_at`: GitHub's clock when it was asked (UTC).
    ///
    /// # Errors
    /// When PostgreSQL fails; the claims then expire, and the mappings are looked at again.
    pub fn record_success(
        &mut self,
        run: Uuid,
        finished: &[SuccessRecord],
        now: DateTime<Utc>,
        seen_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let ids: Vec<i64> = finished.iter().map(|one| one.id.0).collect();
        let due: Vec<Option<DateTime<Utc>>> = finished.iter().map(|one| one.due_at).collect();
        let recheck: Vec<DateTime<Utc>> = finished.iter().map(|one| one.recheck_at).collect();
        let updated: Vec<DateTime<Utc>> =
            finished.iter().map(|one| one.external_updated_at).collect();
        let pushed: Vec<bool> = finished.iter().map(|one| one.pushed).collect();
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET
                worker_claim = NULL, worker_claimed_until = NULL, worker_attempts = 0, worker_error = NULL, worker_error_at = NULL,
                last_synced_at = $7, worker_checked_at = $8, worker_external_updated_at = t.updated,
                worker_recheck_at = t.recheck,
                worker_due_at = CASE WHEN m.worker_due_at IS DISTINCT FROM t.due THEN m.worker_due_at END,
                worker_outbox = CASE WHEN NOT t.pushed THEN m.worker_outbox END,
                worker_pushed_at = CASE WHEN t.pushed THEN $7 ELSE m.worker_pushed_at END
             FROM unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bool[])
                AS t(id, due, recheck, updated, pushed)
             WHERE m.id = t.id AND {HELD} {lock})) RETURNING m.id"
            )
        };
        self.end_claims(
            sql,
            &[
                &run, &ids, &due, &recheck, &updated, &pushed, &now, &seen_at,
            ],
        )
        .context("recording the success of mappings failed")
    }

    /// Ends the claims of mappings that failed.
    ///
    /// # Errors
    /// When PostgreSQL fails; the claims then expire, and the attempts are counted as unfinished.
    pub fn record_failure(
        &mut self,
        run: Uuid,
        failed: &[FailureRecord],
        now: DateTime<Utc>,
        seen_at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let ids: Vec<i64> = failed.iter().map(|one| one.id.0).collect();
        let attempts: Vec<i32> = failed.iter().map(|one| one.attempts).collect();
        let errors: Vec<&str> = failed.iter().map(|one| one.error.as_str()).collect();
        let due: Vec<Option<DateTime<Utc>>> = failed.iter().map(|one| one.due_at).collect();
        let updated: Vec<Option<DateTime<Utc>>> =
            failed.iter().map(|one| one.external_updated_at).collect();
        let looked: Vec<bool> = failed.iter().map(|one| one.was_checked).collect();
        let done: Vec<bool> = failed.iter().map(|one| one.outbox_done).collect();
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET
                worker_claim = NULL, worker_claimed_until = NULL, worker_attempts = t.attempts, worker_error = t.error,
                worker_error_at = $9, worker_due_at = t.due, worker_recheck_at = NULL,
                worker_checked_at = CASE WHEN t.looked THEN $10 ELSE m.worker_checked_at END,
                worker_external_updated_at = coalesce(t.updated, m.worker_external_updated_at),
                worker_outbox = CASE WHEN NOT t.done THEN m.worker_outbox END
             FROM unnest($2::bigint[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bool[], $8::bool[])
                AS t(id, attempts, error, due, updated, looked, done)
             WHERE m.id = t.id AND {HELD} {lock})) RETURNING m.id"
            )
        };
        self.end_claims(
            sql,
            &[
                &run, &ids, &attempts, &errors, &due, &updated, &looked, &done, &now, &seen_at,
            ],
        )
        .context("recording the failure of mappings failed")
    }

    /// Ends the claims of mappings whose outbox was delivered: only outbox, `worker_pushed_at` and claim are written.
    /// Those in `outdated` are made due, because what waited is no longer what their rows say.
    ///
    /// # Errors
    /// When PostgreSQL fails; delivering again is harmless.
    pub fn record_delivery(
        &mut self,
        run: Uuid,
        ids: &[MappingId],
        outdated: &[MappingId],
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let (dropped, delivered): (Vec<i64>, Vec<i64>) = ids
            .iter()
            .map(|id| id.0)
            .partition(|id| outdated.contains(&MappingId(*id)));
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET worker_claim = NULL, worker_claimed_until = NULL,
                worker_outbox = NULL, worker_pushed_at = coalesce($3, m.worker_pushed_at)
             WHERE {HELD} {lock})) RETURNING m.id"
            )
        };
        let context = "recording what was delivered to Weaviate failed";
        if !delivered.is_empty() {
            self.end_claims(sql, &[&run, &delivered, &Some(now)])
                .context(context)?;
        }
        if !outdated.is_empty() {
            // One without the other would forget what was dropped until the next recheck.
            let result = self.transaction(Access::ReadWrite, |db| {
                db.query(
                    &sql("FOR UPDATE"),
                    &[&run, &dropped, &None::<DateTime<Utc>>],
                )?;
                db.mark(outdated, now)
            });
            match result {
                Err(error) if is_conflict(&error) => {
                    log::warn!(
                        "somebody holds rows of mappings ({}); their claims will expire",
                        describe(&error)
                    );
                }
                other => other.context(context)?,
            }
        }
        Ok(())
    }
}
