//! The history of one mapping, for `status --mapping`. It only reads.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::row::hashed;
use super::session::{Db, Parameters};
use crate::core::model::{GithubId, Mapping, MappingId};

/// Another row for the same issue or pull request, or one that Agira takes for it.
#[derive(Debug, Deserialize)]
pub struct DuplicateMapping {
    /// The other row.
    pub id: MappingId,
    /// Item of the other row.
    pub item_id: i64,
    /// The rows have the same address; otherwise they have the same item, kind and number.
    pub same_address: bool,
}

/// Everything that is recorded about one mapping besides [`Mapping`].
#[derive(Debug)]
pub struct MappingHistory {
    /// Time of the last check (UTC).
    pub checked_at: Option<DateTime<Utc>>,
    /// GitHub's `updatedAt` at that check (UTC).
    pub external_updated_at: Option<DateTime<Utc>>,
    /// Time of the last complete push to Weaviate (UTC).
    pub pushed_at: Option<DateTime<Utc>>,
    /// Time of the last failure (UTC).
    pub error_at: Option<DateTime<Utc>>,
    /// The row's `worker_outbox`.
    pub outbox: Option<serde_json::Value>,
    /// Weaviate's reasons for rejecting objects of the outbox.
    pub delivery_error: Option<String>,
    /// Rejected deliveries of the outbox.
    pub delivery_attempts: i32,
    /// Time of the next delivery (UTC).
    pub delivery_at: Option<DateTime<Utc>>,
    /// Rows at the other end of its links.
    pub linked: Vec<MappingId>,
    /// Linked pull requests whose rows a person deleted: GitHub's id, and the address if the row
    /// had one.
    pub deleted: Vec<(GithubId, String)>,
    /// Other rows for the same issue or pull request.
    pub duplicates: Vec<DuplicateMapping>,
}

impl Db {
    /// Reads the history of a mapping; `None` when its row has been deleted in the meantime.
    pub fn history(&mut self, mapping: &Mapping) -> Result<Option<MappingHistory>> {
        let id = mapping.id.0;
        let doing = format!("reading the history of mapping {id}");
        let sql = "/* history */ SELECT worker_checked_at, worker_external_updated_at, worker_pushed_at, worker_error_at,
                worker_outbox, worker_delivery_error, worker_delivery_attempts, nullif(worker_delivery_at, 'epoch') AS delivery_at
             FROM core_externalissuemapping WHERE id = $1::bigint";
        let rows = self.rows(&doing, sql, &[&id])?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let sql = "/* history_links */ SELECT m.id, l.github_id, l.html_url
             FROM worker_pull_request_link l LEFT JOIN core_externalissuemapping m ON m.github_id = l.github_id
             WHERE l.issue_mapping_id = $1
             UNION SELECT l.issue_mapping_id, l.github_id, l.html_url FROM worker_pull_request_link l
             WHERE l.github_id = $2 ORDER BY 1, 2";
        let (mut linked, mut deleted) = (Vec::new(), Vec::new());
        for row in self.rows(&doing, sql, &[&id, &mapping.github_id.0])? {
            match row.get::<Option<i64>>("id")? {
                Some(other) => linked.push(MappingId(other)),
                None => deleted.push((GithubId(row.get("github_id")?), row.get("html_url")?)),
            }
        }
        let (hash, own) = (hashed("html_url"), hashed("$2::text"));
        let sql = format!(
            "/* history_duplicates */ SELECT to_jsonb(t) FROM (
             SELECT id, item_id, true AS same_address FROM core_externalissuemapping
             WHERE {hash} = {own} AND lower(html_url COLLATE \"C\") = lower($2::text COLLATE \"C\") AND $2::text <> '' AND id <> $1::bigint
             UNION ALL SELECT id, item_id, false FROM core_externalissuemapping
             WHERE item_id = $3::bigint AND number = $4::int AND kind = $5 AND lower(html_url COLLATE \"C\") <> lower($2::text COLLATE \"C\") AND id <> $1::bigint
             ORDER BY 1) t"
        );
        let (url, item, kind) = (&mapping.html_url, mapping.item_id.0, mapping.kind.as_str());
        let parameters: Parameters<'_> = &[&id, url, &item, &mapping.number, &kind];
        let duplicates = self.decoded(&doing, &sql, parameters)?;
        Ok(Some(MappingHistory {
            checked_at: row.get("worker_checked_at")?,
            external_updated_at: row.get("worker_external_updated_at")?,
            pushed_at: row.get("worker_pushed_at")?,
            error_at: row.get("worker_error_at")?,
            outbox: row.get("worker_outbox")?,
            delivery_error: row.get("worker_delivery_error")?,
            delivery_attempts: row.get("worker_delivery_attempts")?,
            delivery_at: row.get("delivery_at")?,
            linked,
            deleted,
            duplicates,
        }))
    }
}
