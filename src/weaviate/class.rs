//! Checks the class `AgiraObject`, and creates it with Agira's definition if it is missing. An
//! existing class is never changed.

use serde_json::{Value, json};

use super::client::{VectorSource, Weaviate};
use crate::core::agira_object::CLASS;
use crate::core::failure::ServiceError;
use crate::core::text::quoted;

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

/// The properties that the worker never writes, so that a class without them still fits.
const NOT_WRITTEN: [&str; 3] = ["mime_type", "size_bytes", "sha256"];

/// The vectorizer of a class that has none: nothing finds its objects by meaning.
pub const NO_VECTORIZER: &str = "none";

/// The state of Weaviate's class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassState {
    /// It has everything that the worker writes.
    Fits,
    /// Weaviate has no class of this name.
    Missing,
    /// It differs from Agira's definition. The text names the differences and the remedy.
    Unfit(String),
}

impl Weaviate {
    /// Reads and checks the class.
    pub fn class(&mut self) -> Result<ClassState, ServiceError> {
        // Only the leader is sure to have a class that another node has just created.
        let response = self.send(&format!("/v1/schema/{CLASS}"), |client, url| {
            client.get(url).header("consistency", "true")
        });
        let class = match response {
            Err(error) if error.status == Some(404) => {
                // Agira's definition, with which the class will be created, has no vectorizer.
                self.vectors = Some(VectorSource::One);
                return Ok(ClassState::Missing);
            }
            response => response?,
        };
        self.vectors = Some(vectors(&class));
        self.vectorizer = Some(vectorizer(&class));
        Ok(match problems(&class) {
            problems if problems.is_empty() => ClassState::Fits,
            problems => ClassState::Unfit(format!(
                "class {CLASS} does not fit Agira's definition: {}; nothing is written until the class is corrected",
                problems.join(", ")
            )),
        })
    }

    /// Creates the class with exactly Agira's definition.
    pub fn create_class(&mut self) -> Result<(), ServiceError> {
        let created = self.send("/v1/schema", |client, url| {
            client.post(url).json(&definition())
        });
        match created {
            // Another run, or Agira itself, was faster.
            Err(error) if error.status == Some(422) && error.message.contains("already exists") => {
                Ok(())
            }
            created => {
                created?;
                self.vectorizer = Some(NO_VECTORIZER.to_owned());
                Ok(())
            }
        }
    }

    /// Returns the name of the class's vectorizer; `None` if the class was not read.
    pub fn vectorizer(&self) -> Option<&str> {
        self.vectorizer.as_deref()
    }
}

fn definition() -> Value {
    let properties: Vec<Value> = PROPERTIES
        .iter()
        .map(|(name, data_type)| json!({ "name": name, "dataType": [data_type] }))
        .collect();
    json!({ "class": CLASS, "vectorizer": NO_VECTORIZER, "vectorIndexType": "hnsw", "properties": properties })
}

fn vectors(class: &Value) -> VectorSource {
    let named = class["vectorConfig"].as_object();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let own: Vec<String> = named
            .iter()
            .filter(|(_, config)| config["vectorizer"].get(NO_VECTORIZER).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        return match own.is_empty() {
            true => VectorSource::Generated,
            false => VectorSource::Named(own),
        };
    }
    match class["vectorizer"].as_str() {
        None | Some(NO_VECTORIZER | "") => VectorSource::One,
        Some(_) => VectorSource::Generated,
    }
}

/// Returns the vectorizer of a class: that of all vectors, or the first one of its named vectors.
fn vectorizer(class: &Value) -> String {
    let named = class["vectorConfig"].as_object().into_iter().flatten();
    let named = named.filter_map(|(_, config)| config["vectorizer"].as_object()?.keys().next());
    let all = named
        .map(String::as_str)
        .chain(class["vectorizer"].as_str());
    let mut all = all.filter(|name| !["", NO_VECTORIZER].contains(name));
    all.next().unwrap_or(NO_VECTORIZER).to_owned()
}

fn problems(class: &Value) -> Vec<String> {
    let empty = Vec::new();
    let properties = class["properties"].as_array().unwrap_or(&empty);
    let check = |(name, wanted): &(&str, &str)| {
        let property = properties
            .iter()
            .find(|property| property["name"].as_str() == Some(name));
        let Some(property) = property else {
            return Some(format!("property {name} ({wanted}) is missing"));
        };
        let actual = property["dataType"][0].as_str().unwrap_or("no type");
        (actual != *wanted)
            .then(|| format!("property {name} is {} instead of {wanted}", quoted(actual)))
    };
    let own = PROPERTIES
        .iter()
        .filter(|(name, _)| !NOT_WRITTEN.contains(name));
    let tenants = class["multiTenancyConfig"]["enabled"].as_bool();
    let tenants = tenants
        .filter(|enabled| *enabled)
        .map(|_| "multi-tenancy is on, and Agira's objects have no tenant".to_owned());
    own.filter_map(check).chain(tenants).collect()
}
