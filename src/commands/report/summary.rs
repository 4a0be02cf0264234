//! A report as a person or a script reads it, on stdout.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::commands::args::Format;
use crate::commands::screen::Screen;
use crate::core::text::{Printable, printable_json};

impl Report {
    /// Prints the result; returns the exit code.
    pub fn print(&mut self) -> u8 {
        match self.format {
            Format::Json => {
                // The log has one summary line per run; in the other form stdout is where a person reads it.
                log::info!("{}", self.summary());
                say_json(self);
            }
            Format::Text => Screen::of_stdout()
                .wrapped(&self.summary())
                .iter()
                .for_each(|line| say(line)),
        }
        self.exit_code()
    }

    fn summary(&self) -> String {
        let mut line = self.command.to_owned();
        if let (None, Some(error)) = (self.started_at, &self.error) {
            let _ = write!(line, ": not started: {error}");
            return line;
        }
        if self.dry_run {
            line.push_str(" --dry-run");
        }
        let Self {
            planned,
            unchanged,
            failed,
            given_back,
            ..
        } = self;
        let not_asked = if *given_back > 0 {
            format!(", {given_back} not asked about")
        } else {
            String::new()
        };
        let _ = match self.dry_run {
            true => write!(
                line,
                ": {planned} would change, {unchanged} would not, {failed} failed{not_asked}; nothing was changed"
            ),
            false => write!(
                line,
                ": {} synced, {} unchanged, {} failed, {} given back; {} items moved, {} pull requests linked; \
                 Weaviate: {} created, {} updated, {} waiting",
                self.synced,
                self.unchanged,
                self.failed,
                self.given_back,
                self.items_moved,
                self.pull_requests_linked,
                self.weaviate.created,
                self.weaviate.updated,
                self.weaviate.pending
            ),
        };
        if let Some(due) = self.remaining_due.filter(|due| *due > 0 && !self.dry_run) {
            let _ = write!(line, "; {due} still due");
        }
        if let Some(by) = self.stopped_by {
            let _ = write!(line, "; stopped by {}", by.as_str());
        }
        if let Some(error) = &self.error {
            let _ = write!(line, ": {error}");
        }
        line
    }
}

/// One JSON object on stdout.
pub fn say_json(value: &impl Serialize) {
    print_line(&printable_json(
        &serde_json::to_string(value).unwrap_or_default(),
    ));
}

/// One line on stdout, whatever text it quotes.
pub fn say(line: &str) {
    print_line(&Printable(line).to_string());
}

/// A reader that has gone away (`| head -1`) is no error of ours.
pub fn print_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
