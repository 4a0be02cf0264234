//! Claims mappings for this run and releases them (design.md, "Data").

use anyhow::Result;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::row::{COLUMNS, Claimed, DELIVERY_AT, HELD, LOCK, NARROWED, numbers};
use super::select::{MappingFilter, Selection};
use super::session::{Db, Parameters};
use crate::core::model::MappingId;

/// A mapping whose run died.
#[derive(Debug, Clone)]
pub enum Suspect {
    /// This run holds the mapping now.
    Taken(Claimed),
    /// The attempt that did not finish was its last one.
    Parked(Claimed),
}

/// The run that holds a claim, and the time at which the claim expires.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Id of the run.
    pub run: Uuid,
    /// Time at which the claim expires (UTC).
    pub until: DateTime<Utc>,
}

/// End of the error of an attempt whose run died; the number of the attempt comes before it.
const UNFINISHED: &str = "did not finish: the run that made it died";

impl Claimed {
    /// Returns the error with which this mapping would be parked as a suspect; `None` when it would
    /// be checked again.
    pub fn parked_as_suspect(&self, max_attempts: i32) -> Option<String> {
        let attempt = self.mapping.attempts + 1;
        (attempt >= max_attempts).then(|| format!("attempt {attempt} {UNFINISHED}"))
    }
}

impl Db {
    /// Claims up to `limit` mappings; `after` is the last id of the previous claim.
    pub fn claim(
        &mut self,
        filter: &MappingFilter,
        limit: usize,
        after: MappingId,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<Vec<Claimed>> {
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let excluded = &filter.excluded;
        let reset = match filter.selection {
            Selection::Failed => ", worker_due_at = $5, worker_attempts = 0",
            Selection::Due | Selection::NeverPushed | Selection::Named => "",
        };
        let sql = format!(
            "/* claim */ UPDATE core_externalissuemapping m SET worker_claim = $7, worker_claimed_until = $8{reset}
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({})) AND i.id = m.item_id RETURNING {COLUMNS}",
            filter.ids(LOCK)
        );
        let Lease { run, until } = &lease;
        let (limit, after) = (limit as i64, filter.after(after));
        let rows = self.rows(
            "claiming mappings",
            &sql,
            &[
                &limit, projects, mappings, &after, &now, excluded, run, until,
            ],
        )?;
        Claimed::in_order(&rows)
    }

    /// Claims one mapping whose claim expired, and counts the attempt that did not finish. The one
    /// whose claim expired first comes first: one that kills its run, or is always released, gets a
    /// later expiry and does not hold up the others. At `max_attempts` the mapping is parked
    /// instead.
    pub fn claim_suspect(
        &mut self,
        filter: &MappingFilter,
        max_attempts: i32,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<Option<Suspect>> {
        let may_ask = filter.may_ask("$1");
        let sql = format!(
            "/* claim_suspect */ UPDATE core_externalissuemapping m SET
                worker_attempts = m.worker_attempts + 1,
                worker_error = 'attempt ' || m.worker_attempts + 1 || ' {UNFINISHED}',
                worker_error_at = $1,
                worker_claim = CASE WHEN m.worker_attempts + 1 < $6 THEN $4::uuid END,
                worker_claimed_until = CASE WHEN m.worker_attempts + 1 < $6 THEN $5::timestamptz END,
                worker_due_at = CASE WHEN m.worker_attempts + 1 < $6 THEN m.worker_due_at END,
                worker_recheck_at = CASE WHEN m.worker_attempts + 1 < $6 THEN m.worker_recheck_at END,
                worker_delivery_at = {DELIVERY_AT}
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE i.id = m.item_id AND m.id = ANY(ARRAY(
                SELECT m.id FROM core_externalissuemapping m
                WHERE m.worker_claim IS NOT NULL AND m.worker_claimed_until < $1 AND m.worker_claim <> $4 AND {NARROWED}{may_ask}
                ORDER BY m.worker_claimed_until, m.id LIMIT 1 {LOCK}))
             RETURNING {COLUMNS}, m.worker_claim IS NOT NULL AS is_taken"
        );
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let Lease { run, until } = &lease;
        let rows = self.rows(
            "taking over a mapping whose run died",
            &sql,
            &[&now, projects, mappings, run, until, &max_attempts],
        )?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let claimed = Claimed::from_row(row)?;
        if !row.get::<bool>("is_taken")? {
            return Ok(Some(Suspect::Parked(claimed)));
        }
        self.suspects.insert(claimed.mapping.id);
        Ok(Some(Suspect::Taken(claimed)))
    }

    /// Sets the end of all claims that a run holds and that have not expired. A row that another
    /// session has locked keeps its end.
    pub fn renew(&mut self, lease: Lease, now: DateTime<Utc>) -> Result<()> {
        let sql = "/* renew */ UPDATE core_externalissuemapping m SET worker_claimed_until = $3
             WHERE m.id = ANY(ARRAY(SELECT h.id FROM core_externalissuemapping h
                WHERE h.worker_claim IS NOT NULL AND h.worker_claim = $1 AND h.worker_claimed_until > $2
                ORDER BY h.id FOR UPDATE SKIP LOCKED))";
        let Lease { run, until } = &lease;
        self.write("renewing claims", sql, &[run, &now, until])
            .map(drop)
    }

    /// Puts mappings that this run holds behind everything that is due now, each in its own part of
    /// the claim, and behind everything else that failed, because it was tried. A row that another
    /// session has locked keeps its place.
    pub fn postpone(&mut self, run: Uuid, ids: &[MappingId], now: DateTime<Utc>) -> Result<()> {
        let sql = format!(
            "/* postpone */ UPDATE core_externalissuemapping m SET
                worker_due_at = CASE WHEN m.worker_due_at < $3 THEN $3 ELSE m.worker_due_at END,
                worker_recheck_at = CASE WHEN m.worker_due_at IS NULL AND m.worker_recheck_at < $3 THEN $3 ELSE m.worker_recheck_at END,
                worker_error_at = CASE WHEN m.worker_error IS NOT NULL AND m.worker_due_at IS NOT NULL THEN $3 ELSE m.worker_error_at END
             WHERE {HELD} FOR UPDATE SKIP LOCKED))"
        );
        let doing = "putting mappings behind the others";
        self.write(doing, &sql, &[&run, &numbers(ids), &now])
            .map(drop)
    }

    /// Releases those of `ids` that this run holds. A mapping that was taken over as a suspect also
    /// loses the attempt that was counted then. Its claim keeps the id of this run, so that this
    /// run does not claim it again, and is set to expired, so that it stays a suspect for later
    /// runs. If the server has ended the session, another one begins. If the release fails, the
    /// claims expire.
    pub fn release(&mut self, run: Uuid, ids: &[MappingId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let suspects = ids.iter().filter(|id| self.suspects.contains(id));
        let suspects: Vec<i64> = suspects.map(|id| id.0).collect();
        // A suspect was taken over at the time of its error.
        let sql = |lock: &str| {
            format!(
                "UPDATE core_externalissuemapping m SET
                    worker_claim = CASE WHEN m.id = ANY($3::bigint[]) THEN m.worker_claim END,
                    worker_claimed_until = CASE WHEN m.id = ANY($3::bigint[]) THEN m.worker_error_at END,
                    worker_delivery_at = {DELIVERY_AT},
                    worker_attempts = GREATEST(m.worker_attempts - CASE WHEN m.id = ANY($3::bigint[]) THEN 1 ELSE 0 END, 0)
                 WHERE (m.id <> ALL($3::bigint[]) OR m.worker_claimed_until > m.worker_error_at) AND {HELD} {lock})) RETURNING m.id"
            )
        };
        let ids = numbers(ids);
        let parameters: Parameters<'_> = &[&run, &ids, &suspects];
        self.again(|db| db.end_claims("release", "releasing mappings", sql, parameters))
    }

    /// Releases everything that a run holds, also claims whose confirmation was lost with the
    /// session. The run started at `since`: it has taken over what it holds with a later error of
    /// an unfinished attempt.
    pub fn release_all(&mut self, run: Uuid, since: DateTime<Utc>) -> Result<()> {
        let sql = format!(
            "/* held */ SELECT id, coalesce(worker_error_at >= $2 AND worker_attempts > 0
                AND worker_error LIKE '%{UNFINISHED}', false) AS is_suspect
             FROM core_externalissuemapping WHERE worker_claim IS NOT NULL AND worker_claim = $1 ORDER BY id"
        );
        let rows = self.again(|db| db.rows("releasing mappings", &sql, &[&run, &since]))?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = MappingId(row.get("id")?);
            ids.push(id);
            if row.get("is_suspect")? {
                self.suspects.insert(id);
            }
        }
        self.release(run, &ids)
    }
}
