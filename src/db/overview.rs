//! The state that `status` and the metrics show. It only reads.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::rejected::RejectedDelivery;
use super::row::{NAMES, NamedMapping, TABLES, hashed, narrowed};
use super::run::NAMED;
use super::session::{Db, Parameters};
use super::value::Row;

/// The number of mappings in each class (design.md, "Data"). The five classes add up to `total`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sum of the classes.
    pub total: i64,
    /// Mappings that have a reason for a check now.
    pub due: i64,
    /// Mappings that a run holds, or held when it died.
    pub in_work: i64,
    /// Mappings that failed and wait for the end of their backoff.
    pub backing_off: i64,
    /// Mappings that failed and are tried again only after a change or by a person.
    pub parked: i64,
    /// Healthy mappings that wait for their recheck or for a change.
    pub waiting: i64,
}

/// A mapping with an error.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct FailedMapping {
    #[serde(flatten)]
    pub mapping: NamedMapping,
    /// Failed attempts since the last success.
    pub attempts: i32,
    /// Reason of the last failure.
    pub error: String,
    /// Time of the last failure (UTC).
    pub error_at: DateTime<Utc>,
    /// Time of the next attempt (UTC); null when it is parked.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// It waits until its repository can be read.
    #[serde(skip)]
    pub waits: bool,
}

/// Mappings that failed for the same reason.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct Cause {
    pub error: String,
    /// Number of these mappings.
    pub count: i64,
    /// The first of them, the latest failure first.
    pub mapping_ids: Vec<i64>,
    /// Time of the latest failure (UTC).
    pub error_at: DateTime<Utc>,
    /// Number of all mappings with an error.
    pub failures: i64,
}

/// Rows with the same address. Only one of them can have GitHub's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedAddress {
    /// The address in lower case.
    pub html_url: String,
    /// The rows that have it.
    pub mapping_ids: Vec<i64>,
}

/// Progress of polling a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepositoryState {
    /// `owner/name` in lower case.
    pub name: String,
    /// GitHub's `updatedAt` up to which changed issues were polled (UTC).
    pub issues_cursor: DateTime<Utc>,
    /// GitHub's `updatedAt` up to which changed pull requests were polled (UTC).
    pub pull_requests_cursor: DateTime<Utc>,
    /// Time of the last poll (UTC).
    pub polled_at: Option<DateTime<Utc>>,
    /// Error of the last poll.
    pub error: Option<String>,
    /// Time of that error (UTC), if the repository cannot be read because of it.
    #[serde(skip_serializing)]
    pub error_at: Option<DateTime<Utc>>,
    /// Time of the first failure since it was last read (UTC).
    pub unreadable_since: Option<DateTime<Utc>>,
    /// Due mappings with an address in this repository.
    pub due: i64,
}

/// A finished run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct RunState {
    pub command: String,
    /// Start of the run (UTC).
    pub started_at: DateTime<Utc>,
    /// End of the run (UTC).
    pub finished_at: DateTime<Utc>,
    pub exit_code: i32,
    /// The reason why it ended early.
    pub stopped_by: Option<String>,
    /// The counts of its JSON report.
    pub counts: serde_json::Value,
}

/// Numbers of mappings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// Mappings by class.
    #[serde(rename = "mappings")]
    pub totals: Totals,
    /// Mappings without a successful fetch.
    pub never_synced: i64,
    /// Waiting mappings whose recheck time has come.
    pub to_recheck: i64,
    /// Mappings that failed and are not parked.
    pub failing: i64,
    /// Outboxes.
    pub weaviate: Pending,
}

/// Mappings with objects that wait for Weaviate.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pending {
    /// Number of these mappings.
    pub pending: i64,
    /// Number of those with an object that Weaviate rejected.
    pub rejected: i64,
}

/// The state of mappings, repositories and runs at one moment. A part that was not read is `None`.
#[derive(Debug, Default, Serialize)]
pub struct Overview {
    /// Numbers of mappings.
    #[serde(flatten)]
    pub counts: Counts,
    /// Mappings with an error, the latest first. A text groups them instead.
    pub failures: Option<Vec<FailedMapping>>,
    /// Mappings with an object that Weaviate rejected, the next delivery first.
    pub rejected_deliveries: Option<Vec<RejectedDelivery>>,
    /// Rows with the same address.
    pub shared: Option<Vec<SharedAddress>>,
    /// Polled repositories.
    pub repositories: Option<Vec<RepositoryState>>,
    /// The first of `runs`.
    pub last_run: Option<RunState>,
    /// The last runs of any command, the latest first.
    pub runs: Option<Vec<RunState>>,
    /// Vectorizer of Weaviate's class, as the last run that read the class saw it; `none` without
    /// one.
    pub weaviate_vectorizer: Option<String>,
    /// Time when `sync` last did its work (UTC): it ended with exit code 0 or 3, or with 75 because
    /// of GitHub's rate limit.
    pub synced_at: Option<DateTime<Utc>>,
}

/// The number of mappings that `status` names of those that failed for the same reason.
const SHOWN_IDS: usize = 5;

/// The names that an error may give its mapping: `owner/name#12`, or its object in Weaviate.
const NAMED_IN_ERRORS: &str =
    "[A-Za-z0-9._-]+/[A-Za-z0-9._-]+#[0-9]+|(item|github_issue|github_pr):[0-9]+";

/// The number of runs that `status` shows.
const RUNS: i64 = 5;

/// Each count with its condition. Each condition but the first is that of a small index. Parameter
/// $3 is the time now.
#[rustfmt::skip]
const COUNTED: [(&str, &str); 11] = [
    ("total", "true"),
    ("in_work", "m.worker_claim IS NOT NULL"),
    ("due", "m.worker_claim IS NULL AND m.worker_due_at <= $3"),
    ("backing_off", "m.worker_claim IS NULL AND m.worker_due_at > $3"),
    ("parked", "m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL AND m.worker_error IS NOT NULL"),
    ("to_recheck", "m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at <= $3"),
    ("unsynced", "m.worker_pushed_at IS NULL AND m.worker_external_updated_at IS NULL"),
    ("pushed_unsynced", "m.worker_pushed_at IS NOT NULL AND m.worker_external_updated_at IS NULL"),
    ("failed", "m.worker_error IS NOT NULL"),
    ("outboxes", "m.worker_delivery_at IS NOT NULL"),
    ("rejected", "m.worker_delivery_error IS NOT NULL"),
];

/// Returns a statement that counts all mappings; each count reads only its own index.
fn all_counted() -> String {
    let counts = COUNTED.map(|(name, condition)| {
        format!("(SELECT count(*) FROM core_externalissuemapping m WHERE {condition}) AS {name}")
    });
    format!(
        "/* count_all */ SELECT {} WHERE {}",
        counts.join(", "),
        narrowed(&[], &[])
    )
}

/// Returns a statement that counts the narrowed mappings and reads each of them once.
fn some_counted(narrowed: &str) -> String {
    let counts =
        COUNTED.map(|(name, condition)| format!("count(*) FILTER (WHERE {condition}) AS {name}"));
    let counts = counts.join(", ");
    format!("/* count_some */ SELECT {counts} FROM core_externalissuemapping m WHERE {narrowed}")
}

impl Db {
    /// Reads the state that `status` shows, without the failures.
    pub fn overview(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
        now: DateTime<Utc>,
    ) -> Result<Overview> {
        let runs = self.runs()?;
        Ok(Overview {
            shared: Some(self.shared(projects, mappings)?),
            repositories: Some(self.repositories(now)?),
            last_run: runs.first().cloned(),
            runs: Some(runs),
            weaviate_vectorizer: self.vectorizer()?,
            ..self.essentials(projects, mappings, now)?
        })
    }

    /// Reads only the counts, and the time when `sync` last did its work.
    pub fn essentials(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
        now: DateTime<Utc>,
    ) -> Result<Overview> {
        Ok(Overview {
            counts: self.counts(projects, mappings, now)?,
            synced_at: self.last_end("sync", Some(now))?,
            ..Overview::default()
        })
    }

    /// Counts the mappings of these projects with these ids; empty lists stand for all.
    pub fn counts(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
        now: DateTime<Utc>,
    ) -> Result<Counts> {
        let sql = match projects.is_empty() && mappings.is_empty() {
            true => all_counted(),
            false => some_counted(narrowed(projects, mappings)),
        };
        let row = self.row("counting mappings", &sql, &[&projects, &mappings, &now])?;
        let count = |name| row.get::<i64>(name);
        let (total, parked) = (count("total")?, count("parked")?);
        let (in_work, due, backing_off) = (count("in_work")?, count("due")?, count("backing_off")?);
        let totals = Totals {
            total,
            due,
            in_work,
            backing_off,
            parked,
            // Every row is in exactly one class, and nearly all are in this one.
            waiting: total - in_work - due - backing_off - parked,
        };
        Ok(Counts {
            totals,
            never_synced: count("unsynced")? + count("pushed_unsynced")?,
            to_recheck: count("to_recheck")?,
            failing: (count("failed")? - parked).max(0),
            weaviate: Pending {
                pending: count("outboxes")?,
                rejected: count("rejected")?,
            },
        })
    }

    /// Returns the time when a command last ended with exit code 0 or 3 (UTC), except for named
    /// mappings.
    pub fn last_success(&mut self, command: &str) -> Result<Option<DateTime<Utc>>> {
        self.last_end(command, None)
    }

    /// Counts the mappings that are due now; `None` if Agira has no mappings at all.
    pub fn due(&mut self, now: DateTime<Utc>) -> Result<Option<i64>> {
        let sql = "/* count_due */ SELECT CASE WHEN (SELECT max(id) FROM core_externalissuemapping) IS NOT NULL THEN count(*) END
             FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at <= $1";
        let row = self.row("counting due mappings", sql, &[&now])?;
        Ok(row.first()?)
    }

    /// Reads the mappings with an error, the latest first.
    pub fn failures(&mut self, projects: &[i64], mappings: &[i64]) -> Result<Vec<FailedMapping>> {
        let narrowed = narrowed(projects, mappings);
        let sql = format!(
            "/* failures */ SELECT {NAMES},
                m.worker_attempts, m.worker_error, m.worker_error_at, coalesce(m.worker_due_at, m.worker_recheck_at) AS next_at,
                m.worker_due_at IS NULL AND m.worker_recheck_at IS NOT NULL AS waits
             FROM {TABLES} WHERE m.worker_error IS NOT NULL AND {narrowed} ORDER BY m.worker_error_at DESC, m.id"
        );
        let rows = self.rows("reading the failures", &sql, &[&projects, &mappings])?;
        let failures = rows.iter().map(|row| {
            Ok(FailedMapping {
                mapping: NamedMapping::from_row(row)?,
                attempts: row.get("worker_attempts")?,
                error: row.get("worker_error")?,
                error_at: row.get("worker_error_at")?,
                next_attempt_at: row.get("next_at")?,
                waits: row.get("waits")?,
            })
        });
        failures.collect()
    }

    /// Groups the mappings with an error by its text, in which "it" replaces what each is called,
    /// the largest group first; `most` bounds the groups.
    pub fn causes(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
        most: Option<i64>,
    ) -> Result<Vec<Cause>> {
        let narrowed = narrowed(projects, mappings);
        let sql = format!(
            "/* causes */ SELECT jsonb_build_object('error', m.error, 'count', count(*), 'error_at', max(m.worker_error_at),
                'mapping_ids', (array_agg(m.id ORDER BY m.worker_error_at DESC, m.id))[1:{SHOWN_IDS}],
                'failures', sum(count(*)) OVER ())
             FROM (SELECT m.id, m.worker_error_at, regexp_replace(m.worker_error, '{NAMED_IN_ERRORS}', 'it', 'g') AS error
                FROM core_externalissuemapping m WHERE m.worker_error IS NOT NULL AND {narrowed}) m
             GROUP BY m.error ORDER BY count(*) DESC, max(m.worker_error_at) DESC, m.error LIMIT $3"
        );
        let parameters: Parameters<'_> = &[&projects, &mappings, &most];
        self.decoded("grouping the failures", &sql, parameters)
    }

    fn shared(&mut self, projects: &[i64], mappings: &[i64]) -> Result<Vec<SharedAddress>> {
        let narrowed = narrowed(projects, mappings);
        let (tag, shared) = match projects.is_empty() && mappings.is_empty() {
            true => ("shared_all", "GROUP BY 1 HAVING count(*) > 1"),
            false => ("shared_some", ""),
        };
        let (inner, outer) = (hashed("m.html_url"), hashed("t.html_url"));
        // The inner query of all reads the table once: an index that holds the addresses would have
        // five times the size, for half a second per million rows. The outer one reads only rows
        // with a shared hash.
        let sql = format!(
            "/* {tag} */ SELECT jsonb_build_object('html_url', lower(t.html_url COLLATE \"C\"), 'mapping_ids', array_agg(t.id ORDER BY t.id))
             FROM core_externalissuemapping t WHERE t.html_url <> '' AND {outer} = ANY(ARRAY(
                SELECT {inner} FROM core_externalissuemapping m WHERE m.html_url <> '' AND {narrowed} {shared}))
             GROUP BY lower(t.html_url COLLATE \"C\") HAVING count(*) > 1 ORDER BY lower(t.html_url COLLATE \"C\")"
        );
        self.decoded("reading shared rows", &sql, &[&projects, &mappings])
    }

    fn repositories(&mut self, now: DateTime<Utc>) -> Result<Vec<RepositoryState>> {
        let sql = "/* repositories */ SELECT to_jsonb(r) || jsonb_build_object('due', coalesce(d.due, 0))
             FROM worker_repository r LEFT JOIN (
                SELECT lower((split_part(html_url, '/', 4) || '/' || split_part(html_url, '/', 5)) COLLATE \"C\") AS name, count(*) AS due
                FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at <= $1 GROUP BY 1
             ) d USING (name) ORDER BY r.name";
        self.decoded("reading the repositories", sql, &[&now])
    }

    fn runs(&mut self) -> Result<Vec<RunState>> {
        let sql = "/* runs */ SELECT to_jsonb(r) FROM (
                SELECT command, started_at, finished_at, exit_code, stopped_by, counts FROM worker_run ORDER BY id DESC LIMIT $1) r";
        self.decoded("reading the last runs", sql, &[&RUNS])
    }

    fn vectorizer(&mut self) -> Result<Option<String>> {
        let sql = "/* vectorizer */ SELECT counts->'weaviate'->>'vectorizer' FROM worker_run
             WHERE counts->'weaviate'->>'vectorizer' IS NOT NULL ORDER BY id DESC LIMIT 1";
        let rows = self.rows("reading what runs saw of Weaviate", sql, &[])?;
        Ok(rows.first().map(Row::first).transpose()?)
    }

    /// Returns the time when a command last ended with exit code 0 or 3 (UTC), except for named
    /// mappings. With `or_limited`, the time now, an end because of GitHub's rate limit counts,
    /// too, for three hours after a success.
    fn last_end(
        &mut self,
        command: &str,
        or_limited: Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>> {
        let sql = format!(
            "/* last_end */ WITH runs AS (
                SELECT id, exit_code, stopped_by, finished_at FROM worker_run WHERE command = $1 AND counts->'{NAMED}' IS NULL)
             SELECT finished_at FROM runs
             WHERE exit_code IN (0, 3) OR exit_code = 75 AND stopped_by = 'rate_limit' AND EXISTS (
                SELECT FROM runs s WHERE s.exit_code IN (0, 3) AND s.finished_at > $2::timestamptz - interval '3 hours')
             ORDER BY id DESC LIMIT 1"
        );
        let rows = self.rows("reading the last success", &sql, &[&command, &or_limited])?;
        Ok(rows.first().map(Row::first).transpose()?)
    }
}
