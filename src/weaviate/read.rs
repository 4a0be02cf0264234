//! What Weaviate holds under given ids: one GraphQL query per 200 ids where the server offers GraphQL, else a GET each.

use std::collections::HashMap;

use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::class::Vectors;
use super::client::Weaviate;
use crate::core::agira_object::CLASS;
use crate::core::failure::weaviate_said;
use crate::core::records::ObjectState;
use crate::core::text::quoted;
use crate::http::ServiceError;

/// Ids asked for in one query: those of a whole slice, an issue having two objects (design, section 3, step 4).
const IDS_PER_QUERY: usize = 200;

/// What was found under one id.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// Nothing, or an object with its status.
    pub state: ObjectState,
    /// Its own vectors, as a write has to send them back: `vector`, `vectors` or nothing.
    pub vectors: Map<String, Value>,
}

impl Weaviate {
    /// What Weaviate holds under each id; every id is in the answer. The class has to be read first.
    ///
    /// # Errors
    /// When Weaviate cannot be asked.
    pub fn object_states(
        &mut self,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, StoredObject>, ServiceError> {
        let mut found = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_QUERY) {
            // GraphQL knows named vectors only by name, a GET gives them all.
            if self.graphql && !matches!(self.vectors, Some(Vectors::Named(_))) {
                match self.query(ids) {
                    Ok(answer) => {
                        found.extend(answer);
                        continue;
                    }
                    Err(ServiceError::Rejected { status, reason }) => {
                        log::info!(
                            "Weaviate does not answer GraphQL ({status}: {reason}); asking for each object on its own"
                        );
                        self.graphql = false;
                    }
                    Err(error) => return Err(error),
                }
            }
            for id in ids {
                let answer = self.object(*id)?;
                let one = answer.map_or_else(missing, |object| {
                    self.present(&object["properties"], &object)
                });
                found.insert(*id, one);
            }
        }
        Ok(found)
    }

    /// A whole object; `None`: there is none.
    ///
    /// # Errors
    /// When Weaviate cannot be asked.
    pub fn object(&mut self, id: Uuid) -> Result<Option<Value>, ServiceError> {
        let path = match self.vectors {
            Some(Vectors::Made) => format!("/v1/objects/{CLASS}/{id}"),
            _ => format!("/v1/objects/{CLASS}/{id}?include=vector"),
        };
        match self.send(&path, |client, url| client.get(url)) {
            Err(ServiceError::Rejected { status: 404, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn query(&mut self, ids: &[Uuid]) -> Result<HashMap<Uuid, StoredObject>, ServiceError> {
        let list = ids
            .iter()
            .map(|id| format!("\"{id}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let vector = if self.vectors == Some(Vectors::One) {
            " vector"
        } else {
            ""
        };
        // Old servers have returned fewer objects than ids when the limit was just the number of ids.
        let limit = ids.len() * 2 + 10;
        let query = format!(
            "{{ Get {{ {CLASS}(limit: {limit}, where: {{path: [\"id\"], operator: ContainsAny, valueText: [{list}]}}) \
             {{ status parent_object_id _additional {{ id{vector} }} }} }} }}"
        );
        let body = json!({ "query": query });
        let answer = match self.send("/v1/graphql", |client, url| client.post(url).json(&body)) {
            // Without the right to read all classes GraphQL is refused where single objects are not.
            Err(ServiceError::Refused(reason)) => {
                return Err(ServiceError::Rejected {
                    status: 403,
                    reason,
                });
            }
            answer => answer?,
        };
        if let Some(error) = answer["errors"][0]["message"].as_str() {
            return Err(ServiceError::of(
                weaviate_said(error),
                StatusCode::OK,
                quoted(error),
            ));
        }
        let Some(objects) = answer["data"]["Get"][CLASS].as_array() else {
            return Err(ServiceError::Unavailable(
                "the GraphQL answer names no objects".to_owned(),
            ));
        };
        let mut found: HashMap<Uuid, StoredObject> =
            ids.iter().map(|id| (*id, missing())).collect();
        for object in objects {
            let id = object["_additional"]["id"]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok());
            if let Some(slot) = id.and_then(|id| found.get_mut(&id)) {
                *slot = self.present(object, &object["_additional"]);
            }
        }
        Ok(found)
    }

    fn present(&self, properties: &Value, vectors_of: &Value) -> StoredObject {
        let text = |name: &str| properties[name].as_str().map(str::to_owned);
        let mut vectors = Map::new();
        match &self.vectors {
            Some(Vectors::One) => {
                let own = vectors_of["vector"]
                    .as_array()
                    .filter(|own| !own.is_empty());
                vectors.extend(own.map(|own| ("vector".to_owned(), json!(own))));
            }
            Some(Vectors::Named(names)) => {
                let own = |name: &String| {
                    vectors_of["vectors"]
                        .get(name)
                        .map(|own| (name.clone(), own.clone()))
                };
                let own: Map<String, Value> = names.iter().filter_map(own).collect();
                vectors
                    .extend((!own.is_empty()).then(|| ("vectors".to_owned(), Value::Object(own))));
            }
            Some(Vectors::Made) | None => {}
        }
        StoredObject {
            state: ObjectState::Present {
                status: text("status"),
                without_parent: text("parent_object_id").is_none(),
            },
            vectors,
        }
    }
}

fn missing() -> StoredObject {
    StoredObject {
        state: ObjectState::Missing,
        vectors: Map::new(),
    }
}
