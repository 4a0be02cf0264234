//! The proxies and failures between the client and the server, be it the simulator or a real one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Fault, NO_ANSWER, State, rest};
use crate::http::{Request, Response, lock};
use crate::weaviate_server::Lent;

const BATCH: &str = "/v1/batch/objects";

/// Answers one request.
pub fn answer(state: &Mutex<State>, real: Option<&Lent>, request: &Request) -> Response {
    let fault = {
        let mut state = lock(state);
        if state.settings.down {
            return Response::empty(503);
        }
        if request.body.len() > state.settings.most_bytes {
            return html(413);
        }
        if let Some(status) = broken(&state, request) {
            drop(state);
            if status == NO_ANSWER {
                std::thread::sleep(std::time::Duration::from_millis(1500));
                return Response::empty(504);
            }
            return rest::failed(status, "panic occurred: index out of range");
        }
        let is_health = request.path.starts_with("/v1/.well-known/");
        (!is_health && !state.faults.is_empty()).then(|| state.faults.remove(0))
    };
    match fault {
        Some(Fault::Status(status, body)) => Response {
            body: body.into_bytes(),
            ..Response::empty(status)
        },
        Some(Fault::Html) => html(200),
        Some(Fault::RetryAfter(status, wait)) => {
            rest::failed(status, "slow down").header("retry-after", &wait)
        }
        Some(Fault::LoseAnswer) => {
            served(state, real, request);
            html(502)
        }
        None => served(state, real, request),
    }
}

/// Returns the status of a request for an object that the server cannot write or read.
fn broken(state: &State, request: &Request) -> Option<u16> {
    let objects = match request.path.as_str() {
        BATCH => &state.unwritable,
        _ => &state.unreadable,
    };
    let body = String::from_utf8_lossy(&request.body);
    let names = |id: &str| request.path.ends_with(id) || body.contains(id);
    objects
        .iter()
        .find(|(id, _)| names(id))
        .map(|(_, status)| *status)
}

fn served(state: &Mutex<State>, real: Option<&Lent>, request: &Request) -> Response {
    let serve = |request: &Request| match real {
        Some(real) => real.forward(request),
        None => rest::answer(&mut lock(state), request),
    };
    let rejected = lock(state).rejected.clone();
    let response = match request.path.as_str() {
        BATCH if !rejected.is_empty() => without_rejected(&rejected, request, serve),
        _ => serve(request),
    };
    let mut state = lock(state);
    state.writes += written(request, &response);
    if state.stop_after.is_some_and(|most| state.writes >= most) {
        state.stop_after = None;
        state.settings.down = true;
        drop(state);
        if let Some(real) = real {
            real.stop();
        }
        return html(502);
    }
    response
}

/// Serves a batch without the objects that tests reject, and inserts failures for these.
fn without_rejected(
    rejected: &BTreeMap<String, String>,
    request: &Request,
    serve: impl Fn(&Request) -> Response,
) -> Response {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let objects = body["objects"].as_array().cloned().unwrap_or_default();
    let reason = |object: &Value| object["id"].as_str().and_then(|id| rejected.get(id));
    let taken: Vec<&Value> = objects
        .iter()
        .filter(|object| reason(object).is_none())
        .collect();
    let mut results = Vec::new();
    if !taken.is_empty() {
        let body = json!({ "objects": taken }).to_string().into_bytes();
        let response = serve(&Request {
            body,
            ..request.clone()
        });
        match serde_json::from_slice(&response.body) {
            Ok(taken) if response.status == 200 => results = taken,
            _ => return response,
        }
    }
    let mut results = results.into_iter();
    let all = objects.iter().map(|object| match reason(object) {
        Some(message) => {
            let mut failed = object.clone();
            failed["result"] =
                json!({ "status": "FAILED", "errors": { "error": [{ "message": message }] } });
            failed
        }
        None => results.next().unwrap_or_default(),
    });
    Response::json(200, &all.collect())
}

/// Returns the number of objects that a request wrote.
fn written(request: &Request, response: &Response) -> usize {
    let is_single = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH")
        && request.path.starts_with("/v1/objects");
    match (request.path.as_str(), response.status) {
        (BATCH, 200) => {
            let results: Vec<Value> = serde_json::from_slice(&response.body).unwrap_or_default();
            results
                .iter()
                .filter(|one| one["result"]["status"] == "SUCCESS")
                .count()
        }
        (_, 200 | 204) if is_single => 1,
        _ => 0,
    }
}

fn html(status: u16) -> Response {
    let body = b"<html><body>a proxy</body></html>".to_vec();
    Response {
        body,
        ..Response::empty(status)
    }
    .header("content-type", "text/html")
}
