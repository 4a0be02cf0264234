//! The result of a run for a person.

use super::display::{Display, blocks, failures, left};
use super::draw::draw;
use super::entry::Entry;
use super::exit_code::{CRASHED, DONE, SOME_FAILED, StoppedBy, TRY_LATER};
use super::format::Format;
use super::json::print_json;
use super::result::Report;
use super::terminal::{Screen, is_result_lost};
use super::words::{counted, number, took};

impl Report {
    /// Prints the result and returns the exit code.
    pub fn print(&mut self) -> u8 {
        if self.format == Format::Json {
            // The log has one summary line per run; with text, stdout has it.
            log::info!("{}: {}", self.command, self.summary());
        }
        self.exit_code();
        self.print_result();
        if is_result_lost() {
            self.result_is_lost();
        }
        self.exit_code()
    }

    /// Prints the result and logs nothing. The exit code is decided before.
    pub fn print_result(&self) {
        if self.format == Format::Json {
            return print_json(self);
        }
        let screen = Screen::of_stdout();
        for line in draw(&self.display(), &screen) {
            screen.print(line.tone, &line.text);
        }
    }

    fn display(&self) -> Display {
        let (entries, repositories) = (self.entries.all(), self.failed_repositories.all());
        Display {
            notices: self.notices.clone(),
            blocks: blocks(&entries),
            failures: failures(&entries, &repositories),
            left: left(&entries),
            summary: self.summary(),
            ending: self.ending(),
        }
    }

    /// Returns the whole run in one sentence, without zeros.
    fn summary(&self) -> String {
        if self.started_at.is_none() {
            return format!("{} did not start.", self.command);
        }
        let (checked, changes) = (self.checked(), self.changes());
        let mut line = match (checked.is_empty(), changes.is_empty()) {
            (true, true) => self.nothing().to_owned(),
            (false, true) => checked,
            (true, false) => changes,
            (false, false) => format!("{checked}: {changes}"),
        };
        if self.dry_run && self.planned > 0 {
            line.push_str("; nothing was changed");
        }
        let by = match self.stopped_by {
            Some(StoppedBy::Limit) => "; --limit ended the run",
            Some(StoppedBy::TimeBudget) => "; the time budget ended the run",
            _ => "",
        };
        line.push_str(by);
        let due = self.remaining_due.unwrap_or(0).try_into().unwrap_or(0);
        if due > 0 && !self.dry_run {
            let verb = if due == 1 { "is" } else { "are" };
            line.push_str(&format!("; {} {verb} still due", counted(due, "mapping")));
        }
        format!("{line}. {}", self.costs())
    }

    /// Says how many mappings had each outcome.
    fn checked(&self) -> String {
        let (planned, unchanged, failed) = match self.dry_run {
            true => ("would change", "would not change", "would fail"),
            false => ("synced", "unchanged", "failed"),
        };
        let parts = [
            (self.synced + self.planned, planned),
            (self.unchanged, unchanged),
            (self.failed, failed),
            (self.given_back, "left to a later run"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts = parts.enumerate().map(|(place, (count, verb))| match place {
            0 => format!("{} {verb}", counted(*count, "mapping")),
            _ => format!("{} {verb}", number(*count)),
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Says what was changed.
    fn changes(&self) -> String {
        let weaviate = &self.weaviate;
        let written = weaviate.created + weaviate.updated;
        let (moved, linked, wrote) = match self.dry_run {
            true => ("would move", "would be linked", "would be written"),
            false => ("moved", "linked", "written"),
        };
        let parts = [
            (self.items_moved, "item", moved),
            (self.pull_requests_linked, "pull request", linked),
            (written, "object", wrote),
            (weaviate.failed, "object", "rejected"),
            (weaviate.pending, "object", "left for Weaviate"),
        ];
        let parts = parts.iter().filter(|(count, ..)| *count > 0);
        let parts = parts.map(|(count, noun, verb)| format!("{} {verb}", counted(*count, noun)));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Says that nothing happened.
    fn nothing(&self) -> &'static str {
        let has_reason = self.stopped_by.is_some() || self.error.is_some();
        if has_reason || !self.notices.is_empty() || !self.entries.is_empty() {
            return "Nothing was done";
        }
        if self.has_no_mappings {
            return "Nothing to do: Agira has no mappings yet";
        }
        match self.command {
            "push-weaviate" => "Nothing to do: no object waits for Weaviate",
            "retry-failed" => "Nothing to do: no mapping has failed",
            _ => "Nothing to do: no mapping is due",
        }
    }

    /// Says how long the run took and what it asked of GitHub.
    fn costs(&self) -> String {
        let ends = self.started_at.zip(self.finished_at);
        let time = ends.map(|(start, end)| took(end - start));
        let requests = match (self.github.requests, self.github.points) {
            (0, _) => None,
            (requests, 0) => Some(counted(requests, "GitHub request")),
            (requests, points) => {
                let points = counted(points, "point");
                Some(format!(
                    "{} ({points})",
                    counted(requests, "GitHub request")
                ))
            }
        };
        let parts: Vec<String> = time.into_iter().chain(requests).collect();
        parts.join(", ")
    }

    /// Says what the exit code means, and which command tells more.
    fn ending(&self) -> Option<String> {
        let (code, error) = (self.exit_code, self.error.as_deref().unwrap_or_default());
        let meaning = match (code, self.stopped_by) {
            (DONE, _) => return None,
            (SOME_FAILED, _) => return Some(self.some_failed()),
            (CRASHED, _) => return Some(format!("exit code {code}: {error}")),
            (TRY_LATER, _) => format!(
                "try later, nothing is lost: {error}; `agira-worker status --services` shows which services answer"
            ),
            (_, Some(StoppedBy::Signal(signal))) => format!(
                "stopped by {}; the next run goes on with what was released",
                signal.as_str()
            ),
            _ => format!("a person has to act: {error}"),
        };
        Some(format!("exit code {code}: {meaning}"))
    }

    fn some_failed(&self) -> String {
        let repositories = self.repositories_failed();
        let failed = match self.dry_run {
            true => "some mappings would fail",
            false => "some mappings failed",
        };
        let causes = [
            (self.failed > 0, failed),
            (repositories > 0, "some repositories could not be read"),
            (self.weaviate.failed > 0, "Weaviate rejected some objects"),
        ];
        let causes = causes.iter().filter(|(applies, _)| *applies);
        let causes: Vec<&str> = causes.map(|(_, cause)| *cause).collect();
        let causes = causes.join(", ");
        let more = match (self.dry_run, self.failed + self.weaviate.failed) {
            (true, _) => self.first_failure().map_or_else(String::new, |mapping| {
                let command = self.command;
                format!(
                    "; `agira-worker {command} --dry-run --mapping {mapping}` explains the first"
                )
            }),
            (false, 0) => "; `agira-worker status` shows them".to_owned(),
            (false, _) => "; `agira-worker status --failed` lists them".to_owned(),
        };
        format!("exit code {SOME_FAILED}: {causes}{more}")
    }

    /// Returns the first mapping that failed and is not explained.
    fn first_failure(&self) -> Option<i64> {
        let entries = self.entries.all();
        let has_failed = |entry: &&Entry| entry.trouble.as_ref().is_some_and(|one| one.is_failure);
        let failed = entries.iter().find(has_failed);
        failed.filter(|one| one.explained.is_none())?.mapping
    }
}
