//! Writing objects in batches, with every object's own result read: a batch answers 200 whatever happened to its parts.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::Weaviate;
use crate::core::agira_object::{AgiraObject, CLASS};
use crate::core::failure::{Failure, weaviate_said};
use crate::core::records::ObjectState;
use crate::core::text::quoted;
use crate::http::ServiceError;

/// Objects in one batch (design, section 3, step 7): those of a slice of issues.
const OBJECTS_PER_BATCH: usize = 200;
/// Bytes in one batch, unless a single object has more.
const BYTES_PER_BATCH: usize = 4_000_000;

/// An object to be created or replaced.
#[derive(Debug, Clone)]
pub struct ObjectWrite {
    /// Its properties.
    pub object: AgiraObject,
    /// The vectors that the existing object has, as read with its status.
    pub vectors: Map<String, Value>,
}

/// Whether Weaviate took one object; if not, what it says.
type Written = Result<(), String>;

impl Weaviate {
    /// Creates or replaces objects; the results come in the order of `objects`, which must not name one twice.
    ///
    /// # Errors
    /// When Weaviate cannot be asked; what was written until then stays written, and writing it again is harmless.
    pub fn write(&mut self, objects: &[ObjectWrite]) -> Result<Vec<Written>, ServiceError> {
        let encoded: Vec<Value> = objects.iter().map(encode).collect();
        let mut results = Vec::with_capacity(objects.len());
        let mut most = OBJECTS_PER_BATCH;
        while results.len() < encoded.len() {
            let batch =
                &encoded[results.len()..results.len() + fitting(&encoded[results.len()..], most)];
            match self.batch(batch) {
                Ok(written) => results.extend(written),
                // A redirect is no word about an object.
                Err(ServiceError::Rejected {
                    status: 400..,
                    reason,
                }) if batch.len() == 1 => results.push(Err(reason)),
                Err(ServiceError::TooHeavy(reason) | ServiceError::Rejected { reason, .. })
                    if batch.len() > 1 =>
                {
                    log::info!(
                        "Weaviate did not take {} objects at once ({reason}); sending fewer",
                        batch.len()
                    );
                    most = batch.len().div_ceil(2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    fn batch(&mut self, batch: &[Value]) -> Result<Vec<Written>, ServiceError> {
        let body = json!({ "objects": batch });
        let answer = self.send("/v1/batch/objects", |client, url| {
            client.post(url).json(&body)
        })?;
        let results = answer
            .as_array()
            .filter(|results| results.len() == batch.len());
        let Some(results) = results else {
            return Err(ServiceError::Unavailable(
                "the answer to a batch does not have a result for each object".to_owned(),
            ));
        };
        let written: Vec<Written> = results.iter().map(written).collect();
        let is_no_objects = |reason: &&String| weaviate_said(reason) == Failure::Unavailable;
        match written
            .iter()
            .find_map(|one| one.as_ref().err().filter(is_no_objects))
        {
            Some(reason) => Err(ServiceError::Unavailable(reason.clone())),
            None => self.confirmed(batch, written),
        }
    }

    /// Of a shard that takes nothing, for whatever reason, older Weaviates (1.35) tell with the first object of a batch only,
    /// and call the others written; newer ones (1.39) tell with each. So where an object failed, the others are looked for.
    fn confirmed(
        &mut self,
        batch: &[Value],
        written: Vec<Written>,
    ) -> Result<Vec<Written>, ServiceError> {
        let Some(Err(reason)) = written.iter().find(|one| one.is_err()) else {
            return Ok(written);
        };
        let taken: HashMap<Uuid, &Value> = batch
            .iter()
            .zip(&written)
            .filter(|(_, written)| written.is_ok())
            .filter_map(|(object, _)| {
                Some((object["id"].as_str()?.parse().ok()?, &object["properties"]))
            })
            .collect();
        let found = self.object_states(&taken.keys().copied().collect::<Vec<_>>())?;
        let is_kept = |(id, properties): (&Uuid, &&Value)| {
            let kept = ObjectState::Present {
                status: properties["status"].as_str().map(str::to_owned),
                without_parent: properties["parent_object_id"].is_null(),
            };
            found.get(id).is_some_and(|found| found.state == kept)
        };
        match taken.iter().all(is_kept) {
            true => Ok(written),
            false => Err(ServiceError::Unavailable(format!(
                "objects were not kept: {reason}"
            ))),
        }
    }
}

fn encode(to_write: &ObjectWrite) -> Value {
    let mut object = json!({
        "class": CLASS,
        "id": to_write.object.key().uuid(),
        "properties": to_write.object,
    });
    if let Some(object) = object.as_object_mut() {
        object.extend(to_write.vectors.clone());
    }
    object
}

/// How many of `objects` go into the next batch: at least one.
fn fitting(objects: &[Value], most: usize) -> usize {
    let mut bytes = r#"{"objects":[]}"#.len();
    let fits = objects.iter().take(most).take_while(|object| {
        bytes += object.to_string().len() + 1; // and the comma
        bytes <= BYTES_PER_BATCH
    });
    fits.count().max(1)
}

fn written(result: &Value) -> Written {
    match result["result"]["status"].as_str() {
        Some("SUCCESS") => Ok(()),
        _ => {
            let said = result["result"]["errors"]["error"][0]["message"]
                .as_str()
                .unwrap_or("no reason given");
            Err(quoted(said))
        }
    }
}
