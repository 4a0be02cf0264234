//! The class `AgiraObject`: read, checked, and created with Agira's definition when absent. Never changed.

use serde_json::{Value, json};

use super::client::Weaviate;
use crate::core::agira_object::CLASS;
use crate::core::text::quoted;
use crate::http::ServiceError;

/// Agira's properties and their types, in Agira's order.
const PROPERTIES: [(&str, &str); 16] = [
    ("type", "text"),
    ("object_id", "text"),
    ("project_id", "text"),
    ("org_id", "text"),
    ("title", "text"),
    ("text", "text"),
    ("created_at", "date"),
    ("updated_at", "date"),
    ("status", "text"),
    ("url", "text"),
    ("source_system", "text"),
    ("external_key", "text"),
    ("parent_object_id", "text"),
    ("mime_type", "text"),
    ("size_bytes", "int"),
    ("sha256", "text"),
];

/// Those of them that the worker never writes, so that a class without them serves it as well.
const NOT_OURS: [&str; 3] = ["mime_type", "size_bytes", "sha256"];

/// What a rewritten object needs to keep its vectors: a batch write replaces the whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vectors {
    /// The server makes them (a vectorizer is configured).
    Made,
    /// One own vector per object.
    One,
    /// Own vectors with these names; the server makes the others.
    Named(Vec<String>),
}

/// What was found under the name of our class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassState {
    /// It has everything that the worker writes.
    Fits,
    /// There is no such class.
    Missing,
    /// What is wrong with it, and what to do.
    Unfit(String),
}

impl Weaviate {
    /// Reads and checks the class.
    ///
    /// # Errors
    /// When Weaviate cannot be asked.
    pub fn class(&mut self) -> Result<ClassState, ServiceError> {
        // A class that another node has just created must not look missing: ask the leader.
        let answer = self.send(&format!("/v1/schema/{CLASS}"), |client, url| {
            client.get(url).header("consistency", "true")
        });
        let class = match answer {
            Err(ServiceError::Rejected { status: 404, .. }) => {
                // No object carries a vector yet; Agira's definition has none either.
                self.vectors = Some(Vectors::One);
                return Ok(ClassState::Missing);
            }
            answer => answer?,
        };
        self.vectors = Some(vectors(&class));
        Ok(match problems(&class) {
            problems if problems.is_empty() => ClassState::Fits,
            problems => ClassState::Unfit(format!(
                "class {CLASS} does not have what Agira defines: {}; nothing is written until the class is corrected",
                problems.join(", ")
            )),
        })
    }

    /// Creates the class with exactly Agira's definition.
    ///
    /// # Errors
    /// When Weaviate cannot be asked, or rejects the definition.
    pub fn create_class(&mut self) -> Result<(), ServiceError> {
        match self.send("/v1/schema", |client, url| {
            client.post(url).json(&definition())
        }) {
            // Another run, or Agira itself, was faster.
            Err(ServiceError::Rejected {
                status: 422,
                reason,
            }) if reason.contains("already exists") => Ok(()),
            created => created.map(drop),
        }
    }
}

fn definition() -> Value {
    let properties: Vec<Value> = PROPERTIES
        .iter()
        .map(|(name, data_type)| json!({ "name": name, "dataType": [data_type] }))
        .collect();
    json!({ "class": CLASS, "vectorizer": "none", "vectorIndexType": "hnsw", "properties": properties })
}

fn vectors(class: &Value) -> Vectors {
    if let Some(named) = class["vectorConfig"]
        .as_object()
        .filter(|named| !named.is_empty())
    {
        let own = named
            .iter()
            .filter(|(_, config)| config["vectorizer"].get("none").is_some());
        let own: Vec<String> = own.map(|(name, _)| name.clone()).collect();
        return if own.is_empty() {
            Vectors::Made
        } else {
            Vectors::Named(own)
        };
    }
    match class["vectorizer"].as_str() {
        None | Some("none" | "") => Vectors::One,
        Some(_) => Vectors::Made,
    }
}

fn problems(class: &Value) -> Vec<String> {
    let empty = Vec::new();
    let properties = class["properties"].as_array().unwrap_or(&empty);
    let check = |(name, wanted): &(&str, &str)| {
        let found = properties
            .iter()
            .find(|property| property["name"].as_str() == Some(name));
        match found.map(|property| property["dataType"][0].as_str().unwrap_or("no type")) {
            None => Some(format!("property {name} ({wanted}) is missing")),
            Some(found) if found != *wanted => Some(format!(
                "property {name} is {} instead of {wanted}",
                quoted(found)
            )),
            Some(_) => None,
        }
    };
    PROPERTIES
        .iter()
        .filter(|(name, _)| !NOT_OURS.contains(name))
        .filter_map(check)
        .collect()
}
