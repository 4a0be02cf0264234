//! The one writer of objects: it serves the outboxes of earlier runs and the plans of this one.

use std::collections::{BTreeMap, HashSet};

use log::Level;
use uuid::Uuid;

use super::observe::Vectors;
use super::state::Run;
use crate::core::agira_object::AgiraObject;
use crate::core::backoff;
use crate::core::plan::WriteReason;
use crate::core::text::{recorded, timestamp};
use crate::db::DelayRecord;
use crate::report::{Subject, Written};
use crate::weaviate::ObjectWrite;

/// An object that Weaviate should have.
pub struct Wanted {
    pub object: AgiraObject,
    /// Reason for the write; `None` if the object in Weaviate is up to date.
    pub reason: Option<WriteReason>,
}

/// Objects by id. Two mappings of one item share the item's object; the first one counts.
pub type Objects = BTreeMap<Uuid, Wanted>;

/// Result of a push for the objects of one mapping.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Rejections, with the object and Weaviate's reason.
    pub rejected: Vec<String>,
    /// Number of objects that wait, because Weaviate did not answer.
    pub waiting: u64,
    /// Objects that Weaviate took. One that several mappings share counts for the first.
    pub written: Vec<Written>,
}

impl Delivery {
    /// Returns true if Weaviate has everything.
    pub fn is_done(&self) -> bool {
        self.rejected.is_empty() && self.waiting == 0
    }

    /// Returns Weaviate's reasons as a report and the database keep them; `None` if it rejected
    /// nothing.
    pub fn error(&self) -> Option<String> {
        (!self.rejected.is_empty()).then(|| recorded(&self.rejected.join("; ")))
    }

    /// Decides when the rest is delivered; `attempts` counts the earlier rejections. An outbox
    /// without a rejection goes behind those that were not tried yet.
    pub fn delay(&self, run: &Run, subject: &Subject, attempts: i32) -> DelayRecord {
        let (id, now, error) = (subject.mapping, run.now(), self.error());
        let attempts = attempts.saturating_add(i32::from(error.is_some()));
        let at = match &error {
            Some(error) => {
                let at = backoff::after_rejection(id, attempts, now);
                let next = timestamp(at);
                subject.log(
                    run.report.level(Level::Error),
                    format_args!("{error}; next delivery at {next}"),
                );
                at
            }
            None => now,
        };
        DelayRecord {
            id,
            attempts,
            error,
            at,
        }
    }
}

/// Writes objects; returns the result of each mapping in `mappings`, which names the ids of its
/// objects.
pub fn write(
    run: &mut Run,
    objects: &Objects,
    vectors: &Vectors,
    mappings: &[(Subject, Vec<Uuid>)],
) -> Vec<Delivery> {
    let is_write =
        |(_, wanted): &(&Uuid, &Wanted)| !matches!(wanted.reason, None | Some(WriteReason::Decide));
    let writes = objects
        .iter()
        .filter(is_write)
        .map(|(id, wanted)| ObjectWrite {
            object: wanted.object.clone(),
            vectors: vectors.get(id).cloned().unwrap_or_default(),
        });
    let mut writes: Vec<ObjectWrite> = writes.collect();
    writes.sort_by_key(|write| run.index.was_rejected(write.object.key().uuid()));
    let results = run.index.write(&writes, &mut run.report);
    let counts = &mut run.report.weaviate;
    let unchanged = objects.values().filter(|wanted| wanted.reason.is_none());
    counts.unchanged += unchanged.count() as u64;
    let mut counted = HashSet::new();
    let mut deliveries = Vec::with_capacity(mappings.len());
    for (subject, ids) in mappings {
        let mut delivery = Delivery::default();
        for id in ids {
            let Some(Wanted {
                object,
                reason: Some(reason),
            }) = objects.get(id)
            else {
                continue;
            };
            let key = object.key();
            match results.get(id) {
                Some(Ok(())) if counted.insert(*id) => {
                    subject.log(Level::Info, format_args!("Weaviate {key}: {reason}"));
                    counts.count_write(reason);
                    delivery
                        .written
                        .extend(Written::new(object.object_type, reason));
                }
                Some(Ok(())) => {}
                Some(Err(message)) => {
                    let rejection = format!("Weaviate rejects {key}: {message}");
                    delivery.rejected.push(rejection);
                }
                None => match run.index.unreadable(*id) {
                    Some(reason) => delivery
                        .rejected
                        .push(format!("Weaviate cannot read {key}: {reason}")),
                    None => delivery.waiting += 1,
                },
            }
        }
        counts.failed += delivery.rejected.len() as u64;
        counts.pending += delivery.waiting;
        deliveries.push(delivery);
    }
    deliveries
}
