//! The Weaviate client of the program over HTTP, against the strict simulator. With `KIT_WEAVIATE=real`, all tests
//! except those in modules called `simulated` run against the real server.

mod broken_answers;
mod class;
mod failures;
mod read;
mod vectors;
mod write;

use std::time::Duration;

use agira_worker::core::agira_object::{AgiraObject, CLASS, ObjectType};
use agira_worker::core::failure::{FailureKind, ServiceError};
use agira_worker::core::records::ObjectState;
use agira_worker::http::Timeouts;
use agira_worker::weaviate::{ClassState, ObjectWrite, StoredObject, Weaviate};
use kit::weaviate::{GraphQl, Settings, Weaviate as Simulator, agira_class};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A timeout that is long enough for every response here, and no delay between retries.
const PATIENCE: Timeouts = Timeouts {
    answer: Duration::from_secs(10),
    retry: Duration::ZERO,
};

fn client(simulator: &Simulator) -> Weaviate {
    client_at(&simulator.url())
}

fn client_at(url: &str) -> Weaviate {
    Weaviate::new(url, None)
        .expect("a client")
        .with_timeouts(PATIENCE)
}

/// Returns a client that has read the class, which fits. The log is cleared afterwards.
#[track_caller]
fn ready(simulator: &Simulator) -> Weaviate {
    let mut client = client(simulator);
    assert_eq!(client.class(), Ok(ClassState::Fits));
    simulator.clear_log();
    client
}

fn with_class(class: Value) -> Simulator {
    let simulator = Simulator::start();
    simulator.create_class(class);
    simulator
}

/// Starts a server with these settings and Agira's class.
fn with_settings(settings: Settings) -> Simulator {
    let simulator = Simulator::start_with(settings);
    simulator.create_agira_class();
    simulator
}

/// The two states of GraphQL that every server supports.
const GRAPHQL: [GraphQl; 2] = [GraphQl::On, GraphQl::Disabled422];

/// Starts a server with this state of GraphQL and Agira's class.
fn with_graphql(graphql: GraphQl) -> Simulator {
    with_settings(Settings {
        graphql,
        ..Settings::default()
    })
}

/// Returns Agira's class after a change.
fn changed_class(change: impl FnOnce(&mut Value)) -> Value {
    let mut class = agira_class();
    change(&mut class);
    class
}

/// Changes the properties of a class.
fn properties(class: &mut Value) -> &mut Vec<Value> {
    class["properties"].as_array_mut().expect("properties")
}

/// Returns the object of an issue.
fn issue(mapping: i64) -> AgiraObject {
    AgiraObject {
        object_type: ObjectType::GithubIssue,
        object_id: mapping.to_string(),
        project_id: "1".to_owned(),
        org_id: None,
        title: format!("Issue {mapping}"),
        text: "State: open\n\nIt is broken.".to_owned(),
        status: "open".to_owned(),
        url: format!("https://github.com/acme/shop/issues/{mapping}"),
        source_system: "github".to_owned(),
        external_key: Some(format!("acme/shop#{mapping}")),
        parent_object_id: Some("7".to_owned()),
        created_at: "2026-01-24T19:52:40.473439Z".parse().expect("a time"),
        updated_at: "2026-01-25T00:00:00Z".parse().expect("a time"),
    }
}

fn id(mapping: i64) -> Uuid {
    issue(mapping).key().uuid()
}

fn ids(mappings: impl IntoIterator<Item = i64>) -> Vec<Uuid> {
    mappings.into_iter().map(id).collect()
}

fn to_write(mapping: i64) -> ObjectWrite {
    ObjectWrite {
        object: issue(mapping),
        vectors: Map::new(),
    }
}

fn all_to_write(mappings: impl IntoIterator<Item = i64>) -> Vec<ObjectWrite> {
    mappings.into_iter().map(to_write).collect()
}

/// Returns method and path of every request.
fn asked(simulator: &Simulator) -> Vec<String> {
    let line = |exchange: kit::http::Exchange| {
        format!("{} {}", exchange.request.method, exchange.request.path)
    };
    simulator.requests().into_iter().map(line).collect()
}

/// Checks that all requests used the same connection.
#[track_caller]
fn check_one_connection(simulator: &Simulator) {
    let mut connections: Vec<_> = simulator
        .requests()
        .iter()
        .map(|exchange| exchange.request.connection)
        .collect();
    connections.dedup();
    assert_eq!(connections.len(), 1, "{connections:?}");
}
