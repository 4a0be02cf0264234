//! Pushes the objects of a slice to Weaviate.

use std::collections::{HashMap, HashSet};

use super::apply::Applied;
use super::observe::Rest;
use super::plan::PlannedMapping;
use super::state::Run;
use super::stop::Stop;
use super::writer::{self, Delivery, Objects, Wanted};
use crate::core::agira_object::{AgiraObject, ObjectType};
use crate::core::model::{Item, ItemId, MappingId};
use crate::core::plan::{Action, WriteReason};

/// A mapping whose objects were pushed.
pub struct PushedMapping {
    pub one: PlannedMapping,
    pub delivery: Delivery,
}

/// A slice whose objects were pushed.
pub struct Pushed {
    pub mappings: Vec<PushedMapping>,
    pub inserted: Vec<MappingId>,
    pub rest: Rest,
}

/// Pushes the objects of a slice.
pub fn slice(run: &mut Run, applied: Applied) -> Result<Pushed, Stop> {
    run.renew_claims()?;
    let items = read_items(run, &applied.mappings)?;
    let mut objects = Objects::default();
    let mut requests = Vec::with_capacity(applied.mappings.len());
    for one in &applied.mappings {
        run.report.weaviate.unchanged += one.plan.unchanged_objects() as u64;
        let mut ids = Vec::new();
        for (object, reason) in writes(one) {
            let id = object.key().uuid();
            ids.push(id);
            objects
                .entry(id)
                .or_insert_with(|| compose(object, reason, &items));
        }
        requests.push((one.subject(), ids));
    }
    let deliveries = writer::write(run, &objects, &applied.vectors, &requests);
    run.index.store_pause(&mut run.db, run.access)?;
    let mappings = applied.mappings.into_iter().zip(deliveries);
    Ok(Pushed {
        mappings: mappings
            .map(|(one, delivery)| PushedMapping { one, delivery })
            .collect(),
        inserted: applied.inserted,
        rest: applied.rest,
    })
}

fn writes(one: &PlannedMapping) -> impl Iterator<Item = (&AgiraObject, &WriteReason)> {
    one.plan.actions.iter().filter_map(|action| match action {
        Action::Write { object, change } => Some((&**object, change)),
        _ => None,
    })
}

/// Reads the items whose objects are to be written.
fn read_items(run: &mut Run, applied: &[PlannedMapping]) -> Result<HashMap<ItemId, Item>, Stop> {
    let ids: HashSet<ItemId> = applied
        .iter()
        .flat_map(writes)
        .filter(|(_, reason)| **reason != WriteReason::Decide)
        .filter_map(|(object, _)| item_id(object))
        .collect();
    match ids.is_empty() {
        true => Ok(HashMap::new()),
        false => Ok(run.db.items(&ids.into_iter().collect::<Vec<_>>())?),
    }
}

/// Composes an item's object from the item as it is now: Django or a person may have changed the
/// item since the plan. There is no reason for a write if Weaviate already has the item's current
/// status.
fn compose(object: &AgiraObject, reason: &WriteReason, items: &HashMap<ItemId, Item>) -> Wanted {
    let item = item_id(object).and_then(|id| items.get(&id));
    let object = item.map_or_else(|| object.clone(), AgiraObject::of_item);
    let is_current =
        matches!(reason, WriteReason::Update { from } if from.as_deref() == Some(&object.status));
    let reason = (!is_current).then(|| reason.clone());
    Wanted { object, reason }
}

fn item_id(object: &AgiraObject) -> Option<ItemId> {
    match object.object_type {
        ObjectType::Item => object.object_id.parse().ok().map(ItemId),
        ObjectType::GithubIssue | ObjectType::GithubPr => None,
    }
}
