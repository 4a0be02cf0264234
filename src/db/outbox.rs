//! Claiming mappings for the sake of their outboxes alone (design, section 3, step 1).

use anyhow::Context;

use super::claim::COLUMNS;
use super::{Access, Claimed, Db, Lease, MappingFilter};
use crate::core::model::MappingId;
use crate::core::outbox::Outbox;

/// A mapping whose outbox waits.
#[derive(Debug, Clone)]
pub struct ClaimedOutbox {
    /// The mapping, with its item.
    pub claimed: Claimed,
    /// What waits; the error when it cannot be read (somebody else wrote it).
    pub outbox: Result<Outbox, String>,
}

/// Parameters: $1 limit, $2 projects, $3 mappings, $4 after that id.
const IDS: &str = "SELECT m.id FROM core_externalissuemapping m
    WHERE m.worker_outbox IS NOT NULL AND m.worker_claim IS NULL AND m.id > $4
    AND ($2::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2)))
    AND ($3::bigint[] = '{}' OR m.id = ANY($3))
    ORDER BY m.id LIMIT $1";

impl Db {
    /// Claims up to `limit` mappings with an outbox, of whatever class they are; those after the id `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn claim_outboxes(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
        after: MappingId,
        hold: Lease,
    ) -> anyhow::Result<Vec<ClaimedOutbox>> {
        let sql = format!(
            "UPDATE core_externalissuemapping m SET worker_claim = $5, worker_claimed_until = $6
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({IDS} FOR UPDATE OF m SKIP LOCKED)) AND i.id = m.item_id
             RETURNING {COLUMNS}, m.worker_outbox"
        );
        let limit = limit as i64;
        let rows = self
            .query(
                &sql,
                &[
                    &limit,
                    &whole.projects,
                    &whole.mappings,
                    &after.0,
                    &hold.run,
                    &hold.until,
                ],
            )
            .context("claiming mappings with an outbox failed")?;
        Ok(in_order(&rows))
    }

    /// What [`Db::claim_waiting`] would claim.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn preview_waiting(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
    ) -> anyhow::Result<Vec<ClaimedOutbox>> {
        let sql = format!(
            "SELECT {COLUMNS}, m.worker_outbox FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({IDS}))"
        );
        let limit = limit as i64;
        let rows = self
            .read(
                Access::ReadOnly,
                &sql,
                &[&limit, &whole.projects, &whole.mappings, &0_i64],
            )
            .context("reading outboxes failed")?;
        Ok(in_order(&rows))
    }
}

fn in_order(rows: &[postgres::Row]) -> Vec<ClaimedOutbox> {
    let mut waiting: Vec<ClaimedOutbox> = rows
        .iter()
        .map(|row| ClaimedOutbox {
            claimed: Claimed::from_row(row),
            outbox: serde_json::from_value(row.get("worker_outbox"))
                .map_err(|error| error.to_string()),
        })
        .collect();
    waiting.sort_by_key(|one| one.claimed.mapping.id);
    waiting
}
