//! The part of one mapping in the result of a run: plain data in words, not drawn yet.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use regex_lite::{Captures, Regex};

use super::counts::{MappingReport, Next, Outcome, Written};
use super::words::{ago, away};
use crate::core::model::{CloseReason, Details, GithubId, MappingId, Relation, Snapshot};
use crate::core::note::{Attention, Note, Question};
use crate::core::plan::{Action, Plan};
use crate::core::text::{Printable, pattern};

/// One line of an item's block. All texts are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The issue or pull request that the line is about, after `+` or `-` if it comes or goes.
    pub subject: String,
    /// The change.
    pub what: String,
    /// The reason for it.
    pub why: String,
    /// Another line about the same subject says enough.
    pub is_minor: bool,
}

/// Reason why nothing was done for a mapping, or not everything. All texts are printable.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// It counts as a failure; otherwise the mapping is left to a later run.
    pub is_failure: bool,
    pub reason: String,
    /// The reason without the name of the mapping: the same for all that have this cause.
    pub cause: String,
    /// The next attempt, if it is known.
    pub next: String,
}

/// The result for one mapping. All texts are printable.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Primary key of the mapping; `None` for a row that a dry run would insert.
    pub mapping: Option<i64>,
    pub item: i64,
    /// Title of the item.
    pub title: String,
    /// `owner/name#number`.
    pub reference: String,
    pub rows: Vec<Row>,
    /// Objects that were written to Weaviate, or would be.
    pub objects: Vec<Written>,
    /// Number of objects that wait for Weaviate.
    pub waiting: u64,
    pub trouble: Option<Trouble>,
    /// The whole decision; only in a dry run of named mappings.
    pub explained: Option<Explained>,
}

/// A whole decision, line by line.
#[derive(Debug, Clone)]
pub(super) struct Explained {
    pub lines: Vec<String>,
    /// Changes of the texts in Weaviate, which must not be wrapped.
    pub diff: Vec<String>,
}

impl Entry {
    /// Returns the part of a mapping; `None` if there is nothing to tell. `now` is in UTC.
    pub fn new(report: &MappingReport<'_>, now: DateTime<Utc>) -> Option<Self> {
        let mut entry = Self {
            mapping: report.mapping_id,
            item: report.item_id,
            title: Printable(report.subject.item_title.trim()).to_string(),
            reference: Printable(&report.subject.reference()).to_string(),
            rows: Vec::new(),
            objects: report.written.to_vec(),
            waiting: report.waiting,
            trouble: trouble(report, now),
            explained: explained(report),
        };
        if let Some((plan, snapshot)) = report.plan {
            entry.add_rows(report, plan, snapshot, now);
        }
        if report.outcome == Outcome::Planned {
            entry.add_planned_objects(report.actions);
        }
        let is_told = !entry.rows.is_empty()
            || !entry.objects.is_empty()
            || entry.explained.is_some()
            || entry.trouble.is_some()
            || entry.waiting > 0;
        is_told.then_some(entry)
    }

    fn add_rows(
        &mut self,
        report: &MappingReport<'_>,
        plan: &Plan,
        snapshot: &Snapshot,
        now: DateTime<Utc>,
    ) {
        let moved = report.actions.iter().find_map(|action| match action {
            Action::MoveItem { from, to } => Some((from, to)),
            _ => None,
        });
        let kept = plan.notes.iter().find_map(|note| note.kept.as_ref());
        let should_move = |note: &Note| note.question == Question::ItemMoves && note.answer;
        if let Some((from, to)) = moved {
            let what = format!("{} → {}", Printable(&from.0), Printable(&to.0));
            self.add(what, closing(snapshot, now));
        } else if let Some(kept) = kept {
            self.add(format!("stays {}", kept.status), kept.reason.clone());
        } else if plan.notes.iter().any(should_move) {
            let reason = "somebody changed its status meanwhile";
            self.add("status stays".to_owned(), reason.to_owned());
        }
        let is_told = !self.rows.is_empty();
        for action in report.actions {
            match action {
                // The line about the item says it.
                Action::RecordState { .. } if is_told => {}
                _ => self.add_action(report, snapshot, action),
            }
        }
        let notes = plan.notes.iter().filter(|note| note.kept.is_none());
        for note in notes.filter(|note| note.attention > Attention::None) {
            self.add(note.to_string(), String::new());
        }
    }

    /// Adds a line about the mapping itself.
    fn add(&mut self, what: String, why: String) {
        self.rows.push(Row {
            subject: self.reference.clone(),
            what,
            why,
            is_minor: false,
        });
    }

    fn add_about(&mut self, subject: String, what: &str, why: String) {
        self.rows.push(Row {
            subject,
            what: what.to_owned(),
            why,
            is_minor: false,
        });
    }

    fn add_action(&mut self, report: &MappingReport<'_>, snapshot: &Snapshot, action: &Action) {
        match action {
            Action::RecordState { from, to } => {
                let why = format!("it was {}", Printable(from));
                self.add(format!("recorded as {to}"), why);
            }
            Action::RecordMerge { .. } => self.rows.push(Row {
                subject: self.reference.clone(),
                what: "merge data stored".to_owned(),
                why: String::new(),
                is_minor: true,
            }),
            Action::SetGithubId { row, .. } if Some(row.0) == report.mapping_id => {
                self.add("GitHub id corrected".to_owned(), String::new());
            }
            Action::SetGithubId { row, .. } => {
                self.add_about(row_name(*row), "GitHub id corrected", String::new());
            }
            Action::Link {
                pull_request,
                github_id,
                relation,
                from,
            } => {
                let what = match from {
                    None => "pull request linked",
                    Some(_) => "link changed",
                };
                let how = match relation {
                    Relation::Closes => "closes the issue",
                    Relation::Connected => "connected by hand",
                };
                let state = state_of(snapshot, *github_id).map(|state| format!("{state}, "));
                let why = format!("{}{how}", state.unwrap_or_default());
                self.add_about(format!("+ {pull_request}"), what, why);
            }
            Action::Unlink { row } => {
                let why = "GitHub no longer confirms it".to_owned();
                self.add_about(format!("- {}", row_name(*row)), "link removed", why);
            }
            Action::MakeDue { row, from, to } => {
                let why = format!("recorded as {}, but {to} on GitHub", Printable(from));
                self.add_about(row_name(*row), "is due now", why);
            }
            Action::MoveItem { .. }
            | Action::RememberClose { .. }
            | Action::InsertPullRequest { .. }
            | Action::Write { .. } => {}
        }
    }

    fn add_planned_objects(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Write { object, change } = action {
                match Written::new(object.object_type, change) {
                    Some(written) => self.objects.push(written),
                    None => self.waiting += 1,
                }
            }
        }
    }
}

/// Returns the whole decision about a mapping.
fn explained(report: &MappingReport<'_>) -> Option<Explained> {
    let explanation = report.explanation?;
    let mut plan: Vec<String> = report.actions.iter().map(ToString::to_string).collect();
    // The list of failures says why there is no plan.
    if plan.is_empty() && report.error.is_none() {
        plan.push("nothing".to_owned());
    }
    let mut lines = vec![report.subject.title()];
    lines.extend(explanation.lines(&plan));
    let diff = explanation.diff_lines();
    Some(Explained { lines, diff })
}

fn row_name(row: MappingId) -> String {
    match row.is_stored() {
        true => format!("mapping {row}"),
        false => "a new mapping".to_owned(),
    }
}

/// Describes the closing of an issue.
fn closing(snapshot: &Snapshot, now: DateTime<Utc>) -> String {
    match snapshot.details {
        Details::Issue {
            closed_at: Some(at),
            close_reason,
            ..
        } => {
            let reason = close_reason.map(CloseReason::as_str).unwrap_or_default();
            let reason = reason.replace('_', " ");
            let r#as = if reason.is_empty() { "" } else { " as " };
            format!("closed {}{as}{reason}", ago(at, now))
        }
        _ => String::new(),
    }
}

/// Returns the state of a pull request of an issue.
fn state_of(snapshot: &Snapshot, github_id: GithubId) -> Option<&'static str> {
    match &snapshot.details {
        Details::Issue { pull_requests, .. } => {
            let found = pull_requests.iter().find(|one| one.github_id == github_id);
            found.map(|one| one.state.as_str())
        }
        Details::PullRequest { .. } => None,
    }
}

fn trouble(report: &MappingReport<'_>, now: DateTime<Utc>) -> Option<Trouble> {
    let reason = Printable(report.delivery_error.or(report.error)?).to_string();
    let next = match report.next {
        Some(Next::Parked) => "parked".to_owned(),
        Some(Next::At(at)) if report.delivery_error.is_some() => {
            format!("delivered again {}", away(at, now))
        }
        Some(Next::At(at)) => format!("tried again {}", away(at, now)),
        None => String::new(),
    };
    Some(Trouble {
        is_failure: report.outcome == Outcome::Failed || report.delivery_error.is_some(),
        cause: cause(&reason, &report.subject.reference()),
        reason,
        next,
    })
}

/// The name of an object in Weaviate.
static OBJECT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?<type>item|github_issue|github_pr):(?:\d+|new)\b"));

/// Returns a reason in which "it" replaces the mapping, so that mappings that failed for the same
/// reason have the same text.
pub(super) fn cause(reason: &str, reference: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some((before, after)) = rest.split_once(reference).filter(|_| !reference.is_empty()) {
        let is_whole = !after.starts_with(|next: char| next.is_ascii_digit());
        text.push_str(before);
        text.push_str(if is_whole { "it" } else { reference });
        rest = after;
    }
    text.push_str(rest);
    let name = |found: &Captures<'_>| match found.name("type").map(|found| found.as_str()) {
        Some("item") => "the item",
        Some("github_pr") => "the pull request",
        _ => "the issue",
    };
    OBJECT.replace_all(&text, name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn a_cause_does_not_name_its_mapping() {
        for (reason, text) in [
            (
                "a/b#1 was deleted; see a/b#12",
                "it was deleted; see a/b#12",
            ),
            (
                "Weaviate rejects github_issue:4: full; Weaviate rejects item:7: full",
                "Weaviate rejects the issue: full; Weaviate rejects the item: full",
            ),
            ("no space", "no space"),
        ] {
            assert_eq!(cause(reason, "a/b#1"), text);
        }
        assert_eq!(cause("no address", ""), "no address");
    }
}
