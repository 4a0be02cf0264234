//! A server that fails in the middle, takes nothing, or has lost what it had.

use std::collections::BTreeMap;

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use kit::weaviate::Settings;

use super::{check_complete, closed_issues, counts};
use crate::world::uuid;

#[test]
fn a_server_that_dies_in_the_middle_of_a_run_gets_the_rest_when_it_is_back() {
    let mut world = closed_issues(Settings::default(), 250);
    world.weaviate.stop_after_writing(150);
    world
        .run(&["sync", "--limit", "1000"])
        .exits(75)
        .logs("objects wait in the outboxes");
    let waiting: i64 =
        world.one("SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL");
    assert!(waiting >= 150, "{waiting} wait");
    world.run(&["sync", "--limit", "1000"]).exits(75);
    world.weaviate.start_again();
    world.run(&["sync", "--limit", "1000"]).exits(0);
    check_complete(&world, 250);
    assert_eq!(
        world.weaviate.writes(),
        500,
        "also those whose answer was lost are written once"
    );
    let waiting: i64 =
        world.one("SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL");
    assert_eq!(waiting, 0);
}

/// Until 1.35 the server calls all but the first object of such a batch written.
#[test]
fn what_a_read_only_server_only_says_it_has_written_is_written_later() {
    let world = closed_issues(Settings::default(), 30);
    world.weaviate.set_read_only(true);
    world
        .run(&["sync", "--limit", "1000"])
        .exits(75)
        .logs("store is read-only");
    assert!(world.weaviate.objects().is_empty());
    world.run(&["sync", "--limit", "1000"]).exits(75);
    world.weaviate.set_read_only(false);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    check_complete(&world, 30);
}

#[test]
fn an_index_that_was_lost_comes_back_over_several_runs_with_the_same_texts() {
    let world = closed_issues(Settings::default(), 250);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    world.weaviate.lose_everything();
    world.weaviate.clear_log();
    world
        .run(&["sync", "--recheck-now", "--limit", "100"])
        .exits(0)
        .prints("Weaviate: 200 created");
    assert_eq!(
        world.run(&["status", "--output", "json"]).exits(0).json()["to_recheck"],
        150
    );
    // The second of the following runs loses its server, which loses nothing.
    world.weaviate.stop_after_writing(100);
    world.run(&["sync", "--limit", "100"]).exits(75);
    world.weaviate.start_again();
    world.run(&["sync", "--limit", "300"]).exits(0);
    assert_eq!(world.weaviate.objects(), before);
    assert_eq!(world.weaviate.writes(), 500, "none of them twice");
}

#[test]
fn of_a_restored_index_only_what_is_missing_or_has_another_status_is_written() {
    let world = closed_issues(Settings::default(), 100);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    // As of a backup: some objects were not there yet, some had another status, and one has no mapping any more.
    for id in 1..=10 {
        world.weaviate.delete_object(&uuid(GithubIssue, id));
    }
    for id in 11..=15 {
        world
            .weaviate
            .put_object(&uuid(Item, id), serde_json::json!({ "status": "Working" }));
    }
    let gone = uuid(GithubIssue, 999);
    world
        .weaviate
        .put_object(&gone, serde_json::json!({ "status": "open" }));
    world.weaviate.clear_log();
    let run = world
        .run(&[
            "sync",
            "--recheck-now",
            "--limit",
            "1000",
            "--output",
            "json",
        ])
        .exits(0);
    assert_eq!(counts(&run), [10, 5, 185]);
    assert_eq!(world.weaviate.writes(), 15);
    let mut expected: BTreeMap<_, _> = before;
    expected.insert(
        gone.clone(),
        world.weaviate.object(&gone).expect("left alone"),
    );
    assert_eq!(world.weaviate.objects(), expected);
}

#[test]
fn a_run_that_is_killed_while_it_brings_an_index_back_leaves_nothing_out() {
    let mut world = closed_issues(Settings::default(), 250);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    world.weaviate.lose_everything();
    world.github.settings().latency = std::time::Duration::from_millis(100);
    let mut run = world
        .command(&["sync", "--recheck-now", "--limit", "1000"])
        .spawn()
        .expect("the program starts");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while world.weaviate.objects().is_empty() {
        assert!(std::time::Instant::now() < deadline, "nothing was written");
        std::thread::yield_now();
    }
    run.kill().expect("the run is killed");
    run.wait().expect("the run has ended");
    world.github.settings().latency = std::time::Duration::ZERO;
    assert!(
        world.weaviate.objects().len() < before.len(),
        "it was killed in the middle"
    );
    // Its claims expire; what it held is looked at one by one.
    world.execute("UPDATE core_externalissuemapping SET worker_claimed_until = now() - interval '1 second' WHERE worker_claim IS NOT NULL");
    world.run(&["sync", "--limit", "1000"]).exits(0);
    assert_eq!(world.weaviate.objects(), before);
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NOT NULL"
        ),
        0
    );
}
