//! The objects that Weaviate rejected, for `status`. It only reads.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::row::{NAMES, NamedMapping, TABLES, narrowed};
use super::session::Db;

/// The largest number of rejected deliveries that `status` lists.
const LISTED: i64 = 100;

/// A mapping with an object that Weaviate rejected.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct RejectedDelivery {
    #[serde(flatten)]
    pub mapping: NamedMapping,
    /// Rejected deliveries of its outbox.
    pub attempts: i32,
    /// The objects, each with Weaviate's reason.
    pub error: String,
    /// Time of the next delivery (UTC).
    pub next_attempt_at: Option<DateTime<Utc>>,
}

impl Db {
    /// Reads mappings with an object that Weaviate rejected, the next delivery first, but not more
    /// than a person reads.
    pub fn rejected_deliveries(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
    ) -> Result<Vec<RejectedDelivery>> {
        let narrowed = narrowed(projects, mappings);
        let sql = format!(
            "/* rejected */ SELECT {NAMES}, m.worker_delivery_attempts, m.worker_delivery_error, m.worker_delivery_at
             FROM {TABLES} WHERE m.worker_delivery_error IS NOT NULL AND {narrowed} ORDER BY m.worker_delivery_at, m.id
             LIMIT {LISTED}"
        );
        let rows = self.rows(
            "reading what Weaviate rejected",
            &sql,
            &[&projects, &mappings],
        )?;
        let rejected = rows.iter().map(|row| {
            Ok(RejectedDelivery {
                mapping: NamedMapping::from_row(row)?,
                attempts: row.get("worker_delivery_attempts")?,
                error: row.get("worker_delivery_error")?,
                next_attempt_at: row.get("worker_delivery_at")?,
            })
        });
        rejected.collect()
    }
}
