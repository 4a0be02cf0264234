//! A dry run's output: the very plans that a real run would carry out, a line for each mapping that would change. Of mappings
//! that are named: everything that led to them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use similar::TextDiff;

use super::context::{Context, Stop, WeaviateState};
use super::observe::{Observation, Unseen};
use super::report::{Outcome, say};
use super::screen::Screen;
use super::slice::{self, Planned};
use crate::core::agira_object::AgiraObject;
use crate::core::model::*;
use crate::core::note::{Attention, Note};
use crate::core::plan::{Action, Plan, time};
use crate::core::records::{MappingRow, Records};
use crate::core::text::quoted;
use crate::db::{Claimed, ClaimedOutbox, MappingFilter};

/// Everything that led to a plan; the JSON report has it, too. Field names are stable: scripts depend on them.
#[derive(Debug, Serialize)]
struct Explanation {
    /// Why the mapping is or is not due.
    due: String,
    /// The item's title.
    item_title: String,
    /// The item's status, as the plans before this one leave it.
    item_status: ItemStatus,
    /// How often the mapping failed since its last success.
    attempts: i32,
    /// Its last failure.
    last_error: Option<String>,
    /// `closedAt` of the last close event that was dealt with (UTC).
    dealt_closed_at: Option<DateTime<Utc>>,
    /// What GitHub says; null when it says nothing.
    github: Option<AtGithub>,
    /// How the decision table was answered.
    reasons: Vec<Note>,
    /// What writing the objects changes in the text that Weaviate holds.
    text_diffs: Vec<ObjectDiff>,
}

/// What GitHub says about an issue or pull request.
#[derive(Debug, Serialize)]
struct AtGithub {
    state: &'static str,
    closed_at: Option<DateTime<Utc>>,
    close_reason: Option<&'static str>,
    updated_at: DateTime<Utc>,
}

/// A unified diff.
#[derive(Debug, Serialize)]
struct ObjectDiff {
    object: String,
    diff: String,
}

/// Shows the plans of a slice; returns the rows that would be inserted, as the next slice.
pub fn show(
    ctx: &mut Context,
    observation: Observation,
    planned: Vec<Planned>,
) -> Result<Vec<Claimed>, Stop> {
    for (claimed, unseen) in &observation.unseen {
        let (outcome, word) = match unseen {
            Unseen::NotAsked(_) => (Outcome::GivenBack, "not asked about"),
            Unseen::Failed(_) | Unseen::Gone(_) | Unseen::PutOff(_) => (Outcome::Failed, "failed"),
        };
        let address = claimed.mapping.address(&claimed.item).ok();
        let address = address.as_ref();
        let said = vec![format!("{word}: {}", unseen.reason())];
        let explanation = ctx
            .explain
            .then(|| explanation(ctx, claimed, None, &Plan::default()));
        show_mapping(ctx, claimed, address, explanation.as_ref(), &said);
        let reason = Some(unseen.reason().to_owned());
        let explanation = explanation.map(|explanation| json!(explanation));
        ctx.report.explained(
            &claimed.mapping,
            address,
            outcome,
            Vec::new(),
            reason,
            explanation,
        );
    }
    let mut inserted = Vec::new();
    for one in &planned {
        show_plan(ctx, one);
        inserted.extend(inserted_rows(one, &observation.known));
        ctx.marked
            .extend(one.plan.actions.iter().filter_map(|action| match action {
                Action::MakeDue { row, .. } => Some(row.0),
                _ => None,
            }));
    }
    // What was overlaid on it is in it: the slice's knowledge is the newest.
    ctx.carried = observation.known;
    Ok(inserted)
}

fn show_plan(ctx: &mut Context, one: &Planned) {
    let Planned {
        claimed,
        snapshot,
        plan,
        ..
    } = one;
    let address = Some(&snapshot.address);
    let explanation = ctx
        .explain
        .then(|| explanation(ctx, claimed, Some(snapshot), plan));
    let mut said: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    if explanation.is_some() {
        if said.is_empty() {
            said.push("nothing".to_owned());
        }
        show_mapping(ctx, claimed, address, explanation.as_ref(), &said);
    } else if !said.is_empty() {
        // What a person may wonder about.
        let notes = plan
            .notes
            .iter()
            .filter(|note| note.attention > Attention::None);
        said.extend(notes.map(ToString::to_string));
        show_mapping(ctx, claimed, address, None, &said);
    }
    let outcome = if plan.actions.is_empty() {
        Outcome::Unchanged
    } else {
        Outcome::Planned
    };
    let actions = plan.actions.iter().map(|action| json!(action)).collect();
    let explanation = explanation.map(|explanation| json!(explanation));
    ctx.report.explained(
        &claimed.mapping,
        address,
        outcome,
        actions,
        None,
        explanation,
    );
}

/// A line, or with an explanation a paragraph.
fn show_mapping(
    ctx: &Context,
    claimed: &Claimed,
    address: Option<&Address>,
    explanation: Option<&Explanation>,
    said: &[String],
) {
    let name = name(claimed, address);
    let Some(explanation) = explanation else {
        return show_line(ctx, &format!("{name}: {}", said.join("; ")));
    };
    show_line(ctx, &name);
    for fact in explanation.facts(claimed.mapping.item_id) {
        show_line(ctx, &format!("    {fact}"));
    }
    let reasons: Vec<String> = explanation.reasons.iter().map(Note::explain).collect();
    if reasons.is_empty() {
        // Nothing could be decided.
        return said
            .iter()
            .for_each(|line| show_line(ctx, &format!("    {line}")));
    }
    for (title, lines) in [("why", reasons.as_slice()), ("plan", said)] {
        show_line(ctx, &format!("    {title}:"));
        lines
            .iter()
            .for_each(|line| show_line(ctx, &format!("        {line}")));
    }
    for ObjectDiff { object, diff } in &explanation.text_diffs {
        show_line(ctx, &format!("    text of {object}:"));
        for line in diff.lines() {
            show_raw(ctx, &format!("        {line}"));
        }
    }
}

/// Reads what the decision itself did not need: the texts that Weaviate holds.
fn explanation(
    ctx: &mut Context,
    claimed: &Claimed,
    snapshot: Option<&Snapshot>,
    plan: &Plan,
) -> Explanation {
    let Claimed { mapping, item } = claimed;
    let github = snapshot.map(|snapshot| {
        let (closed_at, reason) = match snapshot.details {
            Details::Issue {
                closed_at,
                close_reason,
                ..
            } => (closed_at, close_reason),
            Details::PullRequest { .. } => (None, None),
        };
        let (state, updated_at) = (snapshot.state.as_str(), snapshot.updated_at);
        AtGithub {
            state,
            closed_at,
            close_reason: reason.map(CloseReason::as_str),
            updated_at,
        }
    });
    Explanation {
        due: due(mapping, ctx.now()),
        item_title: item.title.clone(),
        item_status: item.status.clone(),
        attempts: mapping.attempts,
        last_error: mapping.error.clone(),
        dealt_closed_at: mapping.handled_closed_at,
        github,
        reasons: plan.notes.clone(),
        text_diffs: text_diffs(ctx, plan),
    }
}

impl Explanation {
    /// What was known before anything was decided, as sentences.
    fn facts(&self, item: ItemId) -> Vec<String> {
        let mut facts = vec![self.due.clone()];
        if let Some(error) = &self.last_error {
            facts.push(format!(
                "last failure (attempt {}): {}",
                self.attempts, error
            ));
        }
        let (title, status) = (quoted(&self.item_title), &self.item_status);
        facts.push(format!("item {item} {title:?} is in {status}"));
        if let Some(AtGithub {
            state,
            closed_at,
            close_reason,
            updated_at,
        }) = &self.github
        {
            let reason = close_reason.unwrap_or("no reason given");
            let closed =
                closed_at.map(|closed_at| format!(", closed {} as {reason}", time(closed_at)));
            facts.push(format!(
                "GitHub: {state}{}, last changed {}",
                closed.unwrap_or_default(),
                time(*updated_at)
            ));
        }
        let dealt = self.dealt_closed_at.map_or("none".to_owned(), time);
        facts.push(format!("close event dealt with before: {dealt}"));
        facts
    }
}

/// Which class a mapping is in (design, section 2), as a sentence.
pub fn due(mapping: &Mapping, now: DateTime<Utc>) -> String {
    if !mapping.id.is_stored() {
        return "its row would be inserted, and looked at by the same run".to_owned();
    }
    if let Some(until) = mapping.claimed_until {
        let attempts = mapping.attempts;
        return match until < now {
            true => format!(
                "in work by a run that died; its claim expired {}: a run looks at it alone, last ({attempts} attempts so far)",
                time(until)
            ),
            false => format!("in work, held by a run until {} at the latest", time(until)),
        };
    }
    match (mapping.due_at, mapping.recheck_at) {
        (Some(due), _) if due <= now => format!("due since {}", time(due)),
        (Some(due), _) => format!("not due before {} (backing off)", time(due)),
        (None, Some(recheck)) => format!(
            "no reason to look known; next look without one at {}",
            time(recheck)
        ),
        (None, None) => {
            "parked: looked at again when it changes at GitHub, or by retry-failed".to_owned()
        }
    }
}

/// What each written object would change in the text that Weaviate holds.
fn text_diffs(ctx: &mut Context, plan: &Plan) -> Vec<ObjectDiff> {
    let objects: Vec<&AgiraObject> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Write { object, .. } => Some(&**object),
            _ => None,
        })
        .collect();
    let mut diffs = Vec::with_capacity(objects.len());
    for object in objects {
        let key = object.key();
        let held = match ctx.weaviate_state {
            WeaviateState::Ready => ctx.weaviate.object(key.uuid()),
            _ => Ok(None),
        };
        match held {
            Ok(held) => {
                let old =
                    held.and_then(|held| held["properties"]["text"].as_str().map(str::to_owned));
                let old = old.unwrap_or_default();
                let diff = TextDiff::from_lines(&old, &object.text);
                let diff = diff
                    .unified_diff()
                    .context_radius(3)
                    .missing_newline_hint(false)
                    .to_string();
                diffs.push(ObjectDiff {
                    object: key.to_string(),
                    diff,
                });
            }
            Err(error) => ctx.weaviate_failed(&error),
        }
    }
    diffs
}

/// The rows that a plan inserts, as claimed as they would be.
fn inserted_rows(one: &Planned, known: &Records) -> Vec<Claimed> {
    let rows = one.plan.actions.iter().filter_map(|action| match action {
        Action::InsertPullRequest { pull_request } => {
            known.row_with_github_id(pull_request.github_id)
        }
        _ => None,
    });
    rows.map(|row| Claimed {
        mapping: placeholder(row),
        item: one.claimed.item.clone(),
    })
    .collect()
}

fn placeholder(row: &MappingRow) -> Mapping {
    Mapping::inserted(
        row.id,
        row.item_id,
        row.github_id,
        row.number,
        row.kind,
        &row.state,
        &row.html_url,
    )
}

/// What waits for Weaviate.
pub fn outboxes(waiting: &[ClaimedOutbox], ctx: &Context) {
    for ClaimedOutbox { claimed, outbox } in waiting {
        let said = match outbox {
            Ok(outbox) => format!(
                "{} objects wait for Weaviate since {}",
                outbox.len(),
                time(outbox.planned_at)
            ),
            Err(error) => format!("its outbox cannot be read and would be planned again: {error}"),
        };
        show_mapping(
            ctx,
            claimed,
            claimed.mapping.address(&claimed.item).ok().as_ref(),
            None,
            &[said],
        );
    }
}

/// Says that a run would take this mapping over from one that died; whether it would only park it.
pub fn suspect_is_parked(ctx: &mut Context, claimed: &Claimed) -> bool {
    let address = claimed.mapping.address(&claimed.item).ok();
    let parked = claimed
        .parked_as_suspect(ctx.policy.max_attempts)
        .map(|reason| slice::parked(&reason));
    if parked.is_some() || !ctx.explain {
        let said = [due(&claimed.mapping, ctx.now())]
            .into_iter()
            .chain(parked.clone());
        show_mapping(
            ctx,
            claimed,
            address.as_ref(),
            None,
            &said.collect::<Vec<_>>(),
        );
    }
    let is_parked = parked.is_some();
    if is_parked {
        ctx.report.mapping(
            &claimed.mapping,
            address.as_ref(),
            Outcome::Failed,
            Vec::new(),
            parked,
        );
    }
    is_parked
}

/// Mappings that another run holds, and suspects that are left to the next run.
pub fn claimed(ctx: &mut Context, whole: &MappingFilter, limit: usize) -> Result<(), Stop> {
    let now = ctx.now();
    for claimed in ctx.db.claimed(ctx.access(), whole, limit)? {
        if ctx.report.has(claimed.mapping.id) {
            continue;
        }
        let said = due(&claimed.mapping, now);
        show_mapping(
            ctx,
            &claimed,
            claimed.mapping.address(&claimed.item).ok().as_ref(),
            None,
            &[said],
        );
    }
    Ok(())
}

/// The class that a real run would create.
pub fn class_missing(ctx: &Context) {
    show_line(
        ctx,
        &format!(
            "Weaviate has no class {}: it would be created",
            crate::core::agira_object::CLASS
        ),
    );
}

fn name(claimed: &Claimed, address: Option<&Address>) -> String {
    let Claimed { mapping, .. } = claimed;
    let address = address.map_or_else(|| format!("#{}", mapping.number), ToString::to_string);
    format!(
        "mapping {} (item {}, {} {address})",
        mapping.id,
        mapping.item_id,
        mapping.kind.label()
    )
}

fn show_line(ctx: &Context, text: &str) {
    if ctx.report.is_text() {
        Screen::of_stdout()
            .wrapped(text)
            .iter()
            .for_each(|line| show_raw(ctx, line));
    }
}

/// With `--output json` the report says it all.
fn show_raw(ctx: &Context, line: &str) {
    if ctx.report.is_text() {
        ctx.progress.suspend(|| say(line));
    }
}
