//! Marks mappings, and sets recheck times.

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::row::{LOCK, numbers};
use super::session::{Db, Parameters};
use crate::core::model::MappingId;

/// Number of recheck times that one statement sets. It locks their rows for less than a second.
const RECHECKS: i64 = 5000;

/// The result for one batch of waiting mappings.
#[derive(Debug, PartialEq, Eq)]
pub struct RecheckBatch {
    /// Mappings with a new recheck time.
    pub set: i64,
    /// Mappings whose rows another session has locked.
    pub held: i64,
    /// The last id of the batch; `None` if no mapping was left.
    pub last: Option<MappingId>,
}

impl Db {
    /// Marks mappings, in id order. An unclaimed row that already has a due time keeps it: older
    /// work keeps its place, and a backoff its end. A parked row becomes due six hours after its
    /// error, but not before `now` (design.md, "Data").
    pub(super) fn mark(
        &mut self,
        ids: &[MappingId],
        now: DateTime<Utc>,
    ) -> Result<(), postgres::Error> {
        let sql = "/* mark */ UPDATE core_externalissuemapping m SET worker_due_at = CASE
                WHEN m.worker_claim IS NULL AND m.worker_recheck_at IS NULL
                THEN GREATEST($2, m.worker_error_at + interval '6 hours') ELSE $2 END
             WHERE m.id = ANY(ARRAY(SELECT id FROM core_externalissuemapping WHERE id = ANY($1::bigint[])
                AND (worker_claim IS NOT NULL OR worker_due_at IS NULL) ORDER BY id FOR UPDATE))";
        self.execute(sql, &[&numbers(ids), &now]).map(drop)
    }

    /// Corrects times that PostgreSQL's clock set while it was ahead: no backoff and no mark makes
    /// a due time that is in the future and whose error is, too, or that has no error, or that is
    /// more than 8 hours after it; no lease lasts for more than 65 minutes; no outbox waits for a
    /// delivery without an error, or for longer than its attempts explain. Returns the number of
    /// corrected rows. A row that another session has locked is left to the next run.
    pub fn correct_times(&mut self, now: DateTime<Utc>) -> Result<u64> {
        let future = "$1::timestamptz + interval '5 minutes'";
        // A backoff lasts for 7 h 30 min at most, and that of a delivery for 75 s, doubled with
        // each attempt (`core::backoff`).
        let due = format!(
            "m.worker_claim IS NULL AND m.worker_due_at > {future} AND (m.worker_error_at IS NULL OR m.worker_error_at > {future}
                OR m.worker_due_at > m.worker_error_at + interval '8 hours')"
        );
        let lease = "m.worker_claim IS NOT NULL AND m.worker_claimed_until > $1::timestamptz + interval '70 minutes'";
        let delivery = format!(
            "m.worker_delivery_at > {future}
                AND (m.worker_delivery_error IS NULL OR m.worker_delivery_at > {future} + LEAST(interval '30 hours',
                    interval '75 seconds' * power(2, LEAST(GREATEST(m.worker_delivery_attempts - 1, 0), 16))))"
        );
        let sql = format!(
            "/* correct_times */ UPDATE core_externalissuemapping m SET
                worker_due_at = CASE WHEN {due} THEN $1::timestamptz ELSE m.worker_due_at END,
                worker_claimed_until = CASE WHEN {lease} THEN $1::timestamptz - interval '1 second' ELSE m.worker_claimed_until END,
                worker_delivery_at = CASE WHEN {delivery} THEN $1::timestamptz ELSE m.worker_delivery_at END
             WHERE m.id = ANY(ARRAY(
                SELECT m.id FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                    SELECT m.id FROM core_externalissuemapping m WHERE {due}
                    UNION ALL SELECT m.id FROM core_externalissuemapping m WHERE {lease}
                    UNION ALL SELECT m.id FROM core_externalissuemapping m WHERE {delivery}))
                ORDER BY m.id {LOCK}))"
        );
        self.write("correcting times in the future", &sql, &[&now])
    }

    /// Sets the recheck times of the next waiting mappings (of `projects`, unless empty) to `now`,
    /// except for rows that another session has locked. `after` is the last id of the previous
    /// batch.
    pub fn recheck_now(
        &mut self,
        projects: &[i64],
        after: MappingId,
        now: DateTime<Utc>,
    ) -> Result<RecheckBatch> {
        let waiting =
            "m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at > $1";
        let sql = format!(
            "/* recheck_now */ WITH batch AS MATERIALIZED (
                SELECT m.id FROM core_externalissuemapping m WHERE m.id > $3::bigint AND {waiting}
                AND ($2::bigint[] = '{{}}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2::bigint[])))
                ORDER BY m.id LIMIT {RECHECKS}
             ), done AS (
                UPDATE core_externalissuemapping SET worker_recheck_at = $1
                WHERE id = ANY(ARRAY(SELECT m.id FROM core_externalissuemapping m
                    WHERE m.id = ANY(ARRAY(SELECT id FROM batch)) AND {waiting} ORDER BY m.id {LOCK})) RETURNING id
             ) SELECT (SELECT count(*) FROM done) AS set, count(*) AS count, max(id) AS last FROM batch"
        );
        let parameters: Parameters<'_> = &[&now, &projects, &after.0];
        let row = self.row("setting the recheck times", &sql, parameters)?;
        let (set, count): (i64, i64) = (row.get("set")?, row.get("count")?);
        Ok(RecheckBatch {
            set,
            held: count - set,
            last: row.get::<Option<i64>>("last")?.map(MappingId),
        })
    }
}
