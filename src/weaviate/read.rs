//! Reads objects by id, with one GraphQL query for 200 ids, or with one GET for each id if the
//! server offers no GraphQL.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{VectorSource, Weaviate, of_service};
use super::halve::Parts;
use crate::core::agira_object::CLASS;
use crate::core::failure::{FailureKind, ServiceError, weaviate_message};
use crate::core::records::ObjectState;
use crate::core::text::quoted;

/// Number of ids in one query: enough for a whole slice, because an issue has two objects
/// (design.md, "The pipeline").
const IDS_PER_QUERY: usize = 200;

/// The object that Weaviate stores under one id, if any.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// State of the object: missing, or present with its status.
    pub state: ObjectState,
    /// The object's own vectors, in the fields that a write sends back: `vector`, `vectors` or
    /// none.
    pub vectors: Map<String, Value>,
}

impl StoredObject {
    /// Returns the state of an id without an object.
    pub fn missing() -> Self {
        Self {
            state: ObjectState::Missing,
            vectors: Map::new(),
        }
    }
}

impl Weaviate {
    /// Reads the objects with these ids. The result has an entry for each id, except for those that
    /// [`Weaviate::unreadable`] explains, and those that the time did not suffice for. The class
    /// must have been read before.
    pub fn object_states(
        &mut self,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, StoredObject>, ServiceError> {
        Ok(self.states(ids)?.0)
    }

    /// Does the same, and returns the error that ended the requests before the last id, if any.
    pub(super) fn states(
        &mut self,
        ids: &[Uuid],
    ) -> Result<(HashMap<Uuid, StoredObject>, Option<ServiceError>), ServiceError> {
        let size = |client: &Self, _: &[Uuid], most: usize| match client.asks_graphql() {
            true => most,
            false => 1,
        };
        let Parts { results, ended } = self.in_parts(ids, IDS_PER_QUERY, size, Self::read)?;
        let answered = results.iter().any(|one| matches!(one, Some(Ok(_))));
        let is_known = ids.iter().any(|id| self.was_rejected(*id));
        let mut states = HashMap::with_capacity(ids.len());
        for (id, result) in ids.iter().zip(results) {
            match result {
                None => {}
                Some(Ok(state)) => {
                    self.unreadable.remove(id);
                    states.insert(*id, state);
                }
                // Those that failed before say nothing about this one.
                Some(Err(_)) if !answered && is_known && !self.was_rejected(*id) => {}
                Some(Err(reason)) => {
                    log::warn!("Weaviate cannot read the object {id}: {reason}");
                    self.unreadable.insert(*id, reason);
                }
            }
        }
        Ok((states, ended))
    }

    /// Returns the reason why Weaviate, although it is ready, could not read this object.
    pub fn unreadable(&self, id: Uuid) -> Option<&str> {
        self.unreadable.get(&id).map(String::as_str)
    }

    /// A GraphQL query would have to name each vector; a GET returns all of them.
    fn asks_graphql(&self) -> bool {
        self.has_graphql && !matches!(self.vectors, Some(VectorSource::Named(_)))
    }

    /// Reads objects with one GraphQL query, or with a request for each of them.
    fn read(&mut self, ids: &[Uuid]) -> Result<Vec<StoredObject>, ServiceError> {
        if self.asks_graphql() {
            match self.query(ids) {
                Err(error) if error.kind == FailureKind::Rejected => {
                    log::info!(
                        "Weaviate does not answer GraphQL ({}: {}); reading each object with a request of its own",
                        error.status.unwrap_or_default(),
                        error.message
                    );
                    self.has_graphql = false;
                }
                result => {
                    let mut states = result?;
                    let state = |id| states.remove(id).unwrap_or_else(StoredObject::missing);
                    return Ok(ids.iter().map(state).collect());
                }
            }
        }
        let get = |id: &Uuid| {
            let object = self.object(*id)?;
            Ok(object.map_or_else(StoredObject::missing, |object| {
                self.stored(&object["properties"], &object)
            }))
        };
        ids.iter().map(get).collect()
    }

    /// Reads a whole object; `None` if it does not exist.
    pub fn object(&mut self, id: Uuid) -> Result<Option<Value>, ServiceError> {
        let path = match self.vectors {
            Some(VectorSource::Generated) => format!("/v1/objects/{CLASS}/{id}"),
            _ => format!("/v1/objects/{CLASS}/{id}?include=vector"),
        };
        match self.send(&path, |client, url| client.get(url)) {
            Err(error) if error.status == Some(404) => Ok(None),
            response => response.map(Some),
        }
    }

    fn query(&mut self, ids: &[Uuid]) -> Result<HashMap<Uuid, StoredObject>, ServiceError> {
        let list: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        let vector = match self.vectors {
            Some(VectorSource::One) => " vector",
            _ => "",
        };
        // Old servers return too few objects if the limit equals the number of ids.
        let limit = ids.len() * 2 + 10;
        let query = format!(
            "{{ Get {{ {CLASS}(limit: {limit}, where: {{path: [\"id\"], operator: ContainsAny, valueText: [{}]}}) \
             {{ status parent_object_id _additional {{ id{vector} }} }} }} }}",
            list.join(", ")
        );
        let body = json!({ "query": query });
        let response = self
            .send("/v1/graphql", |client, url| client.post(url).json(&body))
            .map_err(|error| match error.kind {
                // GraphQL needs the right to read all classes; reading a single object does not.
                FailureKind::Refused => ServiceError {
                    kind: FailureKind::Rejected,
                    ..error
                },
                _ => error,
            })?;
        if let Some(message) = response["errors"][0]["message"].as_str() {
            return Err(ServiceError {
                kind: weaviate_message(message),
                status: Some(200),
                message: quoted(message),
            });
        }
        let Some(objects) = response["data"]["Get"][CLASS].as_array() else {
            return Err(of_service("the GraphQL answer names no objects"));
        };
        let mut states: HashMap<Uuid, StoredObject> = ids
            .iter()
            .map(|id| (*id, StoredObject::missing()))
            .collect();
        for object in objects {
            let id = object["_additional"]["id"]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok());
            if let Some(state) = id.and_then(|id| states.get_mut(&id)) {
                *state = self.stored(object, &object["_additional"]);
            }
        }
        Ok(states)
    }

    fn stored(&self, properties: &Value, with_vectors: &Value) -> StoredObject {
        let mut vectors = Map::new();
        match (
            &self.vectors,
            &with_vectors["vector"],
            &with_vectors["vectors"],
        ) {
            (Some(VectorSource::One), Value::Array(own), _) if !own.is_empty() => {
                vectors.insert("vector".to_owned(), json!(own));
            }
            (Some(VectorSource::Named(names)), _, Value::Object(all)) => {
                let mut own = all.clone();
                own.retain(|name, _| names.contains(name));
                if !own.is_empty() {
                    vectors.insert("vectors".to_owned(), own.into());
                }
            }
            _ => {}
        }
        let state = state(properties);
        StoredObject { state, vectors }
    }
}

pub(super) fn state(properties: &Value) -> ObjectState {
    ObjectState::Present {
        status: properties["status"].as_str().map(str::to_owned),
        without_parent: properties["parent_object_id"].as_str().is_none(),
    }
}
