//! What the server keeps, and what it refuses to keep.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Names that no property may have.
const RESERVED: [&str; 3] = ["id", "_id", "_additional"];
/// Endings that no property may have.
const RESERVED_ENDINGS: [&str; 6] =
    ["_searchable", "_rangeable", "_temp", "__meta_count", "_propertyLength", "_nullState"];
/// Data types that the simulator knows.
const DATA_TYPES: [&str; 5] = ["text", "int", "number", "boolean", "date"];

/// Classes and objects.
#[derive(Debug, Default)]
pub struct Store {
    classes: BTreeMap<String, Value>,
    objects: BTreeMap<(String, String), Value>,
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
    }

    /// Takes a definition and fills in the defaults.
    pub fn create_class(&mut self, given: &Value) -> Result<Value, String> {
        let name = upper_first(given["class"].as_str().unwrap_or_default());
        let fits = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !fits {
            return Err(format!("'{name}' is not a valid class name"));
        }
        if self.classes.contains_key(&name) {
            return Err(format!("class name {name} already exists"));
        }
        let mut class = given.clone();
        class["class"] = json!(name);
        for (key, default) in [
            ("vectorizer", json!("none")),
            ("vectorIndexType", json!("hnsw")),
            ("replicationConfig", json!({ "factor": 1 })),
            ("invertedIndexConfig", json!({ "cleanupIntervalSeconds": 60, "stopwords": { "preset": "en" } })),
        ] {
            if class[key].is_null() {
                class[key] = default;
            }
        }
        let mut properties = Vec::new();
        for property in given["properties"].as_array().into_iter().flatten() {
            let property = property_with_defaults(property)?;
            if properties.iter().any(|other: &Value| same_name(other, &property)) {
                return Err(format!("class '{name}': conflict for property {}: already in use", property["name"]));
            }
            properties.push(property);
        }
        class["properties"] = json!(properties);
        self.classes.insert(name, class.clone());
        Ok(class)
    }

    pub fn add_property(&mut self, class: &str, property: &Value) -> Result<Value, String> {
        let property = property_with_defaults(property)?;
        let Some(class) = self.classes.get_mut(class) else { return Err("class not found".to_owned()) };
        let properties = class["properties"].as_array_mut().ok_or("class without properties")?;
        if properties.iter().any(|other| same_name(other, &property)) {
            return Err(format!("conflict for property {}: already in use", property["name"]));
        }
        properties.push(property.clone());
        Ok(property)
    }

    pub fn object(&self, class: &str, id: &str) -> Option<&Value> {
        self.objects.get(&(class.to_owned(), id.to_owned()))
    }

    pub fn objects(&self, class: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |((of, _), _)| of == class).map(|(_, object)| object)
    }

    pub fn delete(&mut self, class: &str, id: &str) -> bool {
        self.objects.remove(&(class.to_owned(), id.to_owned())).is_some()
    }

    /// Creates or replaces an object. The server's words when it refuses.
    pub fn put(&mut self, given: &Value, auto_schema: bool) -> Result<Value, String> {
        let class = upper_first(given["class"].as_str().unwrap_or_default());
        if class.is_empty() {
            return Err("object has an empty class".to_owned());
        }
        let id = given["id"].as_str().ok_or("invalid object: missing id")?;
        if Uuid::parse_str(id).is_err() || id.len() != 36 {
            return Err(format!("invalid UUID {id:?}"));
        }
        if id.chars().any(|letter| letter.is_ascii_uppercase()) {
            return Err(format!("id {id} is not lower case; the server would not find it again"));
        }
        if !given["tenant"].is_null() {
            return Err(format!("class {class} has multi-tenancy disabled, but request was with tenant"));
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
        self.objects.insert((class, id.to_owned()), object.clone());
        Ok(object)
    }

    fn checked(&mut self, class: &str, given: &Value, auto_schema: bool) -> Result<Value, String> {
        let mut kept = Map::new();
        for (name, value) in given.as_object().into_iter().flatten() {
            if value.is_null() {
                continue;
            }
            let data_type = match self.data_type(class, name) {
                Some(data_type) => data_type,
                None if auto_schema => {
                    let inferred =
                        inferred(value).ok_or_else(|| format!("cannot infer a type for property '{name}'"))?;
                    self.add_property(class, &json!({ "name": name, "dataType": [inferred] }))?;
                    inferred.to_owned()
                }
                None => {
                    return Err(format!(
                        "invalid object: no such prop with name '{name}' found in class '{class}' in the schema. \
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
        let property = properties.iter().find(|property| property["name"].as_str() == Some(name))?;
        property["dataType"][0].as_str().map(str::to_owned)
    }
}

fn kept_value(class: &str, name: &str, data_type: &str, value: &Value) -> Result<Value, String> {
    let wrong = |wanted: &str| {
        Err(format!("invalid {data_type} property '{name}' on class '{class}': requires {wanted}, got {value}"))
    };
    match data_type {
        "text" if value.is_string() => Ok(value.clone()),
        "text" => wrong("a string"),
        "int" => match value.as_f64() {
            Some(number) if number.fract() == 0.0 => Ok(value.clone()),
            _ => wrong("an integer"),
        },
        "number" if value.is_number() => Ok(value.clone()),
        "number" => wrong("a number"),
        "boolean" if value.is_boolean() => Ok(value.clone()),
        "boolean" => wrong("a bool"),
        "date" => match value.as_str().map(DateTime::parse_from_rfc3339) {
            Some(Ok(time)) => Ok(json!(go_time(time.to_utc()))),
            _ => wrong("a string with a RFC3339 formatted date"),
        },
        other => Err(format!("unknown data type {other}")),
    }
}

/// As Go prints a time: without trailing zeros, so that clients must compare moments, not texts.
fn go_time(time: DateTime<Utc>) -> String {
    let printed = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let (whole, fraction) = printed.trim_end_matches('Z').split_once('.').unwrap_or((&printed, ""));
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}Z"),
        fraction => format!("{whole}.{fraction}Z"),
    }
}

/// What auto-schema makes of a value.
fn inferred(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) if DateTime::parse_from_rfc3339(text).is_ok() => Some("date"),
        Value::String(_) => Some("text"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("boolean"),
        _ => None,
    }
}

fn property_with_defaults(given: &Value) -> Result<Value, String> {
    let name = lower_first(given["name"].as_str().unwrap_or_default());
    let fits = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !fits || RESERVED.contains(&name.as_str()) || RESERVED_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Err(format!("'{name}' is not a valid property name"));
    }
    let data_type = given["dataType"][0].as_str().unwrap_or_default().to_owned();
    if !DATA_TYPES.contains(&data_type.as_str()) {
        return Err(format!("property '{name}': invalid dataType: '{data_type}'"));
    }
    let is_text = data_type == "text";
    if !is_text && !given["tokenization"].is_null() {
        return Err(format!("property '{name}': tokenization is not allowed for data type '{data_type}'"));
    }
    if let Some(modules) = given["moduleConfig"].as_object().filter(|modules| !modules.is_empty()) {
        let module = modules.keys().next().map_or("", String::as_str);
        return Err(format!("vectorizer \"{module}\" not configured for any of target vectors"));
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
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
}
