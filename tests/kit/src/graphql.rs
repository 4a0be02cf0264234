//! Executing GraphQL for the simulators: parsing, validation and execution are apollo-compiler's, so that no query passes
//! here that a real GraphQL server would not even look at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use apollo_compiler::resolvers::{Execution, FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use serde_json::{Map, Value, json};

use crate::http::lock;

/// What a field resolves to.
pub enum Resolved<'a> {
    /// A scalar, an enum's name, null, or a list of such.
    Leaf(Value),
    /// An object.
    Object(Object<'a>),
    /// A list of objects; `None`: null.
    List(Vec<Option<Object<'a>>>),
}

/// Why a field is null: the service's own error type, if it has one, and message.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What stands in `type` beside the message.
    pub kind: Option<String>,
    /// The message.
    pub message: String,
}

impl Refused {
    /// An error with a type.
    pub fn typed(kind: &str, message: String) -> Self {
        Self {
            kind: Some(kind.to_owned()),
            message,
        }
    }
}

/// Resolves a field of one object by its name and arguments.
type Resolver<'a> = Box<dyn Fn(&str, &Map<String, Value>) -> Result<Resolved<'a>, Refused> + 'a>;

/// An object of a type of the schema.
pub struct Object<'a> {
    type_name: String,
    resolver: Resolver<'a>,
}

impl<'a> Object<'a> {
    /// An object whose fields `resolver` knows.
    pub fn new(
        type_name: &str,
        resolver: impl Fn(&str, &Map<String, Value>) -> Result<Resolved<'a>, Refused> + 'a,
    ) -> Self {
        Self {
            type_name: type_name.to_owned(),
            resolver: Box::new(resolver),
        }
    }

    /// An object whose fields are all leaves, read from a JSON object; absent ones are null.
    pub fn leaves(type_name: &str, fields: Value) -> Self {
        Self::new(type_name, move |name, _| {
            Ok(Resolved::Leaf(fields[name].clone()))
        })
    }
}

/// Separates the type from the message on the way through apollo-compiler, which has no place for it.
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
            (self.resolver)(info.field_name(), &arguments).map_err(|refused| FieldError {
                message: match refused.kind {
                    Some(kind) => format!("{kind}{SEPARATOR}{}", refused.message),
                    None => refused.message,
                },
            })?;
        Ok(match resolved {
            Resolved::Leaf(value) => leaf(value),
            Resolved::Object(object) => ResolvedValue::Object(Box::new(object)),
            Resolved::List(objects) => {
                ResolvedValue::List(Box::new(objects.into_iter().map(|object| {
                    Ok(match object {
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

/// What was read once and is asked for again and again, by its text.
pub struct Cache<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// What this text is, or what makes it that.
    ///
    /// # Errors
    /// Those of `read`, which are not kept.
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
/// When it does not fit the schema; names the first reason.
pub fn validate(schema: &Valid<Schema>, query: &str) -> Result<Valid<ExecutableDocument>, Invalid> {
    ExecutableDocument::parse_and_validate(schema, query, "query.graphql").map_err(|invalid| {
        // An unknown field is the reason, where its parent is also complained of for having no known ones.
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

/// Reads and validates a schema. A field that is defined twice, as some are in what GitHub publishes, counts as first
/// defined.
///
/// # Errors
/// What else is wrong with it.
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

/// Whether a document fits a schema.
///
/// # Errors
/// Everything that does not fit, or what is wrong with the schema.
pub fn check(sdl: &str, document: &str) -> Result<(), String> {
    let schema = read(sdl)?;
    match ExecutableDocument::parse_and_validate(&schema, document, "query.graphql") {
        Ok(_) => Ok(()),
        Err(invalid) => Err(invalid.errors.to_string()),
    }
}

/// Executes a validated document: `{"data": ..., "errors": [...]}`, errors only where there are some.
///
/// # Errors
/// When the variables do not fit the document.
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
        }
    }
    Ok(response)
}
