//! The data of the server, and the rules for rejecting data.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Reserved names of properties.
const RESERVED: [&str; 3] = ["id", "_id", "_additional"];
/// Reserved endings of property names, in newer releases than the one of these tests.
const RESERVED_ENDINGS: [&str; 6] = [
    "_searchable",
    "_rangeable",
    "_temp",
    "__meta_count",
    "_propertyLength",
    "_nullState",
];
/// Modules of the server, with those that call a third-party API, which are enabled by default.
const MODULES: [&str; 4] = [
    "none",
    "text2vec-openai",
    "text2vec-cohere",
    "text2vec-transformers",
];
/// Data types that the simulator supports.
const DATA_TYPES: [&str; 5] = ["text", "int", "number", "boolean", "date"];

/// Classes and objects.
#[derive(Debug, Default)]
pub struct Store {
    classes: BTreeMap<String, Value>,
    objects: BTreeMap<(String, String), Value>,
    /// Ids of objects as clients wrote them: filters compare them letter by letter.
    ids_as_written: BTreeMap<(String, String), String>,
    /// Length of the first vector of each class and name, which all others must have.
    dimensions: BTreeMap<(String, String), usize>,
}

impl Store {
    pub fn class(&self, name: &str) -> Option<&Value> {
        self.classes.get(name)
    }

    pub fn classes(&self) -> impl Iterator<Item = &Value> {
        self.classes.values()
    }

    pub fn delete_class(&mut self, name: &str) {
        self.classes.remove(name);
        self.objects.retain(|(class, _), _| class != name);
        self.dimensions.retain(|(class, _), _| class != name);
    }

    /// Stores a definition with the defaults filled in.
    pub fn create_class(&mut self, given: &Value) -> Result<Value, String> {
        let name = upper_first(given["class"].as_str().unwrap_or_default());
        let fits = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !fits {
            return Err(format!("'{name}' is not a valid class name"));
        }
        if self.classes.contains_key(&name) {
            return Err(format!("class name {name} already exists"));
        }
        let mut class = given.clone();
        class["class"] = json!(name);
        let named = given["vectorConfig"]
            .as_object()
            .filter(|named| !named.is_empty());
        if named.is_some() && !(given["vectorizer"].is_null() && given["vectorIndexType"].is_null())
        {
            return Err(
                "creating a class with both a class level vector index and named vectors is forbidden".to_owned()
            );
        }
        let of_names = named
            .into_iter()
            .flatten()
            .filter_map(|(_, one)| one["vectorizer"].as_object()?.keys().next());
        let vectorizers: Vec<&str> = of_names
            .map(String::as_str)
            .chain(given["vectorizer"].as_str())
            .collect();
        if let Some(unknown) = vectorizers.iter().find(|module| !MODULES.contains(module)) {
            return Err(format!(
                "vectorizer: no module with name {unknown:?} present"
            ));
        }
        if named.is_none() {
            for (key, default) in [("vectorizer", "none"), ("vectorIndexType", "hnsw")] {
                if class[key].is_null() {
                    class[key] = json!(default);
                }
            }
        }
        for (key, default) in [
            ("replicationConfig", json!({ "factor": 1 })),
            (
                "invertedIndexConfig",
                json!({ "cleanupIntervalSeconds": 60, "stopwords": { "preset": "en" } }),
            ),
        ] {
            if class[key].is_null() {
                class[key] = default;
            }
        }
        let mut properties = Vec::new();
        for property in given["properties"].as_array().into_iter().flatten() {
            let property = property_with_defaults(property, &vectorizers)?;
            if properties
                .iter()
                .any(|other: &Value| same_name(other, &property))
            {
                return Err(format!(
                    "class '{name}': conflict for property {}: already in use",
                    property["name"]
                ));
            }
            properties.push(property);
        }
        class["properties"] = json!(properties);
        self.classes.insert(name, class.clone());
        Ok(class)
    }

    pub fn add_property(&mut self, class: &str, property: &Value) -> Result<Value, String> {
        let Some(class) = self.classes.get_mut(class) else {
            return Err("class not found".to_owned());
        };
        let vectorizer = class["vectorizer"].as_str().unwrap_or_default().to_owned();
        let property = property_with_defaults(property, &[&vectorizer])?;
        let properties = class["properties"]
            .as_array_mut()
            .ok_or("class without properties")?;
        if properties.iter().any(|other| same_name(other, &property)) {
            return Err(format!(
                "conflict for property {}: already in use",
                property["name"]
            ));
        }
        properties.push(property.clone());
        Ok(property)
    }

    pub fn object(&self, class: &str, id: &str) -> Option<&Value> {
        self.objects.get(&(class.to_owned(), id.to_owned()))
    }

    pub fn objects(&self, class: &str) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |((of, _), _)| of == class)
            .map(|(_, object)| object)
    }

    pub fn delete(&mut self, class: &str, id: &str) -> bool {
        self.objects
            .remove(&(class.to_owned(), id.to_owned()))
            .is_some()
    }

    /// Creates or replaces an object. Returns the server's message if it rejects the object.
    pub fn put(&mut self, given: &Value, auto_schema: bool) -> Result<Value, String> {
        let class = upper_first(given["class"].as_str().unwrap_or_default());
        if class.is_empty() {
            return Err("object has an empty class".to_owned());
        }
        let as_written = given["id"].as_str().ok_or("missing id")?;
        if Uuid::parse_str(as_written).is_err() || as_written.len() != 36 {
            return Err(format!("invalid UUID {as_written:?}"));
        }
        let id = as_written.to_lowercase();
        if !given["tenant"].is_null() {
            return Err(format!(
                "class {class} has multi-tenancy disabled, but request was with tenant"
            ));
        }
        if !self.classes.contains_key(&class) {
            if !auto_schema {
                return Err(format!("class '{class}' not present in schema"));
            }
            self.create_class(&json!({ "class": class, "properties": [] }))?;
        }
        let properties = self.checked(&class, &given["properties"], auto_schema)?;
        let mut object = json!({ "class": class, "id": id, "properties": properties });
        for name in ["vector", "vectors"] {
            let empty = match &given[name] {
                Value::Array(list) => list.is_empty(),
                Value::Object(named) => named.is_empty(),
                _ => true,
            };
            if !empty {
                object[name] = given[name].clone();
            }
        }
        self.check_vectors(&class, &object)?;
        self.ids_as_written
            .insert((class.clone(), id.clone()), as_written.to_owned());
        self.objects.insert((class, id), object.clone());
        Ok(object)
    }

    /// Returns the id that filters must use for an object.
    pub fn id_as_written(&self, object: &Value) -> Option<&str> {
        let key = (
            object["class"].as_str()?.to_owned(),
            object["id"].as_str()?.to_owned(),
        );
        self.ids_as_written.get(&key).map(String::as_str)
    }

    fn check_vectors(&mut self, class: &str, object: &Value) -> Result<(), String> {
        let named = self
            .classes
            .get(class)
            .and_then(|class| class["vectorConfig"].as_object());
        let has_names = named.is_some_and(|named| !named.is_empty());
        let has_name = |name: &str| named.is_some_and(|named| named.contains_key(name));
        let mut lengths = Vec::new();
        if let Some(vector) = object["vector"].as_array() {
            if has_names {
                return Err(format!(
                    "collection {class} configuration does not have single vector index"
                ));
            }
            lengths.push((String::new(), vector.len()));
        }
        for (name, vector) in object["vectors"].as_object().into_iter().flatten() {
            if !has_name(name) {
                return Err(format!(
                    "collection {class} does not have configuration for vector {name}"
                ));
            }
            lengths.push((name.clone(), vector.as_array().map_or(0, Vec::len)));
        }
        for (name, length) in lengths {
            let first = *self
                .dimensions
                .entry((class.to_owned(), name))
                .or_insert(length);
            if first != length {
                return Err(format!(
                    "Validate vector index for {}: new node has a vector with length {length}. Existing nodes have \
                     vectors with length {first}: vector dimensions do not match the index dimensions",
                    object["id"].as_str().unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    fn checked(&mut self, class: &str, given: &Value, auto_schema: bool) -> Result<Value, String> {
        let mut kept = Map::new();
        for (name, value) in given.as_object().into_iter().flatten() {
            if value.is_null() {
                // There is no value to store, but auto-schema still creates a property.
                if auto_schema && self.data_type(class, name).is_none() {
                    self.add_property(class, &json!({ "name": name, "dataType": ["text"] }))?;
                }
                continue;
            }
            let data_type = match self.data_type(class, name) {
                Some(data_type) => data_type,
                None if auto_schema => {
                    let inferred = inferred(value)
                        .ok_or_else(|| format!("cannot infer a type for property '{name}'"))?;
                    self.add_property(class, &json!({ "name": name, "dataType": [inferred] }))?;
                    inferred.to_owned()
                }
                None => {
                    return Err(format!(
                        "no such prop with name '{name}' found in class '{class}' in the schema. \
                         Check your schema files for which properties in this class are available"
                    ));
                }
            };
            kept.insert(name.clone(), kept_value(class, name, &data_type, value)?);
        }
        Ok(Value::Object(kept))
    }

    fn data_type(&self, class: &str, name: &str) -> Option<String> {
        let properties = self.classes.get(class)?["properties"].as_array()?;
        let property = properties
            .iter()
            .find(|property| property["name"].as_str() == Some(name))?;
        property["dataType"][0].as_str().map(str::to_owned)
    }
}

fn kept_value(class: &str, name: &str, data_type: &str, value: &Value) -> Result<Value, String> {
    let wrong = |kind: &str, said: String| {
        Err(format!(
            "invalid {kind} property '{name}' on class '{class}': {said}"
        ))
    };
    let plain = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match data_type {
        "text" if value.is_string() => Ok(value.clone()),
        "text" => wrong("text", format!("not a string, but {}", go_type(value))),
        // 3.0 is not an integer.
        "int" if value.is_i64() || value.is_u64() => Ok(value.clone()),
        "int" if value.is_number() => wrong(
            "integer",
            format!("the JSON number '{plain}' could not be converted to an int"),
        ),
        "int" => wrong(
            "integer",
            format!("requires an integer, the given value is '{plain}'"),
        ),
        "number" if value.is_number() => Ok(value.clone()),
        "number" => wrong(
            "number",
            format!("requires a float, the given value is '{plain}'"),
        ),
        "boolean" if value.is_boolean() => Ok(value.clone()),
        "boolean" => wrong(
            "boolean",
            format!("requires a bool, the given value is '{plain}'"),
        ),
        "date" => match value.as_str().map(DateTime::parse_from_rfc3339) {
            Some(Ok(time)) => Ok(json!(go_time(time))),
            _ => wrong(
                "date",
                format!(
                    "requires a string with a RFC3339 formatted date, but the given value is '{plain}'"
                ),
            ),
        },
        other => Err(format!("unknown data type {other}")),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Returns a time as Go prints it: in its own zone and without trailing zeros, so that clients must compare moments and
/// not texts.
fn go_time(time: DateTime<FixedOffset>) -> String {
    let whole = time.format("%Y-%m-%dT%H:%M:%S");
    let zone = match time.offset().local_minus_utc() {
        0 => "Z".to_owned(),
        _ => time.format("%:z").to_string(),
    };
    match time.format("%.9f").to_string().trim_end_matches('0') {
        "." => format!("{whole}{zone}"),
        fraction => format!("{whole}{fraction}{zone}"),
    }
}

/// Returns the data type that auto-schema chooses for a value.
fn inferred(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) if DateTime::parse_from_rfc3339(text).is_ok() => Some("date"),
        Value::String(_) => Some("text"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("boolean"),
        _ => None,
    }
}

fn property_with_defaults(given: &Value, vectorizers: &[&str]) -> Result<Value, String> {
    let name = lower_first(given["name"].as_str().unwrap_or_default());
    let fits = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !fits
        || RESERVED.contains(&name.as_str())
        || RESERVED_ENDINGS.iter().any(|ending| name.ends_with(ending))
    {
        return Err(format!("'{name}' is not a valid property name"));
    }
    let data_type = given["dataType"][0].as_str().unwrap_or_default().to_owned();
    if !DATA_TYPES.contains(&data_type.as_str()) {
        return Err(format!(
            "property '{name}': invalid dataType: '{data_type}'"
        ));
    }
    let is_text = data_type == "text";
    if !is_text && !given["tokenization"].is_null() {
        return Err(format!(
            "property '{name}': tokenization is not allowed for data type '{data_type}'"
        ));
    }
    // Settings of modules that the server does not have are stored unchecked.
    let modules = given["moduleConfig"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(module, _)| module.as_str());
    if let Some(module) = modules
        .into_iter()
        .find(|module| MODULES.contains(module) && !vectorizers.contains(module))
    {
        return Err(format!(
            "vectorizer \"{module}\" not configured for any of target vectors"
        ));
    }
    let mut property = given.clone();
    property["name"] = json!(name);
    property["indexFilterable"] = json!(given["indexFilterable"].as_bool().unwrap_or(true));
    property["indexSearchable"] = json!(given["indexSearchable"].as_bool().unwrap_or(is_text));
    if is_text && given["tokenization"].is_null() {
        property["tokenization"] = json!("word");
    }
    Ok(property)
}

fn same_name(one: &Value, other: &Value) -> bool {
    let name = |property: &Value| property["name"].as_str().unwrap_or_default().to_lowercase();
    name(one) == name(other)
}

pub fn upper_first(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase().to_string() + letters.as_str())
        .unwrap_or_default()
}
