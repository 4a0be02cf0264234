//! Whole runs that are about Weaviate: beside what Agira writes itself, over settings that servers differ in, through its
//! failures, and after it lost everything.

mod agiras_own;
mod loss;
mod many;
mod settings;
mod witness;

use agira_worker::core::agira_object::ObjectType::{self, GithubIssue, Item};
use kit::weaviate::Settings;

use crate::world::{Run, World, uuid};

const CLOSED_AT: &str = "2026-03-01T10:00:00Z";

/// Closed issues that nobody looked at yet, numbered from 1 on: each has two objects.
fn closed_issues(settings: Settings, issues: i32) -> World {
    let mut world = World::with(settings);
    for number in 1..=issues {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        world.github.close(&key, CLOSED_AT);
    }
    world
}

/// The ids of the objects of issues and items 1 to `issues`, sorted.
fn ids(issues: i64) -> Vec<String> {
    let of = |object_type: ObjectType| (1..=issues).map(move |id| uuid(object_type, id));
    let mut ids: Vec<String> = of(GithubIssue).chain(of(Item)).collect();
    ids.sort();
    ids
}

/// Exactly the objects of issues and items 1 to `issues` are there, with what they became.
#[track_caller]
fn check_complete(world: &World, issues: i64) {
    let objects = world.weaviate.objects();
    assert_eq!(objects.keys().cloned().collect::<Vec<_>>(), ids(issues));
    for object in objects.values() {
        let properties = &object["properties"];
        let expected = if properties["type"] == "item" {
            "Testing"
        } else {
            "closed"
        };
        assert_eq!(properties["status"], expected, "{object}");
    }
}

/// Created, updated and unchanged objects, as a run with `--output json` counts them.
#[track_caller]
fn counts(run: &Run) -> [u64; 3] {
    let report = run.json();
    ["created", "updated", "unchanged"]
        .map(|name| report["weaviate"][name].as_u64().expect("a count"))
}
