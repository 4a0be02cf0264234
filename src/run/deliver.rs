//! Delivers the outboxes of earlier runs, also while GitHub is paused.

use log::Level;
use uuid::Uuid;

use super::claim::SLICE;
use super::finish::failure_record;
use super::job::{Job, Scope};
use super::observe::Vectors;
use super::state::Run;
use super::stop::Stop;
use super::writer::{self, Delivery, Objects, Wanted};
use crate::core::agira_object::{AgiraObject, mapping_key};
use crate::core::failure::MappingError;
use crate::core::model::MappingId;
use crate::core::plan::write_reason;
use crate::db::{ClaimedOutbox, FailureRecord};
use crate::report::{MappingReport, Outcome, Subject};

/// Delivers outboxes up to the job's limit; returns how many mappings the job may still claim.
pub fn outboxes(run: &mut Run, job: &Job) -> Result<usize, Stop> {
    if job.scope == Scope::Everything {
        // Slow deliveries must not use up the time for what changed on GitHub.
        run.index.set_deadline(run.budget.half_time());
    }
    let (mut count, mut after) = (0, MappingId(0));
    while count < job.limit && run.budget.exhausted().is_none() && !run.index.is_down() {
        let (batch_limit, lease) = ((job.limit - count).min(SLICE), run.lease());
        let db = &mut run.db;
        let batch = db.claim_outboxes(&job.filter, batch_limit, after, lease)?;
        let Some(last) = batch.last() else { break };
        after = last.claimed.mapping.id;
        count += batch.len();
        let ids = batch.iter().map(|outbox| outbox.claimed.mapping.id);
        let ids: Vec<MappingId> = ids.collect();
        let result = deliver(run, &batch);
        // The record of a delivery has already released its claim, so that this releases only the
        // rest.
        run.db.release(run.id, &ids)?;
        result?;
    }
    run.index.set_deadline(run.budget.deadline());
    Ok(match job.scope {
        // `push-weaviate` has one limit for deliveries and claims.
        Scope::WeaviateOnly if run.index.is_down() => 0,
        Scope::WeaviateOnly => job.limit - count,
        Scope::Everything => job.limit,
    })
}

fn deliver(run: &mut Run, batch: &[ClaimedOutbox]) -> Result<(), Stop> {
    if !run.index.check(&mut run.report)? {
        count_pending(run, batch);
        return Ok(());
    }
    let mut stale = Vec::new();
    let mut wanted: Vec<AgiraObject> = Vec::new();
    let mut requests = Vec::with_capacity(batch.len());
    for outbox in batch {
        let objects = current_objects(outbox, &mut stale);
        let ids: Vec<Uuid> = objects.iter().map(|object| object.key().uuid()).collect();
        requests.push((subject(outbox), ids));
        wanted.extend(objects);
    }
    let mut ids: Vec<Uuid> = wanted.iter().map(|object| object.key().uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let Some(states) = run.index.object_states(&ids, &mut run.report)? else {
        count_pending(run, batch);
        return Ok(());
    };
    let mut objects = Objects::default();
    for object in wanted {
        let id = object.key().uuid();
        let state = states.get(&id).map(|stored| &stored.state);
        let reason = write_reason(state, &object, &run.policy);
        objects.entry(id).or_insert(Wanted { object, reason });
    }
    let vectors = states.into_iter();
    let vectors: Vectors = vectors.map(|(id, stored)| (id, stored.vectors)).collect();
    let deliveries = writer::write(run, &objects, &vectors, &requests);
    record(run, batch, deliveries, &stale)
}

fn count_pending(run: &mut Run, batch: &[ClaimedOutbox]) {
    let outboxes = batch.iter();
    let waiting = outboxes.filter_map(|outbox| outbox.outbox.as_ref().ok());
    run.report.weaviate.pending += waiting.map(|outbox| outbox.len() as u64).sum::<u64>();
}

/// Returns the objects of an outbox that still agree with their rows. Adds the mapping to `stale`
/// if one does not.
fn current_objects(claimed: &ClaimedOutbox, stale: &mut Vec<MappingId>) -> Vec<AgiraObject> {
    let (mapping, item) = (&claimed.claimed.mapping, &claimed.claimed.item);
    let outbox = match &claimed.outbox {
        Ok(outbox) => outbox,
        Err(error) => {
            let message = format!("its outbox cannot be read ({error}); it is planned again");
            subject(claimed).log(Level::Warn, message);
            stale.push(mapping.id);
            return Vec::new();
        }
    };
    let item = outbox.item.then(|| AgiraObject::of_item(item));
    let is_current = |object: &AgiraObject| {
        object.key() == mapping_key(mapping) && object.status == mapping.state
    };
    let own = outbox.object.clone().filter(is_current);
    if outbox.object.is_some() && own.is_none() {
        subject(claimed).log(Level::Info, "its outbox is stale; it is planned again");
        stale.push(mapping.id);
    }
    item.into_iter().chain(own).collect()
}

fn record(
    run: &mut Run,
    batch: &[ClaimedOutbox],
    deliveries: Vec<Delivery>,
    stale: &[MappingId],
) -> Result<(), Stop> {
    let (mut delivered, mut failures) = (Vec::new(), Vec::new());
    for (outbox, Delivery { rejected, waiting }) in batch.iter().zip(deliveries) {
        let (mapping, subject) = (&outbox.claimed.mapping, subject(outbox));
        if rejected.is_empty() {
            delivered.extend((waiting == 0).then_some(mapping.id));
            continue;
        }
        let error = MappingError::failed(rejected.join("; "));
        subject.log(Level::Error, format_args!("failed: {}", error.message));
        let entry = MappingReport::new(&subject, Outcome::Failed).because(&error.message);
        run.report.add(&entry);
        let failure = failure_record(run, mapping, &error);
        failures.push(FailureRecord {
            was_checked: false,
            outbox_done: waiting == 0,
            due_at: failure.due_at.filter(|_| !mapping.is_parked()),
            ..failure
        });
    }
    let now = run.now();
    // If objects of a mapping still wait, its whole outbox stays, and the next delivery decides
    // again.
    let mut stale = stale.to_vec();
    stale.retain(|id| delivered.contains(id));
    run.db.record_delivery(run.id, &delivered, &stale, now)?;
    if !failures.is_empty() {
        run.db.record_failure(run.id, &failures, now, now)?;
    }
    Ok(())
}

fn subject(outbox: &ClaimedOutbox) -> Subject {
    Subject::new(&outbox.claimed.mapping, &outbox.claimed.item)
}
