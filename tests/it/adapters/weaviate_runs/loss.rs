//! A server that fails during a run, rejects writes, or lost its data.

use std::collections::BTreeMap;

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use kit::weaviate::Settings;

use super::{check_complete, counts};
use crate::fixtures::closed_issues;
use crate::harness::uuid;

#[test]
fn a_server_that_dies_during_a_run_gets_the_rest_after_its_restart() {
    let mut world = closed_issues(Settings::default(), 250);
    world.weaviate.stop_after_writing(150);
    world
        .run(&["sync", "--limit", "1000"])
        .exits(75)
        .logs("objects have to wait");
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

/// Up to 1.35, the server reports all but the first object of such a batch as written.
#[test]
fn objects_that_a_read_only_server_wrongly_acknowledged_are_written_later() {
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
fn a_lost_index_is_restored_over_several_runs_with_the_same_texts() {
    let world = closed_issues(Settings::default(), 250);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    world.weaviate.lose_everything();
    world.weaviate.clear_log();
    world
        .run(&["sync", "--recheck-now", "--limit", "100"])
        .exits(0)
        .prints("200 objects written");
    assert_eq!(
        world.run(&["status", "--output", "json"]).exits(0).json()["to_recheck"],
        150
    );
    // The server restarts during the second of the next runs and keeps its data.
    world.weaviate.stop_after_writing(100);
    world.run(&["sync", "--limit", "100"]).exits(75);
    world.weaviate.start_again();
    world.run(&["sync", "--limit", "300"]).exits(0);
    assert_eq!(world.weaviate.objects(), before);
    assert_eq!(world.weaviate.writes(), 500, "none of them twice");
}

#[test]
fn a_restored_backup_of_the_index_gets_only_missing_and_stale_objects() {
    let world = closed_issues(Settings::default(), 100);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    // The state of a backup: some objects are missing, some have another status, and one no longer has a mapping.
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
fn a_run_that_is_killed_while_it_restores_an_index_omits_nothing() {
    let mut world = closed_issues(Settings::default(), 250);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    world.weaviate.lose_everything();
    world.github.settings().latency = std::time::Duration::from_millis(100);
    let mut run = world
        .command(&["sync", "--recheck-now", "--limit", "1000"])
        .spawn()
        .expect("the program starts");
    kit::wait::until("a first object", kit::wait::SOON, || {
        !world.weaviate.objects().is_empty()
    });
    run.kill().expect("the run is killed");
    run.wait().expect("the run has ended");
    world.github.settings().latency = std::time::Duration::ZERO;
    assert!(
        world.weaviate.objects().len() < before.len(),
        "it was killed in the middle"
    );
    // Its claims expire, and later runs check its mappings one by one.
    world.expire_claims();
    world.run(&["sync", "--limit", "1000"]).exits(0);
    assert_eq!(world.weaviate.objects(), before);
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NOT NULL"
        ),
        0
    );
}
