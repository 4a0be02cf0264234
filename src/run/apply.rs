//! Applies the plans of a slice to the database, one short transaction per mapping. No HTTP happens
//! inside.

use std::collections::HashMap;

use anyhow::anyhow;
use log::Level;

use super::observe::{Rest, Vectors};
use super::plan::{Planned, PlannedMapping};
use super::state::Run;
use super::stop::Stop;
use crate::core::failure::{MappingError, MappingErrorKind};
use crate::core::model::{ItemId, MappingId};
use crate::core::note::Attention;
use crate::core::plan::Action;
use crate::db::ApplyError;
use crate::report::StoppedBy;

/// A slice whose plans were applied.
pub struct Applied {
    pub mappings: Vec<PlannedMapping>,
    /// Rows that were inserted for pull requests, claimed by this run.
    pub inserted: Vec<MappingId>,
    pub vectors: Vectors,
    pub rest: Rest,
}

/// Applies the plans of a slice.
pub fn slice(run: &mut Run, planned: Planned) -> Result<Applied, Stop> {
    let mut applied = Applied {
        mappings: Vec::with_capacity(planned.mappings.len()),
        inserted: Vec::new(),
        vectors: planned.vectors,
        rest: planned.rest,
    };
    // Later plans of an item depend on its earlier ones.
    let mut blocked: HashMap<ItemId, MappingErrorKind> = HashMap::new();
    for mut one in planned.mappings {
        log_notes(&one);
        let item = one.claimed.mapping.item_id;
        let result = if has_nothing_to_apply(&one) {
            Ok(())
        } else if let Some(kind) = blocked.get(&item) {
            let reason = "an earlier mapping of its item was not applied";
            Err(match kind {
                MappingErrorKind::Postponed => MappingError::postponed(reason),
                _ => MappingError::released(reason),
            })
        } else {
            apply(run, &mut one, &mut applied.inserted)?
        };
        match result {
            Ok(()) => applied.mappings.push(one),
            Err(error) => {
                blocked.insert(item, error.kind);
                if error.is_release() {
                    one.subject()
                        .log(Level::Warn, format_args!("released: {}", error.message));
                }
                applied.rest.dropped.push(one.drop(error));
            }
        }
    }
    run.inserted.extend(&applied.inserted);
    Ok(applied)
}

/// Returns true if the plan is empty and the mapping has no outbox to replace.
fn has_nothing_to_apply(one: &PlannedMapping) -> bool {
    one.plan.actions.is_empty() && !one.claimed.mapping.has_outbox
}

/// Applies one plan, unless a signal came.
fn apply(
    run: &mut Run,
    one: &mut PlannedMapping,
    inserted: &mut Vec<MappingId>,
) -> Result<Result<(), MappingError>, Stop> {
    let (claimed, plan) = (&one.claimed, &mut one.plan);
    if let Some(Stop::Later(by @ StoppedBy::Signal(_), reason)) = run.budget.interrupted() {
        run.report.stop(by, "");
        return Ok(Err(MappingError::released(reason)));
    }
    run.renew_claims()?;
    if run.budget.exhausted().is_some() {
        run.db.end_patience();
    }
    let (now, lease) = (run.now(), run.lease());
    let outbox = plan.outbox(now);
    let outcome = match run.db.apply(claimed, plan, outbox.as_ref(), now, lease) {
        Ok(outcome) => outcome,
        Err(ApplyError::Stale(reason)) => return Ok(Err(MappingError::released(reason))),
        Err(ApplyError::Conflict(reason) | ApplyError::Locked(reason)) => {
            return Ok(Err(MappingError::postponed(reason)));
        }
        Err(ApplyError::Refused(reason)) => return Ok(Err(MappingError::failed(reason))),
        Err(ApplyError::Lost(error)) => {
            let context = format!("applying the plan of mapping {} failed", claimed.mapping.id);
            return Err(anyhow!(error).context(context).into());
        }
    };
    run.report.items_moved += u64::from(outcome.moved == Some(true));
    run.report.pull_requests_linked += outcome.linked;
    inserted.extend(outcome.inserted);
    let is_kept = |action: &Action| !matches!(action, Action::MoveItem { .. });
    if outcome.moved == Some(false) {
        plan.actions.retain(is_kept);
        one.subject().log(
            Level::Info,
            "item left: somebody changed its status meanwhile",
        );
    }
    log_actions(one);
    Ok(Ok(()))
}

fn log_actions(one: &PlannedMapping) {
    let subject = one.subject();
    for action in &one.plan.actions {
        match action {
            // Logged when Weaviate has answered.
            Action::Write { .. } => {}
            Action::RememberClose { .. } => subject.log(Level::Debug, action),
            _ => subject.log(Level::Info, action),
        }
    }
}

fn log_notes(one: &PlannedMapping) {
    let subject = one.subject();
    for note in &one.plan.notes {
        match note.attention {
            Attention::Warning => subject.log(Level::Warn, note),
            Attention::Surprising => subject.log(Level::Info, note),
            Attention::None => subject.log(Level::Debug, note.explain()),
        }
    }
}
