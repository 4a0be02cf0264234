//! One slice of mappings: observe, plan, apply, push, finish. Every command that looks at GitHub goes through here.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};

use super::context::{Context, Mode, Stop};
use super::discover::OVERLAP;
use super::observe::{Observation, Seen, Unseen, observe};
use super::report::Outcome;
use super::{apply, preview, push};
use crate::core::backoff::{self, NextAttempt};
use crate::core::model::*;
use crate::core::plan::{Plan, PlanInput, Policy, carry, plan};
use crate::core::text::Printable;
use crate::db::{Claimed, FailureRecord, SuccessRecord};

/// Mappings that are worked on together (design, section 3).
pub const MOST: usize = 100;
/// How long the mappings of a repository that cannot be seen are put off (design, section 5).
const PUT_OFF: chrono::Duration = chrono::Duration::hours(1);

/// Which part of the plans a command carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Everything,
    /// What concerns Weaviate: items, links, due time and attempts are left to `sync`.
    WeaviateOnly,
}

/// A mapping with its plan, on its way through the steps.
#[derive(Debug)]
pub struct Planned {
    /// The mapping, with its item.
    pub claimed: Claimed,
    /// What GitHub said.
    pub snapshot: Snapshot,
    /// What it needs.
    pub plan: Plan,
    /// What became of it so far.
    pub progress: Progress,
}

/// What became of a mapping so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do.
    Unchanged,
    /// Carried out in the database; all its objects are in Weaviate.
    Done,
    /// Carried out in the database; objects wait in its outbox.
    Waiting,
    /// It failed; whether Weaviate has answered for all its objects.
    Failed(String, bool),
    /// It is given back.
    GivenBack(String),
}

/// Why a mapping failed whose attempts are used up.
pub fn parked(reason: &str) -> String {
    format!("{reason}; parked after that")
}

/// Works on one slice; returns what comes next because of it: the rows inserted for pull requests, held by this run.
///
/// Whatever ends the slice early, what it did not finish is given back.
pub fn run(ctx: &mut Context, scope: Scope, slice: Vec<Claimed>) -> Result<Vec<Claimed>, Stop> {
    let mut held: Vec<MappingId> = slice.iter().map(|claimed| claimed.mapping.id).collect();
    let addresses = slice
        .iter()
        .map(|one| (one.mapping.clone(), one.mapping.address(&one.item).ok()));
    let addresses: Vec<(Mapping, Option<Address>)> = addresses.collect();
    let result = steps(ctx, scope, slice, &mut held);
    if let (Err(stop), Mode::Apply) = (&result, ctx.mode) {
        log::debug!("giving back what is left of the slice: {stop}");
        for (mapping, address) in &addresses {
            if !ctx.report.has(mapping.id) {
                ctx.report.mapping(
                    mapping,
                    address.as_ref(),
                    Outcome::GivenBack,
                    Vec::new(),
                    None,
                );
            }
        }
        if let Err(error) = ctx.db.give_back(ctx.run, &held) {
            log::warn!("{error:#}; the claims will expire");
        }
    }
    result
}

fn steps(
    ctx: &mut Context,
    scope: Scope,
    slice: Vec<Claimed>,
    held: &mut Vec<MappingId>,
) -> Result<Vec<Claimed>, Stop> {
    let mut observation = observe(ctx, slice)?;
    let stop = observation.stop.take();
    let mut planned = plan_all(ctx, scope, &mut observation);
    if ctx.mode == Mode::Preview {
        let inserted = preview::show(ctx, observation, planned)?;
        return stop.map_or(Ok(inserted), Err);
    }
    let inserted = apply::apply(ctx, &mut planned)?;
    held.extend(&inserted);
    ctx.inserted.extend(&inserted);
    push::push(ctx, &mut planned, &observation.vectors)?;
    finish(ctx, scope, planned, observation.unseen)?;
    if let Some(stop) = stop {
        return Err(stop); // which gives back the rows that were inserted
    }
    match inserted.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(ctx.db.mappings(ctx.access(), &inserted)?),
    }
}

/// Plans the slice, each plan on what the plans before it leave.
fn plan_all(ctx: &Context, scope: Scope, observation: &mut Observation) -> Vec<Planned> {
    let policy = match scope {
        Scope::Everything => ctx.policy.clone(),
        // The item's object is to be what the item is now, not what `sync` will make of it.
        Scope::WeaviateOnly => Policy {
            ignore_closed_before: Some(DateTime::<Utc>::MAX_UTC),
            ..ctx.policy.clone()
        },
    };
    let known = &mut observation.known;
    let mut planned = Vec::with_capacity(observation.seen.len());
    for Seen {
        mut claimed,
        snapshot,
    } in observation.seen.drain(..)
    {
        if let Some(item) = known.items.get(&claimed.item.id) {
            claimed.item = item.clone();
        }
        let Claimed { mapping, item } = &claimed;
        let mut plan = plan(&PlanInput {
            mapping,
            item,
            snapshot: &snapshot,
            records: known,
            policy: &policy,
        });
        if scope == Scope::WeaviateOnly {
            plan = plan.only_writes();
        }
        carry(known, mapping, &plan);
        planned.push(Planned {
            claimed,
            snapshot,
            plan,
            progress: Progress::Unchanged,
        });
    }
    planned
}

fn finish(
    ctx: &mut Context,
    scope: Scope,
    planned: Vec<Planned>,
    unseen: Vec<(Claimed, Unseen)>,
) -> Result<(), Stop> {
    let now = ctx.now();
    let (mut finished, mut failed, mut given_back) = (Vec::new(), Vec::new(), Vec::new());
    for (claimed, unseen) in &unseen {
        let Claimed { mapping, item } = claimed;
        let address = mapping.address(item).ok();
        if let Unseen::NotAsked(reason) = unseen {
            let reason = Some(reason.clone());
            ctx.report.mapping(
                mapping,
                address.as_ref(),
                Outcome::GivenBack,
                Vec::new(),
                reason,
            );
            given_back.push(mapping.id);
            continue;
        }
        log_failure(mapping, address.as_ref(), unseen.reason());
        ctx.report.mapping(
            mapping,
            address.as_ref(),
            Outcome::Failed,
            Vec::new(),
            Some(unseen.reason().to_owned()),
        );
        match scope {
            Scope::Everything => failed.push(failure(ctx, mapping, unseen, now)),
            Scope::WeaviateOnly => given_back.push(mapping.id),
        }
    }
    for one in &planned {
        let Claimed { mapping, item } = &one.claimed;
        let (outcome, error) = match &one.progress {
            Progress::Unchanged => (Outcome::Unchanged, None),
            Progress::Done | Progress::Waiting => (Outcome::Synced, None),
            Progress::Failed(reason, _) => (Outcome::Failed, Some(reason.clone())),
            Progress::GivenBack(reason) => (Outcome::GivenBack, Some(reason.clone())),
        };
        let actions = match outcome {
            Outcome::Synced => one
                .plan
                .actions
                .iter()
                .map(|action| serde_json::json!(action))
                .collect(),
            _ => Vec::new(),
        };
        ctx.report.mapping(
            mapping,
            Some(&one.snapshot.address),
            outcome,
            actions,
            error,
        );
        match &one.progress {
            Progress::Failed(reason, outbox_done) => {
                log_failure(mapping, Some(&one.snapshot.address), reason);
                let failure = failure(ctx, mapping, &Unseen::Failed(reason.clone()), now);
                // push-weaviate has not dealt with what changed at GitHub: that is left to be noticed by sync.
                let looked = scope == Scope::Everything;
                let external_updated_at = looked.then_some(one.snapshot.updated_at);
                failed.push(FailureRecord {
                    external_updated_at,
                    was_checked: looked,
                    outbox_done: *outbox_done,
                    ..failure
                });
            }
            Progress::GivenBack(reason) => {
                let name = name(mapping, Some(&one.snapshot.address));
                log::warn!(mapping = name.mapping, item = name.item; "{name}: given back: {reason}");
                given_back.push(mapping.id);
            }
            Progress::Unchanged | Progress::Done | Progress::Waiting => {
                let settled =
                    one.snapshot.state != State::Open && item.status.0 == ItemStatus::CLOSED;
                finished.push(SuccessRecord {
                    id: mapping.id,
                    due_at: mapping.due_at,
                    recheck_at: backoff::recheck(
                        mapping.id,
                        settled,
                        ctx.policy.recheck_after,
                        now,
                    ),
                    external_updated_at: one.snapshot.updated_at,
                    pushed: one.progress != Progress::Waiting,
                });
            }
        }
    }
    let seen_at = ctx.github.answered_at().unwrap_or(now);
    meet_repositories(ctx, &planned, seen_at)?;
    if !finished.is_empty() {
        match scope {
            Scope::Everything => ctx.db.record_success(ctx.run, &finished, now, seen_at)?,
            Scope::WeaviateOnly => {
                let (pushed, waiting): (Vec<_>, Vec<_>) =
                    finished.iter().partition(|one| one.pushed);
                given_back.extend(waiting.iter().map(|one| one.id));
                let pushed: Vec<MappingId> = pushed.iter().map(|one| one.id).collect();
                ctx.db.record_delivery(ctx.run, &pushed, &[], now)?;
            }
        }
    }
    if !failed.is_empty() {
        ctx.db.record_failure(ctx.run, &failed, now, seen_at)?;
    }
    if !given_back.is_empty() {
        ctx.given_back.extend(given_back.iter().map(|id| id.0));
        ctx.db.give_back(ctx.run, &given_back)?;
    }
    Ok(())
}

/// A repository that an answer names is polled from then on.
fn meet_repositories(
    ctx: &mut Context,
    planned: &[Planned],
    seen_at: DateTime<Utc>,
) -> Result<(), Stop> {
    let names = planned
        .iter()
        .map(|one| one.snapshot.address.repository.key());
    let new: BTreeSet<String> = names
        .filter(|name| !ctx.repositories.contains(name))
        .collect();
    if !new.is_empty() {
        let new: Vec<String> = new.into_iter().collect();
        ctx.db.add_repositories(&new, seen_at - OVERLAP)?;
        ctx.repositories.extend(new);
    }
    Ok(())
}

/// What the row of a mapping that failed will say.
pub fn failure(
    ctx: &Context,
    mapping: &Mapping,
    unseen: &Unseen,
    now: DateTime<Utc>,
) -> FailureRecord {
    let attempts = mapping.attempts.saturating_add(1);
    let (attempts, next) = match unseen {
        Unseen::Failed(_) => (
            attempts,
            backoff::after_failure(mapping.id, attempts, ctx.policy.max_attempts, now),
        ),
        Unseen::Gone(_) => (attempts, NextAttempt::Park),
        Unseen::PutOff(_) | Unseen::NotAsked(_) => {
            (mapping.attempts, NextAttempt::RetryAt(now + PUT_OFF))
        }
    };
    let due_at = match next {
        NextAttempt::RetryAt(time) => Some(time),
        NextAttempt::Park => None,
    };
    let error = Printable(&crate::core::text::shortened(unseen.reason(), 1000)).to_string();
    let looked = matches!(unseen, Unseen::Failed(_) | Unseen::Gone(_));
    FailureRecord {
        id: mapping.id,
        attempts,
        error,
        due_at,
        external_updated_at: None,
        was_checked: looked,
        outbox_done: false,
    }
}

/// How log lines name a mapping: greppable by mapping, item and GitHub's own name.
pub struct Name {
    /// Its id, a key of the line's JSON form.
    pub mapping: i64,
    /// Its item's, the same.
    pub item: i64,
    text: String,
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// The name of a mapping in log lines.
pub fn name(mapping: &Mapping, address: Option<&Address>) -> Name {
    let address = address.map_or_else(|| format!("#{}", mapping.number), ToString::to_string);
    let text = format!("mapping={} item={} {address}", mapping.id, mapping.item_id);
    Name {
        mapping: mapping.id.0,
        item: mapping.item_id.0,
        text,
    }
}

/// The one log line of a failure.
pub fn log_failure(mapping: &Mapping, address: Option<&Address>, reason: &str) {
    let name = name(mapping, address);
    log::error!(mapping = name.mapping, item = name.item; "{name}: failed: {reason}");
}
