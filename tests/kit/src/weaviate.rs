//! A strict simulator of Weaviate: it rejects what the real server rejects, and stores what it receives. With
//! `KIT_WEAVIATE=real`, every test uses the real server instead, with the same log and the same injected failures.
//!
//! It follows Weaviate's REST specification (1.39), its pages on batches, auto-schema and GraphQL, and the behavior of
//! the real server in the tests that run against both.

mod front;
mod graphql;
mod rest;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::boundaries::Boundaries;
use crate::http::{Exchange, Request, Server, lock};
use crate::weaviate_server::{Config, Lent, RealServer};
use store::Store;

/// Name of Agira's class.
const CLASS: &str = "AgiraObject";

/// State of GraphQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphQl {
    /// Available.
    On,
    /// Disabled by `DISABLE_GRAPHQL`.
    Disabled422,
    /// Disabled by the configuration of the cluster.
    Disabled410,
    /// Forbidden for the key.
    Forbidden,
}

/// Response to a PUT of a missing object, which differs between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMissing {
    /// 404 without a body, as in 1.39.
    NotFound,
    /// 500 with a reason, as in 1.35.
    Error,
}

/// Settings of the server, which tests can change while it runs. Of a real server, only `down` and `most_bytes` can
/// change; settings that it does not support must keep their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// API key that requests must have; `None` allows anonymous access.
    pub api_key: Option<String>,
    /// State of GraphQL.
    pub graphql: GraphQl,
    /// True if the server silently adds unknown properties and classes, as it does by default.
    pub auto_schema: bool,
    /// Number of objects in a GraphQL response to a query without a limit.
    pub default_limit: usize,
    /// Response to a PUT of a missing object.
    pub put_missing: PutMissing,
    /// True if the server answers 503 to everything.
    pub down: bool,
    /// Reason why the shard rejects writes, such as a full disk.
    pub shard_failure: Option<String>,
    /// Limit of a proxy for the bytes of a request.
    pub most_bytes: usize,
    /// Delay of every response.
    pub latency: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: None,
            graphql: GraphQl::On,
            auto_schema: true,
            default_limit: 100,
            put_missing: PutMissing::NotFound,
            down: false,
            shard_failure: None,
            most_bytes: usize::MAX,
            latency: Duration::ZERO,
        }
    }
}

/// Stands for the status of a request that has no answer within a second.
pub const NO_ANSWER: u16 = 0;

/// A failure between client and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The client gets this status and body, and the server does nothing.
    Status(u16, String),
    /// The server executes the request, but a proxy answers 502.
    LoseAnswer,
    /// The client gets a page of a proxy.
    Html,
    /// The client gets this status with this `Retry-After`, and the server does nothing.
    RetryAfter(u16, String),
}

/// A running simulator, or a real server behind a proxy; dropping it stops it.
pub struct Weaviate {
    server: Server,
    state: Arc<Mutex<State>>,
    real: Option<Lent>,
}

/// State that requests and tests change.
struct State {
    settings: Settings,
    store: Store,
    faults: Vec<Fault>,
    rejected: BTreeMap<String, String>,
    /// Objects with the status of every request that writes them.
    unwritable: BTreeMap<String, u16>,
    /// Objects with the status of every request that reads them.
    unreadable: BTreeMap<String, u16>,
    /// Number of objects in executed writes.
    writes: usize,
    /// Number of executed writes after which the server stops.
    stop_after: Option<usize>,
}

impl Weaviate {
    /// Starts an empty server that allows anonymous access.
    pub fn start() -> Self {
        Self::start_with(Settings::default())
    }

    /// Starts an empty server: a simulator; with `KIT_WEAVIATE=real`, a real one; with `KIT_WEAVIATE=named`, the server
    /// of `KIT_WEAVIATE_URL` if it supports these settings.
    ///
    /// # Panics
    /// If a real server is required and there is none, or it does not support the settings.
    pub fn start_with(settings: Settings) -> Self {
        match std::env::var("KIT_WEAVIATE").as_deref() {
            Err(_) | Ok("") => Self::serve(settings, None),
            Ok("real") => Self::real_with(settings),
            Ok("named") => Self::of(settings, Lent::named),
            Ok(other) => panic!("KIT_WEAVIATE={other} is neither empty nor real nor named"),
        }
    }

    /// Starts an empty real server.
    ///
    /// # Panics
    /// If there is none, or it does not support the settings.
    pub fn real_with(settings: Settings) -> Self {
        Self::of(settings, Lent::of)
    }

    fn of(settings: Settings, lent: impl FnOnce(Config) -> Lent) -> Self {
        let graphql = match settings.graphql {
            GraphQl::On => true,
            GraphQl::Disabled422 => false,
            other => panic!("a real server has no setting for {other:?}"),
        };
        let config = Config {
            auto_schema: settings.auto_schema,
            graphql,
            api_key: settings.api_key.clone(),
            guest_key: None,
            default_limit: settings.default_limit,
        };
        Self::serve(settings, Some(lent(config)))
    }

    fn serve(settings: Settings, real: Option<Lent>) -> Self {
        let state = Arc::new(Mutex::new(State {
            settings,
            store: Store::default(),
            faults: Vec::new(),
            rejected: BTreeMap::new(),
            unwritable: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            writes: 0,
            stop_after: None,
        }));
        let (shared, server) = (state.clone(), real.clone());
        let server = Server::start(move |request| {
            let response = front::answer(&shared, server.as_ref(), request);
            let latency = lock(&shared).settings.latency;
            std::thread::sleep(latency);
            response
        });
        Self {
            server,
            state,
            real,
        }
    }

    /// Returns the real server behind it, if it was started for tests.
    pub fn real(&self) -> Option<&RealServer> {
        self.real.as_ref().and_then(Lent::started)
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the settings for changes.
    ///
    /// # Panics
    /// When dropped, if a real server does not support the new settings.
    pub fn settings(&self) -> impl std::ops::DerefMut<Target = Settings> + '_ {
        let state = lock(&self.state);
        SettingsGuard {
            before: self.real.is_some().then(|| state.settings.clone()),
            state,
        }
    }

    /// Creates the class with exactly Agira's definition.
    pub fn create_agira_class(&self) {
        self.create_class(agira_class());
    }

    /// Creates a class.
    ///
    /// # Panics
    /// If the server would reject it, which is a mistake of the test.
    pub fn create_class(&self, class: Value) {
        let Some(real) = &self.real else {
            lock(&self.state)
                .store
                .create_class(&class)
                .expect("a class that the server takes");
            return;
        };
        let (status, said) = real.json("POST", "/v1/schema", Some(&class));
        assert_eq!(status, 200, "{said}");
    }

    /// Returns the stored definition of Agira's class.
    pub fn class(&self) -> Option<Value> {
        match &self.real {
            None => lock(&self.state).store.class(CLASS).cloned(),
            Some(real) => found(real.json("GET", &format!("/v1/schema/{CLASS}"), None)),
        }
    }

    /// Deletes class and objects, as after the loss of a disk.
    pub fn lose_everything(&self) {
        match &self.real {
            None => lock(&self.state).store = Store::default(),
            Some(real) => real.wipe(),
        }
    }

    /// Returns all stored objects by id.
    pub fn objects(&self) -> BTreeMap<String, Value> {
        let Some(real) = &self.real else {
            return lock(&self.state)
                .store
                .objects(CLASS)
                .map(|object| (text(&object["id"]), object.clone()))
                .collect();
        };
        let (mut objects, mut after) = (BTreeMap::new(), String::new());
        loop {
            let page = format!("/v1/objects?class={CLASS}&limit=500&after={after}&include=vector");
            let Some(page) = found(real.json("GET", &page, None)) else {
                return objects;
            };
            let page = page["objects"].as_array().cloned().unwrap_or_default();
            let Some(last) = page.last() else {
                return objects;
            };
            after = text(&last["id"]);
            let before = objects.len();
            objects.extend(
                page.into_iter()
                    .map(|object| (text(&object["id"]), without_times(object))),
            );
            assert!(
                objects.len() > before,
                "the page after {after} has nothing new"
            );
        }
    }

    /// Returns one stored object.
    pub fn object(&self, id: &str) -> Option<Value> {
        match &self.real {
            None => lock(&self.state).store.object(CLASS, id).cloned(),
            Some(real) => found(real.json(
                "GET",
                &format!("/v1/objects/{CLASS}/{id}?include=vector"),
                None,
            ))
            .map(without_times),
        }
    }

    /// Writes an object as another client would.
    ///
    /// # Panics
    /// If the server would reject it, which is a mistake of the test.
    pub fn put_object(&self, id: &str, properties: Value) {
        let object = json!({ "class": CLASS, "id": id, "properties": properties });
        self.put_whole_object(object);
    }

    /// Writes an object with additional fields, such as a vector.
    ///
    /// # Panics
    /// If the server would reject it, which is a mistake of the test.
    pub fn put_whole_object(&self, object: Value) {
        let Some(real) = &self.real else {
            lock(&self.state)
                .store
                .put(&object, false)
                .expect("an object that the server takes");
            return;
        };
        let (status, said) = real.json(
            "POST",
            "/v1/batch/objects",
            Some(&json!({ "objects": [object] })),
        );
        assert_eq!(
            (status, &said[0]["result"]["status"]),
            (200, &json!("SUCCESS")),
            "{said}"
        );
    }

    /// Deletes an object.
    pub fn delete_object(&self, id: &str) {
        match &self.real {
            None => drop(lock(&self.state).store.delete(CLASS, id)),
            Some(real) => {
                let (status, said) =
                    real.json("DELETE", &format!("/v1/objects/{CLASS}/{id}"), None);
                assert_eq!(status, 204, "{said}");
            }
        }
    }

    /// Makes writes fail as on a full disk, or succeed again.
    pub fn set_read_only(&self, read_only: bool) {
        let Some(real) = &self.real else {
            let reason = "store is read-only due to: manually set by user";
            lock(&self.state).settings.shard_failure = read_only.then(|| reason.to_owned());
            return;
        };
        let shards = format!("/v1/schema/{CLASS}/shards");
        let (_, found) = real.json("GET", &shards, None);
        let status = json!({ "status": if read_only { "READONLY" } else { "READY" } });
        for shard in found.as_array().expect("shards") {
            let (status, said) = real.json(
                "PUT",
                &format!("{shards}/{}", text(&shard["name"])),
                Some(&status),
            );
            assert_eq!(status, 200, "{said}");
        }
    }

    /// Writes an object as Agira's own client does: PUT, and then POST if it is missing. The log has neither request.
    ///
    /// # Panics
    /// If the server rejects it, which is a mistake of the test.
    pub fn put_object_as_agira(&self, id: &str, properties: &Value) {
        let object = json!({ "class": CLASS, "id": id, "properties": properties });
        let (status, said) = self.ask("PUT", &format!("/v1/objects/{CLASS}/{id}"), &object);
        let is_missing = status == 404
            || (status == 500
                && said["error"][0]["message"] == format!("no object with id '{id}'"));
        if is_missing {
            let (status, said) = self.ask("POST", "/v1/objects", &object);
            assert_eq!(status, 200, "{said}");
        } else {
            assert_eq!(status, 200, "{said}");
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        if let Some(real) = &self.real {
            return real.json(method, path, Some(body));
        }
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let mut state = lock(&self.state);
        headers.extend(
            state
                .settings
                .api_key
                .iter()
                .map(|key| ("authorization".to_owned(), format!("Bearer {key}"))),
        );
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers,
            body: body.to_string().into_bytes(),
            connection: ([127, 0, 0, 1], 0).into(),
        };
        let answer = rest::answer(&mut state, &request);
        (
            answer.status,
            serde_json::from_slice(&answer.body).unwrap_or_default(),
        )
    }

    /// Kills the server, as by a power failure, once it has written this number of further objects; their response is
    /// lost.
    pub fn stop_after_writing(&self, objects: usize) {
        let mut state = lock(&self.state);
        state.stop_after = Some(state.writes + objects);
    }

    /// Starts the server again, with the data that it stored.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        lock(&self.state).settings.down = false;
        if let Some(real) = &self.real {
            real.start_again()
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    /// Rejects this object in every batch until it is allowed again.
    pub fn reject_object(&self, id: &str, message: &str) {
        lock(&self.state)
            .rejected
            .insert(id.to_owned(), message.to_owned());
    }

    /// Answers every batch that contains this object with this status, or with [`NO_ANSWER`], until
    /// it is allowed again.
    pub fn break_writes_of(&self, id: &str, status: u16) {
        lock(&self.state).unwritable.insert(id.to_owned(), status);
    }

    /// Answers every request that reads this object with this status, until it is allowed again.
    pub fn break_reads_of(&self, id: &str, status: u16) {
        lock(&self.state).unreadable.insert(id.to_owned(), status);
    }

    /// Allows an object again.
    pub fn allow_object(&self, id: &str) {
        let mut state = lock(&self.state);
        state.rejected.remove(id);
        state.unwritable.remove(id);
        state.unreadable.remove(id);
    }

    /// Makes the next `count` requests fail.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        lock(&self.state)
            .faults
            .extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Calls `gate` before each request; see [`Server::gate`].
    pub fn gate(&self, gate: impl Fn() -> bool + Send + Sync + 'static) {
        self.server.gate(gate);
    }

    /// Repairs everything: the server runs and accepts every object, and no failure is left.
    pub fn recover(&self) {
        let mut state = lock(&self.state);
        state.settings.down = false;
        state.faults.clear();
        state.rejected.clear();
        state.unwritable.clear();
        state.unreadable.clear();
        state.stop_after = None;
    }

    /// Returns all requests since the start or the last [`Self::clear_log`].
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.log()
    }

    /// Returns the number of objects that were written since then.
    pub fn writes(&self) -> usize {
        lock(&self.state).writes
    }

    /// Returns the number of requests since then that read objects: GraphQL queries and single GETs.
    pub fn reads(&self) -> usize {
        let reads = |exchange: &&Exchange| {
            let (method, path) = (
                exchange.request.method.as_str(),
                exchange.request.path.as_str(),
            );
            path == "/v1/graphql" || (method == "GET" && path.starts_with("/v1/objects/"))
        };
        self.requests().iter().filter(reads).count()
    }

    /// Returns the batches that were sent since then.
    pub fn batches(&self) -> usize {
        self.requests()
            .iter()
            .filter(|exchange| exchange.request.path == "/v1/batch/objects")
            .count()
    }

    /// Makes requests count as places of these boundaries from now on.
    pub fn observe(&self, boundaries: &Arc<Boundaries>) {
        self.server.observe("Weaviate", boundaries);
    }

    /// Clears the log and the counts.
    pub fn clear_log(&self) {
        self.server.clear_log();
        lock(&self.state).writes = 0;
    }
}

struct SettingsGuard<'a> {
    state: MutexGuard<'a, State>,
    /// Settings of a real server before the change.
    before: Option<Settings>,
}

impl std::ops::Deref for SettingsGuard<'_> {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.state.settings
    }
}

impl std::ops::DerefMut for SettingsGuard<'_> {
    fn deref_mut(&mut self) -> &mut Settings {
        &mut self.state.settings
    }
}

impl Drop for SettingsGuard<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let now = Settings {
                down: before.down,
                most_bytes: before.most_bytes,
                ..self.state.settings.clone()
            };
            assert_eq!(
                *before, now,
                "a real server cannot change this while it runs"
            );
        }
    }
}

/// Returns the result of a GET; `None` for 404, and for a class with tenants, which has no other
/// objects than theirs.
fn found((status, body): (u16, Value)) -> Option<Value> {
    match status {
        200 => Some(body),
        404 => None,
        422 if body.to_string().contains("multi-tenancy enabled") => None,
        other => panic!("{other}: {body}"),
    }
}

/// Returns an object without the fields that only the server writes.
fn without_times(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.retain(|name, _| {
            !["creationTimeUnix", "lastUpdateTimeUnix", "vectorWeights"].contains(&name.as_str())
        });
    }
    object
}

/// Returns Agira's class as its own client creates it.
pub fn agira_class() -> Value {
    let text = [
        "type",
        "object_id",
        "project_id",
        "org_id",
        "title",
        "text",
        "status",
        "url",
        "source_system",
        "external_key",
        "parent_object_id",
        "mime_type",
        "sha256",
    ];
    let mut properties: Vec<Value> = text
        .iter()
        .map(|name| json!({ "name": name, "dataType": ["text"] }))
        .collect();
    properties.extend(
        ["created_at", "updated_at"].map(|name| json!({ "name": name, "dataType": ["date"] })),
    );
    properties.push(json!({ "name": "size_bytes", "dataType": ["int"] }));
    json!({ "class": CLASS, "vectorizer": "none", "vectorIndexType": "hnsw", "properties": properties })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
