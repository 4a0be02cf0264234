//! The record of a run, and the pauses that outlive it.

use anyhow::Result;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::session::{Db, Parameters};
use super::value::Row;
use crate::core::pause::Pause;

/// The key in the counts of a run whose mappings a person named.
pub const NAMED: &str = "named";

/// One finished run.
#[derive(Debug)]
pub struct RunRecord<'a> {
    /// The run's id, as in its claims and its log.
    pub run: Uuid,
    /// Subcommand: `sync`, `push-weaviate` or `retry-failed`.
    pub command: &'a str,
    /// Start of the run (UTC).
    pub started_at: DateTime<Utc>,
    /// End of the run (UTC).
    pub finished_at: DateTime<Utc>,
    /// Exit code (design.md, "Command line and output").
    pub exit_code: i32,
    /// The reason why it ended early.
    pub stopped_by: Option<&'a str>,
    /// The counts of its JSON report.
    pub counts: &'a serde_json::Value,
}

fn pause(row: &Row) -> Result<Pause> {
    Ok(Pause {
        scope: row.get("scope")?,
        until: row.get("until")?,
        reason: row.get("reason")?,
        count: row.get("count")?,
    })
}

impl Db {
    /// Reads the latest pause of a scope, which may be over.
    pub fn pause(&mut self, scope: &str) -> Result<Option<Pause>> {
        let sql =
            "/* pause */ SELECT scope, until, reason, count FROM worker_pause WHERE scope = $1";
        let rows = self.rows("reading the pauses", sql, &[&scope])?;
        rows.first().map(pause).transpose()
    }

    /// Reads the latest pauses of a scope and of its parts (`github:acme`), which may be over; the
    /// one that ends last comes first.
    pub fn pauses(&mut self, scope: &str) -> Result<Vec<Pause>> {
        let sql = "/* pauses */ SELECT scope, until, reason, count FROM worker_pause
             WHERE scope = $1 OR scope LIKE $1 || ':%' ORDER BY until DESC, scope";
        let rows = self.rows("reading the pauses", sql, &[&scope])?;
        rows.iter().map(pause).collect()
    }

    /// Stores a pause; a stored one that ends later keeps its end.
    pub fn store_pause(&mut self, pause: &Pause) -> Result<()> {
        let sql = "/* store_pause */ INSERT INTO worker_pause (scope, until, reason, count) VALUES ($1, $2, $3, $4)
             ON CONFLICT (scope) DO UPDATE SET until = GREATEST(worker_pause.until, EXCLUDED.until),
                reason = EXCLUDED.reason, count = EXCLUDED.count";
        let parameters: Parameters<'_> = &[&pause.scope, &pause.until, &pause.reason, &pause.count];
        self.write("storing the pause", sql, parameters).map(drop)
    }

    /// Stores the end of a pause that is too long.
    pub fn shorten_pause(&mut self, pause: &Pause) -> Result<()> {
        let sql = "/* shorten_pause */ UPDATE worker_pause SET until = $2 WHERE scope = $1 AND until > $2";
        self.write("shortening the pause", sql, &[&pause.scope, &pause.until])
            .map(drop)
    }

    /// Deletes a pause that is over, once the service has answered again.
    pub fn end_pause(&mut self, scope: &str, now: DateTime<Utc>) -> Result<()> {
        let sql = "/* end_pause */ DELETE FROM worker_pause WHERE scope = $1 AND until <= $2";
        self.write("ending the pause", sql, &[&scope, &now])
            .map(drop)
    }

    /// Records a run, and keeps the last 1,000 records of its command.
    pub fn record_run(&mut self, record: &RunRecord<'_>) -> Result<()> {
        let sql = "/* record_run */ WITH old AS (
                DELETE FROM worker_run WHERE command = $2 AND id <= (
                    SELECT id FROM worker_run WHERE command = $2 ORDER BY id DESC OFFSET 999 LIMIT 1)
             )
             INSERT INTO worker_run (run, command, started_at, finished_at, exit_code, stopped_by, counts)
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let parameters: Parameters<'_> = &[
            &record.run,
            &record.command,
            &record.started_at,
            &record.finished_at,
            &record.exit_code,
            &record.stopped_by,
            &record.counts,
        ];
        self.write("recording the run", sql, parameters).map(drop)
    }
}
