//! The repositories that are polled, and the marks that discovery makes (design.md, "The
//! pipeline").

use anyhow::{Context, Result};
use chrono::{DateTime, Duration, Utc};

use super::error::{describe, is_conflict};
use super::row::column;
use super::session::Db;
use crate::core::discovery::Candidate;
use crate::core::model::{GithubId, MappingId};

/// The time until a repository that could not be read is polled again (design.md, "Failure model").
const FAILED_FOR: Duration = Duration::hours(1);

/// A repository with its progress.
#[derive(Debug, Clone)]
pub struct RepositoryCursors {
    /// `owner/name` in lower case.
    pub name: String,
    /// GitHub's `updatedAt` up to which changed issues and changed pull requests were polled (UTC);
    /// `None` before the first poll.
    pub cursors: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Time of the last poll (UTC).
    pub polled_at: Option<DateTime<Utc>>,
    /// Its last poll failed less than an hour ago, so that it must not be polled yet.
    pub is_resting: bool,
}

/// The result of polling a repository.
#[derive(Debug, Clone)]
pub struct PollResult {
    /// `owner/name` in lower case.
    pub name: String,
    /// The new cursor of issues (UTC, GitHub's clock); a stored one that is later stays.
    pub issues_cursor: DateTime<Utc>,
    /// The new cursor of pull requests (UTC, GitHub's clock); a stored one that is later stays.
    pub pull_requests_cursor: DateTime<Utc>,
    /// The reason why it could not be read.
    pub error: Option<String>,
    /// It had too many changes: its waiting mappings are rechecked instead.
    pub is_far_behind: bool,
}

impl Db {
    /// Reads all repositories that are polled or that Agira's projects name.
    pub fn repositories_to_poll(&mut self, now: DateTime<Utc>) -> Result<Vec<RepositoryCursors>> {
        let sql = "/* repositories_to_poll */ SELECT name, r.issues_cursor, r.pull_requests_cursor,
                r.polled_at, coalesce(r.error_at > $1, false) AS is_resting
             FROM worker_repository r
             FULL JOIN (
                SELECT DISTINCT lower(github_owner || '/' || github_repo) AS name FROM core_project
                WHERE github_owner <> '' AND github_repo <> ''
             ) p USING (name) ORDER BY name";
        let rows = self.rows("reading the repositories", sql, &[&(now - FAILED_FOR)])?;
        let cursors = rows.iter().map(|row| {
            Ok(RepositoryCursors {
                name: row.get("name")?,
                cursors: Option::zip(row.get("issues_cursor")?, row.get("pull_requests_cursor")?),
                polled_at: row.get("polled_at")?,
                is_resting: row.get("is_resting")?,
            })
        });
        cursors.collect()
    }

    /// Reads the mappings with these GitHub ids or these addresses in lower case.
    pub fn candidates(&mut self, ids: &[i64], urls: &[String]) -> Result<Vec<Candidate>> {
        let sql = "/* candidates */ SELECT m.id, m.github_id, lower(m.html_url) AS url, m.worker_external_updated_at,
                m.worker_checked_at,
                m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL AS is_parked
             FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                SELECT id FROM core_externalissuemapping WHERE github_id = ANY($1::bigint[])
                UNION SELECT id FROM core_externalissuemapping WHERE lower(html_url) = ANY($2)))";
        let rows = self.rows("reading the mappings of what changed", sql, &[&ids, &urls])?;
        let candidates = rows.iter().map(|row| {
            Ok(Candidate {
                id: MappingId(row.get("id")?),
                github_id: GithubId(row.get("github_id")?),
                url: row.get("url")?,
                updated_at: row.get("worker_external_updated_at")?,
                checked_at: row.get("worker_checked_at")?,
                is_parked: row.get("is_parked")?,
            })
        });
        candidates.collect()
    }

    /// Stores marks and cursors in one transaction, so that no change is lost. If another session
    /// holds one of the rows, only new repositories are added. Then, and after an error, the next
    /// run polls the same changes again.
    pub fn record_discovery(
        &mut self,
        marks: &[MappingId],
        polled: &[PollResult],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let names = column(polled, |one| one.name.as_str());
        let issues = column(polled, |one| one.issues_cursor);
        let pull_requests = column(polled, |one| one.pull_requests_cursor);
        let errors = column(polled, |one| one.error.as_deref());
        let behind = polled.iter().filter(|one| one.is_far_behind);
        let behind: Vec<String> = behind.map(|one| format!("%/{}/%", one.name)).collect();
        let result = self.transaction(|db| {
            if !marks.is_empty() {
                db.mark(marks, now)?;
            }
            if !behind.is_empty() {
                // Only this rare statement reads the whole table.
                let sql = "/* recheck_repositories */ UPDATE core_externalissuemapping SET worker_recheck_at = $2
                     WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at > $2
                     AND (html_url = '' OR lower(html_url) LIKE ANY($1))";
                db.execute(sql, &[&behind, &now])?;
            }
            let sql = "/* record_discovery */ INSERT INTO worker_repository AS r
                    (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at)
                 SELECT t.name, t.issues, t.pull_requests, $5::timestamptz, t.error, CASE WHEN t.error IS NOT NULL THEN $5::timestamptz END
                 FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[]) AS t(name, issues, pull_requests, error)
                 ON CONFLICT (name) DO UPDATE SET polled_at = $5, error = EXCLUDED.error, error_at = EXCLUDED.error_at,
                    issues_cursor = GREATEST(r.issues_cursor, EXCLUDED.issues_cursor),
                    pull_requests_cursor = GREATEST(r.pull_requests_cursor, EXCLUDED.pull_requests_cursor)";
            db.execute(sql, &[&names, &issues, &pull_requests, &errors, &now])
        });
        let result = match result {
            Err(error) if is_conflict(&error) => {
                log::warn!(
                    "the changes on GitHub are left to the next run, because another session holds rows of their mappings ({})",
                    describe(&error)
                );
                self.insert_repositories(&names, &issues, &pull_requests)
            }
            result => result,
        };
        result
            .map(drop)
            .context("recording what changed on GitHub failed")
    }

    /// Adds repositories that snapshots named; their cursors start at `from` (UTC, GitHub's clock).
    pub fn add_repositories(&mut self, names: &[String], from: DateTime<Utc>) -> Result<()> {
        let names = column(names, String::as_str);
        let cursors = vec![from; names.len()];
        self.insert_repositories(&names, &cursors, &cursors)
            .map(drop)
            .context("adding repositories failed")
    }

    fn insert_repositories(
        &mut self,
        names: &[&str],
        issues: &[DateTime<Utc>],
        pull_requests: &[DateTime<Utc>],
    ) -> Result<u64, postgres::Error> {
        let sql = "/* insert_repositories */ INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor)
             SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) ON CONFLICT (name) DO NOTHING";
        self.execute(sql, &[&names, &issues, &pull_requests])
    }

    /// Deletes repositories that no mapping and no project names. Because this reads the whole
    /// mapping table, it must run only once a day.
    pub fn delete_unreferenced_repositories(&mut self) -> Result<u64> {
        let sql = "/* delete_repositories */ DELETE FROM worker_repository WHERE name NOT IN (
                SELECT lower(github_owner || '/' || github_repo) FROM core_project
                UNION SELECT lower(split_part(html_url, '/', 4) || '/' || split_part(html_url, '/', 5))
                FROM core_externalissuemapping)";
        self.write("deleting unreferenced repositories", sql, &[])
    }
}
