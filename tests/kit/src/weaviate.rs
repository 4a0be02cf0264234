//! A strict Weaviate: it rejects what the real server rejects, and keeps what it was sent.
//!
//! Follows Weaviate's REST specification (1.39) and its pages on batches, auto-schema and GraphQL.

mod graphql;
mod rest;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Exchange, Server, lock};
use store::Store;

/// The one class of Agira.
const CLASS: &str = "AgiraObject";

/// How the server offers GraphQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphQl {
    /// On.
    On,
    /// Off by `DISABLE_GRAPHQL`.
    Disabled422,
    /// Off by the cluster's configuration.
    Disabled410,
    /// Not allowed for the key.
    Forbidden,
}

/// How a PUT of a missing object is answered: it changed between releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMissing {
    /// 404.
    NotFound,
    /// 500.
    Error,
}

/// Settings of the server, changeable while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key that requests must carry; `None`: anonymous access.
    pub api_key: Option<String>,
    /// GraphQL.
    pub graphql: GraphQl,
    /// Unknown properties and classes are added silently, as the server does by default.
    pub auto_schema: bool,
    /// Objects in a GraphQL answer without a limit.
    pub default_limit: usize,
    /// PUT of a missing object.
    pub put_missing: PutMissing,
    /// Answers 503 to everything.
    pub down: bool,
    /// Writes fail as on a full disk.
    pub read_only: bool,
    /// A proxy refuses requests with more bytes.
    pub most_bytes: usize,
    /// How long every answer takes.
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
            read_only: false,
            most_bytes: usize::MAX,
            latency: Duration::ZERO,
        }
    }
}

/// A failure on the way to or from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with this body, and nothing done.
    Status(u16, String),
    /// The request is carried out, but a proxy answers 502.
    LoseAnswer,
    /// A page of a proxy instead of an answer.
    Html,
}

/// A running simulator; dropping it stops it.
pub struct Weaviate {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// Everything that requests and tests change.
struct State {
    settings: Settings,
    store: Store,
    faults: Vec<Fault>,
    rejected: BTreeMap<String, String>,
    /// Elements of writes that were carried out.
    writes: usize,
}

impl Weaviate {
    /// An empty server that allows anonymous access.
    pub fn start() -> Self {
        Self::start_with(Settings::default())
    }

    /// An empty server.
    pub fn start_with(settings: Settings) -> Self {
        let state = Arc::new(Mutex::new(State {
            settings,
            store: Store::default(),
            faults: Vec::new(),
            rejected: BTreeMap::new(),
            writes: 0,
        }));
        let shared = state.clone();
        let server = Server::start(move |request| {
            let (latency, response) = {
                let mut state = lock(&shared);
                (state.settings.latency, rest::answer(&mut state, request))
            };
            std::thread::sleep(latency);
            response
        });
        Self { server, state }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The settings, to be changed.
    pub fn settings(&self) -> impl std::ops::DerefMut<Target = Settings> + '_ {
        SettingsGuard(lock(&self.state))
    }

    /// Creates the class with exactly Agira's definition.
    pub fn create_agira_class(&self) {
        self.create_class(agira_class());
    }

    /// Creates a class.
    ///
    /// # Panics
    /// When the server would refuse it: the test's mistake.
    pub fn create_class(&self, class: Value) {
        lock(&self.state).store.create_class(&class).expect("a class that the server takes");
    }

    /// The stored definition of Agira's class.
    pub fn class(&self) -> Option<Value> {
        lock(&self.state).store.class(CLASS).cloned()
    }

    /// Loses class and objects, as after a lost disk.
    pub fn lose_everything(&self) {
        lock(&self.state).store = Store::default();
    }

    /// All objects by id, as stored.
    pub fn objects(&self) -> BTreeMap<String, Value> {
        lock(&self.state).store.objects(CLASS).map(|object| (text(&object["id"]), object.clone())).collect()
    }

    /// One object as stored.
    pub fn object(&self, id: &str) -> Option<Value> {
        lock(&self.state).store.object(CLASS, id).cloned()
    }

    /// Writes an object as another client would.
    ///
    /// # Panics
    /// When the server would refuse it: the test's mistake.
    pub fn put_object(&self, id: &str, properties: Value) {
        let object = json!({ "class": CLASS, "id": id, "properties": properties });
        self.put_whole_object(object);
    }

    /// Writes an object with whatever else it has, such as a vector.
    ///
    /// # Panics
    /// When the server would refuse it: the test's mistake.
    pub fn put_whole_object(&self, object: Value) {
        lock(&self.state).store.put(&object, false).expect("an object that the server takes");
    }

    /// Deletes an object.
    pub fn delete_object(&self, id: &str) {
        lock(&self.state).store.delete(CLASS, id);
    }

    /// Rejects every write of this object until it is allowed again.
    pub fn reject_object(&self, id: &str, message: &str) {
        lock(&self.state).rejected.insert(id.to_owned(), message.to_owned());
    }

    /// Allows an object again.
    pub fn allow_object(&self, id: &str) {
        lock(&self.state).rejected.remove(id);
    }

    /// Lets the next `count` requests fail.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        lock(&self.state).faults.extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Everything that was asked since the start or the last [`Self::clear_log`].
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.log()
    }

    /// Object elements that were written since then.
    pub fn writes(&self) -> usize {
        lock(&self.state).writes
    }

    /// Requests since then that read objects: GraphQL queries and single GETs.
    pub fn reads(&self) -> usize {
        let reads = |exchange: &&Exchange| {
            let (method, path) = (exchange.request.method.as_str(), exchange.request.path.as_str());
            path == "/v1/graphql" || (method == "GET" && path.starts_with("/v1/objects/"))
        };
        self.requests().iter().filter(reads).count()
    }

    /// Batches that were sent since then.
    pub fn batches(&self) -> usize {
        self.requests().iter().filter(|exchange| exchange.request.path == "/v1/batch/objects").count()
    }

    /// Forgets the log and the counts.
    pub fn clear_log(&self) {
        self.server.clear_log();
        lock(&self.state).writes = 0;
    }
}

struct SettingsGuard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for SettingsGuard<'_> {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.0.settings
    }
}

impl std::ops::DerefMut for SettingsGuard<'_> {
    fn deref_mut(&mut self) -> &mut Settings {
        &mut self.0.settings
    }
}

/// Agira's class as its own client creates it.
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
    let mut properties: Vec<Value> = text.iter().map(|name| json!({ "name": name, "dataType": ["text"] })).collect();
    properties.extend(["created_at", "updated_at"].map(|name| json!({ "name": name, "dataType": ["date"] })));
    properties.push(json!({ "name": "size_bytes", "dataType": ["int"] }));
    json!({ "class": CLASS, "vectorizer": "none", "vectorIndexType": "hnsw", "properties": properties })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
