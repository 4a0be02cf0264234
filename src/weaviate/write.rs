//! Writes objects in batches and reads the result of each object, because a batch has status 200
//! even if its objects are rejected.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::Weaviate;
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
        let mut results = Vec::with_capacity(objects.len());
        let mut max = OBJECTS_PER_BATCH;
        while results.len() < encoded.len() {
            let rest = &encoded[results.len()..];
            let batch = &rest[..batch_len(rest, max)];
            match self.write_batch(batch) {
                Ok(written) => results.extend(written),
                // A redirect says nothing about the object.
                Err(error)
                    if batch.len() == 1
                        && error.kind == FailureKind::Rejected
                        && error.status >= Some(400) =>
                {
                    results.push(Err(error.message));
                }
                Err(ServiceError {
                    kind: FailureKind::TooHeavy | FailureKind::Rejected,
                    message,
                    ..
                }) if batch.len() > 1 => {
                    log::info!(
                        "Weaviate does not accept {} objects at once ({message}); sending fewer",
                        batch.len()
                    );
                    max = batch.len().div_ceil(2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    fn write_batch(&mut self, batch: &[Value]) -> Result<Vec<WriteResult>, ServiceError> {
        let body = json!({ "objects": batch });
        let response = self.send("/v1/batch/objects", |client, url| {
            client.post(url).json(&body)
        })?;
        let results = response.as_array().into_iter().flatten();
        let results: Vec<WriteResult> = results.map(result).collect();
        if results.len() != batch.len() {
            return Err(ServiceError::unavailable(
                "the answer to a batch does not have a result for each object",
            ));
        }
        let failure = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .find(|message| weaviate_message(message) == FailureKind::Unavailable);
        match failure {
            Some(message) => Err(ServiceError::unavailable(message)),
            None => self.confirm(batch, results),
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
        Err(ServiceError::unavailable(format!(
            "objects were not kept: {message}"
        )))
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
