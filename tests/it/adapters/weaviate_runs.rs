//! Whole runs with a focus on Weaviate: objects of Agira, different server settings, failures, and lost data.

mod agiras_own;
mod loss;
mod many;
mod rights;
mod settings;
mod witness;

use agira_worker::core::agira_object::ObjectType::{self, GithubIssue, Item};

use crate::harness::{Run, World, uuid};

/// Returns the sorted ids of the objects of issues and items 1 to `issues`.
fn ids(issues: i64) -> Vec<String> {
    let of = |object_type: ObjectType| (1..=issues).map(move |id| uuid(object_type, id));
    let mut ids: Vec<String> = of(GithubIssue).chain(of(Item)).collect();
    ids.sort();
    ids
}

/// Checks that Weaviate has exactly the objects of issues and items 1 to `issues`, with their current status.
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

/// Returns the numbers of created, updated and unchanged objects in the JSON of a run.
#[track_caller]
fn counts(run: &Run) -> [u64; 3] {
    let report = run.json();
    ["created", "updated", "unchanged"]
        .map(|name| report["weaviate"][name].as_u64().expect("a count"))
}
