//! Delivers what outboxes hold (design, section 3, step 1). It runs first in every run, also while GitHub is paused.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::context::{Context, Mode, Stop, WeaviateState};
use super::observe::{Unseen, ready_weaviate};
use super::report::Outcome;
use super::slice::{self, failure, log_failure, name};
use super::{preview, push};
use crate::core::agira_object::{AgiraObject, mapping_key};
use crate::core::model::MappingId;
use crate::core::outbox::Outbox;
use crate::core::plan::{WriteReason, write_reason};
use crate::core::records::ObjectState;
use crate::db::{ClaimedOutbox, FailureRecord, MappingFilter};
use crate::weaviate::{ObjectWrite, StoredObject};

/// Delivers up to `limit` outboxes; returns the mappings that were worked on.
pub fn deliver(
    ctx: &mut Context,
    whole: &MappingFilter,
    limit: usize,
) -> Result<Vec<MappingId>, Stop> {
    if ctx.mode == Mode::Preview {
        return foresee(ctx, whole, limit);
    }
    let (mut worked, mut after) = (Vec::new(), MappingId(0));
    while worked.len() < limit && ctx.over().is_none() && ctx.weaviate_state != WeaviateState::Down
    {
        let hold = ctx.hold();
        let batch =
            ctx.db
                .claim_outboxes(whole, (limit - worked.len()).min(slice::MOST), after, hold)?;
        let Some(last) = batch.last() else { break };
        after = last.claimed.mapping.id;
        let ids: Vec<MappingId> = batch.iter().map(|one| one.claimed.mapping.id).collect();
        worked.extend(&ids);
        let result = deliver_batch(ctx, batch);
        // What was delivered is no longer held, so that only the rest is given back.
        ctx.db.give_back(ctx.run, &ids)?;
        result?;
    }
    Ok(worked)
}

/// Shows what waits; the plans that follow take what would be delivered for delivered.
fn foresee(ctx: &mut Context, whole: &MappingFilter, limit: usize) -> Result<Vec<MappingId>, Stop> {
    let waiting = ctx.db.preview_waiting(whole, limit)?;
    preview::outboxes(&waiting, ctx);
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    ready_weaviate(ctx)?;
    if ctx.weaviate_state == WeaviateState::Down {
        return Ok(Vec::new());
    }
    let mut outdated = Vec::new();
    for one in &waiting {
        for object in objects(one, &mut outdated) {
            let parentless = object.parent_object_id.is_none();
            let uuid = object.key().uuid();
            ctx.carried.objects.insert(
                uuid,
                ObjectState::Present {
                    status: Some(object.status),
                    without_parent: parentless,
                },
            );
        }
    }
    ctx.marked.extend(outdated.iter().map(|id| id.0));
    Ok(waiting.iter().map(|one| one.claimed.mapping.id).collect())
}

/// What is to be done about one object of an outbox.
struct Decided {
    uuid: Uuid,
    object: AgiraObject,
    change: Option<WriteReason>,
}

fn deliver_batch(ctx: &mut Context, batch: Vec<ClaimedOutbox>) -> Result<(), Stop> {
    ready_weaviate(ctx)?;
    let waiting: usize = batch
        .iter()
        .filter_map(|one| one.outbox.as_ref().ok())
        .map(Outbox::len)
        .sum();
    if ctx.weaviate_state != WeaviateState::Ready {
        ctx.report.weaviate.pending += waiting as u64;
        return Ok(());
    }
    let mut outdated = Vec::new();
    let mut wanted: Vec<(ClaimedOutbox, Vec<AgiraObject>)> = Vec::new();
    for one in batch {
        let objects = objects(&one, &mut outdated);
        wanted.push((one, objects));
    }
    let mut uuids: Vec<Uuid> = wanted
        .iter()
        .flat_map(|(_, objects)| objects)
        .map(|object| object.key().uuid())
        .collect();
    uuids.sort_unstable();
    uuids.dedup();
    let found = match ctx.weaviate.object_states(&uuids) {
        Ok(found) => found,
        Err(error) => {
            ctx.weaviate_failed(&error);
            ctx.report.weaviate.pending += waiting as u64;
            return Ok(());
        }
    };
    let decided: Vec<(ClaimedOutbox, Vec<Decided>)> = wanted
        .into_iter()
        .map(|(one, objects)| {
            (
                one,
                objects
                    .into_iter()
                    .map(|object| decide(ctx, object, &found))
                    .collect(),
            )
        })
        .collect();
    let answers = push::write(ctx, &to_write(&decided, &found));
    settle(ctx, &decided, &answers, &outdated)
}

/// The objects that still are what their rows say.
fn objects(one: &ClaimedOutbox, outdated: &mut Vec<MappingId>) -> Vec<AgiraObject> {
    let mapping = &one.claimed.mapping;
    let name = name(mapping, mapping.address(&one.claimed.item).ok().as_ref());
    let outbox = match &one.outbox {
        Ok(outbox) => outbox,
        Err(error) => {
            log::warn!(mapping = name.mapping, item = name.item; "{name}: its outbox cannot be read ({error}); it is planned again");
            outdated.push(mapping.id);
            return Vec::new();
        }
    };
    let item = outbox.item.then(|| AgiraObject::of_item(&one.claimed.item));
    let own = outbox
        .object
        .clone()
        .filter(|object| object.key() == mapping_key(mapping) && object.status == mapping.state);
    if outbox.object.is_some() && own.is_none() {
        log::info!(mapping = name.mapping, item = name.item; "{name}: what waited for Weaviate is outdated; it is planned again");
        outdated.push(mapping.id);
    }
    item.into_iter().chain(own).collect()
}

fn decide(ctx: &Context, object: AgiraObject, found: &HashMap<Uuid, StoredObject>) -> Decided {
    let uuid = object.key().uuid();
    let change = write_reason(
        found.get(&uuid).map(|found| &found.state),
        &object,
        &ctx.policy,
    );
    Decided {
        uuid,
        object,
        change,
    }
}

fn to_write(
    decided: &[(ClaimedOutbox, Vec<Decided>)],
    found: &HashMap<Uuid, StoredObject>,
) -> Vec<ObjectWrite> {
    let mut objects: Vec<ObjectWrite> = Vec::new();
    let mut sent = HashSet::new();
    for one in decided.iter().flat_map(|(_, objects)| objects) {
        if one.change.is_some() && sent.insert(one.uuid) {
            let vectors = found
                .get(&one.uuid)
                .map(|found| found.vectors.clone())
                .unwrap_or_default();
            objects.push(ObjectWrite {
                object: one.object.clone(),
                vectors,
            });
        }
    }
    objects
}

fn settle(
    ctx: &mut Context,
    decided: &[(ClaimedOutbox, Vec<Decided>)],
    answers: &push::Answers,
    outdated: &[MappingId],
) -> Result<(), Stop> {
    let now = ctx.now();
    let (mut delivered, mut failed) = (Vec::new(), Vec::new());
    // Two mappings of one item both hold the item's object.
    let mut counted = HashSet::new();
    for (one, objects) in decided {
        let mapping = &one.claimed.mapping;
        let address = mapping.address(&one.claimed.item).ok();
        let name = name(mapping, address.as_ref());
        let (mut rejected, mut waiting) = (Vec::new(), 0);
        for Decided {
            uuid,
            object,
            change,
        } in objects
        {
            match (change, answers.get(uuid)) {
                (None, _) => ctx.report.weaviate.unchanged += 1,
                (Some(change), Some(Ok(()))) => {
                    if counted.insert(uuid) {
                        log::info!(mapping = name.mapping, item = name.item; "{name}: delivered Weaviate {}: {change}", object.key());
                        ctx.report.weaviate.written(change);
                    }
                }
                (Some(_), Some(Err(reason))) => {
                    rejected.push(format!("Weaviate rejects {}: {reason}", object.key()))
                }
                (Some(_), None) => waiting += 1,
            }
        }
        ctx.report.weaviate.failed += rejected.len() as u64;
        ctx.report.weaviate.pending += waiting;
        if !rejected.is_empty() {
            let reason = rejected.join("; ");
            log_failure(mapping, address.as_ref(), &reason);
            let failure = failure(ctx, mapping, &Unseen::Failed(reason.clone()), now);
            let due_at = failure.due_at.filter(|_| !mapping.is_parked());
            failed.push(FailureRecord {
                was_checked: false,
                outbox_done: waiting == 0,
                due_at,
                ..failure
            });
            ctx.report.mapping(
                mapping,
                address.as_ref(),
                Outcome::Failed,
                Vec::new(),
                Some(reason),
            );
        } else if waiting == 0 {
            delivered.push(mapping.id);
        }
    }
    // One that still waits is still held: it is decided again with what waits.
    let outdated: Vec<MappingId> = outdated
        .iter()
        .copied()
        .filter(|id| delivered.contains(id))
        .collect();
    ctx.db
        .record_delivery(ctx.run, &delivered, &outdated, now)?;
    if !failed.is_empty() {
        ctx.db.record_failure(ctx.run, &failed, now, now)?;
    }
    Ok(())
}
