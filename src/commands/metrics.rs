//! What a run did, for Prometheus: node_exporter's textfile format, one file for each command.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};

/// All metrics with their meaning. All are gauges: a file tells of one run.
pub const METRICS: [(&str, &str); 15] = [
    ("agira_worker_run_exit_code", "exit code of the run"),
    ("agira_worker_run_duration_seconds", "how long it took"),
    ("agira_worker_run_finished_timestamp_seconds", "when it ended"),
    ("agira_worker_run_mappings", "mappings by `outcome`: synced, unchanged, failed, given_back"),
    ("agira_worker_run_items_moved", "items whose status was set"),
    ("agira_worker_run_pull_requests_linked", "links that were added or changed"),
    ("agira_worker_run_weaviate_objects", "objects by `outcome`: created, updated, unchanged, failed, pending"),
    ("agira_worker_run_requests", "requests by `service`: github, weaviate"),
    ("agira_worker_run_database_statements", "statements sent to PostgreSQL"),
    ("agira_worker_run_github_points", "GraphQL points that were spent"),
    ("agira_worker_github_points_remaining", "GraphQL points that are left, where GitHub said it"),
    ("agira_worker_github_pause_end_timestamp_seconds", "when GitHub may be asked again; absent without a pause"),
    ("agira_worker_mappings", "mappings by `class` after the run: due, in_work, backing_off, parked, waiting"),
    ("agira_worker_outbox_mappings", "mappings whose objects wait for Weaviate after the run"),
    ("agira_worker_last_success_timestamp_seconds", "when the command last ended with exit code 0 or 3"),
];

/// Metrics in the making.
pub struct Metrics {
    command: &'static str,
    text: String,
    last: &'static str,
}

impl Metrics {
    /// None yet.
    pub fn of(command: &'static str) -> Self {
        Self { command, text: String::new(), last: "" }
    }

    /// Adds a value; those of one metric come together. `label`: besides the command.
    pub fn gauge(&mut self, name: &'static str, label: Option<(&str, &str)>, value: impl std::fmt::Display) {
        if self.last != name {
            let help = METRICS.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| *help);
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
            self.last = name;
        }
        let label = label.map(|(key, value)| format!(",{key}=\"{value}\"")).unwrap_or_default();
        let _ = writeln!(self.text, "{name}{{command=\"{}\"{label}}} {value}", self.command);
    }

    /// Adds a time, if there is one.
    pub fn time(&mut self, name: &'static str, time: Option<DateTime<Utc>>) {
        if let Some(time) = time {
            self.gauge(name, None, time.timestamp());
        }
    }

    /// Puts the file in place, at once and readable by everybody. What it replaces is a file: a device stays.
    ///
    /// # Errors
    /// Names the path, and what is in the way.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let wrote = || format!("the metrics file {} cannot be written", path.display());
        if let Ok(there) = std::fs::metadata(path) {
            ensure!(there.is_file(), "{}: there is something else at this path; name another one", wrote());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(wrote)?;
        file.write_all(self.text.as_bytes()).with_context(wrote)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(wrote)?;
        file.persist(path).with_context(wrote)?;
        Ok(())
    }
}
