//! Delivers the outboxes of earlier runs, also while GitHub is paused.

use log::Level;
use uuid::Uuid;

use super::claim::SLICE;
use super::job::{Job, Scope};
use super::observe::Vectors;
use super::state::Run;
use super::stop::Stop;
use super::writer::{self, Delivery, Objects, Wanted};
use crate::core::agira_object::{AgiraObject, mapping_key};
use crate::core::model::MappingId;
use crate::core::plan::write_reason;
use crate::db::{ClaimedOutbox, Selection};
use crate::report::{MappingReport, Next, Outcome, Subject};

/// Delivers outboxes; returns how many mappings the job may still claim. `push-weaviate` has one
/// limit for both. Otherwise the time bounds it, because a healthy object must not wait for others.
/// A rejected one counts for neither.
pub fn outboxes(run: &mut Run, job: &Job) -> Result<usize, Stop> {
    let has_limit = job.scope == Scope::WeaviateOnly;
    let until = match job.filter.selection {
        Selection::Due | Selection::NeverPushed => Some(run.now()),
        // A person asks for these now.
        Selection::Failed | Selection::Named => None,
    };
    let half = run.budget.half();
    if job.scope == Scope::Everything {
        // Slow deliveries must not use up the time for what changed on GitHub.
        run.index.set_deadline(half.deadline());
    }
    let (mut left, mut filter) = (job.limit, job.filter.clone());
    while left > 0 && half.exhausted().is_none() && !run.index.is_down() {
        let batch_limit = if has_limit { left.min(SLICE) } else { SLICE };
        let lease = run.lease();
        let batch = run.db.claim_outboxes(&filter, batch_limit, until, lease)?;
        if batch.is_empty() {
            break;
        }
        let ids = batch.iter().map(|outbox| outbox.claimed.mapping.id);
        let ids: Vec<MappingId> = ids.collect();
        filter.excluded.extend(ids.iter().map(|id| id.0));
        let result = deliver(run, &batch);
        // The record of a delivery has already released its claim, so that this releases only the
        // rest.
        run.db.release(run.id, &ids)?;
        run.index.store_pause(&mut run.db, run.access)?;
        let rejected = result?;
        if has_limit {
            left -= batch.len() - rejected;
        }
    }
    run.index.set_deadline(run.budget.deadline());
    Ok(match has_limit && run.index.is_down() {
        true => 0,
        false => left,
    })
}

/// Delivers a batch; returns the number of its mappings with a rejected object.
fn deliver(run: &mut Run, batch: &[ClaimedOutbox]) -> Result<usize, Stop> {
    run.index.read_pause(&mut run.db)?;
    if !run.index.check(&mut run.report) {
        count_pending(run, batch);
        return Ok(0);
    }
    let mut stale = Vec::new();
    let mut wanted: Vec<AgiraObject> = Vec::new();
    let mut requests = Vec::with_capacity(batch.len());
    for outbox in batch {
        let objects = current_objects(outbox, &mut stale);
        let ids: Vec<Uuid> = objects.iter().map(|object| object.key().uuid()).collect();
        if outbox.attempts > 0 {
            run.index.remember_rejected(ids.iter().copied());
        }
        requests.push((subject(outbox), ids));
        wanted.extend(objects);
    }
    let mut ids: Vec<Uuid> = wanted.iter().map(|object| object.key().uuid()).collect();
    ids.sort_unstable_by_key(|id| (run.index.was_rejected(*id), *id));
    ids.dedup();
    let Some(states) = run.index.object_states(&ids, &mut run.report) else {
        count_pending(run, batch);
        return Ok(0);
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
    record(run, batch, &deliveries, &stale)
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

/// Records the deliveries of a batch; returns the number of mappings with a rejected object.
fn record(
    run: &mut Run,
    batch: &[ClaimedOutbox],
    deliveries: &[Delivery],
    stale: &[MappingId],
) -> Result<usize, Stop> {
    let (mut delivered, mut delays) = (Vec::new(), Vec::new());
    for (outbox, delivery) in batch.iter().zip(deliveries) {
        let (mapping, subject) = (&outbox.claimed.mapping, subject(outbox));
        let mut entry = MappingReport::new(&subject, Outcome::GivenBack);
        entry.written = &delivery.written;
        if delivery.is_done() {
            run.report.show(&entry);
            delivered.push(mapping.id);
            continue;
        }
        let (delay, error) = (
            delivery.delay(run, &subject, outbox.attempts),
            delivery.error(),
        );
        entry.waiting = delivery.waiting;
        if let Some(error) = &error {
            entry.delivery_error = Some(error);
            entry.next = Some(Next::At(delay.at));
            run.report.add(&entry);
        } else {
            run.report.show(&entry);
        }
        delays.push(delay);
    }
    let now = run.now();
    // If objects of a mapping still wait, its whole outbox stays, and the next delivery decides
    // again.
    let mut stale = stale.to_vec();
    stale.retain(|id| delivered.contains(id));
    run.db.record_delivery(run.id, &delivered, &stale, now)?;
    if !delays.is_empty() {
        run.db.record_delays(run.id, &delays)?;
    }
    Ok(delays.iter().filter(|delay| delay.error.is_some()).count())
}

fn subject(outbox: &ClaimedOutbox) -> Subject {
    Subject::new(&outbox.claimed.mapping, &outbox.claimed.item)
}
