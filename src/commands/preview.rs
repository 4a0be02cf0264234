//! A dry run's output: the very plans that a real run would carry out, and for one mapping every reason.

use chrono::{DateTime, Utc};
use similar::TextDiff;

use super::context::{Context, Stop};
use super::observe::{Observation, Unseen};
use super::report::{Outcome, say};
use super::slice::Planned;
use crate::core::agira_object::AgiraObject;
use crate::core::known::{Known, Row};
use crate::core::model::*;
use crate::core::plan::{Action, Plan, time};
use crate::core::text::quoted;
use crate::db::{Claimed, Waiting, WholeSelection};

/// Shows the plans of a slice; returns the rows that would be inserted, as the next slice.
pub fn show(ctx: &mut Context, observation: Observation, planned: Vec<Planned>) -> Result<Vec<Claimed>, Stop> {
    for (claimed, unseen) in &observation.unseen {
        let Claimed { mapping, item } = claimed;
        let address = mapping.address(item).ok();
        heading(ctx, claimed, address.as_ref());
        let reason = unseen.reason().to_owned();
        let outcome = match unseen {
            Unseen::NotAsked(_) => Outcome::GivenBack,
            Unseen::Failed(_) | Unseen::Gone(_) | Unseen::PutOff(_) => Outcome::Failed,
        };
        let word = if outcome == Outcome::Failed { "failed" } else { "not asked about" };
        line(ctx, &format!("{word}: {reason}"));
        ctx.report.mapping(mapping, address.as_ref(), outcome, Vec::new(), Some(reason));
    }
    let mut inserted = Vec::new();
    for one in &planned {
        show_one(ctx, one);
        inserted.extend(inserted_rows(one, &observation.known));
        ctx.marked.extend(one.plan.actions.iter().filter_map(|action| match action {
            Action::MakeDue { row, .. } => Some(row.0),
            _ => None,
        }));
    }
    // What was overlaid on it is in it: the slice's knowledge is the newest.
    ctx.carried = observation.known;
    Ok(inserted)
}

fn show_one(ctx: &mut Context, one: &Planned) {
    let Planned { claimed, snapshot, plan, .. } = one;
    let outcome = if plan.actions.is_empty() { Outcome::Unchanged } else { Outcome::Planned };
    let actions = plan.actions.iter().map(|action| serde_json::json!(action)).collect();
    ctx.report.mapping(&claimed.mapping, Some(&snapshot.address), outcome, actions, None);
    if plan.actions.is_empty() && !ctx.explain {
        return;
    }
    heading(ctx, claimed, Some(&snapshot.address));
    if ctx.explain {
        explain(ctx, one);
    }
    for action in &plan.actions {
        line(ctx, &action.to_string());
    }
    // In a batch only what a person may wonder about; of one mapping everything.
    for note in plan.notes.iter().filter(|note| ctx.explain || note.is_surprising()) {
        line(ctx, &note.to_string());
    }
    if ctx.explain {
        diffs(ctx, plan);
    }
}

/// Why the mapping is or is not due, and what GitHub says.
fn explain(ctx: &Context, one: &Planned) {
    let Planned { claimed: Claimed { mapping, item }, snapshot, .. } = one;
    line(ctx, &due(mapping, ctx.now()));
    if let Some(error) = &mapping.error {
        line(ctx, &format!("last failure (attempt {}): {error}", mapping.attempts));
    }
    line(ctx, &format!("item {} {:?} is in {}", item.id, quoted(&item.title), item.status));
    let closed = match snapshot.details {
        Details::Issue { closed_at: Some(closed_at), close_reason, .. } => {
            format!(", closed {} as {}", time(closed_at), close_reason.map_or("no reason given", CloseReason::as_str))
        }
        _ => String::new(),
    };
    let updated = time(snapshot.updated_at);
    line(ctx, &format!("GitHub: {}{closed}, last changed {updated}", snapshot.state.as_str()));
    let dealt = mapping.dealt_closed_at.map_or("none".to_owned(), time);
    line(ctx, &format!("close event dealt with before: {dealt}"));
}

/// Which class a mapping is in (design, section 2), as a sentence.
pub fn due(mapping: &Mapping, now: DateTime<Utc>) -> String {
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
        (None, Some(recheck)) => format!("no reason to look known; next look without one at {}", time(recheck)),
        (None, None) => "parked: looked at again when it changes at GitHub, or by retry-failed".to_owned(),
    }
}

/// What each written object would change in the text that Weaviate holds.
fn diffs(ctx: &mut Context, plan: &Plan) {
    let writes: Vec<AgiraObject> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Write { object, .. } => Some((**object).clone()),
            _ => None,
        })
        .collect();
    for object in writes {
        let key = object.key();
        let held = match ctx.weaviate_state {
            super::context::WeaviateState::Ready => ctx.weaviate.object(key.uuid()),
            _ => Ok(None),
        };
        let old = match held {
            Ok(held) => {
                held.and_then(|held| held["properties"]["text"].as_str().map(str::to_owned)).unwrap_or_default()
            }
            Err(error) => {
                ctx.weaviate_failed(&error);
                continue;
            }
        };
        line(ctx, &format!("text of {key}:"));
        let diff = TextDiff::from_lines(&old, &object.text);
        for change in diff.unified_diff().context_radius(3).to_string().lines() {
            line(ctx, &format!("  {change}"));
        }
    }
}

/// The rows that a plan inserts, as claimed as they would be.
fn inserted_rows(one: &Planned, known: &Known) -> Vec<Claimed> {
    let rows = one.plan.actions.iter().filter_map(|action| match action {
        Action::InsertPullRequest { pull_request } => known.row_of(pull_request.github_id),
        _ => None,
    });
    rows.map(|row| Claimed { mapping: placeholder(row), item: one.claimed.item.clone() }).collect()
}

fn placeholder(row: &Row) -> Mapping {
    Mapping::inserted(row.id, row.item_id, row.github_id, row.number, row.kind, &row.state, &row.html_url)
}

/// What waits for Weaviate.
pub fn outboxes(waiting: &[Waiting], ctx: &Context) {
    for Waiting { claimed, outbox } in waiting {
        heading(ctx, claimed, claimed.mapping.address(&claimed.item).ok().as_ref());
        match outbox {
            Ok(outbox) => {
                line(ctx, &format!("{} objects wait for Weaviate since {}", outbox.len(), time(outbox.planned_at)));
            }
            Err(error) => line(ctx, &format!("its outbox cannot be read and would be planned again: {error}")),
        }
    }
}

/// Mappings that a run claimed and has not finished. A run that died is told from one that is at work by the end of its
/// claim.
pub fn claimed(ctx: &mut Context, whole: &WholeSelection, limit: usize) -> Result<(), Stop> {
    let now = ctx.now();
    for claimed in ctx.db.claimed(ctx.access(), whole, limit)? {
        heading(ctx, &claimed, claimed.mapping.address(&claimed.item).ok().as_ref());
        line(ctx, &due(&claimed.mapping, now));
    }
    Ok(())
}

/// The class that a real run would create.
pub fn class_missing(ctx: &Context) {
    show_line(ctx, &format!("Weaviate has no class {}: it would be created", crate::core::agira_object::CLASS));
}

fn heading(ctx: &Context, claimed: &Claimed, address: Option<&Address>) {
    let Claimed { mapping, .. } = claimed;
    let address = address.map_or_else(|| format!("#{}", mapping.number), ToString::to_string);
    show_line(ctx, &format!("mapping {} (item {}, {} {address})", mapping.id, mapping.item_id, mapping.kind.words()));
}

fn line(ctx: &Context, text: &str) {
    show_line(ctx, &format!("    {text}"));
}

/// With `--output json` the report says it all.
fn show_line(ctx: &Context, text: &str) {
    if ctx.report.is_text() {
        ctx.progress.suspend(|| say(text));
    }
}
