//! The report of one run, and the one place that decides its exit code.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use log::Level;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::counts::{DatabaseCounts, GithubCounts, MappingReport, Outcome, WeaviateCounts};
use super::entry::Entry;
use super::exit_code::{CANNOT_RUN, CRASHED, DONE, SOME_FAILED, Severity, StoppedBy, TRY_LATER};
use super::format::Format;
use super::last_word::Ending;
use crate::core::model::MappingId;
use crate::core::pause::Pause;
use crate::core::plan::{Action, WriteReason};
use crate::core::text::Printable;

/// Fields that the counts in a run's record leave out: they have their own columns or are not kept.
const NOT_IN_COUNTS: [&str; 8] = [
    "mappings",
    "planned",
    "schema_version",
    "command",
    "started_at",
    "finished_at",
    "exit_code",
    "stopped_by",
];

/// The report of one run. Field names are stable: scripts depend on them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    schema_version: u32,
    pub(super) command: &'static str,
    pub(super) dry_run: bool,
    /// Start of the run (UTC); null when it could not start.
    pub started_at: Option<DateTime<Utc>>,
    /// End of the run (UTC).
    pub finished_at: Option<DateTime<Utc>>,
    pub(super) exit_code: u8,
    pub(super) stopped_by: Option<StoppedBy>,
    /// Reason why the run could not do its work. Printable, since the run's record keeps it.
    pub(super) error: Option<String>,
    /// Pause that GitHub demanded and that is not over.
    pub pause: Option<Pause>,
    /// Mappings that discovery marked.
    pub discovered: u64,
    /// The time budget ended before all repositories were polled.
    #[serde(skip)]
    is_discovery_cut: bool,
    pub claimed: u64,
    pub(super) synced: u64,
    pub(super) unchanged: u64,
    pub(super) failed: u64,
    pub(super) given_back: u64,
    /// Mappings that are due after the run.
    pub remaining_due: Option<i64>,
    /// Items whose status was set.
    pub items_moved: u64,
    /// Links that were added or changed.
    pub pull_requests_linked: u64,
    pub weaviate: WeaviateCounts,
    pub github: GithubCounts,
    pub database: DatabaseCounts,
    /// Mappings that a run would change; 0 in a real run.
    pub(super) planned: u64,
    /// Entries as JSON text, which takes a tenth of their memory; empty if the output is text.
    mappings: Shared<Box<RawValue>>,
    /// Entries for a person; empty if the output is JSON.
    #[serde(skip)]
    pub(super) entries: Shared<Entry>,
    /// Repositories that could not be read, each with the reason, printable.
    #[serde(skip)]
    pub(super) failed_repositories: Shared<String>,
    /// Sentences about the whole run, printable.
    #[serde(skip)]
    pub(super) notices: Vec<String>,
    #[serde(skip)]
    reported: HashSet<MappingId>,
    #[serde(skip)]
    pub(super) format: Format,
    /// Agira has no mappings at all.
    #[serde(skip)]
    pub has_no_mappings: bool,
    /// Result and log go to the same terminal.
    #[serde(skip)]
    pub is_on_terminal: bool,
}

/// A list that copies of a report share, and of which each knows its own part.
#[derive(Debug, Clone)]
pub(super) struct Shared<T> {
    list: Arc<Mutex<Vec<T>>>,
    count: usize,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        let (list, count) = (Arc::default(), 0);
        Self { list, count }
    }
}

impl<T> Shared<T> {
    fn add(&mut self, entry: T) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(entry);
        self.count = list.len();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T: Clone> Shared<T> {
    /// Returns the entries that this copy knows.
    pub(super) fn all(&self) -> Vec<T> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().take(self.count).cloned().collect()
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        serializer.collect_seq(list.iter().take(self.count))
    }
}

impl Report {
    /// Returns an empty report.
    pub fn new(command: &'static str, dry_run: bool, format: Format) -> Self {
        Self {
            schema_version: 1,
            command,
            dry_run,
            format,
            is_on_terminal: format == Format::Text
                && std::io::stdout().is_terminal()
                && std::io::stderr().is_terminal(),
            ..Self::default()
        }
    }

    /// Returns the name of the subcommand.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Returns the reason that ended the run early.
    pub fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Records a reason that ended the run, or a part of it, early. The strongest reason counts;
    /// among equally strong ones, the first.
    pub fn stop(&mut self, by: StoppedBy, reason: &str) {
        if by.severity() == Severity::Outage {
            self.error
                .get_or_insert_with(|| Printable(reason).to_string());
        }
        if self
            .stopped_by
            .is_none_or(|before| before.severity() < by.severity())
        {
            self.stopped_by = Some(by);
        }
    }

    /// Records such a reason, and logs it unless the result shows it on the same terminal.
    pub fn stop_and_warn(&mut self, by: StoppedBy, reason: &str) {
        let is_shown = by.severity() == Severity::Outage && self.error.is_none();
        let level = if is_shown {
            self.level(Level::Warn)
        } else {
            Level::Warn
        };
        log::log!(level, "{reason}");
        self.stop(by, reason);
    }

    /// Returns the level of a log line about what the result shows, too. On one terminal, nothing
    /// should be read twice.
    pub fn level(&self, level: Level) -> Level {
        match self.is_on_terminal {
            true => level.max(Level::Info),
            false => level,
        }
    }

    /// Records and logs that a repository could not be read.
    pub fn fail_repository(&mut self, reason: &str) {
        log::log!(self.level(Level::Error), "{reason}");
        self.failed_repositories.add(Printable(reason).to_string());
    }

    /// Returns the number of repositories that could not be read.
    pub(super) fn repositories_failed(&self) -> u64 {
        self.failed_repositories.count as u64
    }

    /// Records and logs a sentence about the whole run.
    pub fn notice(&mut self, level: Level, text: &str) {
        log::log!(self.level(level), "{text}");
        let text = Printable(text).to_string();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    /// Records that the time budget ended before all repositories were polled.
    pub fn leave_repositories(&mut self, reason: &str) {
        self.is_discovery_cut = true;
        self.error
            .get_or_insert_with(|| Printable(reason).to_string());
        self.stop(StoppedBy::TimeBudget, reason);
    }

    /// Records that a person has to act.
    pub fn fail(&mut self, error: &str) {
        self.exit_code = CANNOT_RUN;
        self.error = Some(Printable(error).to_string());
    }

    /// Records that another thread ends the process.
    pub fn end(&mut self, ending: &Ending) {
        match ending {
            Ending::Blocked { signal, reason } => {
                let by = signal.map_or(StoppedBy::Database, StoppedBy::Signal);
                self.stop(by, reason);
                self.error
                    .get_or_insert_with(|| Printable(reason).to_string());
            }
            Ending::Panicked(reason) => {
                self.fail(reason);
                self.exit_code = CRASHED;
            }
        }
    }

    /// Returns a copy of what the report says now, in constant time.
    pub fn snapshot(&mut self) -> Self {
        let reported = std::mem::take(&mut self.reported);
        let snapshot = self.clone();
        self.reported = reported;
        snapshot
    }

    /// Records that stdout did not take the whole result.
    pub(super) fn result_is_lost(&mut self) {
        self.exit_code = CANNOT_RUN;
    }

    /// Returns true if the output is text.
    fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// Adds the result for one mapping.
    pub fn add(&mut self, entry: &MappingReport<'_>) {
        match entry.outcome {
            Outcome::Synced => self.synced += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::GivenBack => self.given_back += 1,
            Outcome::Planned => self.planned += 1,
        }
        self.reported.extend(entry.mapping_id.map(MappingId));
        if entry.outcome == Outcome::Planned {
            self.count_plan(entry.actions);
        }
        self.show(entry);
        if !self.is_text() {
            // Entries consist of texts, numbers and lists, which JSON can always represent.
            if let Ok(entry) = to_raw_value(entry) {
                self.mappings.add(entry);
            }
        }
    }

    /// Adds what a person should know about a mapping, without an entry in JSON.
    pub fn show(&mut self, entry: &MappingReport<'_>) {
        if self.is_text() {
            let now = self.started_at.unwrap_or_default();
            if let Some(entry) = Entry::new(entry, now) {
                self.entries.add(entry);
            }
        }
    }

    /// Counts what a run would do.
    fn count_plan(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::MoveItem { .. } => self.items_moved += 1,
                Action::Link { .. } => self.pull_requests_linked += 1,
                Action::Write {
                    change: WriteReason::Decide,
                    ..
                } => self.weaviate.pending += 1,
                Action::Write { change, .. } => self.weaviate.count_write(change),
                _ => {}
            }
        }
    }

    /// Returns true if the report has an entry for the mapping.
    pub fn has(&self, id: MappingId) -> bool {
        self.reported.contains(&id)
    }

    /// Decides the exit code: the first rule of design.md's table that applies.
    pub fn exit_code(&mut self) -> u8 {
        let failures = self.failed + self.repositories_failed() + self.weaviate.failed;
        self.exit_code = match self.stopped_by {
            _ if self.exit_code == CRASHED => CRASHED,
            Some(StoppedBy::Signal(signal)) => signal.exit_code(),
            _ if self.exit_code != DONE => self.exit_code,
            Some(by) if by.severity() == Severity::Outage => TRY_LATER,
            _ if self.is_discovery_cut => TRY_LATER,
            _ if failures > 0 => SOME_FAILED,
            _ => DONE,
        };
        self.exit_code
    }

    /// Returns the counts without the mappings, for the run's record.
    pub fn counts(&mut self) -> Value {
        let mappings = std::mem::take(&mut self.mappings);
        let mut counts = serde_json::to_value(&*self).unwrap_or_default();
        self.mappings = mappings;
        if let Some(counts) = counts.as_object_mut() {
            counts.retain(|name, _| !NOT_IN_COUNTS.contains(&name.as_str()));
        }
        counts
    }

    /// Returns the number of mappings with each [`Outcome`], by its name.
    pub fn outcomes(&self) -> Value {
        json!({
            "synced": self.synced, "unchanged": self.unchanged,
            "failed": self.failed, "given_back": self.given_back,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::Subject;
    use super::*;
    use crate::core::model::{Item, ItemId, ItemStatus, Kind, Mapping};

    fn item() -> Item {
        Item {
            id: ItemId(7),
            title: String::new(),
            description: String::new(),
            solution_description: String::new(),
            status: ItemStatus::testing(),
            project_id: 1,
            organisation_id: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            project_repository: None,
        }
    }

    fn report_of_one(format: Format) -> Report {
        let mapping = Mapping {
            id: MappingId(1),
            item_id: ItemId(7),
            number: 12,
            kind: Kind::Issue,
            html_url: "https://github.com/acme/shop/issues/12".to_owned(),
            ..Mapping::default()
        };
        let item = item();
        let mut report = Report::new("sync", false, format);
        let actions = [Action::Unlink { row: MappingId(3) }];
        let entry = MappingReport::new(&Subject::new(&mapping, &item), Outcome::Synced);
        report.add(&MappingReport {
            actions: &actions,
            ..entry
        });
        report
    }

    #[test]
    fn entries_that_are_not_printed_are_counted_and_not_kept() {
        let report = report_of_one(Format::Text);
        assert_eq!((report.mappings.count, report.synced), (0, 1));
        assert!(report.has(MappingId(1)) && !report.has(MappingId(2)));
    }

    #[test]
    fn a_snapshot_does_not_change_any_more() {
        let mut report = report_of_one(Format::Json);
        let snapshot = report.snapshot();
        report.add(&MappingReport {
            mapping_id: Some(2),
            ..MappingReport::new(&Subject::new(&Mapping::default(), &item()), Outcome::Failed)
        });
        assert!(report.has(MappingId(1)) && report.has(MappingId(2)));
        for (report, failed, entries) in [(snapshot, 0, 1), (report, 1, 2)] {
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["failed"], failed);
            assert_eq!(json["mappings"].as_array().unwrap().len(), entries);
        }
    }

    #[test]
    fn counts_leave_the_mappings_in_the_report() {
        let mut report = report_of_one(Format::Json);
        assert_eq!(
            (&report.counts()["synced"], report.counts().get("mappings")),
            (&json!(1), None)
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mappings"][0]["actions"][0]["action"], "unlink");
        assert_eq!(json["mappings"][0]["repository"], "acme/shop");
    }
}
