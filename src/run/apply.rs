//! Applies the plans of a slice to the database, in one short transaction if none of them fails. No
//! HTTP happens inside.

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
use crate::db::{ApplyError, ApplyOutcome, BEHIND, Change};
use crate::report::StoppedBy;

/// A slice whose plans were applied.
pub struct Applied {
    pub mappings: Vec<PlannedMapping>,
    /// Rows that were inserted for pull requests, claimed by this run.
    pub inserted: Vec<MappingId>,
    pub vectors: Vectors,
    pub rest: Rest,
}

/// A turn of the plans that are not applied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Leaves out what another session has locked.
    First,
    /// Waits for what is locked.
    Waiting,
    /// Releases what is still locked.
    Last,
}

/// The state of a plan.
enum State {
    /// It comes in this turn or the next.
    Ready,
    /// It is applied. Tells whether its item was moved.
    Done(Option<bool>),
    /// Nothing of it is applied.
    Dropped(MappingError),
}

struct Entry {
    one: PlannedMapping,
    state: State,
}

/// The work on a slice.
struct Work {
    turn: Turn,
    /// Items whose later plans cannot be applied, because an earlier one was not; `None` for those
    /// that the next turn brings.
    blocked: HashMap<ItemId, Option<MappingErrorKind>>,
    inserted: Vec<MappingId>,
}

/// Applies the plans of a slice.
pub fn slice(run: &mut Run, planned: Planned) -> Result<Applied, Stop> {
    let entries = planned.mappings.into_iter().map(|one| Entry {
        state: match has_nothing_to_apply(&one) {
            true => State::Done(None),
            false => State::Ready,
        },
        one,
    });
    let mut entries: Vec<Entry> = entries.collect();
    let mut work = Work {
        turn: Turn::First,
        blocked: HashMap::new(),
        inserted: Vec::new(),
    };
    for turn in [Turn::First, Turn::Waiting, Turn::Last] {
        let may_wait = run.db.is_patient() && run.budget.exhausted().is_none();
        if turn == Turn::Waiting && !may_wait {
            continue;
        }
        work.turn = turn;
        work.blocked.retain(|_, kind| kind.is_some());
        apply(run, &mut work, &mut entries.iter_mut().collect::<Vec<_>>())?;
    }
    let mut applied = Applied {
        mappings: Vec::with_capacity(entries.len()),
        inserted: work.inserted,
        vectors: planned.vectors,
        rest: planned.rest,
    };
    for Entry { mut one, state } in entries {
        log_notes(&one);
        let error = match state {
            State::Done(moved) => {
                log_changes(&mut one, moved);
                applied.mappings.push(one);
                continue;
            }
            State::Dropped(error) => error,
            State::Ready => MappingError::released(BEHIND),
        };
        if error.is_release() {
            one.subject().log(
                run.report.level(Level::Warn),
                format_args!("released: {}", error.message),
            );
        }
        applied.rest.dropped.push(one.drop(error));
    }
    Ok(applied)
}

/// Returns true if the plan is empty and the mapping has no outbox to replace.
fn has_nothing_to_apply(one: &PlannedMapping) -> bool {
    one.plan.actions.is_empty() && !one.claimed.mapping.has_outbox
}

/// Applies plans together, unless a signal came. If they fail for the reason of one of them, each
/// half is applied alone.
fn apply(run: &mut Run, work: &mut Work, entries: &mut [&mut Entry]) -> Result<(), Stop> {
    let signal = match run.budget.interrupted() {
        Some(Stop::Later(by @ StoppedBy::Signal(_), reason)) => {
            run.report.stop(by, "");
            Some(reason)
        }
        _ => None,
    };
    let ready = entries.iter_mut().map(|entry| &mut **entry);
    let ready = ready.filter_map(|entry| work.admit(entry, signal.as_deref()));
    let mut ready: Vec<&mut Entry> = ready.collect();
    if ready.is_empty() {
        return Ok(());
    }
    run.renew_claims()?;
    let (now, lease) = (run.now(), run.lease());
    let changes = ready.iter().map(|Entry { one, .. }| Change {
        claimed: &one.claimed,
        plan: &one.plan,
        outbox: one.plan.outbox(now),
    });
    let changes: Vec<Change<'_>> = changes.collect();
    let waits = work.turn == Turn::Waiting;
    let error = match run.db.apply(&changes, waits, now, lease) {
        Ok(outcome) => {
            work.add(run, &mut ready, outcome);
            return Ok(());
        }
        Err(error) => error,
    };
    match (error, ready.as_mut_slice()) {
        (ApplyError::Lost(error), _) => Err(anyhow!(error).context("applying plans failed").into()),
        // The last turn finds what is free now.
        (ApplyError::Locked(_), _) if waits => {
            run.db.end_patience();
            Ok(())
        }
        // Each part of the plans would wait as long as all of them.
        (ApplyError::TableLocked(reason), entries) => {
            run.db.end_patience();
            for entry in entries {
                work.refuse(entry, ApplyError::Locked(reason.clone()));
            }
            Ok(())
        }
        (error, [entry]) => {
            work.refuse(entry, error);
            Ok(())
        }
        (_, entries) => {
            let (first, second) = entries.split_at_mut(entries.len() / 2);
            apply(run, work, first)?;
            apply(run, work, second)
        }
    }
}

impl Work {
    /// Returns the entry if its plan can be applied now.
    fn admit<'a>(&self, entry: &'a mut Entry, signal: Option<&str>) -> Option<&'a mut Entry> {
        let State::Ready = entry.state else {
            return None;
        };
        let blocked = self.blocked.get(&entry.one.claimed.mapping.item_id);
        let error = match (signal, blocked) {
            (Some(reason), _) => MappingError::released(reason),
            (None, None) => return Some(entry),
            (None, Some(None)) => return None,
            (None, Some(Some(MappingErrorKind::Postponed))) => MappingError::postponed(BEHIND),
            (None, Some(Some(_))) => MappingError::released(BEHIND),
        };
        entry.state = State::Dropped(error);
        None
    }

    /// Adds the result of plans that were applied together.
    fn add(&mut self, run: &mut Run, entries: &mut [&mut Entry], outcome: ApplyOutcome) {
        run.report.pull_requests_linked += outcome.linked;
        run.inserted.extend(&outcome.inserted);
        self.inserted.extend(outcome.inserted);
        for (entry, result) in entries.iter_mut().zip(outcome.plans) {
            match result {
                Ok(moved) => {
                    run.report.items_moved += u64::from(moved == Some(true));
                    entry.state = State::Done(moved);
                }
                Err(error) => self.refuse(entry, error),
            }
        }
    }

    /// Drops a plan, or leaves it to the next turn.
    fn refuse(&mut self, entry: &mut Entry, error: ApplyError) {
        let error = match error {
            ApplyError::Locked(_) if self.turn != Turn::Last => None,
            ApplyError::Stale(reason) => Some(MappingError::released(reason)),
            ApplyError::Conflict(reason)
            | ApplyError::Locked(reason)
            | ApplyError::TableLocked(reason) => Some(MappingError::postponed(reason)),
            ApplyError::Refused(reason) => Some(MappingError::failed(reason)),
            ApplyError::Lost(error) => Some(MappingError::released(error.to_string())),
        };
        let item = entry.one.claimed.mapping.item_id;
        self.blocked
            .insert(item, error.as_ref().map(|error| error.kind));
        if let Some(error) = error {
            entry.state = State::Dropped(error);
        }
    }
}

/// Logs the changes that were made; one that a person forestalled is none.
fn log_changes(one: &mut PlannedMapping, moved: Option<bool>) {
    if moved == Some(false) {
        let actions = &mut one.plan.actions;
        actions.retain(|action| !matches!(action, Action::MoveItem { .. }));
        let reason = "item left: somebody changed its status meanwhile";
        one.subject().log(Level::Info, reason);
    }
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
