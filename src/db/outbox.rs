//! Claims mappings to deliver their outboxes (design.md, "The pipeline").

use chrono::{DateTime, Utc};

use super::claim::Lease;
use super::row::{COLUMNS, Claimed, LOCK, NARROWED};
use super::select::MappingFilter;
use super::session::Db;
use crate::core::outbox::Outbox;
use anyhow::Result;

/// A mapping with objects that wait for Weaviate.
#[derive(Debug, Clone)]
pub struct ClaimedOutbox {
    /// The mapping, with its item.
    pub claimed: Claimed,
    /// The outbox; the error explains why it cannot be read, for example because another version
    /// wrote it.
    pub outbox: Result<Outbox, String>,
    /// Rejected deliveries of this outbox so far.
    pub attempts: i32,
}

impl Db {
    /// Claims up to `limit` mappings with an outbox, whatever their class: first those that were
    /// never tried, then those that have waited longest. A rejected one is left out until its next
    /// delivery comes; `until` is that bound (UTC), and without it all are claimed.
    pub fn claim_outboxes(
        &mut self,
        filter: &MappingFilter,
        limit: usize,
        until: Option<DateTime<Utc>>,
        lease: Lease,
    ) -> Result<Vec<ClaimedOutbox>> {
        let sql = format!(
            "/* claim_outboxes */ UPDATE core_externalissuemapping m SET worker_claim = $5, worker_claimed_until = $6
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY(
                SELECT m.id FROM core_externalissuemapping m
                WHERE m.worker_claim IS NULL AND m.id <> ALL($7::bigint[])
                AND m.worker_delivery_at <= coalesce($4::timestamptz, 'infinity') AND {NARROWED}
                ORDER BY m.worker_delivery_at, m.id LIMIT $1 {LOCK})) AND i.id = m.item_id
             RETURNING {COLUMNS}, m.worker_outbox, m.worker_delivery_attempts"
        );
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let excluded = &filter.excluded;
        let Lease { run, until: end } = &lease;
        let limit = limit as i64;
        let rows = self.rows(
            "claiming mappings with an outbox",
            &sql,
            &[&limit, projects, mappings, &until, run, end, excluded],
        )?;
        let outboxes = rows.iter().map(|row| {
            let outbox = row.get("worker_outbox");
            let outbox = outbox.and_then(|outbox| Ok(serde_json::from_value(outbox)?));
            Ok(ClaimedOutbox {
                claimed: Claimed::from_row(row)?,
                outbox: outbox.map_err(|error| format!("{error:#}")),
                attempts: row.get("worker_delivery_attempts")?,
            })
        });
        let mut outboxes = outboxes.collect::<Result<Vec<ClaimedOutbox>>>()?;
        outboxes.sort_by_key(|one| one.claimed.mapping.id);
        Ok(outboxes)
    }
}
