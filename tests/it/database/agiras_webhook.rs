//! Agira's own pull request webhook beside the worker, before and after it (examples/README.md, "Living beside Agira").

use agira_worker::core::agira_object::ObjectType::{GithubPr, Item};
use kit::agira;
use serde_json::json;

use crate::fixtures::seconds_from_now;
use crate::harness::{Linked, Run, World, uuid};

const ISSUE: &str = "acme/shop#12";
const PULL_REQUEST: &str = "acme/shop#13";

/// Returns a world in which a pull request was merged and closed its issue since the last run, and the row of the pull
/// request.
fn merged() -> (World, Linked, i64) {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.closing_pull_request(ISSUE, PULL_REQUEST);
    world.sync().prints("1 pull request linked");
    let row = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    world.github.merge(PULL_REQUEST, &seconds_from_now(10));
    (world, linked, row)
}

/// Handles the merge as Agira's webhook does. Its saves write the objects of the pull request and of the item.
fn webhook(world: &mut World, linked: &Linked, row: i64) {
    agira::webhook_merges(&mut world.client, row);
    let status = world.item_status(linked.item);
    let objects = [
        (
            uuid(GithubPr, row),
            json!({
                "type": "github_pr", "object_id": row.to_string(), "project_id": "1", "title": "An item",
                "text": "State: merged\n\nWhat the webhook was told", "status": "merged",
                "url": "https://github.com/acme/shop/pull/13", "source_system": "github", "external_key": PULL_REQUEST,
                "created_at": "2026-01-25T10:08:59.748469+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
            }),
        ),
        (
            uuid(Item, linked.item),
            json!({
                "type": "item", "object_id": linked.item.to_string(), "project_id": "1", "title": "An item",
                "text": format!("Status: {status}\n\nWhat the item says"), "status": status,
                "url": format!("/items/{}/", linked.item), "source_system": "agira",
                "created_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
            }),
        ),
    ];
    for (id, properties) in objects {
        world.weaviate.put_object_as_agira(&id, &properties);
    }
}

fn run(world: &World, args: &[&str], replaces: bool) -> Run {
    let mut command = world.command(args);
    command.env("AGIRA_WORKER_REPLACE_FOREIGN", replaces.to_string());
    Run::of(&mut command).exits(0)
}

#[test]
fn item_and_rows_end_the_same_in_both_orders_and_replace_foreign_restores_the_objects() {
    for (is_first, replaces) in [(true, false), (true, true), (false, false), (false, true)] {
        let (mut world, linked, row) = merged();
        if is_first {
            webhook(&mut world, &linked, row);
            run(&world, &["sync"], replaces);
        } else {
            run(&world, &["sync"], replaces);
            webhook(&mut world, &linked, row);
        }
        run(&world, &["sync", "--recheck-now"], replaces);
        assert_eq!(world.item_status(linked.item), "Testing");
        assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
        let mut moves = agira::activities(&mut world.client, linked.item);
        moves.sort();
        let moves: Vec<&str> = moves.iter().map(|(_, summary)| summary.as_str()).collect();
        assert_eq!(
            moves,
            [
                "GitHub issue #12 changed from open to closed",
                "GitHub PR #13 changed from open to merged",
                "Status: Working → Testing"
            ],
            "webhook first: {is_first}"
        );
        let stored = "SELECT state || ' ' || (merged_at IS NOT NULL) || ' ' || (pr_body <> '') FROM core_externalissuemapping
            WHERE kind = 'PR'";
        assert_eq!(world.one::<String>(stored), "merged true true");
        // Agira's object has the item's title and no parent.
        let object = world.properties(GithubPr, row);
        let ours = (
            object["title"] != "An item",
            object["parent_object_id"].is_string(),
        );
        assert_eq!(
            ours,
            (replaces, replaces),
            "webhook first: {is_first}: {object}"
        );
        assert_eq!(object["status"], "merged");
        let writes = world.weaviate.writes();
        run(&world, &["sync", "--recheck-now"], replaces);
        assert_eq!(world.weaviate.writes(), writes, "nothing is written twice");
    }
}

/// Agira's epics, and items with several issues, are items like any other.
#[test]
fn the_first_closing_of_two_issues_moves_their_item() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let other = world.github.issue("acme/shop#14", |_| {});
    agira::issue(
        &mut world.client,
        linked.item,
        other,
        "acme/shop",
        14,
        "open",
    );
    world.sync();
    world.github.close(ISSUE, &seconds_from_now(10));
    world.sync().prints("1 item moved");
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn an_item_that_moves_to_another_project_keeps_the_old_one_in_weaviate_until_its_status_changes() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.sync();
    world.github.issue("acme/other#1", |_| {});
    let project = world.project("acme/other");
    world.execute(&format!(
        "UPDATE core_item SET project_id = {project} WHERE id = {}",
        linked.item
    ));
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(world.properties(Item, linked.item)["project_id"], "1");
    world.github.close(ISSUE, &seconds_from_now(10));
    world.sync().prints("1 item moved");
    assert_eq!(
        world.properties(Item, linked.item)["project_id"],
        project.to_string()
    );
}
