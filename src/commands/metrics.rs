//! What a run did, for Prometheus: node_exporter's textfile format, one file for each command.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};

use super::context::Context;
use super::report::{Report, WeaviateCounts};
use crate::db::{Counts, Totals};

/// All metrics with their meaning. All are gauges: a file tells of one run.
pub const METRICS: [(&str, &str); 15] = [
    ("agira_worker_run_exit_code", "exit code of the run"),
    ("agira_worker_run_duration_seconds", "how long it took"),
    (
        "agira_worker_run_finished_timestamp_seconds",
        "when it ended",
    ),
    (
        "agira_worker_run_mappings",
        "mappings by `outcome`: synced, unchanged, failed, given_back",
    ),
    ("agira_worker_run_items_moved", "items whose status was set"),
    (
        "agira_worker_run_pull_requests_linked",
        "links that were added or changed",
    ),
    (
        "agira_worker_run_weaviate_objects",
        "objects by `outcome`: created, updated, unchanged, failed, pending",
    ),
    (
        "agira_worker_run_requests",
        "requests by `service`: github, weaviate",
    ),
    (
        "agira_worker_run_database_statements",
        "statements sent to PostgreSQL",
    ),
    (
        "agira_worker_run_github_points",
        "GraphQL points that were spent",
    ),
    (
        "agira_worker_github_points_remaining",
        "GraphQL points that are left, where GitHub said it",
    ),
    (
        "agira_worker_github_pause_end_timestamp_seconds",
        "when GitHub may be asked again; absent without a pause",
    ),
    (
        "agira_worker_mappings",
        "mappings by `class` after the run: due, in_work, backing_off, parked, waiting",
    ),
    (
        "agira_worker_outbox_mappings",
        "mappings whose objects wait for Weaviate after the run",
    ),
    (
        "agira_worker_last_success_timestamp_seconds",
        "when the command last ended with exit code 0 or 3",
    ),
];

/// The metric whose value outlives a run that does not know it.
const LAST_SUCCESS: &str = "agira_worker_last_success_timestamp_seconds";

/// What the metrics say beyond the run itself.
pub struct After {
    counts: Counts,
    last_success: Option<DateTime<Utc>>,
}

impl After {
    /// Reads it from the database; `None`: it is not to be had.
    pub fn read(ctx: &mut Context) -> Option<Self> {
        let (now, access, command) = (ctx.now(), ctx.access(), ctx.report.command());
        let counts = ctx.db.counts(access, &[], &[], now);
        let read = counts.and_then(|counts| {
            Ok(Self {
                counts,
                last_success: ctx.db.last_success(access, command)?,
            })
        });
        read.inspect_err(|error| log::warn!("{error:#}; the metrics leave it out"))
            .ok()
    }
}

/// Writes the metrics of a run that has ended. Where they cannot be written, that is all that happens.
pub fn write(path: &Path, report: &mut Report, after: Option<&After>) {
    let mut metrics = Metrics::of_report(report);
    match after {
        Some(After {
            counts,
            last_success,
        }) => {
            metrics.counts(counts);
            metrics.time(LAST_SUCCESS, *last_success);
        }
        // Without it an alert on its age would be silent as long as PostgreSQL is lost.
        None => metrics.time(LAST_SUCCESS, last_success_of(path, report.command())),
    }
    if let Err(error) = metrics.write(path) {
        log::warn!("{error:#}; the run itself is not affected");
    }
}

/// What the last run of the command left in the file.
fn last_success_of(path: &Path, command: &str) -> Option<DateTime<Utc>> {
    // What is no file, such as a pipe, might never end.
    let text = path
        .is_file()
        .then(|| std::fs::read_to_string(path).ok())??;
    let name = format!("{LAST_SUCCESS}{{command=\"{command}\"}} ");
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.parse().ok())?;
    DateTime::from_timestamp(seconds, 0)
}

/// Metrics in the making.
struct Metrics {
    command: &'static str,
    text: String,
    last: &'static str,
}

impl Metrics {
    /// What the run itself knows.
    fn of_report(report: &mut Report) -> Self {
        let mut metrics = Self {
            command: report.command(),
            text: String::new(),
            last: "",
        };
        metrics.gauge("agira_worker_run_exit_code", None, report.exit_code());
        if let (Some(started), Some(finished)) = (report.started_at, report.finished_at) {
            let seconds = (finished - started).as_seconds_f64();
            metrics.gauge("agira_worker_run_duration_seconds", None, seconds);
        }
        metrics.time(
            "agira_worker_run_finished_timestamp_seconds",
            report.finished_at,
        );
        for (outcome, count) in report.outcomes() {
            metrics.gauge(
                "agira_worker_run_mappings",
                Some(("outcome", outcome)),
                count,
            );
        }
        metrics.gauge("agira_worker_run_items_moved", None, report.items_moved);
        metrics.gauge(
            "agira_worker_run_pull_requests_linked",
            None,
            report.pull_requests_linked,
        );
        let WeaviateCounts {
            requests,
            created,
            updated,
            unchanged,
            failed,
            pending,
        } = report.weaviate;
        let objects = [
            ("created", created),
            ("updated", updated),
            ("unchanged", unchanged),
            ("failed", failed),
            ("pending", pending),
        ];
        for (outcome, count) in objects {
            metrics.gauge(
                "agira_worker_run_weaviate_objects",
                Some(("outcome", outcome)),
                count,
            );
        }
        for (service, count) in [("github", report.github.requests), ("weaviate", requests)] {
            metrics.gauge(
                "agira_worker_run_requests",
                Some(("service", service)),
                count,
            );
        }
        metrics.gauge(
            "agira_worker_run_database_statements",
            None,
            report.database.statements,
        );
        metrics.gauge("agira_worker_run_github_points", None, report.github.points);
        if let Some(remaining) = report.github.remaining {
            metrics.gauge("agira_worker_github_points_remaining", None, remaining);
        }
        let paused_until = report.pause.as_ref().map(|pause| pause.until);
        metrics.time(
            "agira_worker_github_pause_end_timestamp_seconds",
            paused_until,
        );
        metrics
    }

    fn counts(&mut self, counts: &Counts) {
        let Totals {
            due,
            in_work,
            backing_off,
            parked,
            waiting,
            ..
        } = counts.totals;
        let classes = [
            ("due", due),
            ("in_work", in_work),
            ("backing_off", backing_off),
            ("parked", parked),
            ("waiting", waiting),
        ];
        for (class, count) in classes {
            self.gauge("agira_worker_mappings", Some(("class", class)), count);
        }
        self.gauge("agira_worker_outbox_mappings", None, counts.outboxes);
    }

    /// Adds a value; those of one metric come together. `label`: besides the command.
    fn gauge(
        &mut self,
        name: &'static str,
        label: Option<(&str, &str)>,
        value: impl std::fmt::Display,
    ) {
        if self.last != name {
            let help = METRICS
                .iter()
                .find(|(known, _)| *known == name)
                .map_or("", |(_, help)| *help);
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
            self.last = name;
        }
        let label = label
            .map(|(key, value)| format!(",{key}=\"{value}\""))
            .unwrap_or_default();
        let _ = writeln!(
            self.text,
            "{name}{{command=\"{}\"{label}}} {value}",
            self.command
        );
    }

    /// Adds a time, if there is one.
    fn time(&mut self, name: &'static str, time: Option<DateTime<Utc>>) {
        if let Some(time) = time {
            self.gauge(name, None, time.timestamp());
        }
    }

    /// Puts the file in place, at once and readable by everybody. What it replaces is a file: a device stays.
    ///
    /// # Errors
    /// Names the path, and what is in the way.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let wrote = || format!("the metrics file {} cannot be written", path.display());
        if let Ok(there) = std::fs::metadata(path) {
            ensure!(
                there.is_file(),
                "{}: there is something else at this path; name another one",
                wrote()
            );
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(wrote)?;
        file.write_all(self.text.as_bytes()).with_context(wrote)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))
            .with_context(wrote)?;
        file.persist(path).with_context(wrote)?;
        Ok(())
    }
}
