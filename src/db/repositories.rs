//! The repositories that are polled, and the marks that come out of it (design, section 3, step 2).

use anyhow::Context;
use chrono::{DateTime, Duration, Utc};

use super::{Access, Db, describe, is_conflict};
use crate::core::discovery::Candidate;
use crate::core::model::{GithubId, MappingId};

/// A repository that cannot be seen is asked about again after this time (design, section 5).
const FAILED_FOR: Duration = Duration::hours(1);

/// A repository with what has been seen of it.
#[derive(Debug, Clone)]
pub struct RepositoryCursors {
    /// `owner/name`, lower case.
    pub name: String,
    /// GitHub's `updatedAt` up to which changed issues and changed pull requests were seen (UTC); `None`: it is met for the
    /// first time.
    pub cursors: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// It failed lately, and is not to be asked about yet.
    pub is_resting: bool,
}

/// What became of polling a repository.
#[derive(Debug, Clone)]
pub struct PollResult {
    /// `owner/name`, lower case.
    pub name: String,
    /// The new cursors (UTC, GitHub's clock); stored ones that are later stay.
    pub issues_cursor: DateTime<Utc>,
    /// The same for pull requests.
    pub pull_requests_cursor: DateTime<Utc>,
    /// Why it could not be read.
    pub error: Option<String>,
    /// It was too far behind: its waiting mappings are rechecked instead.
    pub is_far_behind: bool,
}

impl Db {
    /// All repositories that are polled, and those that Agira's projects name; and when the last `sync` started (UTC).
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn repositories_to_poll(
        &mut self,
        access: Access,
        now: DateTime<Utc>,
    ) -> anyhow::Result<(Vec<RepositoryCursors>, Option<DateTime<Utc>>)> {
        let sql = "SELECT name, r.issues_cursor, r.pull_requests_cursor, coalesce(r.error_at > $1, false) AS rests,
                (SELECT started_at FROM worker_run WHERE command = 'sync' ORDER BY id DESC LIMIT 1) AS last_sync
             FROM worker_repository r
             FULL JOIN (
                SELECT DISTINCT lower(github_owner || '/' || github_repo) AS name FROM core_project
                WHERE github_owner <> '' AND github_repo <> ''
             ) p USING (name) ORDER BY name";
        let rows = self
            .read(access, sql, &[&(now - FAILED_FOR)])
            .context("reading the repositories failed")?;
        let cursors = rows.iter().map(|row| {
            let issues: Option<DateTime<Utc>> = row.get("issues_cursor");
            RepositoryCursors {
                name: row.get("name"),
                cursors: issues.zip(row.get("pull_requests_cursor")),
                is_resting: row.get("rests"),
            }
        });
        Ok((
            cursors.collect(),
            rows.first().and_then(|row| row.get("last_sync")),
        ))
    }

    /// The mappings with these ids or addresses (lower case).
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn candidates(
        &mut self,
        access: Access,
        ids: &[i64],
        urls: &[String],
    ) -> anyhow::Result<Vec<Candidate>> {
        let sql =
            "SELECT m.id, m.github_id, lower(m.html_url) AS url, m.worker_external_updated_at, m.worker_checked_at,
                m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL AS is_parked
             FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                SELECT id FROM core_externalissuemapping WHERE github_id = ANY($1)
                UNION SELECT id FROM core_externalissuemapping WHERE lower(html_url) = ANY($2)))";
        let rows = self
            .read(access, sql, &[&ids, &urls])
            .context("reading the mappings of what changed failed")?;
        let seen = rows.iter().map(|row| Candidate {
            id: MappingId(row.get("id")),
            github_id: GithubId(row.get("github_id")),
            url: row.get("url"),
            updated_at: row.get("worker_external_updated_at"),
            checked_at: row.get("worker_checked_at"),
            is_parked: row.get("is_parked"),
        });
        Ok(seen.collect())
    }

    /// Stores marks and cursors in one transaction, so that no change is passed over. While somebody holds one of the rows,
    /// only repositories that are new are entered: the same changes are then seen again by the next run.
    ///
    /// # Errors
    /// When PostgreSQL fails; the same changes are then seen again.
    pub fn record_discovery(
        &mut self,
        marks: &[MappingId],
        polled: &[PollResult],
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let names: Vec<&str> = polled.iter().map(|one| one.name.as_str()).collect();
        let issues: Vec<DateTime<Utc>> = polled.iter().map(|one| one.issues_cursor).collect();
        let pull_requests: Vec<DateTime<Utc>> =
            polled.iter().map(|one| one.pull_requests_cursor).collect();
        let errors: Vec<Option<&str>> = polled.iter().map(|one| one.error.as_deref()).collect();
        let behind = polled
            .iter()
            .filter(|one| one.is_far_behind)
            .map(|one| format!("%/{}/%", one.name));
        let behind: Vec<String> = behind.collect();
        let result = self.transaction(Access::ReadWrite, |db| {
            if !marks.is_empty() {
                db.mark(marks, now)?;
            }
            if !behind.is_empty() {
                // Rare, and the one thing here that reads the whole table.
                db.execute(
                    "UPDATE core_externalissuemapping SET worker_recheck_at = $2
                     WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at > $2
                     AND (html_url = '' OR lower(html_url) LIKE ANY($1))",
                    &[&behind, &now],
                )?;
            }
            db.execute(
                "INSERT INTO worker_repository AS r (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at)
                 SELECT t.name, t.issues, t.pull_requests, $5::timestamptz, t.error, CASE WHEN t.error IS NOT NULL THEN $5::timestamptz END
                 FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[]) AS t(name, issues, pull_requests, error)
                 ON CONFLICT (name) DO UPDATE SET polled_at = $5, error = EXCLUDED.error, error_at = EXCLUDED.error_at,
                    issues_cursor = GREATEST(r.issues_cursor, EXCLUDED.issues_cursor),
                    pull_requests_cursor = GREATEST(r.pull_requests_cursor, EXCLUDED.pull_requests_cursor)",
                &[&names, &issues, &pull_requests, &errors, &now],
            )
        });
        let context = "recording what changed at GitHub failed";
        match result {
            Err(error) if is_conflict(&error) => {
                log::warn!(
                    "what changed at GitHub is left to the next run: somebody holds rows of it ({})",
                    describe(&error)
                );
                self.execute(
                    "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor)
                     SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) ON CONFLICT (name) DO NOTHING",
                    &[&names, &issues, &pull_requests],
                )
                .context(context)?;
            }
            other => drop(other.context(context)?),
        }
        Ok(())
    }

    /// Enters repositories that were met in an answer; `from` (UTC, GitHub's clock) is where polling begins.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn add_repositories(
        &mut self,
        names: &[String],
        from: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        self.execute(
            "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor)
             SELECT name, $2, $2 FROM unnest($1::text[]) AS t(name) ON CONFLICT (name) DO NOTHING",
            &[&names, &from],
        )
        .context("entering repositories failed")?;
        Ok(())
    }

    /// Forgets repositories that no mapping and no project names any more. Reads the whole mapping table: once a day.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn delete_unreferenced_repositories(&mut self) -> anyhow::Result<u64> {
        self.execute(
            "DELETE FROM worker_repository WHERE name NOT IN (
                SELECT lower(github_owner || '/' || github_repo) FROM core_project
                UNION SELECT lower(split_part(html_url, '/', 4) || '/' || split_part(html_url, '/', 5))
                FROM core_externalissuemapping)",
            &[],
        )
        .context("forgetting repositories failed")
    }
}
