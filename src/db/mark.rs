//! Marks mappings, and sets recheck times.

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::row::{LOCK, numbers};
use super::session::Db;
use crate::core::model::MappingId;

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
             WHERE m.id = ANY(ARRAY(SELECT id FROM core_externalissuemapping WHERE id = ANY($1)
                AND (worker_claim IS NOT NULL OR worker_due_at IS NULL) ORDER BY id FOR UPDATE))";
        self.execute(sql, &[&numbers(ids), &now]).map(drop)
    }

    /// Sets the recheck time of all waiting mappings (of `projects`, unless empty) to `now`, except
    /// for rows that another session has locked. Returns how many were set and how many were not.
    pub fn recheck_now(&mut self, projects: &[i64], now: DateTime<Utc>) -> Result<(i64, i64)> {
        let waiting = "SELECT m.id FROM core_externalissuemapping m
             WHERE m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at > $1
             AND ($2::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2)))";
        let sql = format!(
            "/* recheck_now */ WITH done AS (
                UPDATE core_externalissuemapping SET worker_recheck_at = $1
                WHERE id = ANY(ARRAY({waiting} ORDER BY m.id {LOCK})) RETURNING id
             ) SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM ({waiting}) w WHERE w.id NOT IN (SELECT id FROM done))"
        );
        let rows = self.rows("setting the recheck times", &sql, &[&now, &projects])?;
        Ok((rows[0].get(0), rows[0].get(1)))
    }
}
