//! Writes objects in batches and reads the result of each object, because a batch has status 200
//! even if its objects are rejected.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{Weaviate, of_service};
use super::halve::Identified;
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
    /// contain one twice; `None` if the time did not suffice.
    ///
    /// # Errors
    /// Fails if Weaviate as a whole fails. Objects that were written before stay written; writing
    /// them again is safe.
    pub fn write(
        &mut self,
        objects: &[ObjectWrite],
    ) -> Result<Vec<Option<WriteResult>>, ServiceError> {
        let encoded: Vec<Encoded> = objects.iter().map(encode).collect();
        let size = |_: &Self, rest: &[Encoded], most| batch_len(rest, most);
        let parts = self.in_parts(&encoded, OBJECTS_PER_BATCH, size, Self::write_batch)?;
        let results = parts.results.into_iter();
        let results: Vec<Option<WriteResult>> = results
            .map(|result| Some(result?.and_then(|written| written)))
            .collect();
        let is_of_weaviate = |(one, result): (&Encoded, &Option<WriteResult>)| {
            let reason = result.as_ref().and_then(|result| result.as_ref().err());
            let is_its_own = |reason: &String| weaviate_message(reason) == FailureKind::Unavailable;
            reason.is_some_and(is_its_own) && !self.was_rejected(one.id)
        };
        match results.first() {
            Some(Some(Err(reason))) if encoded.iter().zip(&results).all(is_of_weaviate) => {
                Err(of_service(reason))
            }
            _ => Ok(results),
        }
    }

    fn write_batch(&mut self, batch: &[Encoded]) -> Result<Vec<WriteResult>, ServiceError> {
        let objects: Vec<&Value> = batch.iter().map(|one| &one.object).collect();
        let body = json!({ "objects": objects });
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
        self.confirm(batch, results)
    }

    /// Reads written objects back if another object of the batch failed. If a shard rejects every
    /// write, older versions of Weaviate (1.35) report this only for the first object and report
    /// success for the others; newer versions (1.39) report it for each object.
    fn confirm(
        &mut self,
        batch: &[Encoded],
        results: Vec<WriteResult>,
    ) -> Result<Vec<WriteResult>, ServiceError> {
        let Some(Err(message)) = results.iter().find(|result| result.is_err()) else {
            return Ok(results);
        };
        let written: HashMap<Uuid, &Value> = batch
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .map(|(one, _)| (one.id, &one.object["properties"]))
            .collect();
        let (stored, ended) = self.states(&written.keys().copied().collect::<Vec<_>>())?;
        if let Some(error) = ended {
            return Err(error);
        }
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

/// An object as a batch names it.
struct Encoded {
    id: Uuid,
    object: Value,
}

impl Identified for Encoded {
    fn id(&self) -> Uuid {
        self.id
    }
}

fn encode(write: &ObjectWrite) -> Encoded {
    let id = write.object.key().uuid();
    let mut object = write.vectors.clone();
    object.insert("class".to_owned(), CLASS.into());
    object.insert("id".to_owned(), json!(id));
    object.insert("properties".to_owned(), json!(write.object));
    Encoded {
        id,
        object: object.into(),
    }
}

/// Returns the number of `objects` for the next batch, at least one.
fn batch_len(objects: &[Encoded], max: usize) -> usize {
    let mut bytes = r#"{"objects":[]}"#.len();
    let fits = objects.iter().take(max).take_while(|object| {
        bytes += object.object.to_string().len() + 1; // and the comma
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
