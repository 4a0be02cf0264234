//! `push-weaviate` writes objects to Weaviate and changes nothing else.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::World;

/// Returns five closed issues that were never checked, each with a pull request.
fn unfetched() -> World {
    let mut world = World::new();
    for number in 1..=5 {
        let (key, pull_request) = (
            format!("acme/shop#{number}"),
            format!("acme/shop#{}", number + 10),
        );
        world.issue(&key, "Working");
        world.closing_pull_request(&key, &pull_request);
        world.github.close(&key, CLOSED_AT);
    }
    world
}

/// Returns all mapping rows, without the columns that the command may write.
fn rows(world: &mut World) -> Value {
    world.one(
        "SELECT json_agg(to_jsonb(m) - 'worker_outbox' - 'worker_delivery_at' - 'worker_pushed_at' ORDER BY id)
         FROM core_externalissuemapping m",
    )
}

#[test]
fn it_creates_missing_objects_and_changes_nothing_else() {
    let mut world = unfetched();
    let (rows_before, mut before) = (rows(&mut world), world.database.dump("worker_"));
    world
        .run(&["push-weaviate"])
        .exits(0)
        .prints("10 objects written");
    assert_eq!(rows(&mut world), rows_before);
    let mut after = world.database.dump("worker_");
    for dump in [&mut before, &mut after] {
        dump.remove("core_externalissuemapping"); // its rows have another xmin
    }
    assert_eq!(after, before);
    assert_eq!(world.properties(GithubIssue, 1)["status"], "closed");
    assert_eq!(
        world.properties(Item, 1)["status"],
        "Working",
        "the item is not moved, so neither is its object"
    );
}

#[test]
fn a_second_run_sends_no_request() {
    let world = unfetched();
    world.run(&["push-weaviate"]).exits(0);
    world.github.clear_log();
    world.weaviate.clear_log();
    world
        .run(&["push-weaviate"])
        .exits(0)
        .prints("Nothing to do");
    assert_eq!(
        (
            world.github.requests().len(),
            world.weaviate.requests().len()
        ),
        (0, 0)
    );
}

#[test]
fn sync_does_the_rest_afterwards() {
    let mut world = unfetched();
    world.run(&["push-weaviate"]).exits(0);
    world
        .sync()
        .prints("5 items moved, 5 pull requests linked, 10 objects written");
    assert_eq!(world.item_status(1), "Testing");
    assert_eq!(world.properties(Item, 1)["status"], "Testing");
}

#[test]
fn the_limit_counts_outboxes_and_mappings_together() {
    let mut world = unfetched();
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "2"]).exits(75);
    world.weaviate.settings().down = false;
    // Two issues and their two pull requests wait.
    let waiting = "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL";
    assert_eq!(world.one::<i64>(waiting), 4);
    let run = world
        .run(&["push-weaviate", "--limit", "3", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!((world.one::<i64>(waiting), &run["claimed"]), (1, &json!(0)));
    let run = world
        .run(&["push-weaviate", "--limit", "3", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!((world.one::<i64>(waiting), &run["claimed"]), (0, &json!(2)));
}

#[test]
fn a_named_mapping_is_pushed_again_after_its_object_was_lost() {
    let mut world = unfetched();
    world.sync();
    world
        .weaviate
        .delete_object(&crate::harness::uuid(GithubIssue, 3));
    let before = rows(&mut world);
    world
        .run(&["push-weaviate", "--mapping", "3"])
        .exits(0)
        .prints(": 1 object written. ");
    assert_eq!(rows(&mut world), before);
}

#[test]
fn outboxes_of_parked_mappings_are_delivered_and_the_mappings_stay_parked() {
    let mut world = unfetched();
    world.weaviate.settings().down = true;
    world.run(&["sync"]).exits(75);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = NULL, worker_error = 'it broke',
            worker_error_at = now(), worker_attempts = 10 WHERE id = 2",
    );
    let before = rows(&mut world);
    world.weaviate.settings().down = false;
    world.run(&["push-weaviate"]).exits(0);
    assert_eq!(rows(&mut world), before);
    assert_eq!(world.properties(GithubIssue, 2)["status"], "closed");
}

#[test]
fn a_stale_object_is_dropped_and_its_mapping_is_marked() {
    let mut world = unfetched();
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "1"]).exits(75);
    // Django's webhook was faster: the state of the row differs from the status in the outbox.
    world.execute("UPDATE core_externalissuemapping SET state = 'open' WHERE id = 1");
    world.weaviate.settings().down = false;
    world
        .run(&["push-weaviate", "--mapping", "1", "--limit", "1"])
        .exits(0)
        .logs("its outbox is stale; it is planned again");
    assert_eq!(world.properties(GithubIssue, 1), Value::Null);
    assert!(world.one::<bool>(
        "SELECT worker_due_at <= now() AND worker_pushed_at IS NULL FROM core_externalissuemapping WHERE id = 1"
    ));
    world.sync();
    assert_eq!(world.properties(GithubIssue, 1)["status"], "closed");
}

#[test]
fn a_mapping_that_github_does_not_show_is_left_to_sync() {
    let mut world = unfetched();
    world.github.delete("acme/shop#2");
    let before = rows(&mut world);
    world
        .run(&["push-weaviate"])
        .exits(3)
        .logs("acme/shop#2: failed: acme/shop#2 was deleted on GitHub");
    assert_eq!(rows(&mut world), before);
}

#[test]
fn a_rejected_object_waits_and_stops_no_other() {
    let mut world = unfetched();
    world.weaviate.reject_object(
        &crate::harness::uuid(GithubIssue, 2),
        "no space for this one",
    );
    let run = world.run(&["push-weaviate", "--output", "json"]).exits(3);
    let report = run.json();
    assert_eq!(
        [
            &report["failed"],
            &report["synced"],
            &report["weaviate"]["failed"]
        ],
        [0, 5, 1]
    );
    run.logs("mapping=2 item=2 acme/shop#2: Weaviate rejects github_issue:2: no space for this one; next delivery at");
    assert_eq!(world.weaviate.objects().len(), 9);
    let errors =
        "SELECT concat_ws('|', worker_error, worker_delivery_error, worker_delivery_attempts)
         FROM core_externalissuemapping WHERE id = 2";
    assert_eq!(
        world.one::<String>(errors),
        "Weaviate rejects github_issue:2: no space for this one|1"
    );
    world.github.clear_log();
    let report = world.run(&["push-weaviate", "--output", "json"]).exits(0);
    assert_eq!(
        report.json()["claimed"],
        0,
        "it waits for its next delivery"
    );
}
