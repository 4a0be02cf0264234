//! What is known about one mapping beyond its row's part in a run. It only reads.

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::{Access, Db};
use crate::core::model::{Mapping, MappingId};

/// Another row that means the same, or looks so to Agira.
#[derive(Debug)]
pub struct Twin {
    /// The other row.
    pub id: MappingId,
    /// Its item.
    pub item_id: i64,
    /// Whether it has the same address; otherwise it is a row of the same item with the same kind and number.
    pub same_address: bool,
}

/// What happened to one mapping so far.
#[derive(Debug)]
pub struct Story {
    /// When GitHub was last seen for it (UTC).
    pub checked_at: Option<DateTime<Utc>>,
    /// GitHub's `updatedAt` then.
    pub external_updated_at: Option<DateTime<Utc>>,
    /// When Weaviate was last brought level (UTC).
    pub pushed_at: Option<DateTime<Utc>>,
    /// When it last failed (UTC).
    pub error_at: Option<DateTime<Utc>>,
    /// The row's `worker_outbox`.
    pub outbox: Option<serde_json::Value>,
    /// Agira's activity about the first change of the item's status that no person made after the last close event that
    /// was dealt with: when (UTC), and its summary.
    pub moved: Option<(DateTime<Utc>, String)>,
    /// Rows at the other end of its links.
    pub linked: Vec<MappingId>,
    /// Rows that mean the same.
    pub twins: Vec<Twin>,
}

impl Db {
    /// Reads the story of a mapping; `None` when it is gone meanwhile.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn story(&mut self, mapping: &Mapping) -> anyhow::Result<Option<Story>> {
        let failed = || format!("reading what is known about mapping {} failed", mapping.id);
        let access = Access::ReadOnly;
        let rows = self
            .read(
                access,
                "SELECT worker_checked_at, worker_external_updated_at, worker_pushed_at, worker_error_at, worker_outbox
                 FROM core_externalissuemapping WHERE id = $1",
                &[&mapping.id.0],
            )
            .with_context(failed)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let moved = self
            .read(
                access,
                "SELECT a.created_at, a.summary FROM core_activity a
                 JOIN django_content_type t ON t.id = a.target_content_type_id AND t.app_label = 'core' AND t.model = 'item'
                 WHERE a.target_object_id = $1 AND a.verb = 'item.status_changed' AND a.actor_id IS NULL AND a.created_at >= $2
                 ORDER BY a.created_at LIMIT 1",
                &[&mapping.item_id.to_string(), &mapping.dealt_closed_at],
            )
            .with_context(failed)?;
        let linked = self
            .read(
                access,
                "SELECT mapping_id FROM worker_pull_request_link WHERE issue_mapping_id = $1
                 UNION SELECT issue_mapping_id FROM worker_pull_request_link WHERE mapping_id = $1 ORDER BY 1",
                &[&mapping.id.0],
            )
            .with_context(failed)?;
        let twins = self
            .read(
                access,
                "SELECT id, item_id, true AS same_address FROM core_externalissuemapping
                 WHERE lower(html_url) = lower($2::text) AND $2::text <> '' AND id <> $1
                 UNION ALL SELECT id, item_id, false FROM core_externalissuemapping
                 WHERE item_id = $3 AND number = $4 AND kind = $5 AND lower(html_url) <> lower($2::text) AND id <> $1
                 ORDER BY 1",
                &[&mapping.id.0, &mapping.html_url, &mapping.item_id.0, &mapping.number, &mapping.kind.as_str()],
            )
            .with_context(failed)?;
        Ok(Some(Story {
            checked_at: row.get("worker_checked_at"),
            external_updated_at: row.get("worker_external_updated_at"),
            pushed_at: row.get("worker_pushed_at"),
            error_at: row.get("worker_error_at"),
            outbox: row.get("worker_outbox"),
            moved: moved.first().map(|row| (row.get("created_at"), row.get("summary"))),
            linked: linked.iter().map(|row| MappingId(row.get(0))).collect(),
            twins: twins
                .iter()
                .map(|row| Twin {
                    id: MappingId(row.get("id")),
                    item_id: row.get("item_id"),
                    same_address: row.get("same_address"),
                })
                .collect(),
        }))
    }
}
