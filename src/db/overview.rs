//! What `status` shows. It only reads.

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Access, Db};
use crate::core::model::Kind;

/// How many mappings are in each class (design, section 2). The five add up to `total`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All.
    pub total: i64,
    /// There is a reason to look at GitHub now.
    pub due: i64,
    /// A run holds them, or did when it died.
    pub in_work: i64,
    /// Waiting to be tried again.
    pub backing_off: i64,
    /// Not tried again by themselves.
    pub parked: i64,
    /// Healthy, with a time for the next look.
    pub waiting: i64,
}

/// A mapping that failed.
#[derive(Debug, Clone, Serialize)]
pub struct FailedMapping {
    /// The mapping.
    pub mapping_id: i64,
    /// Its item.
    pub item_id: i64,
    /// `Issue` or `PR`.
    pub kind: Kind,
    /// `owner/name`; null when its address cannot be read.
    pub repository: Option<String>,
    /// Number in it.
    pub number: i32,
    /// Failed attempts since the last success.
    pub attempts: i32,
    /// What happened.
    pub error: String,
    /// When (UTC).
    pub error_at: DateTime<Utc>,
    /// When it is tried again (UTC); null: parked.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// Rows that mean the same issue or pull request; GitHub's id for it can be in one of them only.
#[derive(Debug, Clone, Serialize)]
pub struct SharedAddress {
    /// Its address, lower case.
    pub html_url: String,
    /// The rows.
    pub mapping_ids: Vec<i64>,
}

/// How far behind a repository is.
#[derive(Debug, Clone, Serialize)]
pub struct RepositoryState {
    /// `owner/name`, lower case.
    pub name: String,
    /// GitHub's `updatedAt` up to which changed issues were seen (UTC).
    pub issues_cursor: DateTime<Utc>,
    /// The same for pull requests.
    pub pull_requests_cursor: DateTime<Utc>,
    /// Last poll (UTC).
    pub polled_at: Option<DateTime<Utc>>,
    /// Its last error.
    pub error: Option<String>,
    /// Its mappings that are due, as far as their addresses say.
    pub due: i64,
}

/// The last run of a command.
#[derive(Debug, Clone, Serialize)]
pub struct RunState {
    /// The subcommand.
    pub command: String,
    /// When it started (UTC).
    pub started_at: DateTime<Utc>,
    /// When it ended (UTC).
    pub finished_at: DateTime<Utc>,
    /// Its exit code.
    pub exit_code: i32,
    /// What ended it early.
    pub stopped_by: Option<String>,
    /// Its counts.
    pub counts: serde_json::Value,
}

/// How many mappings there are, by what is to be done about them.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Classes.
    pub totals: Totals,
    /// Mappings that GitHub was never seen for.
    pub never_synced: i64,
    /// Waiting mappings whose recheck time has come.
    pub to_recheck: i64,
    /// Mappings whose objects wait for Weaviate.
    pub outboxes: i64,
}

/// The whole state at one moment.
#[derive(Debug)]
pub struct Overview {
    /// Counts.
    pub counts: Counts,
    /// Mappings with an error, the latest first.
    pub failures: Vec<FailedMapping>,
    /// Rows that mean the same issue or pull request.
    pub shared: Vec<SharedAddress>,
    /// Polled repositories.
    pub repositories: Vec<RepositoryState>,
    /// The last runs, of whatever command, the latest first.
    pub runs: Vec<RunState>,
    /// When `sync` last did its work (UTC): ended with exit code 0 or 3, or with 75 because GitHub wanted it to wait.
    pub synced_at: Option<DateTime<Utc>>,
}

/// How many runs `status` shows.
const RUNS: i64 = 5;

/// What is counted, and which mappings that are: each condition but the first is that of a small index. Parameters: $3 now.
const COUNTED: [(&str, &str); 8] = [
    ("total", "true"),
    ("in_work", "m.worker_claim IS NOT NULL"),
    ("due", "m.worker_claim IS NULL AND m.worker_due_at <= $3"),
    (
        "backing_off",
        "m.worker_claim IS NULL AND m.worker_due_at > $3",
    ),
    (
        "parked",
        "m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL AND m.worker_error IS NOT NULL",
    ),
    (
        "to_recheck",
        "m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at <= $3",
    ),
    ("never_synced", "m.worker_external_updated_at IS NULL"),
    ("outboxes", "m.worker_outbox IS NOT NULL"),
];

/// Counts all mappings, each set of them by its index alone.
fn all_counted() -> String {
    let counts = COUNTED.map(|(name, condition)| {
        format!("(SELECT count(*) FROM core_externalissuemapping m WHERE {condition}) AS {name}")
    });
    format!("SELECT {} WHERE {}", counts.join(", "), narrowed(&[], &[]))
}

/// Counts some mappings, which are read once.
fn some_counted(narrowed: &str) -> String {
    let counts =
        COUNTED.map(|(name, condition)| format!("count(*) FILTER (WHERE {condition}) AS {name}"));
    format!(
        "SELECT {} FROM core_externalissuemapping m WHERE {narrowed}",
        counts.join(", ")
    )
}

/// Which mappings `status` is about; parameters: $1 projects, $2 mappings. A condition for each case, because one for
/// all of them would keep PostgreSQL from using an index.
fn narrowed(projects: &[i64], mappings: &[i64]) -> &'static str {
    match (projects.is_empty(), mappings.is_empty()) {
        (true, true) => "$1::bigint[] = '{}' AND $2::bigint[] = '{}'",
        (true, false) => "$1::bigint[] = '{}' AND m.id = ANY($2)",
        (false, true) => {
            "m.item_id IN (SELECT id FROM core_item WHERE project_id = ANY($1)) AND $2::bigint[] = '{}'"
        }
        (false, false) => {
            "m.item_id IN (SELECT id FROM core_item WHERE project_id = ANY($1)) AND m.id = ANY($2)"
        }
    }
}

impl Db {
    /// Reads everything that `status` shows, each statement in a READ ONLY transaction of its own.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn overview(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Overview> {
        Ok(Overview {
            counts: self.counts(Access::ReadOnly, projects, mappings, now)?,
            failures: self.failures(projects, mappings)?,
            shared: self.shared(projects, mappings)?,
            repositories: self.repositories(now)?,
            runs: self.runs()?,
            synced_at: self.synced_at()?,
        })
    }

    /// Counts mappings: of these projects, with these ids; of none: all.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn counts(
        &mut self,
        access: Access,
        projects: &[i64],
        mappings: &[i64],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Counts> {
        let sql = match projects.is_empty() && mappings.is_empty() {
            true => all_counted(),
            false => some_counted(narrowed(projects, mappings)),
        };
        let rows = self
            .read(access, &sql, &[&projects, &mappings, &now])
            .context("counting mappings failed")?;
        let row = &rows[0];
        let [total, in_work, due, backing_off, parked] =
            ["total", "in_work", "due", "backing_off", "parked"]
                .map(|name| row.get::<_, i64>(name));
        // Every row is in exactly one class (design, section 2), and nearly all are in this one.
        let waiting = total - in_work - due - backing_off - parked;
        let totals = Totals {
            total,
            due,
            in_work,
            backing_off,
            parked,
            waiting,
        };
        Ok(Counts {
            totals,
            never_synced: row.get("never_synced"),
            to_recheck: row.get("to_recheck"),
            outboxes: row.get("outboxes"),
        })
    }

    fn failures(
        &mut self,
        projects: &[i64],
        mappings: &[i64],
    ) -> anyhow::Result<Vec<FailedMapping>> {
        let narrowed = narrowed(projects, mappings);
        let sql = format!(
            "SELECT m.id, m.item_id, m.kind, m.html_url, m.number, p.github_owner, p.github_repo, m.worker_attempts,
                m.worker_error, m.worker_error_at, m.worker_due_at
             FROM core_externalissuemapping m JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.worker_error IS NOT NULL AND {narrowed} ORDER BY m.worker_error_at DESC, m.id"
        );
        let rows = self
            .read(Access::ReadOnly, &sql, &[&projects, &mappings])
            .context("reading the failures failed")?;
        let failures = rows.iter().map(|row| {
            let address = crate::core::model::Address::parse(row.get("html_url"));
            let of_project = || {
                let (owner, name): (&str, &str) = (row.get("github_owner"), row.get("github_repo"));
                (!owner.is_empty() && !name.is_empty()).then(|| format!("{owner}/{name}"))
            };
            FailedMapping {
                mapping_id: row.get("id"),
                item_id: row.get("item_id"),
                kind: Kind::parse(row.get("kind")),
                repository: address
                    .as_ref()
                    .map(|address| address.repository.to_string())
                    .or_else(of_project),
                number: address.map_or_else(|| row.get("number"), |address| address.number),
                attempts: row.get("worker_attempts"),
                error: row.get("worker_error"),
                error_at: row.get("worker_error_at"),
                next_attempt_at: row.get("worker_due_at"),
            }
        });
        Ok(failures.collect())
    }

    fn shared(&mut self, projects: &[i64], mappings: &[i64]) -> anyhow::Result<Vec<SharedAddress>> {
        let narrowed = narrowed(projects, mappings);
        let sql = match projects.is_empty() && mappings.is_empty() {
            // The index alone has all addresses, in order; only the rows of those that are there twice are read.
            true => format!(
                "SELECT lower(t.html_url) AS address, array_agg(t.id ORDER BY t.id) AS ids
                 FROM core_externalissuemapping t WHERE lower(t.html_url) = ANY(array_remove(ARRAY(
                    SELECT lower(m.html_url) FROM core_externalissuemapping m WHERE {narrowed}
                    GROUP BY 1 HAVING count(*) > 1), ''))
                 GROUP BY 1 ORDER BY 1"
            ),
            false => format!(
                "SELECT lower(t.html_url) AS address, array_agg(t.id ORDER BY t.id) AS ids
                 FROM core_externalissuemapping t WHERE lower(t.html_url) = ANY(ARRAY(
                    SELECT lower(m.html_url) FROM core_externalissuemapping m WHERE m.html_url <> '' AND {narrowed}))
                 GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"
            ),
        };
        let rows = self
            .read(Access::ReadOnly, &sql, &[&projects, &mappings])
            .context("reading shared rows failed")?;
        let shared = rows.iter().map(|row| SharedAddress {
            html_url: row.get("address"),
            mapping_ids: row.get("ids"),
        });
        Ok(shared.collect())
    }

    fn repositories(&mut self, now: DateTime<Utc>) -> anyhow::Result<Vec<RepositoryState>> {
        let sql = "SELECT r.name, r.issues_cursor, r.pull_requests_cursor, r.polled_at, r.error, coalesce(d.due, 0) AS due
             FROM worker_repository r LEFT JOIN (
                SELECT lower(split_part(html_url, '/', 4) || '/' || split_part(html_url, '/', 5)) AS name, count(*) AS due
                FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at <= $1 GROUP BY 1
             ) d USING (name) ORDER BY r.name";
        let rows = self
            .read(Access::ReadOnly, sql, &[&now])
            .context("reading the repositories failed")?;
        let repositories = rows.iter().map(|row| RepositoryState {
            name: row.get("name"),
            issues_cursor: row.get("issues_cursor"),
            pull_requests_cursor: row.get("pull_requests_cursor"),
            polled_at: row.get("polled_at"),
            error: row.get("error"),
            due: row.get("due"),
        });
        Ok(repositories.collect())
    }

    fn runs(&mut self) -> anyhow::Result<Vec<RunState>> {
        let sql = "SELECT command, started_at, finished_at, exit_code, stopped_by, counts FROM worker_run ORDER BY id DESC LIMIT $1";
        let rows = self
            .read(Access::ReadOnly, sql, &[&RUNS])
            .context("reading the last runs failed")?;
        let runs = rows.iter().map(|row| RunState {
            command: row.get("command"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            exit_code: row.get("exit_code"),
            stopped_by: row.get("stopped_by"),
            counts: row.get("counts"),
        });
        Ok(runs.collect())
    }

    fn synced_at(&mut self) -> anyhow::Result<Option<DateTime<Utc>>> {
        let sql = "SELECT finished_at FROM worker_run WHERE command = 'sync'
            AND (exit_code IN (0, 3) OR exit_code = 75 AND stopped_by = 'rate_limit') ORDER BY id DESC LIMIT 1";
        let rows = self
            .read(Access::ReadOnly, sql, &[])
            .context("reading the last runs failed")?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// When a command last ended with exit code 0 or 3 (UTC).
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn last_success(
        &mut self,
        access: Access,
        command: &str,
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        let sql = "SELECT finished_at FROM worker_run WHERE command = $1 AND exit_code IN (0, 3) ORDER BY id DESC LIMIT 1";
        let rows = self
            .read(access, sql, &[&command])
            .context("reading the last success failed")?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// How many mappings are due now.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn due(&mut self, access: Access, now: DateTime<Utc>) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at <= $1";
        let rows = self
            .read(access, sql, &[&now])
            .context("counting what is due failed")?;
        Ok(rows[0].get(0))
    }
}
