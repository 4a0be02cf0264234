//! The routes of the server, with its several forms of errors.

use serde_json::{Value, json};
use uuid::Uuid;

use super::store::upper_first;
use super::{PutMissing, State, graphql};
use crate::http::{Request, Response};

/// Answers one request, as the server itself does.
pub fn answer(state: &mut State, request: &Request) -> Response {
    if request.path == "/v1/.well-known/live" || request.path == "/v1/.well-known/ready" {
        let not_ours = || {
            Response::json(
                501,
                &json!("operation WeaviateWellknown has not yet been implemented"),
            )
        };
        return if request.query.is_empty() {
            Response::empty(200)
        } else {
            not_ours()
        };
    }
    if let Some(key) = &state.settings.api_key {
        match request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
        {
            Some(given) if given == key => {}
            Some(_) => return framework(401, "unauthorized: invalid api key"),
            None => {
                let said = "anonymous access not enabled. Please authenticate through one of the available methods: [API-keys]";
                return framework(401, said);
            }
        }
    }
    let body = match (request.method.as_str(), request.body.is_empty()) {
        ("POST" | "PUT" | "PATCH", _) => {
            if !request
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("application/json"))
            {
                return framework(
                    415,
                    "unsupported media type, only [application/json] are allowed",
                );
            }
            match serde_json::from_slice::<Value>(&request.body) {
                Ok(body) => body,
                Err(error) => return framework(400, &format!("parsing body failed: {error}")),
            }
        }
        _ => Value::Null,
    };
    if let Some(level) = request.parameter("consistency_level")
        && !["ONE", "QUORUM", "ALL"].contains(&level)
    {
        return failed(400, &format!("unrecognized consistency level '{level}'"));
    }
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["v1", "meta"]) => Response::json(
            200,
            &json!({ "hostname": "http://[::]:8080", "version": "1.39.0", "modules": {} }),
        ),
        ("GET", ["v1", "schema"]) => Response::json(
            200,
            &json!({ "classes": state.store.classes().collect::<Vec<_>>() }),
        ),
        ("POST", ["v1", "schema"]) => match state.store.create_class(&body) {
            Ok(class) => Response::json(200, &class),
            Err(message) => failed(422, &message),
        },
        ("GET", ["v1", "schema", class]) => match state.store.class(&upper_first(class)) {
            Some(class) => Response::json(200, class),
            None => Response::empty(404),
        },
        ("DELETE", ["v1", "schema", class]) => {
            state.store.delete_class(&upper_first(class));
            Response::empty(200)
        }
        ("POST", ["v1", "schema", class, "properties"]) => {
            match state.store.add_property(&upper_first(class), &body) {
                Ok(property) => Response::json(200, &property),
                Err(message) => failed(422, &message),
            }
        }
        ("GET", ["v1", "objects"]) => list(state, request),
        ("POST", ["v1", "objects"]) => create(state, &body),
        (_, ["v1", "objects", class, id]) => object(state, request, &upper_first(class), id, &body),
        ("POST", ["v1", "batch", "objects"]) => batch(state, &body),
        ("POST", ["v1", "graphql"]) => graphql::answer(state, &body),
        (
            _,
            ["v1", "meta" | "schema" | "objects" | "graphql"]
            | ["v1", "schema", _]
            | ["v1", "batch", "objects"],
        ) => framework(405, &format!("method {} is not allowed", request.method)),
        _ => framework(404, &format!("path {} was not found", request.path)),
    }
}

fn list(state: &State, request: &Request) -> Response {
    let after = request.parameter("after").filter(|after| !after.is_empty());
    if after.is_some()
        && (request.parameter("offset").is_some() || request.parameter("class").is_none())
    {
        return failed(
            422,
            "msg:cursor api: invalid 'after' parameter code:400 err:offset cannot be set with after",
        );
    }
    let limit = request
        .parameter("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(25);
    let offset = request
        .parameter("offset")
        .and_then(|offset| offset.parse().ok())
        .unwrap_or(0);
    if limit + offset > graphql::MOST_RESULTS {
        return failed(
            422,
            "msg:offset or limit code:400 err:query maximum results exceeded",
        );
    }
    let class = request
        .parameter("class")
        .map(upper_first)
        .unwrap_or_default();
    if state.store.class(&class).is_none() {
        return Response::empty(404);
    }
    let objects: Vec<Value> = state
        .store
        .objects(&class)
        .filter(|object| after.is_none_or(|after| object["id"].as_str() > Some(after)))
        .skip(offset)
        .take(limit)
        .map(|object| shown(object, request))
        .collect();
    Response::json(
        200,
        &json!({ "totalResults": objects.len(), "objects": objects, "deprecations": null }),
    )
}

fn create(state: &mut State, body: &Value) -> Response {
    let mut object = body.clone();
    let id = match object["id"].as_str() {
        Some(id) => id.to_lowercase(),
        None => Uuid::new_v4().to_string(),
    };
    object["id"] = json!(id);
    let class = upper_first(object["class"].as_str().unwrap_or_default());
    if state.store.object(&class, &id).is_some() {
        return failed(422, &format!("id '{id}' already exists"));
    }
    write(state, &object)
}

/// Executes one write outside a batch.
fn write(state: &mut State, object: &Value) -> Response {
    if let Some(reason) = &state.settings.shard_failure {
        return failed(
            500,
            &format!("put object: import into index agiraobject: put local object: {reason}"),
        );
    }
    match state.store.put(object, state.settings.auto_schema) {
        Ok(stored) => Response::json(200, &stored),
        Err(message) => failed(422, &format!("invalid object: {message}")),
    }
}

fn object(state: &mut State, request: &Request, class: &str, id: &str, body: &Value) -> Response {
    if Uuid::parse_str(id).is_err() {
        return Response::json(
            422,
            &json!({ "code": 601, "message": format!("id in path must be of type uuid: \"{id}\"") }),
        );
    }
    let id = &id.to_lowercase();
    let found = state.store.object(class, id).cloned();
    match (request.method.as_str(), found) {
        ("GET", Some(object)) => Response::json(200, &shown(&object, request)),
        ("HEAD", Some(_)) => Response::empty(204),
        // The server answers so even if the object is missing.
        ("DELETE", _) => {
            state.store.delete(class, id);
            Response::empty(204)
        }
        ("PUT", _) if body["id"].as_str() != Some(id.as_str()) => {
            failed(422, "invalid update: field 'id' is immutable")
        }
        ("PUT", Some(_)) => {
            let mut object = body.clone();
            object["class"] = json!(class);
            write(state, &object)
        }
        ("PUT", None) => match state.settings.put_missing {
            PutMissing::NotFound => Response::empty(404),
            PutMissing::Error => failed(500, &format!("no object with id '{id}'")),
        },
        ("PATCH", Some(mut object)) => {
            for (name, value) in body["properties"].as_object().into_iter().flatten() {
                object["properties"][name] = value.clone();
            }
            let answer = write(state, &object);
            if answer.status == 200 {
                Response::empty(204)
            } else {
                answer
            }
        }
        ("GET" | "HEAD" | "PATCH", None) => Response::empty(404),
        (method, _) => framework(405, &format!("method {method} is not allowed")),
    }
}

/// Returns an object with its properties, and with its vectors only on request.
fn shown(object: &Value, request: &Request) -> Value {
    let mut object = object.clone();
    let with_vector = request
        .parameter("include")
        .is_some_and(|include| include.split(',').any(|part| part == "vector"));
    if let (false, Some(object)) = (with_vector, object.as_object_mut()) {
        object.remove("vector");
        object.remove("vectors");
    }
    object["vectorWeights"] = Value::Null;
    object
}

fn batch(state: &mut State, body: &Value) -> Response {
    let empty = Vec::new();
    let objects = body["objects"].as_array().unwrap_or(&empty);
    if objects.is_empty() {
        return failed(
            422,
            "invalid param 'objects': cannot be empty, need at least one object for batching",
        );
    }
    for (index, object) in objects.iter().enumerate() {
        let id = object["id"].as_str().unwrap_or_default();
        if !id.is_empty() && (Uuid::parse_str(id).is_err() || id.len() != 36) {
            let said = format!("body.objects.{index}.id in body must be of type uuid: {id:?}");
            return Response::json(422, &json!({ "code": 601, "message": said }));
        }
    }
    let mut shard_failure = state.settings.shard_failure.clone();
    let shard_fails = shard_failure.is_some();
    let mut results = Vec::with_capacity(objects.len());
    for object in objects {
        let mut result = object.clone();
        if object["id"].is_null() {
            result["id"] = json!(Uuid::new_v4().to_string());
        }
        let written = match shard_fails {
            // Up to 1.35, the server reports a failure of a shard only with its first object and calls the others
            // written; 1.39 reports it with each. The client must be safe from the worse behavior.
            true => shard_failure.take().map_or(Ok(()), Err),
            false => state
                .store
                .put(&result, state.settings.auto_schema)
                .map(drop),
        };
        result["result"] = match written {
            Ok(()) => json!({ "status": "SUCCESS" }),
            Err(message) => {
                json!({ "status": "FAILED", "errors": { "error": [{ "message": message }] } })
            }
        };
        results.push(result);
    }
    Response::json(200, &json!(results))
}

/// Returns an error in the form of the handlers.
pub fn failed(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "error": [{ "message": message }] }))
}

/// Returns an error in the form of the framework.
fn framework(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "code": status, "message": message }))
}
