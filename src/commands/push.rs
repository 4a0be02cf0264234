//! Writes the objects of a slice to Weaviate, in batches, and reads every object's own result.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::context::{Context, Stop, WeaviateState};
use super::slice::{Planned, Progress, name};
use crate::core::agira_object::{AgiraObject, ObjectKey, ObjectType};
use crate::core::model::ItemId;
use crate::core::plan::{Action, WriteReason};
use crate::weaviate::ObjectWrite;

/// Objects that go into one call, so that what Weaviate has answered for is known when it goes away.
const AT_ONCE: usize = 200;

/// What Weaviate said about each object that was sent: taken, or why not. An object without an entry waits.
pub type Answers = HashMap<Uuid, Result<(), String>>;

/// Writes objects; when Weaviate goes away in the middle, the rest has no answer.
pub fn write(ctx: &mut Context, objects: &[ObjectWrite]) -> Answers {
    let mut answers = Answers::with_capacity(objects.len());
    for batch in objects.chunks(AT_ONCE) {
        if ctx.weaviate_state != WeaviateState::Ready {
            break;
        }
        match ctx.weaviate.write(batch) {
            Ok(results) => answers.extend(
                batch
                    .iter()
                    .map(|sent| sent.object.key().uuid())
                    .zip(results),
            ),
            Err(error) => ctx.weaviate_failed(&error),
        }
    }
    answers
}

/// Pushes what the plans of a slice want written.
pub fn push(
    ctx: &mut Context,
    planned: &mut [Planned],
    vectors: &HashMap<Uuid, Map<String, Value>>,
) -> Result<(), Stop> {
    ctx.report.weaviate.unchanged += planned
        .iter()
        .map(|one| one.plan.unchanged_objects() as u64)
        .sum::<u64>();
    let (objects, level) = to_write(ctx, planned, vectors)?;
    ctx.report.weaviate.unchanged += level.len() as u64;
    let mut answers = write(ctx, &objects);
    answers.extend(level.iter().map(|key| (key.uuid(), Ok(()))));
    let mut counted = level;
    for one in planned
        .iter_mut()
        .filter(|one| one.progress == Progress::Done)
    {
        one.progress = settle(ctx, one, &answers, &mut counted);
    }
    Ok(())
}

/// The objects of all plans that were carried out; and the keys of those that need no writing any more. An item's object is
/// composed from what the item is now: Django may have written a newer one, a person may have been faster than the plan, and
/// the plans of two mappings may have led its status back to what Weaviate has.
fn to_write(
    ctx: &mut Context,
    planned: &[Planned],
    vectors: &HashMap<Uuid, Map<String, Value>>,
) -> Result<(Vec<ObjectWrite>, HashSet<ObjectKey>), Stop> {
    // Two mappings of one item may both want the item's object written; the first plan knows what Weaviate has.
    let mut keys = HashSet::new();
    let writes: Vec<(&AgiraObject, &WriteReason)> = planned
        .iter()
        .filter(|one| one.progress == Progress::Done)
        .flat_map(|one| &one.plan.actions)
        .filter_map(|action| match action {
            Action::Write { object, change } if *change != WriteReason::Decide => {
                Some((&**object, change))
            }
            _ => None,
        })
        .filter(|(object, _)| keys.insert(object.key()))
        .collect();
    let is_item = |object: &AgiraObject| object.object_type == ObjectType::Item;
    let of_items = writes.iter().filter(|(object, _)| is_item(object));
    let ids: Vec<ItemId> = of_items
        .filter_map(|(object, _)| object.object_id.parse().ok().map(ItemId))
        .collect();
    let items = if ids.is_empty() {
        HashMap::new()
    } else {
        ctx.db.items(&ids)?
    };
    let (mut objects, mut level) = (Vec::with_capacity(writes.len()), HashSet::new());
    for (object, change) in writes {
        let item = object
            .object_id
            .parse()
            .ok()
            .and_then(|id| items.get(&ItemId(id)))
            .filter(|_| is_item(object));
        let object = item.map_or_else(|| object.clone(), AgiraObject::of_item);
        if matches!(change, WriteReason::Update { from } if from.as_deref() == Some(&object.status))
        {
            level.insert(object.key());
            continue;
        }
        let vectors = vectors
            .get(&object.key().uuid())
            .cloned()
            .unwrap_or_default();
        objects.push(ObjectWrite { object, vectors });
    }
    Ok((objects, level))
}

/// What Weaviate's answers mean for one mapping.
fn settle(
    ctx: &mut Context,
    one: &Planned,
    answers: &Answers,
    counted: &mut HashSet<ObjectKey>,
) -> Progress {
    let name = name(&one.claimed.mapping, Some(&one.snapshot.address));
    let mut rejected = Vec::new();
    let mut waiting = 0;
    for action in &one.plan.actions {
        let Action::Write { object, change } = action else {
            continue;
        };
        let key = object.key();
        match answers.get(&key.uuid()) {
            Some(Ok(())) if counted.insert(key.clone()) => {
                log::info!(mapping = name.mapping, item = name.item; "{name}: {action}");
                ctx.report.weaviate.written(change);
            }
            Some(Ok(())) => {} // another mapping of the same item was first, or there was nothing to write any more
            Some(Err(reason)) => rejected.push(format!("Weaviate rejects {key}: {reason}")),
            None => waiting += 1,
        }
    }
    ctx.report.weaviate.failed += rejected.len() as u64;
    ctx.report.weaviate.pending += waiting;
    match (rejected.is_empty(), waiting) {
        (false, _) => Progress::Failed(rejected.join("; "), waiting == 0),
        (true, 0) => Progress::Done,
        (true, _) => Progress::Waiting,
    }
}
