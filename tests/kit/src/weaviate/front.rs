//! What lies between the client and the server, be that the simulator or a real one: proxies, and failures on the way.

use std::sync::Mutex;

use serde_json::Value;

use super::{Fault, State, rest};
use crate::http::{Request, Response, lock};
use crate::weaviate_server::Lent;

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
        let is_health = request.path.starts_with("/v1/.well-known/");
        (!is_health && !state.faults.is_empty()).then(|| state.faults.remove(0))
    };
    match fault {
        Some(Fault::Status(status, body)) => Response { body: body.into_bytes(), ..Response::empty(status) },
        Some(Fault::Html) => html(200),
        Some(Fault::LoseAnswer) => {
            served(state, real, request);
            html(502)
        }
        None => served(state, real, request),
    }
}

fn served(state: &Mutex<State>, real: Option<&Lent>, request: &Request) -> Response {
    let response = match real {
        Some(real) => real.forward(request),
        None => rest::answer(&mut lock(state), request),
    };
    lock(state).writes += written(request, &response);
    response
}

/// How many objects a request wrote.
fn written(request: &Request, response: &Response) -> usize {
    let is_single =
        matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") && request.path.starts_with("/v1/objects");
    match (request.path.as_str(), response.status) {
        ("/v1/batch/objects", 200) => {
            let results: Vec<Value> = serde_json::from_slice(&response.body).unwrap_or_default();
            results.iter().filter(|one| one["result"]["status"] == "SUCCESS").count()
        }
        (_, 200 | 204) if is_single => 1,
        _ => 0,
    }
}

fn html(status: u16) -> Response {
    let body = b"<html><body>a proxy</body></html>".to_vec();
    Response { body, ..Response::empty(status) }.header("content-type", "text/html")
}
