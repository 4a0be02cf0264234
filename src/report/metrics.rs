//! Metrics of one run in the text format of Prometheus' node_exporter, one file per command.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::counts::WeaviateCounts;
use super::result::Report;

/// All metrics with their meaning. All are gauges, since a file describes one run. A text in
/// backquotes is a label.
#[rustfmt::skip]
pub const METRICS: [(&str, &str); 16] = [
    ("agira_worker_run_exit_code", "exit code of the run"),
    ("agira_worker_run_duration_seconds", "duration of the run"),
    ("agira_worker_run_finished_timestamp_seconds", "end of the run"),
    ("agira_worker_run_mappings", "mappings by `outcome`: synced, unchanged, failed, given_back"),
    ("agira_worker_run_items_moved", "items whose status was set"),
    ("agira_worker_run_pull_requests_linked", "links that were added or changed"),
    ("agira_worker_run_weaviate_objects", "objects by `outcome`: created, updated, unchanged, failed, pending"),
    ("agira_worker_run_requests", "requests by `service`: github, weaviate"),
    ("agira_worker_run_database_statements", "statements sent to PostgreSQL"),
    ("agira_worker_run_github_points", "GraphQL points that the run spent"),
    ("agira_worker_github_points_remaining", "GraphQL points that are left, if GitHub named them"),
    ("agira_worker_github_pause_end_timestamp_seconds", "end of the pause; absent without one"),
    ("agira_worker_mappings", "mappings by `class`: due, in_work, backing_off, parked, waiting"),
    ("agira_worker_outbox_mappings", "mappings whose objects wait for Weaviate"),
    ("agira_worker_rejected_mappings", "of these, those with an object that Weaviate rejected"),
    ("agira_worker_last_success_timestamp_seconds", "last end with exit code 0 or 3"),
];

/// The metric that keeps its value when a run cannot read it.
const LAST_SUCCESS: &str = "agira_worker_last_success_timestamp_seconds";

/// State of the database after a run.
pub struct DatabaseState {
    /// Number of mappings in each class (design.md, "Data").
    pub classes: Value,
    /// Mappings with objects that wait for Weaviate.
    pub outboxes: i64,
    /// Mappings with an object that Weaviate rejected.
    pub rejected: i64,
    /// Last end of the command with exit code 0 or 3 (UTC).
    pub last_success: Option<DateTime<Utc>>,
}

/// Writes the metrics of a run that has ended; a failure to write them is logged and does not
/// affect the run.
pub fn write(path: &Path, report: &mut Report, state: Option<&DatabaseState>) {
    let mut values = run_values(report);
    match state {
        Some(state) => {
            values["agira_worker_mappings"] = state.classes.clone();
            values["agira_worker_outbox_mappings"] = state.outboxes.into();
            values["agira_worker_rejected_mappings"] = state.rejected.into();
            values[LAST_SUCCESS] = seconds(state.last_success);
        }
        // Without the metric, an alert on its age would be silent while PostgreSQL is unreachable.
        None => values[LAST_SUCCESS] = seconds(stored_last_success(path, report.command())),
    }
    if let Err(error) = replace_file(path, &text(report.command(), &values)) {
        log::warn!("{error:#}; the run itself is not affected");
    }
}

/// Reads the time that the previous run of the command left in the file.
fn stored_last_success(path: &Path, command: &str) -> Option<DateTime<Utc>> {
    // Reading a pipe might never end.
    let text = path
        .is_file()
        .then(|| std::fs::read_to_string(path).ok())??;
    let name = format!("{LAST_SUCCESS}{{command=\"{command}\"}} ");
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.parse().ok())?;
    DateTime::from_timestamp(seconds, 0)
}

fn seconds(time: Option<DateTime<Utc>>) -> Value {
    time.map(|time| time.timestamp()).into()
}

/// Returns the values of a run by the names of their metrics; a metric with a label has an object.
fn run_values(report: &mut Report) -> Value {
    let duration = report.finished_at.zip(report.started_at);
    let duration = duration.map(|(finished, started)| (finished - started).as_seconds_f64());
    let WeaviateCounts {
        requests,
        created,
        updated,
        unchanged,
        failed,
        pending,
        ..
    } = report.weaviate;
    json!({
        "agira_worker_run_exit_code": report.exit_code(),
        "agira_worker_run_duration_seconds": duration,
        "agira_worker_run_finished_timestamp_seconds": seconds(report.finished_at),
        "agira_worker_run_mappings": report.outcomes(),
        "agira_worker_run_items_moved": report.items_moved,
        "agira_worker_run_pull_requests_linked": report.pull_requests_linked,
        "agira_worker_run_weaviate_objects": {
            "created": created, "updated": updated, "unchanged": unchanged, "failed": failed, "pending": pending,
        },
        "agira_worker_run_requests": { "github": report.github.requests, "weaviate": requests },
        "agira_worker_run_database_statements": report.database.statements,
        "agira_worker_run_github_points": report.github.points,
        "agira_worker_github_points_remaining": report.github.remaining,
        "agira_worker_github_pause_end_timestamp_seconds": seconds(report.pause.as_ref().map(|pause| pause.until)),
    })
}

/// Returns the text format; metrics without a value are left out.
fn text(command: &str, values: &Value) -> String {
    let mut text = String::new();
    for (name, help) in METRICS.iter().filter(|(name, _)| !values[name].is_null()) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        let Some(by_label) = values[name].as_object() else {
            let _ = writeln!(text, "{name}{{command=\"{command}\"}} {}", values[name]);
            continue;
        };
        let label = help.split('`').nth(1).unwrap_or_default();
        for (class, value) in by_label {
            let _ = writeln!(
                text,
                "{name}{{command=\"{command}\",{label}=\"{class}\"}} {value}"
            );
        }
    }
    text
}

/// Replaces the file atomically; everybody can read it. A path that is not a regular file, such as
/// a device, is not replaced.
fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("the metrics file {} cannot be written", path.display());
    if let Ok(target) = std::fs::metadata(path) {
        ensure!(
            target.is_file(),
            "{}: the path is not a regular file; name another one",
            failed()
        );
    }
    let parent = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    let readable = std::fs::Permissions::from_mode(0o644);
    file.as_file()
        .set_permissions(readable)
        .with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}
