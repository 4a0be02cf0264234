//! Objects that Agira's own client wrote, in a class that it created.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use serde_json::{Value, json};

use super::counts;
use crate::fixtures::CLOSED_AT;
use crate::harness::{Linked, World, uuid};

/// Returns an issue's object as Agira writes it: with the item's title and text, and without a parent.
fn agiras_issue(linked: &Linked) -> Value {
    json!({
        "type": "github_issue", "object_id": linked.mapping.to_string(), "project_id": "1", "title": "An item",
        "text": "State: open\n\nWhat the item says", "status": "open",
        "url": format!("https://github.com/acme/shop/issues/{}", linked.mapping), "source_system": "github",
        "external_key": format!("acme/shop#{}", linked.mapping), "created_at": "2026-01-25T10:08:59.748469+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
    })
}

fn agiras_item(linked: &Linked) -> Value {
    json!({
        "type": "item", "object_id": linked.item.to_string(), "project_id": "1", "title": "An item",
        "text": "Status: Working\n\nWhat the item says", "status": "Working", "url": format!("/items/{}/", linked.item),
        "source_system": "agira", "created_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
    })
}

/// Creates open issues with the objects that Agira wrote for them, and some other objects.
fn agiras(issues: i32) -> (World, Vec<Linked>) {
    let mut world = World::new();
    let all: Vec<Linked> = (1..=issues)
        .map(|number| world.issue(&format!("acme/shop#{number}"), "Working"))
        .collect();
    for linked in &all {
        world
            .weaviate
            .put_object_as_agira(&uuid(GithubIssue, linked.mapping), &agiras_issue(linked));
        world
            .weaviate
            .put_object_as_agira(&uuid(Item, linked.item), &agiras_item(linked));
    }
    for (id, object_type) in [
        ("6fa459ea-ee8a-5ca4-894e-db77e160355e", "comment"),
        (&*uuid(GithubIssue, 999), "github_issue"),
    ] {
        let other = json!({ "type": object_type, "object_id": "999", "title": "Not ours", "text": "t", "size_bytes": 7 });
        world.weaviate.put_object_as_agira(id, &other);
    }
    (world, all)
}

#[test]
fn an_object_with_the_same_status_is_not_written_even_if_other_fields_differ() {
    let (world, _) = agiras(3);
    let before = world.weaviate.objects();
    assert_eq!(before.len(), 8);
    assert_eq!(
        counts(&world.run(&["sync", "--output", "json"]).exits(0)),
        [0, 0, 6]
    );
    assert_eq!(
        (world.weaviate.writes(), world.weaviate.objects()),
        (0, before)
    );
}

#[test]
fn only_objects_with_a_changed_status_are_written() {
    let (world, all) = agiras(3);
    world.sync();
    let mut expected = world.weaviate.objects();
    world.github.close("acme/shop#2", CLOSED_AT);
    world.weaviate.clear_log();
    assert_eq!(
        counts(
            &world
                .run(&["sync", "--recheck-now", "--output", "json"])
                .exits(0)
        ),
        [0, 2, 4]
    );
    assert_eq!(world.weaviate.writes(), 2);
    let now = world.weaviate.objects();
    for id in [uuid(GithubIssue, all[1].mapping), uuid(Item, all[1].item)] {
        assert_ne!(now[&id], expected[&id]);
        expected.insert(id.clone(), now[&id].clone());
    }
    assert_eq!(now, expected);
    let issue = world.properties(GithubIssue, all[1].mapping);
    assert_eq!(
        (&issue["title"], &issue["status"]),
        (&json!("Issue acme/shop#2"), &json!("closed"))
    );
}

/// Agira composes an issue's object from the item. With the flag, such an object is replaced once, however often its
/// mapping is checked.
#[test]
fn replace_foreign_rewrites_the_issues_that_agira_wrote_once() {
    let (mut world, all) = agiras(3);
    world.sync();
    let before = world.weaviate.objects();
    // A dry run shows the rechecks that are due.
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = now()");
    let dry_run = |expected: &str| {
        world
            .run(&["sync", "--dry-run", "--replace-foreign"])
            .exits(0)
            .prints(expected)
    };
    let run = |args: &[&str]| {
        world
            .run(&[&["sync", "--recheck-now", "--replace-foreign"], args].concat())
            .exits(0)
    };
    let counted = |args: &[&str]| counts(&run(&[args, &["--output", "json"]].concat()));
    let preview = dry_run("3 mappings would change: ");
    let replaced = |line: &&str| line.contains("instead of what Agira wrote");
    assert_eq!(preview.stdout.lines().filter(replaced).count(), 3);
    assert_eq!(world.weaviate.objects(), before);
    world.weaviate.clear_log();
    assert_eq!(counted(&[]), [0, 3, 3]);
    assert_eq!(world.weaviate.writes(), 3);
    let mut expected = before;
    for linked in &all {
        let issue = world.properties(GithubIssue, linked.mapping);
        assert_eq!(
            issue["title"],
            format!("Issue acme/shop#{}", linked.mapping)
        );
        assert_eq!(issue["parent_object_id"], linked.item.to_string());
        let id = uuid(GithubIssue, linked.mapping);
        expected.insert(id.clone(), world.weaviate.object(&id).expect("an object"));
    }
    assert_eq!(
        world.weaviate.objects(),
        expected,
        "items, and what has no mapping, stay"
    );
    world.weaviate.clear_log();
    let named: Vec<String> = (all.iter().map(|linked| linked.mapping))
        .map(|mapping| format!("--mapping={mapping}"))
        .collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    world
        .run(&[&["sync", "--dry-run", "--replace-foreign"], &named[..]].concat())
        .exits(0)
        .prints("3 mappings would not change. ");
    assert_eq!((counted(&[]), world.weaviate.writes()), ([0, 0, 6], 0));
}

#[test]
fn replace_foreign_waits_for_the_next_fetch_of_each_mapping() {
    let (world, all) = agiras(3);
    world.sync();
    world.weaviate.clear_log();
    world.run(&["sync", "--replace-foreign"]).exits(0);
    assert_eq!(world.weaviate.writes(), 0);
    let mapping = all[1].mapping.to_string();
    world
        .run(&["sync", "--replace-foreign", "--mapping", &mapping])
        .exits(0)
        .prints("1 object written");
    let rewritten =
        |linked: &Linked| world.properties(GithubIssue, linked.mapping)["title"] != "An item";
    assert_eq!(
        all.iter().map(rewritten).collect::<Vec<_>>(),
        [false, true, false]
    );
}
