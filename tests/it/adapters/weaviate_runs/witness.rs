//! Agira's own Python client reads the objects that the program wrote.

use std::io::Write;
use std::process::Stdio;

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::{World, uuid};

/// Environment variable with the path of the Python that has the client.
const PYTHON: &str = "AGIRA_WORKER_WITNESS_PYTHON";

/// Returns two projects. Weaviate has an older object, with its own vector, for the issue of the first one.
fn written() -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/other#2", "Working");
    world.github.issue("acme/shop#1", |issue| {
        issue.title = "Cart loses items".to_owned();
        issue.body = "1. Open the cart".to_owned();
        issue.references = vec!["acme/shop#3".to_owned()];
    });
    world.github.pull_request("acme/shop#3", |pull_request| {
        pull_request.title = "Keep what was put in".to_owned()
    });
    world.github.merge("acme/shop#3", CLOSED_AT);
    world.github.close("acme/shop#1", CLOSED_AT);
    world.weaviate.put_whole_object(json!({
        "class": "AgiraObject", "id": uuid(GithubIssue, 1), "properties": { "status": "open" }, "vector": [0.5, 0.25]
    }));
    world.run(&["sync"]).exits(0).prints("5 objects written");
    world
}

#[track_caller]
fn ask(world: &World, question: &Value) -> Value {
    let server = world
        .weaviate
        .real()
        .expect("a real server: run this with KIT_WEAVIATE=real");
    let python = std::env::var_os(PYTHON)
        .unwrap_or_else(|| panic!("{PYTHON} is not set; tests/run.sh sets it"));
    let mut command = server.command_inside(python);
    // The client's warnings are about itself.
    command
        .env("PYTHONWARNINGS", "ignore")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/witness.py"));
    let mut witness = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nsenter and Python");
    witness
        .stdin
        .take()
        .expect("a pipe")
        .write_all(question.to_string().as_bytes())
        .expect("it reads");
    let output = kit::wait::output_of(witness);
    assert!(output.status.success(), "the witness failed; see above");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Parses times into moments, because each client prints them differently.
fn comparable(properties: &Value) -> Value {
    let mut properties = properties.clone();
    for name in ["created_at", "updated_at"] {
        let time: DateTime<Utc> = properties[name]
            .as_str()
            .expect("a time")
            .parse()
            .expect("RFC 3339");
        properties[name] = json!(time);
    }
    properties
}

#[test]
#[ignore = "needs a real Weaviate server and Agira's Python client, which tests/run.sh provides"]
fn agiras_python_client_reads_our_objects() {
    let world = written();
    let (issue, other) = (uuid(GithubIssue, 1), uuid(GithubIssue, 2));
    let uuids = [issue.clone(), uuid(Item, 1), uuid(GithubPr, 3), other];
    let question = json!({
        "uuids": uuids, "project_id": "1", "type": "github_issue", "words": "cart", "words_that_nobody_has": "basket",
        "vector": [0.5, 0.25],
    });
    let seen = ask(&world, &question);
    let stored = world.weaviate.objects();
    for id in &uuids[1..] {
        let (seen, stored) = (&seen["by_id"][id], &stored[id]);
        assert_eq!(
            comparable(&seen["properties"]),
            comparable(&stored["properties"]),
            "{id}"
        );
    }
    let of_issue = &seen["by_id"][&issue];
    assert_eq!(
        (&of_issue["properties"]["title"], &of_issue["vector"]),
        (&json!("Cart loses items"), &json!([0.5, 0.25]))
    );
    assert_eq!(seen["filtered"], json!([issue]), "by project and type");
    assert_eq!(seen["bm25"], json!([issue]));
    assert_eq!(seen["hybrid"], json!([issue]), "by its vector alone");
    assert_eq!(seen["replaced"], "Replaced by Agira");

    let (ours, agiras) = (&seen["ours"], &seen["agiras"]);
    let agiras_properties = agiras["properties"].as_object().expect("properties");
    assert_eq!(agiras_properties.len(), 16);
    for (name, property) in agiras_properties {
        assert_eq!(ours["properties"][name], *property, "{name}");
    }
    assert_eq!(ours, agiras);
}
