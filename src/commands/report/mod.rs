//! What a run did, as its result and as its exit code. The one place where both are decided.

mod counts;
mod summary;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::args::Format;
use super::context::{Mode, StoppedBy};
use crate::core::model::{Address, Mapping, MappingId};
use crate::core::text::Printable;
use crate::db::Pause;

pub use counts::{DatabaseCounts, GithubCounts, MappingReport, Outcome, WeaviateCounts};
pub use summary::{print_line, say, say_json};

/// All exit codes with their meaning (design, section 6); of those that apply the first of the design's table counts.
pub const EXIT_CODES: [(u8, &str); 8] = [
    (
        DONE,
        "done, or nothing to do; also when limit or time budget ended the run: the rest stays due",
    ),
    (
        CANNOT_RUN,
        "cannot run: configuration, database, schema, credentials; a person has to act",
    ),
    (2, "usage: unknown flag or value"),
    (
        SOME_FAILED,
        "done, but some mappings failed; they wait for their retry or are parked",
    ),
    (
        UNHEALTHY,
        "`status --check` only: too many parked mappings, or no sync that did its work lately",
    ),
    (
        TRY_LATER,
        "try later: rate limit, or GitHub, Weaviate or PostgreSQL not reachable; nothing is lost",
    ),
    (
        130,
        "stopped by SIGINT: what was begun is finished, the rest was given back; a second signal stops at once",
    ),
    (143, "the same by SIGTERM"),
];

/// Exit code: done.
const DONE: u8 = 0;
/// Exit code: a person has to act.
pub const CANNOT_RUN: u8 = 1;
/// Exit code: done, with failures.
const SOME_FAILED: u8 = 3;
/// Exit code of `status --check`: somebody should look.
pub const UNHEALTHY: u8 = 4;
/// Exit code: another run will do better (`EX_TEMPFAIL` of sysexits.h).
const TRY_LATER: u8 = 75;

/// The report of one run (design, section 6). Field names are stable: scripts depend on them.
#[derive(Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    command: &'static str,
    dry_run: bool,
    /// When the run started (UTC).
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended (UTC).
    pub finished_at: Option<DateTime<Utc>>,
    exit_code: u8,
    stopped_by: Option<StoppedBy>,
    /// Why nothing more could be done: a person has to act. Printable, since the run's record keeps it.
    error: Option<String>,
    /// GitHub's pause.
    pub pause: Option<Pause>,
    /// Marks that discovery made.
    pub discovered: u64,
    /// Repositories that could not be read.
    #[serde(skip)]
    pub repositories_failed: u64,
    /// Mappings that were claimed.
    pub claimed: u64,
    synced: u64,
    unchanged: u64,
    failed: u64,
    given_back: u64,
    /// Mappings that are due after the run.
    pub remaining_due: Option<i64>,
    /// Items whose status was set.
    pub items_moved: u64,
    /// Links that were added or changed.
    pub pull_requests_linked: u64,
    /// Weaviate.
    pub weaviate: WeaviateCounts,
    /// GitHub.
    pub github: GithubCounts,
    /// PostgreSQL.
    pub database: DatabaseCounts,
    /// Already encoded, which takes a tenth of the memory; kept only where they are printed.
    mappings: Vec<Box<RawValue>>,
    /// Which mappings were reported.
    #[serde(skip)]
    reported: HashSet<i64>,
    #[serde(skip)]
    planned: u64,
    #[serde(skip)]
    format: Format,
}

impl Report {
    /// An empty report.
    pub fn new(command: &'static str, mode: Mode, format: Format) -> Self {
        Self {
            format,
            schema_version: 1,
            command,
            dry_run: mode == Mode::Preview,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            stopped_by: None,
            error: None,
            pause: None,
            discovered: 0,
            repositories_failed: 0,
            claimed: 0,
            synced: 0,
            unchanged: 0,
            failed: 0,
            given_back: 0,
            remaining_due: None,
            items_moved: 0,
            pull_requests_linked: 0,
            weaviate: WeaviateCounts::default(),
            github: GithubCounts::default(),
            database: DatabaseCounts::default(),
            mappings: Vec::new(),
            reported: HashSet::new(),
            planned: 0,
        }
    }

    /// The subcommand.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// What ended the run early.
    pub fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Something ended the run early, or part of it; the first one counts, but a bound that was reached less than a
    /// service that failed, and that less than a signal.
    pub fn stopped(&mut self, by: StoppedBy, reason: String) {
        let weight = |by: StoppedBy| match by {
            StoppedBy::Limit | StoppedBy::TimeBudget => 0,
            StoppedBy::RateLimit
            | StoppedBy::Github
            | StoppedBy::Weaviate
            | StoppedBy::Database => 1,
            StoppedBy::Signal(_) => 2,
        };
        if weight(by) == 1 {
            self.error
                .get_or_insert_with(|| Printable(&reason).to_string());
        }
        if self
            .stopped_by
            .is_none_or(|before| weight(before) < weight(by))
        {
            self.stopped_by = Some(by);
        }
    }

    /// Whether the result is for a person.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// A person has to do something.
    pub fn fatal(&mut self, error: String) {
        self.exit_code = CANNOT_RUN;
        self.error = Some(Printable(&error).to_string());
    }

    /// What became of one mapping.
    pub fn mapping(
        &mut self,
        mapping: &Mapping,
        address: Option<&Address>,
        outcome: Outcome,
        actions: Vec<Value>,
        error: Option<String>,
    ) {
        self.explained(mapping, address, outcome, actions, error, None);
    }

    /// The same with what led to it.
    pub fn explained(
        &mut self,
        mapping: &Mapping,
        address: Option<&Address>,
        outcome: Outcome,
        actions: Vec<Value>,
        error: Option<String>,
        explanation: Option<Value>,
    ) {
        match outcome {
            Outcome::Synced => self.synced += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::GivenBack => self.given_back += 1,
            Outcome::Planned => self.planned += 1,
        }
        if mapping.id.is_stored() {
            self.reported.insert(mapping.id.0);
        }
        if self.is_text() {
            return;
        }
        let report = MappingReport {
            mapping_id: mapping.id.is_stored().then_some(mapping.id.0),
            item_id: mapping.item_id.0,
            kind: mapping.kind,
            repository: address.map(|address| address.repository.to_string()),
            number: address.map_or(mapping.number, |address| address.number),
            outcome,
            actions,
            error,
            explanation,
        };
        // Texts, numbers and lists of them: there is nothing that JSON could not say.
        self.mappings.extend(to_raw_value(&report));
    }

    /// Whether a mapping is in the report.
    pub fn has(&self, id: MappingId) -> bool {
        self.reported.contains(&id.0)
    }

    /// The exit code: the first rule of the design's table that applies.
    pub fn exit_code(&mut self) -> u8 {
        if let Some(StoppedBy::Signal(signal)) = self.stopped_by {
            self.exit_code = signal.exit_code();
        }
        let later = matches!(
            self.stopped_by,
            Some(
                StoppedBy::RateLimit
                    | StoppedBy::Github
                    | StoppedBy::Weaviate
                    | StoppedBy::Database
            )
        );
        if self.exit_code == DONE {
            self.exit_code = match (later, self.failed + self.repositories_failed) {
                (true, _) => TRY_LATER,
                (false, 0) => DONE,
                (false, _) => SOME_FAILED,
            };
        }
        self.exit_code
    }

    /// The counts without the mappings, for the run's record.
    pub fn counts(&mut self) -> Value {
        let mappings = std::mem::take(&mut self.mappings);
        let mut counts = serde_json::to_value(&*self).unwrap_or_default();
        self.mappings = mappings;
        if let Some(counts) = counts.as_object_mut() {
            for name in [
                "mappings",
                "schema_version",
                "command",
                "started_at",
                "finished_at",
                "exit_code",
                "stopped_by",
            ] {
                counts.remove(name);
            }
        }
        counts
    }

    /// How many mappings ended in which way, by the names of [`Outcome`].
    pub fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("synced", self.synced),
            ("unchanged", self.unchanged),
            ("failed", self.failed),
            ("given_back", self.given_back),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::model::{GithubId, ItemId, Kind};

    fn reported(format: Format) -> Report {
        let mapping = Mapping::inserted(
            MappingId(1),
            ItemId(7),
            GithubId(5_000_000_001),
            12,
            Kind::Issue,
            "open",
            "https://github.com/acme/shop/issues/12",
        );
        let mut report = Report::new("sync", Mode::Apply, format);
        report.mapping(
            &mapping,
            None,
            Outcome::Synced,
            vec![json!({ "action": "something" })],
            None,
        );
        report
    }

    #[test]
    fn what_is_not_printed_is_counted_and_not_kept() {
        let report = reported(Format::Text);
        assert_eq!((report.mappings.len(), report.synced), (0, 1));
        assert!(report.has(MappingId(1)) && !report.has(MappingId(2)));
    }

    #[test]
    fn the_counts_leave_the_mappings_where_they_are() {
        let mut report = reported(Format::Json);
        assert_eq!(
            (&report.counts()["synced"], report.counts().get("mappings")),
            (&json!(1), None)
        );
        let shown = serde_json::to_value(&report).unwrap();
        assert_eq!(
            shown["mappings"][0]["actions"],
            json!([{ "action": "something" }])
        );
    }
}
