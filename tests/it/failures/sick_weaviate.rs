//! A Weaviate that fails in parts: single objects, single batches, single reasons. Nothing of it stops, starves or
//! hides the rest (design.md, "Failure model").

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use serde_json::{Value, json};

use crate::fixtures::{closed_issues, seconds_from_now};
use crate::harness::{Run, World, uuid};

const DELIVERY: &str = "SELECT concat_ws('|', worker_delivery_attempts, worker_delivery_error,
    worker_outbox IS NOT NULL, extract(epoch FROM worker_delivery_at - now())::int / 30 * 30)
    FROM core_externalissuemapping WHERE id = 1";

/// Moves all times that a mapping waits for into the past.
fn pass_backoffs(world: &mut World) {
    world.execute(
        "UPDATE core_externalissuemapping SET worker_delivery_at = now() - interval '1 second'
         WHERE worker_delivery_at IS NOT NULL",
    );
}

/// Returns the number of items in this status.
fn items(world: &mut World, status: &str) -> i64 {
    world.one(&format!(
        "SELECT count(*) FROM core_item WHERE status = '{status}'"
    ))
}

fn json_of(world: &World, args: &[&str], code: i32) -> Value {
    let args = [args, &["--output", "json"]].concat();
    world.run(&args).exits(code).json()
}

/// Fault 14: a rejected object delayed the look at its mapping, so that a closing waited for hours.
#[test]
fn a_rejected_object_delays_no_look_at_github() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    let id = uuid(GithubIssue, linked.mapping);
    world.weaviate.reject_object(&id, "the text is too odd");
    let report = json_of(&world, &["sync"], 3);
    let entry = &report["mappings"][0];
    assert_eq!(
        (&entry["outcome"], &entry["error"], &entry["delivery_error"]),
        (
            &json!("synced"),
            &Value::Null,
            &json!("Weaviate rejects github_issue:1: the text is too odd")
        )
    );
    assert_eq!([&report["failed"], &report["weaviate"]["failed"]], [0, 1]);
    let looks = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NULL AND worker_attempts = 0
        AND worker_due_at IS NULL AND worker_recheck_at > now()";
    assert_eq!(world.one::<i64>(looks), 2);
    world.github.close("acme/shop#1", &seconds_from_now(30));
    world.github.settings().clock_ahead = 60;
    world.run(&["sync"]).exits(3);
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
}

#[test]
fn a_rejected_object_is_tried_again_with_backoff_and_heals_by_itself() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let id = uuid(GithubIssue, 1);
    world.weaviate.reject_object(&id, "not this one");
    world.run(&["sync"]).exits(3);
    let words = "Weaviate rejects github_issue:1: not this one";
    for attempt in 1..=3 {
        let [delivery, writes] = [world.one::<String>(DELIVERY), writes(&world).to_string()];
        assert!(
            delivery.starts_with(&format!("{attempt}|{words}|t|")),
            "{delivery}"
        );
        // Until the backoff ends, nothing is sent, and nothing has failed.
        world.sync();
        assert_eq!(writes, self::writes(&world).to_string());
        pass_backoffs(&mut world);
        world.run(&["sync"]).exits(3).logs(words);
    }
    world.execute("UPDATE core_externalissuemapping SET worker_delivery_attempts = 40");
    pass_backoffs(&mut world);
    world.run(&["sync"]).exits(3);
    let hours: i32 = world.one(
        "SELECT (extract(epoch FROM worker_delivery_at - now()) / 3600)::int FROM core_externalissuemapping",
    );
    assert!((17..=31).contains(&hours), "{hours} h");
    world.weaviate.allow_object(&id);
    pass_backoffs(&mut world);
    world.sync();
    assert_eq!(world.one::<String>(DELIVERY), "0|f");
    assert_eq!(world.properties(GithubIssue, 1)["status"], "open");
}

/// Returns the number of batches that Weaviate received.
fn writes(world: &World) -> usize {
    let requests = world.weaviate.requests();
    requests
        .iter()
        .filter(|one| one.request.path == "/v1/batch/objects")
        .count()
}

#[test]
fn a_new_plan_replaces_a_rejected_object_and_starts_anew() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.weaviate.reject_object(&uuid(GithubIssue, 1), "no");
    world.run(&["sync"]).exits(3);
    world.execute("UPDATE core_externalissuemapping SET worker_delivery_attempts = 7");
    world.github.close("acme/shop#1", &seconds_from_now(30));
    world.github.settings().clock_ahead = 60;
    world.run(&["sync"]).exits(3);
    let delivery: String = world.one(DELIVERY);
    assert!(delivery.starts_with("1|"), "{delivery}");
}

#[test]
fn retry_failed_and_a_named_sync_deliver_a_rejected_object_at_once() {
    for args in [&["retry-failed"][..], &["sync", "--mapping", "1"]] {
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        world.weaviate.reject_object(&uuid(GithubIssue, 1), "no");
        world.run(&["sync"]).exits(3);
        world.weaviate.allow_object(&uuid(GithubIssue, 1));
        world.run(args).exits(0);
        assert_eq!(world.one::<String>(DELIVERY), "0|f", "{args:?}");
    }
}

#[test]
fn status_and_metrics_show_what_weaviate_rejects() {
    let mut world = closed_issues(Default::default(), 3);
    world.weaviate.reject_object(&uuid(GithubIssue, 2), "no");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    world.run(&["sync", "--metrics-file", path]).exits(3);
    let metrics = std::fs::read_to_string(path).unwrap();
    assert!(
        metrics.contains("agira_worker_rejected_mappings{command=\"sync\"} 1"),
        "{metrics}"
    );
    let status = json_of(&world, &["status"], 0);
    assert_eq!(status["weaviate"], json!({ "pending": 1, "rejected": 1 }));
    let rejected = &status["rejected_deliveries"][0];
    assert_eq!(
        [
            &rejected["mapping_id"],
            &rejected["attempts"],
            &rejected["number"]
        ],
        [2, 1, 2]
    );
    assert_eq!(rejected["error"], "Weaviate rejects github_issue:2: no");
    assert_eq!(status["failures"], json!([]));
    for args in [&["status"][..], &["status", "--failed"]] {
        world
            .run(args)
            .exits(0)
            .prints("rejected by Weaviate: 1")
            .prints("  mapping 2 (item 2, issue acme/shop#2): attempt 1, next delivery ");
    }
    let run: Run = world.run(&["status", "--mapping", "2"]).exits(0);
    run.prints("its delivery failed (attempt 1), the next one is at ")
        .prints("to try again now: agira-worker retry-failed --mapping 2");
    assert_eq!(items(&mut world, "Testing"), 3);
}

/// L4: rejected objects take no place from healthy ones, not even with a limit that is smaller than their number.
#[test]
fn healthy_outboxes_are_delivered_in_the_next_run_although_many_are_poisoned() {
    let mut world = closed_issues(Default::default(), 60);
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "100"]).exits(75);
    world.weaviate.settings().down = false;
    for mapping in 1..=30 {
        world
            .weaviate
            .reject_object(&uuid(GithubIssue, mapping), "the text is too odd");
        world
            .weaviate
            .reject_object(&uuid(Item, mapping), "the text is too odd");
    }
    let report = json_of(&world, &["sync", "--limit", "10"], 3);
    assert_eq!(report["weaviate"]["created"], 60);
    let waiting = "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL AND id > 30";
    assert_eq!(world.one::<i64>(waiting), 0);
    let status = json_of(&world, &["status"], 0);
    assert_eq!(status["weaviate"], json!({ "pending": 30, "rejected": 30 }));
}
