//! The facts and answers behind the plan of one mapping, for a dry run of named mappings.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::words::when;
use crate::core::model::{CloseReason, Details, Item, ItemId, ItemStatus, Mapping, Snapshot};
use crate::core::note::Note;
use crate::core::text::{quoted, timestamp};

/// Everything behind a plan, for the text and the JSON report. Field names are stable: scripts
/// depend on them.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Class of the mapping, as a sentence.
    due: String,
    item_title: String,
    /// Status of the item as earlier plans of this run leave it.
    item_status: ItemStatus,
    /// Failed attempts since the last success.
    attempts: i32,
    last_error: Option<String>,
    /// `closedAt` of the last close event that was handled (UTC).
    #[serde(rename = "dealt_closed_at")]
    handled_closed_at: Option<DateTime<Utc>>,
    /// State on GitHub; null without a snapshot.
    github: Option<GithubFacts>,
    /// Answers of the decision table.
    reasons: Vec<Note>,
    /// Changes of the texts in Weaviate.
    text_diffs: Vec<ObjectDiff>,
    #[serde(skip)]
    item: ItemId,
    #[serde(skip)]
    has_outbox: bool,
}

/// State of an issue or pull request on GitHub.
#[derive(Debug, Serialize)]
pub struct GithubFacts {
    state: &'static str,
    closed_at: Option<DateTime<Utc>>,
    close_reason: Option<&'static str>,
    updated_at: DateTime<Utc>,
}

impl GithubFacts {
    fn new(snapshot: &Snapshot) -> Self {
        let (closed_at, reason) = match snapshot.details {
            Details::Issue {
                closed_at,
                close_reason,
                ..
            } => (closed_at, close_reason),
            Details::PullRequest { .. } => (None, None),
        };
        Self {
            state: snapshot.state.as_str(),
            closed_at,
            close_reason: reason.map(CloseReason::as_str),
            updated_at: snapshot.updated_at,
        }
    }
}

/// Unified diff between the text of an object in Weaviate and the text that would be written.
#[derive(Debug, Serialize)]
pub struct ObjectDiff {
    pub object: String,
    pub diff: String,
}

impl Explanation {
    /// Returns the facts, without a decision; `now` is in UTC.
    pub fn new(
        mapping: &Mapping,
        item: &Item,
        snapshot: Option<&Snapshot>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            due: schedule(mapping, now),
            item_title: item.title.clone(),
            item_status: item.status.clone(),
            attempts: mapping.attempts,
            last_error: mapping.error.clone(),
            handled_closed_at: mapping.handled_closed_at,
            github: snapshot.map(GithubFacts::new),
            reasons: Vec::new(),
            text_diffs: Vec::new(),
            item: item.id,
            has_outbox: mapping.has_outbox,
        }
    }

    /// Adds the answers of the decision table and the changes of the texts.
    pub fn with_decision(mut self, reasons: &[Note], text_diffs: Vec<ObjectDiff>) -> Self {
        self.reasons = reasons.to_vec();
        self.text_diffs = text_diffs;
        self
    }

    /// Returns the explanation as indented lines; `plan` has a line for each action.
    pub fn lines(&self, plan: &[String]) -> Vec<String> {
        let mut lines = self.facts();
        if self.reasons.is_empty() {
            lines.extend_from_slice(plan);
        } else {
            lines.push("why:".to_owned());
            let reasons = self.reasons.iter().map(Note::explain);
            lines.extend(reasons.map(|reason| format!("    {reason}")));
            lines.push("plan:".to_owned());
            lines.extend(plan.iter().map(|action| format!("    {action}")));
        }
        lines.iter_mut().for_each(|line| line.insert_str(0, "    "));
        lines
    }

    /// Returns the changes of the texts as indented lines, which must not be wrapped.
    pub fn diff_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ObjectDiff { object, diff } in &self.text_diffs {
            lines.push(format!("    text of {object}:"));
            lines.extend(diff.lines().map(|line| format!("        {line}")));
        }
        lines
    }

    fn facts(&self) -> Vec<String> {
        let mut facts = vec![self.due.clone()];
        if let Some(error) = &self.last_error {
            facts.push(format!("last failure (attempt {}): {error}", self.attempts));
        }
        let (item, title, status) = (self.item, quoted(&self.item_title), &self.item_status);
        facts.push(format!("item {item} {title:?} is in {status}"));
        if let Some(GithubFacts {
            state,
            closed_at,
            close_reason,
            updated_at,
        }) = &self.github
        {
            let reason = close_reason.unwrap_or("no reason given");
            let closed = closed_at.map_or_else(String::new, |closed_at| {
                format!(", closed {} as {reason}", timestamp(closed_at))
            });
            let changed = timestamp(*updated_at);
            facts.push(format!("GitHub: {state}{closed}, last changed {changed}"));
        }
        if self.has_outbox {
            facts.push("objects wait for Weaviate; a run delivers them first".to_owned());
        }
        let handled = self.handled_closed_at.map_or("none".to_owned(), timestamp);
        facts.push(format!("last handled close event: {handled}"));
        facts
    }
}

/// Describes the class of a mapping (design.md, "Data"); `now` is in UTC.
pub fn schedule(mapping: &Mapping, now: DateTime<Utc>) -> String {
    if !mapping.id.is_stored() {
        return "its row would be inserted, and checked by the same run".to_owned();
    }
    if let Some(until) = mapping.claimed_until {
        let (attempts, end) = (mapping.attempts, when(until, now));
        return match until < now {
            true => format!(
                "in work by a run that died; its claim expired {end}: \
                 a run checks it alone and last ({attempts} attempts so far)"
            ),
            false => format!("in work, held by a run until {end} at the latest"),
        };
    }
    match (mapping.due_at, mapping.recheck_at) {
        (Some(due), _) if due <= now => format!("due since {}", when(due, now)),
        (Some(due), _) => format!("not due before {} (backing off)", when(due, now)),
        (None, Some(recheck)) if recheck > now && mapping.error.is_some() => {
            "not due: it waits until its repository can be read".to_owned()
        }
        (None, Some(recheck)) if recheck <= now => {
            format!(
                "not due; its recheck has waited since {}, so a run with room left checks it",
                when(recheck, now)
            )
        }
        (None, Some(recheck)) => {
            format!("not due; next recheck at {}", when(recheck, now))
        }
        (None, None) => {
            "parked: checked again when it changes on GitHub, or by retry-failed".to_owned()
        }
    }
}
