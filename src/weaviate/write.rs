//! Writes objects in batches and reads the result of each object, because a batch has status 200
//! even if its objects are rejected.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{Weaviate, of_service};
use super::read::state;
use crate::core::agira_object::{AgiraObject, CLASS};
use crate::core::failure::{FailureKind, ServiceError, weaviate_message};
use crate::core::text::quoted;

/// Largest number of objects in one batch: enough for a slice of issues (design.md, "The
/// pipeline").
const OBJECTS_PER_BATCH: usize = 200;
/// Largest size of one batch in bytes, unless a single object is larger.
const BYTES_PER_BATCH: usize = 4_000_000;

/// An object to be created or replaced.
#[derive(Debug, Clone)]
pub struct ObjectWrite {
    /// All properties; a write removes the old ones.
    pub object: AgiraObject,
    /// Vectors of the existing object, which the write sends back.
    pub vectors: Map<String, Value>,
}

/// The result for one object; the error is Weaviate's explanation.
type WriteResult = Result<(), String>;

impl Weaviate {
    /// Creates or replaces objects. The results come in the order of `objects`, which must not
    /// contain one twice.
    ///
    /// # Errors
    /// Fails if Weaviate as a whole fails. Objects that were written before stay written; writing
    /// them again is safe.
    pub fn write(&mut self, objects: &[ObjectWrite]) -> Result<Vec<WriteResult>, ServiceError> {
        let encoded: Vec<Value> = objects.iter().map(encode).collect();
        let size = |_: &Self, rest: &[Value], most| batch_len(rest, most);
        let results = self.in_parts(&encoded, OBJECTS_PER_BATCH, size, Self::write_batch)?;
        Ok(results
            .into_iter()
            .map(|result| result.and_then(|written| written))
            .collect())
    }

    fn write_batch(&mut self, batch: &[Value]) -> Result<Vec<WriteResult>, ServiceError> {
        let body = json!({ "objects": batch });
        let response = self.send("/v1/batch/objects", |client, url| {
            client.post(url).json(&body)
        })?;
        let results = response.as_array().into_iter().flatten();
        let results: Vec<WriteResult> = results.map(result).collect();
        if results.len() != batch.len() {
            return Err(of_service(
                "the answer to a batch does not have a result for each object",
            ));
        }
        let reasons = || results.iter().filter_map(|result| result.as_ref().err());
        let of_weaviate = |reason: &&String| weaviate_message(reason) == FailureKind::Unavailable;
        match reasons().find(of_weaviate) {
            Some(reason) if reasons().count() == batch.len() => Err(of_service(reason)),
            _ => self.confirm(batch, results),
        }
    }

    /// Reads written objects back if another object of the batch failed. If a shard rejects every
    /// write, older versions of Weaviate (1.35) report this only for the first object and report
    /// success for the others; newer versions (1.39) report it for each object.
    fn confirm(
        &mut self,
        batch: &[Value],
        results: Vec<WriteResult>,
    ) -> Result<Vec<WriteResult>, ServiceError> {
        let Some(Err(message)) = results.iter().find(|result| result.is_err()) else {
            return Ok(results);
        };
        let written: HashMap<Uuid, &Value> = batch
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .filter_map(|(object, _)| {
                Some((object["id"].as_str()?.parse().ok()?, &object["properties"]))
            })
            .collect();
        let stored = self.object_states(&written.keys().copied().collect::<Vec<_>>())?;
        let is_stored = |(id, properties): (&Uuid, &&Value)| {
            let stored = stored.get(id).map(|stored| &stored.state);
            stored == Some(&state(properties))
        };
        if written.iter().all(is_stored) {
            return Ok(results);
        }
        Err(of_service(format!("objects were not kept: {message}")))
    }
}

fn encode(write: &ObjectWrite) -> Value {
    let mut object = write.vectors.clone();
    object.insert("class".to_owned(), CLASS.into());
    object.insert("id".to_owned(), json!(write.object.key().uuid()));
    object.insert("properties".to_owned(), json!(write.object));
    object.into()
}

/// Returns the number of `objects` for the next batch, at least one.
fn batch_len(objects: &[Value], max: usize) -> usize {
    let mut bytes = r#"{"objects":[]}"#.len();
    let fits = objects.iter().take(max).take_while(|object| {
        bytes += object.to_string().len() + 1; // and the comma
        bytes <= BYTES_PER_BATCH
    });
    fits.count().max(1)
}

fn result(result: &Value) -> WriteResult {
    let result = &result["result"];
    if result["status"] == "SUCCESS" {
        return Ok(());
    }
    let message = result["errors"]["error"][0]["message"].as_str();
    Err(quoted(message.unwrap_or("no reason given")))
}
