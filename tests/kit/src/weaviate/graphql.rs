//! `Get` queries over one class, with a part of `where`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use apollo_compiler::Schema;
use apollo_compiler::validation::Valid;
use serde_json::{Map, Value, json};

use super::rest::failed;
use super::store::Store;
use super::{GraphQl, State};
use crate::graphql::{Cache, Object, Refused, Resolved, execute, validate};
use crate::http::Response;

/// Highest number of objects in a response (QUERY_MAXIMUM_RESULTS).
pub const MOST_RESULTS: usize = 10_000;

/// Answers `POST /v1/graphql`.
pub fn answer(state: &State, body: &Value) -> Response {
    match state.settings.graphql {
        GraphQl::On => {}
        GraphQl::Disabled422 => return failed(422, "graphql api is disabled"),
        GraphQl::Disabled410 => {
            return failed(410, "not available in the current cluster configuration");
        }
        GraphQl::Forbidden => {
            return failed(
                403,
                "rbac: authorization, forbidden action: user has no permission to read collections *",
            );
        }
    }
    if state.store.classes().next().is_none() {
        return failed(
            422,
            "no graphql provider present, this is most likely because no schema is present. Import a schema first!",
        );
    }
    let query = body["query"].as_str().unwrap_or_default();
    if query.is_empty() {
        return failed(422, "query cannot be empty");
    }
    let errors = |message: String| {
        Response::json(
            200,
            &json!({ "errors": [{ "message": message, "locations": [], "path": null }] }),
        )
    };
    static SCHEMAS: LazyLock<Cache<Valid<Schema>>> = LazyLock::new(Cache::default);
    let read = |sdl: &str| {
        Schema::parse_and_validate(sdl, "schema.graphql").map_err(|invalid| invalid.to_string())
    };
    let schema = match SCHEMAS.get(&sdl(&state.store), read) {
        Ok(schema) => schema,
        Err(invalid) => return failed(500, &invalid),
    };
    let document = match validate(&schema, query) {
        Ok(document) => document,
        Err(invalid) => return errors(weaviates_message(&invalid.0)),
    };
    let root = Object::new("WeaviateObj", |_, _| {
        Ok(Resolved::Object(Object::new(
            "GetObjectsObj",
            |class, arguments| objects(state, class, arguments).map(Resolved::list),
        )))
    });
    match execute(&schema, &document, &body["variables"], &root) {
        Ok(answer) => Response::json(200, &answer),
        Err(invalid) => errors(invalid.0),
    }
}

/// Returns Weaviate's message for unknown fields, which differs from that of apollo-compiler.
fn weaviates_message(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (
        message.contains("does not have a field"),
        quoted.next(),
        quoted.next(),
    ) {
        (true, Some(on), Some(field)) => format!("Cannot query field {field:?} on type {on:?}."),
        _ => message.to_owned(),
    }
}

fn sdl(store: &Store) -> String {
    let mut get = String::new();
    let mut types = String::new();
    for class in store.classes() {
        let name = class["class"].as_str().unwrap_or_default();
        let _ = writeln!(
            get,
            "  {name}(limit: Int, offset: Int, after: String, where: Where, consistencyLevel: Consistency): [{name}]"
        );
        let _ = writeln!(types, "type {name} {{");
        for property in class["properties"].as_array().into_iter().flatten() {
            let data_type = match property["dataType"][0].as_str() {
                Some("int") => "Int",
                Some("number") => "Float",
                Some("boolean") => "Boolean",
                _ => "String",
            };
            let _ = writeln!(
                types,
                "  {}: {data_type}",
                property["name"].as_str().unwrap_or_default()
            );
        }
        let _ = writeln!(types, "  _additional: Additional\n}}");
    }
    format!(
        "schema {{ query: WeaviateObj }}
        type WeaviateObj {{ Get: GetObjectsObj }}
        type GetObjectsObj {{\n{get}}}
        {types}
        type Additional {{ id: String, vector: [Float], creationTimeUnix: String, lastUpdateTimeUnix: String }}
        enum Consistency {{ ONE QUORUM ALL }}
        enum Operator {{ And Or Equal NotEqual Like ContainsAny ContainsAll GreaterThan LessThan IsNull }}
        scalar Text
        input Where {{ operator: Operator, path: [String], operands: [Where], valueText: Text, valueString: Text, valueInt: Int,
            valueBoolean: Boolean, valueDate: String, valueNumber: Float }}"
    )
}

fn objects<'a>(
    state: &'a State,
    class: &str,
    arguments: &Map<String, Value>,
) -> Result<Vec<Option<Object<'a>>>, Refused> {
    let refused = |message: &str| Refused {
        kind: None,
        message: message.to_owned(),
    };
    let number = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_u64)
            .map(|number| number as usize)
    };
    let limit = number("limit").unwrap_or(state.settings.default_limit);
    let offset = number("offset").unwrap_or(0);
    if limit + offset > MOST_RESULTS {
        return Err(refused(
            "explorer: list class: search: invalid pagination params: query maximum results exceeded",
        ));
    }
    let condition = arguments
        .get("where")
        .filter(|condition| !condition.is_null());
    let candidates: Vec<&Value> = match condition.and_then(only_ids) {
        // Comparing every object with every requested id would take most of the time of a large benchmark.
        Some(ids) => ids
            .into_iter()
            .filter_map(|id| state.store.object(class, &id))
            .collect(),
        None => state.store.objects(class).collect(),
    };
    let mut found = Vec::new();
    for object in candidates {
        let matching = condition.map_or(Ok(true), |condition| matches(state, object, condition));
        if matching.map_err(|message| refused(&message))? {
            found.push(object);
        }
    }
    // The order is undefined: neither that of the requested ids, nor that of writing.
    found.sort_by_key(|object| {
        object["id"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .rev()
            .collect::<String>()
    });
    Ok(found
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(|object| Some(shown(object)))
        .collect())
}

/// Returns the ids in a condition, in lower case; `None` if it is about something else.
fn only_ids(condition: &Value) -> Option<BTreeSet<String>> {
    if condition["operator"] != "ContainsAny"
        || !(condition["path"][0] == "id" || condition["path"][0] == "_id")
    {
        return None;
    }
    let ids = condition["valueText"]
        .as_array()
        .or_else(|| condition["valueString"].as_array())?;
    (!ids.is_empty()).then(|| {
        ids.iter()
            .filter_map(Value::as_str)
            .map(str::to_lowercase)
            .collect()
    })
}

fn shown(object: &Value) -> Object<'_> {
    let class = object["class"].as_str().unwrap_or_default();
    Object::new(class, move |name, _| {
        if name == "_additional" {
            let fields = json!({
                "id": object["id"], "vector": object["vector"].as_array().cloned().unwrap_or_default(),
                "creationTimeUnix": "1767225600000", "lastUpdateTimeUnix": "1767225600000",
            });
            return Ok(Resolved::Object(Object::leaves("Additional", fields)));
        }
        let value = &object["properties"][name];
        // GraphQL's Int has 32 bits.
        let too_large = value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_err());
        Ok(Resolved::Leaf(if too_large {
            Value::Null
        } else {
            value.clone()
        }))
    })
}

fn matches(state: &State, object: &Value, condition: &Value) -> Result<bool, String> {
    let operands = || {
        condition["operands"]
            .as_array()
            .ok_or("operands are missing".to_owned())
    };
    let operator = condition["operator"]
        .as_str()
        .ok_or("operator is missing")?;
    match operator {
        "And" => operands()?.iter().try_fold(true, |all, operand| {
            Ok(all && matches(state, object, operand)?)
        }),
        "Or" => operands()?.iter().try_fold(false, |any, operand| {
            Ok(any || matches(state, object, operand)?)
        }),
        _ => {
            let path = condition["path"][0].as_str().ok_or("path is missing")?;
            let given = [&condition["valueText"], &condition["valueString"]]
                .into_iter()
                .find(|value| !value.is_null());
            let given = given.ok_or("got operator without a value of type text")?;
            let is_id = path == "id" || path == "_id";
            let stored = if is_id {
                state.store.id_as_written(object)
            } else {
                object["properties"][path].as_str()
            };
            let stored = stored.unwrap_or_default();
            let one = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|value| equal(stored, value, is_id))
            };
            match operator {
                "Equal" => Ok(one(given)),
                "NotEqual" => Ok(!one(given)),
                "ContainsAny" => given
                    .as_array()
                    .map(|values| values.iter().any(one))
                    .ok_or("value type should be []string but is string".to_owned()),
                other => Err(format!("operator {other} is not simulated")),
            }
        }
    }
}

/// Compares ids byte by byte, and text with tokenization `word` by its words, in any order and case.
fn equal(stored: &str, value: &str, is_id: bool) -> bool {
    if is_id {
        return stored == value;
    }
    let words = |text: &str| -> Vec<String> {
        text.to_lowercase()
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let stored = words(stored);
    words(value).iter().all(|word| stored.contains(word))
}
