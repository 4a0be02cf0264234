//! What a run leaves behind for the next ones and for `status`: its record, and pauses that outlive it.

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Access, Db};

/// A time before which a service must not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Whom it concerns: `github`.
    pub scope: String,
    /// When it ends (UTC).
    pub until: DateTime<Utc>,
    /// What the service said.
    pub reason: String,
    /// How many pauses without a named end came in a row.
    #[serde(skip)]
    pub count: i32,
}

/// One finished run.
#[derive(Debug)]
pub struct RunRecord<'a> {
    /// The run's id, as in its claims and its log.
    pub run: Uuid,
    /// The subcommand.
    pub command: &'a str,
    /// When it started (UTC).
    pub started_at: DateTime<Utc>,
    /// When it ended (UTC).
    pub finished_at: DateTime<Utc>,
    /// Its exit code.
    pub exit_code: i32,
    /// What ended it early.
    pub stopped_by: Option<&'a str>,
    /// Its counts, as in its JSON report.
    pub counts: &'a serde_json::Value,
}

impl Db {
    /// The latest pause of a scope, over or not.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn pause(&mut self, access: Access, scope: &str) -> anyhow::Result<Option<Pause>> {
        let rows = self
            .read(
                access,
                "SELECT scope, until, reason, count FROM worker_pause WHERE scope = $1",
                &[&scope],
            )
            .context("reading the pauses failed")?;
        Ok(rows.first().map(|row| Pause {
            scope: row.get("scope"),
            until: row.get("until"),
            reason: row.get("reason"),
            count: row.get("count"),
        }))
    }

    /// Stores a pause; one that ends later stays.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn store_pause(&mut self, pause: &Pause) -> anyhow::Result<()> {
        self.execute(
            "INSERT INTO worker_pause (scope, until, reason, count) VALUES ($1, $2, $3, $4)
             ON CONFLICT (scope) DO UPDATE SET until = GREATEST(worker_pause.until, EXCLUDED.until),
                reason = EXCLUDED.reason, count = EXCLUDED.count",
            &[&pause.scope, &pause.until, &pause.reason, &pause.count],
        )
        .context("storing the pause failed")?;
        Ok(())
    }

    /// Forgets a pause that is over, once the service has answered again.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn end_pause(&mut self, scope: &str, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.execute(
            "DELETE FROM worker_pause WHERE scope = $1 AND until <= $2",
            &[&scope, &now],
        )
        .context("ending the pause failed")?;
        Ok(())
    }

    /// Keeps the record of a run, and the last 1,000 of its command.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn record_run(&mut self, record: &RunRecord<'_>) -> anyhow::Result<()> {
        self.execute(
            "WITH old AS (
                DELETE FROM worker_run WHERE command = $2 AND id <= (
                    SELECT id FROM worker_run WHERE command = $2 ORDER BY id DESC OFFSET 999 LIMIT 1)
             )
             INSERT INTO worker_run (run, command, started_at, finished_at, exit_code, stopped_by, counts)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &record.run,
                &record.command,
                &record.started_at,
                &record.finished_at,
                &record.exit_code,
                &record.stopped_by,
                &record.counts,
            ],
        )
        .context("recording the run failed")?;
        Ok(())
    }

    /// Which of these ids do not exist in the given table of Agira.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn unknown_ids(
        &mut self,
        access: Access,
        projects: &[i64],
        mappings: &[i64],
    ) -> anyhow::Result<Vec<String>> {
        let rows = self
            .read(
                access,
                "SELECT 'project ' || id FROM unnest($1::bigint[]) AS t(id)
                    WHERE NOT EXISTS (SELECT FROM core_project p WHERE p.id = t.id)
                 UNION ALL
                 SELECT 'mapping ' || id FROM unnest($2::bigint[]) AS t(id)
                    WHERE NOT EXISTS (SELECT FROM core_externalissuemapping m WHERE m.id = t.id)",
                &[&projects, &mappings],
            )
            .context("looking up --project and --mapping failed")?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
