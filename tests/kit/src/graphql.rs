//! GraphQL for the simulators. apollo-compiler parses, validates and executes, so that no query passes that a real
//! GraphQL server would reject.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use apollo_compiler::resolvers::{Execution, FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use serde_json::{Map, Value, json};

use crate::http::lock;

/// Value of a field.
pub enum Resolved<'a> {
    /// A scalar, an enum's name, null, or a list of such.
    Leaf(Value),
    /// An object.
    Object(Object<'a>),
    /// A list of objects; `None`: null, and an error: null, too.
    List(Vec<Result<Option<Object<'a>>, Refused>>),
}

impl<'a> Resolved<'a> {
    /// Returns a list without errors.
    pub fn list(objects: Vec<Option<Object<'a>>>) -> Self {
        Self::List(objects.into_iter().map(Ok).collect())
    }
}

/// Error of a field: its type in the service, if it has one, and its message.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Value of `type` beside the message.
    pub kind: Option<String>,
    /// The message.
    pub message: String,
}

impl Refused {
    fn into_error(self) -> FieldError {
        FieldError {
            message: match self.kind {
                Some(kind) => format!("{kind}{SEPARATOR}{}", self.message),
                None => self.message,
            },
        }
    }

    /// Returns an error with a type.
    pub fn typed(kind: &str, message: String) -> Self {
        Self {
            kind: Some(kind.to_owned()),
            message,
        }
    }
}

/// Function that resolves a field of one object by its name and arguments.
type Resolver<'a> = Box<dyn Fn(&str, &Map<String, Value>) -> Result<Resolved<'a>, Refused> + 'a>;

/// An object of a type of the schema.
pub struct Object<'a> {
    type_name: String,
    resolver: Resolver<'a>,
}

impl<'a> Object<'a> {
    /// Returns an object whose fields `resolver` resolves.
    pub fn new(
        type_name: &str,
        resolver: impl Fn(&str, &Map<String, Value>) -> Result<Resolved<'a>, Refused> + 'a,
    ) -> Self {
        Self {
            type_name: type_name.to_owned(),
            resolver: Box::new(resolver),
        }
    }

    /// Returns an object whose fields are all leaves of a JSON object; absent ones are null.
    pub fn leaves(type_name: &str, fields: Value) -> Self {
        Self::new(type_name, move |name, _| {
            Ok(Resolved::Leaf(fields[name].clone()))
        })
    }
}

/// Separator of type and message, because apollo-compiler has no field for the type.
const SEPARATOR: char = '\u{1}';

impl ObjectValue for Object<'_> {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let arguments = match serde_json::to_value(info.arguments()) {
            Ok(Value::Object(arguments)) => arguments,
            _ => Map::new(),
        };
        let resolved =
            (self.resolver)(info.field_name(), &arguments).map_err(Refused::into_error)?;
        Ok(match resolved {
            Resolved::Leaf(value) => leaf(value),
            Resolved::Object(object) => ResolvedValue::Object(Box::new(object)),
            Resolved::List(objects) => {
                ResolvedValue::List(Box::new(objects.into_iter().map(|object| {
                    Ok(match object.map_err(Refused::into_error)? {
                        Some(object) => ResolvedValue::Object(Box::new(object)),
                        None => ResolvedValue::Leaf(serde_json_bytes_null()),
                    })
                })))
            }
        })
    }
}

fn leaf<'a>(value: Value) -> ResolvedValue<'a> {
    match value {
        Value::Array(values) => {
            ResolvedValue::List(Box::new(values.into_iter().map(|value| Ok(leaf(value)))))
        }
        value => ResolvedValue::Leaf(value.into()),
    }
}

fn serde_json_bytes_null() -> apollo_compiler::response::JsonValue {
    Value::Null.into()
}

/// A document that does not fit the schema.
#[derive(Debug, Clone)]
pub struct Invalid(pub String);

/// Cache of parsed texts.
pub struct Cache<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// Returns the parsed text, from the cache if possible.
    ///
    /// # Errors
    /// The errors of `read`, which are not cached.
    pub fn get<E>(&self, text: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut known = lock(&self.0);
        if let Some(known) = known.get(text) {
            return Ok(known.clone());
        }
        let new = Arc::new(read(text)?);
        known.insert(text.to_owned(), new.clone());
        Ok(new)
    }
}

/// Parses and validates a document.
///
/// # Errors
/// If it does not fit the schema; the message is the first reason.
pub fn validate(schema: &Valid<Schema>, query: &str) -> Result<Valid<ExecutableDocument>, Invalid> {
    ExecutableDocument::parse_and_validate(schema, query, "query.graphql").map_err(|invalid| {
        // If all fields of a parent are unknown, the parent is reported, too; the unknown field is the real reason.
        let all: Vec<String> = invalid
            .errors
            .iter()
            .map(|error| error.to_string())
            .collect();
        let unknown = all
            .iter()
            .find(|message| message.contains("does not have a field"));
        Invalid(unknown.or(all.first()).cloned().unwrap_or_default())
    })
}

/// Parses and validates a schema. If a field is defined twice, as in GitHub's published schema, the first definition
/// counts.
///
/// # Errors
/// If the schema has another mistake.
pub fn read(sdl: &str) -> Result<Valid<Schema>, String> {
    let schema = match Schema::parse(sdl, "schema.graphql") {
        Ok(schema) => schema,
        Err(invalid) => {
            let is_duplicate =
                |message: &str| message.starts_with("duplicate definitions for the `");
            let other = invalid
                .errors
                .iter()
                .map(|error| error.error.to_string())
                .find(|message| !is_duplicate(message));
            match other {
                Some(message) => return Err(message),
                None => invalid.partial,
            }
        }
    };
    schema
        .validate()
        .map_err(|invalid| invalid.errors.to_string())
}

/// Checks that a document fits a schema.
///
/// # Errors
/// If the document does not fit, or the schema is invalid; the message lists all reasons.
pub fn check(sdl: &str, document: &str) -> Result<(), String> {
    let schema = read(sdl)?;
    match ExecutableDocument::parse_and_validate(&schema, document, "query.graphql") {
        Ok(_) => Ok(()),
        Err(invalid) => Err(invalid.errors.to_string()),
    }
}

/// Executes a validated document. Returns `{"data": ..., "errors": [...]}`, without `errors` if there are none.
///
/// # Errors
/// If the variables do not fit the document.
pub fn execute(
    schema: &Valid<Schema>,
    document: &Valid<ExecutableDocument>,
    variables: &Value,
    root: &Object<'_>,
) -> Result<Value, Invalid> {
    let variables = match Value::into(variables.clone()) {
        apollo_compiler::response::JsonValue::Object(variables) => variables,
        _ => apollo_compiler::response::JsonMap::new(),
    };
    let response = Execution::new(schema, document)
        .raw_variable_values(&variables)
        .execute_sync(root)
        .map_err(|error| Invalid(error.message().to_string()))?;
    let mut response = serde_json::to_value(&response).unwrap_or_default();
    for error in response
        .get_mut("errors")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let message = error["message"].as_str().unwrap_or_default();
        let message = message
            .strip_prefix("resolver error: ")
            .unwrap_or(message)
            .to_owned();
        error["message"] = json!(message);
        if let Some((kind, message)) = message.split_once(SEPARATOR) {
            error["type"] = json!(kind);
            error["message"] = json!(message);
            if kind == "FORBIDDEN" {
                error["extensions"] = json!({ "saml_failure": false });
            }
        }
    }
    Ok(response)
}
