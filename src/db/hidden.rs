//! Repositories that our credentials cannot see: their mappings wait until a poll can read them
//! again (design.md, "Failure model").

use anyhow::{Context, Result};
use chrono::{DateTime, Duration, Utc};

use super::error::{describe, is_conflict};
use super::row::{LOCK, NARROWED, REPOSITORY, column};
use super::select::MappingFilter;
use super::session::{Db, Parameters};
use crate::core::failure::ISSUES_OFF;

/// Time until a mapping of a hidden repository is rechecked if no poll wakes it.
pub const HIDDEN_RECHECK: Duration = Duration::days(30);

/// Mappings that one statement reads besides the run's limit.
const BATCH: usize = 1000;

/// A part of the mappings that a claim takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Due mappings.
    Due,
    /// Mappings whose recheck time has come.
    Recheck,
}

/// The result for the first mappings of a part.
#[derive(Debug, PartialEq, Eq)]
pub struct AsideBatch {
    /// Mappings that wait from now on.
    pub set: i64,
    /// Mappings whose repositories are not hidden.
    pub others: i64,
}

/// Returns the condition that a hidden repository hides a mapping. If its issues are turned off, it
/// still shows its pull requests.
fn hides(repository: &str, mapping: &str) -> String {
    format!(
        "{repository}.name = {mapping}.name AND ({mapping}.kind = 'Issue' OR {repository}.error NOT LIKE '{ISSUES_OFF}%')"
    )
}

/// Returns a table of failed mappings with their kinds and the names of their repositories, which
/// reads the index of errors alone.
fn failed() -> String {
    format!(
        "failed AS MATERIALIZED (
            SELECT m.id, m.kind, {REPOSITORY} AS name FROM core_externalissuemapping m WHERE m.worker_error IS NOT NULL)"
    )
}

impl Db {
    /// Makes those of the first mappings of a part wait whose repositories are hidden, except for
    /// rows that another session has locked. `limit` is the number of mappings that the run may
    /// still claim.
    pub fn set_aside(
        &mut self,
        filter: &MappingFilter,
        part: Part,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<AsideBatch> {
        let (condition, order) = match part {
            Part::Due => ("m.worker_due_at <= $1", "m.worker_due_at"),
            Part::Recheck => (
                "m.worker_due_at IS NULL AND m.worker_recheck_at <= $1",
                "m.worker_recheck_at",
            ),
        };
        let (may_ask, hides) = (filter.may_ask("$1"), hides("h", "s"));
        // The lock on the repository keeps a poll from waking its mappings at the same time.
        let sql = format!(
            "/* set_aside */ WITH seen AS MATERIALIZED (
                SELECT m.id, m.kind, {REPOSITORY} AS name FROM core_externalissuemapping m
                WHERE m.worker_claim IS NULL AND {condition} AND {NARROWED}{may_ask} ORDER BY {order}, m.id LIMIT $4
             ), hidden AS MATERIALIZED (
                SELECT r.name, r.error FROM worker_repository r
                WHERE r.error IS NOT NULL AND r.error_at IS NOT NULL AND r.name = ANY(ARRAY(SELECT name FROM seen))
                FOR SHARE SKIP LOCKED
             ), done AS (
                UPDATE core_externalissuemapping m SET worker_due_at = NULL, worker_recheck_at = $5,
                    worker_error = h.error, worker_error_at = $1
                FROM seen s JOIN hidden h ON {hides}
                WHERE s.id = m.id AND m.id = ANY(ARRAY(SELECT m.id FROM core_externalissuemapping m
                    WHERE m.id = ANY(ARRAY(SELECT s.id FROM seen s JOIN hidden h ON {hides}))
                    AND m.worker_claim IS NULL AND {condition} ORDER BY m.id {LOCK})) RETURNING m.id
             ) SELECT (SELECT count(*) FROM done) AS set,
                (SELECT count(*) FROM seen s WHERE NOT EXISTS (SELECT FROM hidden h WHERE {hides})) AS others"
        );
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let (most, until) = ((limit + BATCH) as i64, now + HIDDEN_RECHECK);
        let parameters: Parameters<'_> = &[&now, projects, mappings, &most, &until];
        let doing = "setting the mappings of hidden repositories aside";
        let row = self.row(doing, &sql, parameters)?;
        Ok(AsideBatch {
            set: row.get("set")?,
            others: row.get("others")?,
        })
    }

    /// Records that looks found repositories hidden (names in lower case, with the reasons). The
    /// cursors of a new one start at `from` (UTC, GitHub's clock). Returns false if another session
    /// holds one of the rows.
    pub fn hide_repositories(
        &mut self,
        hidden: &[(String, String)],
        from: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let names = column(hidden, |(name, _)| name.as_str());
        let reasons = column(hidden, |(_, reason)| reason.as_str());
        let sql = "/* hide_repositories */ INSERT INTO worker_repository AS r
                (name, issues_cursor, pull_requests_cursor, error, error_at, unreadable_since)
             SELECT t.name, $3, $3, t.error, $4, $4 FROM unnest($1::text[], $2::text[]) AS t(name, error)
             ON CONFLICT (name) DO UPDATE SET error = EXCLUDED.error, error_at = EXCLUDED.error_at,
                unreadable_since = LEAST(r.unreadable_since, $4)";
        match self.execute(sql, &[&names, &reasons, &from, &now]) {
            Err(error) if is_conflict(&error) => {
                log::warn!(
                    "another session holds rows of repositories ({})",
                    describe(&error)
                );
                Ok(false)
            }
            result => {
                result.context("recording hidden repositories failed")?;
                Ok(true)
            }
        }
    }

    /// Sets the recheck time to now of the mappings that wait for a repository that is not hidden,
    /// or no longer, or because their address was corrected. A row that another session has locked
    /// waits for the next run. Returns the number of mappings.
    pub fn wake(&mut self, now: DateTime<Utc>) -> Result<u64> {
        let (failed, hides) = (failed(), hides("r", "f"));
        let sql = format!(
            "/* wake */ WITH {failed} UPDATE core_externalissuemapping SET worker_recheck_at = $1 WHERE id = ANY(ARRAY(
                SELECT m.id FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                    SELECT f.id FROM failed f WHERE NOT EXISTS (
                        SELECT FROM worker_repository r WHERE {hides} AND r.error_at IS NOT NULL)))
                AND m.worker_error IS NOT NULL AND m.worker_claim IS NULL AND m.worker_due_at IS NULL
                AND m.worker_recheck_at > $1 ORDER BY m.id {LOCK}))"
        );
        self.write("waking mappings", &sql, &[&now])
    }

    /// Returns true if an issue may wait for a repository: it has failed, and its address or
    /// project names the repository.
    pub fn issues_wait_for(&mut self, name: &str) -> Result<bool> {
        let sql = format!(
            "/* issues_wait_for */ WITH {} SELECT EXISTS (SELECT FROM failed WHERE kind = 'Issue' AND name = $1)",
            failed()
        );
        let row = self.row("reading what waits for a repository", &sql, &[&name])?;
        Ok(row.first()?)
    }
}
