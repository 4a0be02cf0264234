//! Rows that a person has locked.

use std::time::{Duration, Instant};

use crate::harness::World;

/// A person at psql has locked one of three mappings in an open transaction. The run skips it and does not wait.
#[test]
fn recheck_now_skips_a_locked_row() {
    let mut world = World::new();
    for number in 1..=3 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    let recheck_at = "SELECT worker_recheck_at FROM core_externalissuemapping WHERE id = 2";
    let before: chrono::DateTime<chrono::Utc> = world.one(recheck_at);
    let mut person = world.database.client();
    for lock in ["FOR UPDATE", "FOR NO KEY UPDATE"] {
        let mut transaction = person.transaction().unwrap();
        transaction
            .execute(
                &format!("SELECT FROM core_externalissuemapping WHERE id = 2 {lock}"),
                &[],
            )
            .unwrap();
        let run = world
            .run(&["sync", "--recheck-now"])
            .exits(0)
            .logs("1 more keep their recheck times");
        transaction.rollback().unwrap();
        run.logs("2 waiting mappings will be rechecked now")
            .prints("2 mappings unchanged");
        assert_eq!(
            world.one::<chrono::DateTime<chrono::Utc>>(recheck_at),
            before
        );
    }
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("3 mappings unchanged");
}

/// L1 and L2: a session of Agira hangs after it has updated 30 items, which are the limit of a run.
#[test]
fn items_that_a_session_holds_neither_use_up_the_time_nor_take_the_places_of_others() {
    let mut world = World::new();
    for number in 1..=40 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = now() - interval '1 hour' WHERE id <= 30;
         UPDATE core_externalissuemapping SET worker_due_at = now() WHERE id > 30",
    );
    let mut agira = world.database.client();
    let mut transaction = agira.transaction().unwrap();
    let held = "UPDATE core_item SET title = title WHERE id IN
        (SELECT item_id FROM core_externalissuemapping WHERE id <= 30)";
    assert_eq!(transaction.execute(held, &[]).unwrap(), 30);
    let moved = "SELECT count(*) FROM core_item WHERE status = 'Testing'";
    let started = Instant::now();
    let limited = ["sync", "--limit", "30"];
    world
        .run(&limited)
        .exits(0)
        .prints("30 left to a later run");
    assert!(started.elapsed() < Duration::from_secs(40), "one wait");
    world.run(&limited).exits(0);
    assert_eq!(world.one::<i64>(moved), 10);
    transaction.rollback().unwrap();
    let touched = "SELECT count(*) FROM core_externalissuemapping
        WHERE worker_claim IS NOT NULL OR worker_attempts > 0 OR worker_error IS NOT NULL";
    assert_eq!(world.one::<i64>(touched), 0);
    world.sync();
    assert_eq!(world.one::<i64>(moved), 40);
}

/// The two that failed longest ago are tried first, and are put behind the others.
#[test]
fn retry_failed_reaches_what_it_has_not_tried_beside_items_that_a_session_holds() {
    let mut world = World::new();
    for number in 1..=4 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'old', worker_attempts = 10, worker_due_at = NULL,
            worker_error_at = now() - interval '3 days' + id * interval '1 hour'",
    );
    let mut agira = world.database.client();
    let mut transaction = agira.transaction().unwrap();
    let held = "UPDATE core_item SET title = title WHERE id IN
        (SELECT item_id FROM core_externalissuemapping WHERE id <= 2)";
    assert_eq!(transaction.execute(held, &[]).unwrap(), 2);
    let moved = "SELECT coalesce(sum(m.id), 0) FROM core_item i JOIN core_externalissuemapping m ON m.item_id = i.id
        WHERE i.status = 'Testing'";
    let limited = ["retry-failed", "--limit", "2"];
    world.run(&limited).exits(0).prints("2 left to a later run");
    world.run(&limited).exits(0).prints("2 items moved");
    transaction.rollback().unwrap();
    assert_eq!(
        world.one::<i64>(&format!("SELECT ({moved})::bigint")),
        3 + 4
    );
    world.run(&limited).exits(0).prints("2 items moved");
}
