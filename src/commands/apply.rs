//! Carries out the plans of a slice in the database, one short transaction per mapping.

use std::collections::HashSet;

use super::context::{Context, Stop, StoppedBy};
use super::slice::{Planned, Progress, name};
use crate::core::model::{ItemId, MappingId};
use crate::core::note::Attention;
use crate::core::plan::Action;
use crate::db::ApplyError;
use crate::http::ServiceError;

/// Applies each plan; returns the rows that were inserted for pull requests.
pub fn apply(ctx: &mut Context, planned: &mut [Planned]) -> Result<Vec<MappingId>, Stop> {
    let mut inserted = Vec::new();
    // Later plans of an item count on what its earlier ones do.
    let mut not_applied: HashSet<ItemId> = HashSet::new();
    for one in planned {
        log_notes(one);
        let mapping = &one.claimed.mapping;
        if one.plan.actions.is_empty() && !mapping.has_outbox {
            continue;
        }
        if let Some(signal) = ctx.signals.caught() {
            ctx.report.stopped(StoppedBy::Signal(signal), String::new());
            one.progress = Progress::GivenBack(ServiceError::Interrupted(signal).to_string());
            continue;
        }
        if not_applied.contains(&mapping.item_id) {
            one.progress = Progress::GivenBack(
                "another mapping of its item comes first, and failed".to_owned(),
            );
            continue;
        }
        let outbox = one.plan.outbox(ctx.clock.now());
        let (now, hold) = (ctx.now(), ctx.hold());
        match ctx
            .db
            .apply(&one.claimed, &one.plan, outbox.as_ref(), now, hold)
        {
            Ok(applied) => {
                log_actions(one, applied.moved);
                if applied.moved == Some(false) {
                    one.plan
                        .actions
                        .retain(|action| !matches!(action, Action::MoveItem { .. }));
                }
                ctx.report.items_moved += u64::from(applied.moved == Some(true));
                ctx.report.pull_requests_linked += applied.linked;
                inserted.extend(applied.inserted);
                one.progress = if one.plan.actions.is_empty() {
                    Progress::Unchanged
                } else {
                    Progress::Done
                };
            }
            Err(ApplyError::GivenBack(reason) | ApplyError::Held(reason)) => {
                not_applied.insert(mapping.item_id);
                one.progress = Progress::GivenBack(reason);
            }
            Err(ApplyError::Refused(reason)) => {
                not_applied.insert(mapping.item_id);
                one.progress = Progress::Failed(reason, false);
            }
            Err(ApplyError::Lost(error)) => {
                let what = format!("writing mapping {} failed", mapping.id);
                return Err(anyhow::Error::new(error).context(what).into());
            }
        }
    }
    Ok(inserted)
}

fn log_actions(one: &Planned, moved: Option<bool>) {
    let name = name(&one.claimed.mapping, Some(&one.snapshot.address));
    for action in &one.plan.actions {
        match action {
            Action::MoveItem { .. } if moved == Some(false) => {
                log::info!(mapping = name.mapping, item = name.item; "{name}: item left: somebody changed its status meanwhile");
            }
            Action::Write { .. } => {} // logged when Weaviate has answered
            Action::RememberClose { .. } => {
                log::debug!(mapping = name.mapping, item = name.item; "{name}: {action}")
            }
            _ => log::info!(mapping = name.mapping, item = name.item; "{name}: {action}"),
        }
    }
}

fn log_notes(one: &Planned) {
    let name = name(&one.claimed.mapping, Some(&one.snapshot.address));
    for note in &one.plan.notes {
        match note.attention {
            Attention::Warning => {
                log::warn!(mapping = name.mapping, item = name.item; "{name}: {note}")
            }
            Attention::Surprising => {
                log::info!(mapping = name.mapping, item = name.item; "{name}: {note}")
            }
            Attention::None => {
                log::debug!(mapping = name.mapping, item = name.item; "{name}: {}", note.explain())
            }
        }
    }
}
