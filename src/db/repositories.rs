//! The repositories that are polled, and the marks that discovery makes (design.md, "The
//! pipeline").

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};
use chrono::{DateTime, Duration, Utc};

use super::error::{describe, is_conflict};
use super::row::{column, hashed};
use super::session::{Db, Parameters};
use super::value::Row;
use crate::core::discovery::Candidate;
use crate::core::model::{GithubId, MappingId, Repository};

/// The time until a hidden repository is polled again (design.md, "Failure model").
const REST: Duration = Duration::hours(1);

/// Longest time within which a look of another run can be newer than the start of this run's
/// discovery. An error that is later than that comes from a clock that was ahead.
const LONGEST_RUN: Duration = Duration::minutes(70);

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
    /// The failure of the last poll, or the reason why it is hidden.
    pub error: Option<String>,
    /// It is hidden from our credentials.
    pub is_hidden: bool,
    /// It was found hidden less than an hour ago, so that it must not be polled yet.
    pub is_resting: bool,
}

/// The result of polling a repository.
#[derive(Debug, Clone)]
pub struct PollResult {
    /// `owner/name` in lower case.
    pub name: String,
    /// GitHub's id of the repository; the first one that was stored stays.
    pub github_id: Option<GithubId>,
    /// The new cursor of issues (UTC, GitHub's clock); a stored one that is later stays, unless it
    /// is ahead.
    pub issues_cursor: DateTime<Utc>,
    /// The new cursor of pull requests (UTC, GitHub's clock); a stored one that is later stays,
    /// unless it is ahead.
    pub pull_requests_cursor: DateTime<Utc>,
    /// The reason why it could not be read.
    pub error: Option<String>,
    /// It is hidden from our credentials: it rests, and its mappings wait.
    pub is_hidden: bool,
    /// It was hidden before.
    pub was_hidden: bool,
    /// It had too many changes: its waiting mappings are rechecked instead.
    pub is_far_behind: bool,
    /// A stored cursor is later than GitHub's clock: both go back.
    pub is_ahead: bool,
    /// Mappings that its changes mark.
    pub marks: Vec<MappingId>,
}

impl RepositoryCursors {
    /// Returns the reason why it is hidden from our credentials; `None` if it is not.
    pub fn hidden(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.is_hidden)
    }
}

impl PollResult {
    /// Returns true if it changes no mapping.
    pub fn is_quiet(&self) -> bool {
        self.marks.is_empty() && !self.is_far_behind
    }

    /// Returns true if it is hidden, or was and could not be read for another reason.
    pub fn stays_hidden(&self) -> bool {
        self.is_hidden || self.was_hidden && self.error.is_some()
    }
}

impl Db {
    /// Reads all repositories that are polled or that Agira's projects name; those that were polled
    /// longest ago come first. A time in the future comes from a clock that was ahead, and counts
    /// as none.
    pub fn repositories_to_poll(&mut self, now: DateTime<Utc>) -> Result<Vec<RepositoryCursors>> {
        let sql = "/* repositories_to_poll */ SELECT name, r.issues_cursor, r.pull_requests_cursor,
                CASE WHEN r.polled_at <= $1::timestamptz + interval '65 minutes' THEN r.polled_at END AS polled_at,
                r.error, coalesce(r.error IS NOT NULL AND r.error_at IS NOT NULL, false) AS is_hidden,
                coalesce(r.error_at BETWEEN $1::timestamptz AND $1::timestamptz + interval '65 minutes', false) AS is_resting
             FROM worker_repository r
             FULL JOIN (
                SELECT DISTINCT lower((github_owner || '/' || github_repo) COLLATE \"C\") AS name FROM core_project
                WHERE github_owner <> '' AND github_repo <> ''
             ) p USING (name) ORDER BY polled_at NULLS FIRST, name";
        let rows = self.rows("reading the repositories", sql, &[&(now - REST)])?;
        let cursors = rows.iter().map(|row| {
            Ok(RepositoryCursors {
                name: row.get("name")?,
                cursors: Option::zip(row.get("issues_cursor")?, row.get("pull_requests_cursor")?),
                polled_at: row.get("polled_at")?,
                error: row.get("error")?,
                is_hidden: row.get("is_hidden")?,
                is_resting: row.get("is_resting")?,
            })
        });
        cursors.collect()
    }

    /// Reads the mappings with these GitHub ids or these addresses in lower case.
    pub fn candidates(&mut self, ids: &[i64], urls: &[String]) -> Result<Vec<Candidate>> {
        let (hash, hashes) = (hashed("html_url"), hashed("t.url"));
        let sql = format!(
            "/* candidates */ SELECT m.id, m.github_id, lower(m.html_url COLLATE \"C\") AS url, m.worker_external_updated_at,
                m.worker_checked_at,
                m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL AS is_parked
             FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                SELECT id FROM core_externalissuemapping WHERE github_id = ANY($1::bigint[])
                UNION SELECT id FROM core_externalissuemapping
                WHERE {hash} = ANY(ARRAY(SELECT {hashes} FROM unnest($2::text[]) AS t(url))) AND lower(html_url COLLATE \"C\") = ANY($2)))"
        );
        let rows = self.rows("reading the mappings of what changed", &sql, &[&ids, &urls])?;
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

    /// Stores results that change no mapping, with one statement. Returns the names that were
    /// stored: rows that another session has locked are left out.
    pub fn record_quiet_polls(
        &mut self,
        polled: &[PollResult],
        now: DateTime<Utc>,
    ) -> Result<HashSet<String>> {
        if polled.is_empty() {
            return Ok(HashSet::new());
        }
        let polled: Vec<&PollResult> = polled.iter().collect();
        let condition = "WHERE NOT EXISTS (SELECT FROM worker_repository w WHERE w.name = t.name)
             OR t.name = ANY(ARRAY(SELECT name FROM worker_repository WHERE name = ANY($1) FOR UPDATE SKIP LOCKED))";
        let rows = match self.store_polls("record_quiet_polls", condition, &polled, now) {
            Err(error) if is_conflict(&error) => return Ok(HashSet::new()),
            rows => rows.context("recording polls failed")?,
        };
        rows.iter().map(|row| row.get("name")).collect()
    }

    /// Stores marks and cursors in one transaction, so that no change is lost. Returns false if
    /// another session holds one of the rows for longer than `patience`: then, and after an error,
    /// the next run polls the same changes again.
    pub fn record_polls(
        &mut self,
        polled: &[&PollResult],
        now: DateTime<Utc>,
        patience: std::time::Duration,
    ) -> Result<bool> {
        let limit = format!("SET LOCAL lock_timeout = {}", patience.as_millis().max(1));
        let marks: BTreeSet<MappingId> =
            polled.iter().flat_map(|one| &one.marks).copied().collect();
        let marks: Vec<MappingId> = marks.into_iter().collect();
        let stored = self.transaction(|db| {
            db.control(&limit)?;
            // The lock of the repositories' rows comes first: a run that finds one hidden meanwhile
            // waits with its mappings.
            db.store_polls("record_polls", "", polled, now)?;
            if !marks.is_empty() {
                db.mark(&marks, now)?;
            }
            for one in polled {
                if one.is_ahead {
                    db.set_back(one)?;
                }
                if one.is_far_behind {
                    db.recheck_repository(&one.name, now)?;
                }
            }
            Ok(())
        });
        match stored {
            Err(error) if is_conflict(&error) => {
                log::debug!("polls are not stored yet: {}", describe(&error));
                Ok(false)
            }
            stored => {
                stored.context("recording what changed on GitHub failed")?;
                Ok(true)
            }
        }
    }

    /// Sets the cursors of a repository back, which GitHub's clock or PostgreSQL's set while it was
    /// ahead.
    fn set_back(&mut self, to: &PollResult) -> Result<u64, postgres::Error> {
        let sql =
            "/* set_back */ UPDATE worker_repository SET issues_cursor = LEAST(issues_cursor, $2),
                pull_requests_cursor = LEAST(pull_requests_cursor, $3) WHERE name = $1";
        self.execute(
            sql,
            &[&to.name, &to.issues_cursor, &to.pull_requests_cursor],
        )
    }

    /// Sets the recheck time of all waiting mappings of a repository to now. Only this rare
    /// statement reads the whole table.
    fn recheck_repository(
        &mut self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<u64, postgres::Error> {
        let sql =
            "/* recheck_repository */ UPDATE core_externalissuemapping SET worker_recheck_at = $2
             WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at > $2
             AND (html_url = '' OR lower(html_url COLLATE \"C\") LIKE '%/' || $1 || '/%')";
        self.execute(sql, &[&name, &now])
    }

    /// Stores cursors and errors; the error of a hidden repository stays if a look found it after
    /// `now`, or the poll had no answer. The time of the first failure in a row stays, unless a
    /// clock that was ahead stored it. `condition` selects among the results `t`.
    fn store_polls(
        &mut self,
        tag: &str,
        condition: &str,
        polled: &[&PollResult],
        now: DateTime<Utc>,
    ) -> Result<Vec<Row>, postgres::Error> {
        let names = column(polled, |one| one.name.as_str());
        let issues = column(polled, |one| one.issues_cursor);
        let pull_requests = column(polled, |one| one.pull_requests_cursor);
        let errors = column(polled, |one| one.error.as_deref());
        let hidden = column(polled, |one| one.is_hidden);
        let ids = column(polled, |one| one.github_id.map(|id| id.0));
        // Only a poll that can read the repository ends the wait of its mappings.
        let stays = "r.error_at > $6 AND r.error_at < $7
                    OR r.error_at IS NOT NULL AND EXCLUDED.error IS NOT NULL AND EXCLUDED.error_at IS NULL";
        let sql = format!(
            "/* {tag} */ INSERT INTO worker_repository AS r
                (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since, github_id)
             SELECT t.name, t.issues, t.pull_requests, $6::timestamptz, t.error, CASE WHEN t.hidden THEN $6::timestamptz END,
                CASE WHEN t.error IS NOT NULL THEN $6::timestamptz END, t.github_id
             FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::bool[], $8::bigint[])
                AS t(name, issues, pull_requests, error, hidden, github_id) {condition}
             ON CONFLICT (name) DO UPDATE SET polled_at = $6,
                error = CASE WHEN {stays} THEN r.error ELSE EXCLUDED.error END,
                error_at = CASE WHEN {stays} THEN r.error_at ELSE EXCLUDED.error_at END,
                unreadable_since = CASE WHEN EXCLUDED.error IS NOT NULL THEN LEAST(r.unreadable_since, $6) WHEN {stays} THEN r.error_at END,
                github_id = coalesce(r.github_id, EXCLUDED.github_id),
                issues_cursor = GREATEST(r.issues_cursor, EXCLUDED.issues_cursor),
                pull_requests_cursor = GREATEST(r.pull_requests_cursor, EXCLUDED.pull_requests_cursor)
             RETURNING r.name"
        );
        let latest = now + LONGEST_RUN;
        let parameters: Parameters<'_> = &[
            &names,
            &issues,
            &pull_requests,
            &errors,
            &hidden,
            &now,
            &latest,
            &ids,
        ];
        self.query(&sql, parameters)
    }

    /// Adds repositories that snapshots named, with their ids; their cursors start at `from` (UTC,
    /// GitHub's clock).
    pub fn add_repositories(
        &mut self,
        added: &[(String, Option<GithubId>)],
        from: DateTime<Utc>,
    ) -> Result<()> {
        let names = column(added, |(name, _)| name.as_str());
        let ids = column(added, |(_, id)| id.map(|id| id.0));
        let sql = "/* insert_repositories */ INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, github_id)
             SELECT t.name, $2::timestamptz, $2::timestamptz, t.id FROM unnest($1::text[], $3::bigint[]) AS t(name, id)
             ON CONFLICT (name) DO NOTHING";
        self.write("adding repositories", sql, &[&names, &from, &ids])
            .map(drop)
    }

    /// Returns the id that a repository had when its name was first seen.
    pub fn repository_id(&mut self, repository: &Repository) -> Result<Option<GithubId>> {
        let sql = "/* repository_id */ SELECT github_id FROM worker_repository WHERE name = $1";
        let rows = self.rows("reading a repository", sql, &[&repository.key()])?;
        let id: Option<Option<i64>> = rows.first().map(Row::first).transpose()?;
        Ok(id.flatten().map(GithubId))
    }

    /// Deletes repositories that no mapping and no project names. Because this reads the whole
    /// mapping table, it must run only once a day.
    pub fn delete_unreferenced_repositories(&mut self) -> Result<u64> {
        let sql = "/* delete_repositories */ DELETE FROM worker_repository WHERE name NOT IN (
                SELECT lower((github_owner || '/' || github_repo) COLLATE \"C\") FROM core_project
                UNION SELECT lower((split_part(html_url, '/', 4) || '/' || split_part(html_url, '/', 5)) COLLATE \"C\")
                FROM core_externalissuemapping)";
        self.write("deleting unreferenced repositories", sql, &[])
    }
}
