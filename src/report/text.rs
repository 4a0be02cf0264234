//! The summary of a run for a person.

use std::fmt::Write as _;

use super::exit_code::StoppedBy;
use super::format::Format;
use super::json::print_json;
use super::result::Report;
use super::terminal::{Screen, is_result_lost};

impl Report {
    /// Prints the result and returns the exit code.
    pub fn print(&mut self) -> u8 {
        if self.format == Format::Json {
            // The log has one summary line per run; with text, stdout has it.
            log::info!("{}", self.summary());
        }
        self.print_result();
        if is_result_lost() {
            self.result_is_lost();
        }
        self.exit_code()
    }

    /// Prints the result and logs nothing.
    pub fn print_result(&self) {
        match self.format {
            Format::Json => print_json(self),
            Format::Text => Screen::of_stdout().print_wrapped(None, &self.summary()),
        }
    }

    fn summary(&self) -> String {
        let command = self.command;
        if let (None, Some(error)) = (self.started_at, &self.error) {
            return format!("{command}: not started: {error}");
        }
        let mut line = match self.dry_run {
            true => format!("{command} --dry-run: {}", self.planned_counts()),
            false => format!("{command}: {}", self.applied_counts()),
        };
        if let Some(due) = self.remaining_due.filter(|due| *due > 0 && !self.dry_run) {
            let _ = write!(line, "; {due} still due");
        }
        if let Some(by) = self.stopped_by.map(StoppedBy::as_str) {
            let _ = write!(line, "; stopped by {by}");
        }
        if let Some(error) = &self.error {
            let _ = write!(line, ": {error}");
        }
        line
    }

    fn planned_counts(&self) -> String {
        let skipped = match self.given_back {
            0 => String::new(),
            count => format!(", {count} skipped"),
        };
        format!(
            "{} would change, {} would not, {} failed{skipped}; nothing was changed",
            self.planned, self.unchanged, self.failed
        )
    }

    fn applied_counts(&self) -> String {
        let rejected = match self.weaviate.failed {
            0 => String::new(),
            count => format!(", {count} rejected"),
        };
        format!(
            "{} synced, {} unchanged, {} failed, {} released; {} items moved, {} pull requests linked; \
             Weaviate: {} created, {} updated, {} waiting{rejected}",
            self.synced,
            self.unchanged,
            self.failed,
            self.given_back,
            self.items_moved,
            self.pull_requests_linked,
            self.weaviate.created,
            self.weaviate.updated,
            self.weaviate.pending
        )
    }
}
