//! What is known about one mapping beyond its row's part in a run. It only reads.

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::{Access, Db};
use crate::core::model::{Mapping, MappingId};

/// Another row that means the same, or looks so to Agira.
#[derive(Debug)]
pub struct DuplicateMapping {
    /// The other row.
    pub id: MappingId,
    /// Its item.
    pub item_id: i64,
    /// Whether it has the same address; otherwise it is a row of the same item with the same kind and number.
    pub same_address: bool,
}

/// What became of the item at a close event, as Agira's activities say.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved {
    /// The first change of its status after it that no person made: when (UTC), and its summary.
    At(DateTime<Utc>, String),
    /// There is none.
    Left,
    /// There is none among the last [`ACTIVITIES`], and the close event is older than those.
    Unknown,
}

/// How many of Agira's last activities are searched: Agira has no index that leads to those of one item.
pub const ACTIVITIES: i64 = 100_000;

/// What happened to one mapping so far.
#[derive(Debug)]
pub struct MappingHistory {
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
    /// What became of the item at the last close event that was dealt with; `None`: there was none.
    pub moved: Option<Moved>,
    /// Rows at the other end of its links.
    pub linked: Vec<MappingId>,
    /// Rows that mean the same.
    pub duplicates: Vec<DuplicateMapping>,
}

impl Db {
    /// Reads the story of a mapping; `None` when it is gone meanwhile.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn history(&mut self, mapping: &Mapping) -> anyhow::Result<Option<MappingHistory>> {
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
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let moved = match mapping.handled_closed_at {
            Some(closed_at) => Some(self.moved(mapping, closed_at).with_context(failed)?),
            None => None,
        };
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
        Ok(Some(MappingHistory {
            checked_at: row.get("worker_checked_at"),
            external_updated_at: row.get("worker_external_updated_at"),
            pushed_at: row.get("worker_pushed_at"),
            error_at: row.get("worker_error_at"),
            outbox: row.get("worker_outbox"),
            moved,
            linked: linked.iter().map(|row| MappingId(row.get(0))).collect(),
            duplicates: twins
                .iter()
                .map(|row| DuplicateMapping {
                    id: MappingId(row.get("id")),
                    item_id: row.get("item_id"),
                    same_address: row.get("same_address"),
                })
                .collect(),
        }))
    }
    fn moved(
        &mut self,
        mapping: &Mapping,
        closed_at: DateTime<Utc>,
    ) -> Result<Moved, postgres::Error> {
        let sql = "SELECT count(*) = $3 AND min(created_at) > $2 AS is_cut,
                (array_agg(created_at ORDER BY created_at) FILTER (WHERE is_move))[1] AS at,
                (array_agg(summary ORDER BY created_at) FILTER (WHERE is_move))[1] AS summary
             FROM (
                SELECT created_at, summary, target_object_id = $1 AND verb = 'item.status_changed' AND actor_id IS NULL
                    AND created_at >= $2 AND target_content_type_id =
                        (SELECT id FROM django_content_type WHERE app_label = 'core' AND model = 'item') AS is_move
                FROM core_activity ORDER BY id DESC LIMIT $3
             ) recent";
        let rows = self.read(
            Access::ReadOnly,
            sql,
            &[&mapping.item_id.to_string(), &closed_at, &ACTIVITIES],
        )?;
        let row = &rows[0];
        Ok(match (row.get::<_, Option<_>>("at"), row.get("is_cut")) {
            (Some(at), _) => Moved::At(at, row.get("summary")),
            (None, Some(true)) => Moved::Unknown,
            (None, _) => Moved::Left,
        })
    }
}
