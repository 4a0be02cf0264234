//! Output for people, at 80 and at 200 columns. `tests/it/commands/screens` has the expected texts. With
//! `UPDATE_EXPECT=1` in the environment, these tests write the files again.

use std::path::Path;

use agira_worker::core::agira_object::ObjectType::GithubIssue;
use expect_test::expect_file;
use kit::github::Closer;

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World, uuid};

/// Compares stdout with the files of both widths.
#[track_caller]
fn check(world: &World, name: &str, args: &[&str], code: i32) {
    for columns in ["80", "200"] {
        check_at(world, columns, name, args, code);
    }
}

fn check_at(world: &World, columns: &str, name: &str, args: &[&str], code: i32) {
    let run = Run::of(world.command(args).env("COLUMNS", columns)).exits(code);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/it/commands/screens/{name}.{columns}.txt"));
    let took = regex::Regex::new(r"\d+\.\d s").unwrap();
    let told = took.replace(&run.stdout, "0.1 s");
    // A backoff has a part that is drawn by lot.
    let next = regex::Regex::new(r"in\s+\d+\s+(s|min)").unwrap();
    expect_file![path].assert_eq(&next.replace_all(&told, "in 59 s"));
}

/// Returns a world of four issues: 1 was closed by a pull request of another repository, 2 is closed and its item has a
/// protected status, 3 was deleted, and 4 did not change.
fn world_with_changes() -> World {
    let mut world = World::new();
    for (number, status) in [
        (1, "Working"),
        (2, "Testing"),
        (3, "Review"),
        (4, "Backlog"),
    ] {
        world.issue(&format!("acme/shop#{number}"), status);
    }
    world.github.pull_request("acme/backend#7", |_| {});
    let closer = Closer::PullRequest("acme/backend#7".to_owned());
    world
        .github
        .close_by("acme/shop#1", CLOSED_AT, "COMPLETED", closer);
    world.github.close("acme/shop#2", "2026-03-02T10:00:00Z");
    world.github.delete("acme/shop#3");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = '2026-03-03T08:00:00Z';
         UPDATE core_item SET title = 'Cart loses items' WHERE id = 1;
         UPDATE core_item SET title = 'カートが商品を失う。カートが商品を失う。カートが商品を失う。' WHERE id = 2;
         UPDATE core_item SET title = 'Import from the old shop' WHERE id = 3;
         UPDATE core_item SET title = 'A title that is so long that nobody would read it to its end, and so it is cut' WHERE id = 4",
    );
    world
}

#[test]
fn a_dry_run_of_a_batch() {
    check(&world_with_changes(), "dry_run", &["sync", "--dry-run"], 3);
}

#[test]
fn a_dry_run_of_one_mapping() {
    let world = world_with_changes();
    check(
        &world,
        "dry_run_mapping",
        &["sync", "--dry-run", "--mapping", "1"],
        0,
    );
    check(
        &world,
        "dry_run_mapping_deleted",
        &["sync", "--dry-run", "--mapping", "3"],
        3,
    );
}

#[test]
fn a_dry_run_of_what_does_not_move() {
    let mut world = world_with_changes();
    world.run(&["sync"]).exits(3);
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = '2100-01-01T00:00:00Z' WHERE id < 3");
    check(
        &world,
        "dry_run_mapping_unmoved",
        &["sync", "--dry-run", "--mapping", "2"],
        0,
    );
}

#[test]
fn a_sync_and_the_runs_after_it() {
    for columns in ["80", "200"] {
        let mut world = world_with_changes();
        check_at(&world, columns, "sync", &["sync"], 3);
        check_at(&world, columns, "sync_nothing", &["sync"], 0);
        check_at(&world, columns, "retry_failed", &["retry-failed"], 3);
        world.execute("UPDATE core_externalissuemapping SET worker_pushed_at = NULL WHERE id = 1");
        world.weaviate.delete_object(&uuid(GithubIssue, 1));
        check_at(&world, columns, "push_weaviate", &["push-weaviate"], 0);
    }
}

/// Failures have their causes in common: three issues were deleted, two are in a hidden repository, two rows have no
/// address, and Weaviate rejects an object.
#[test]
fn a_sync_with_failures_of_every_kind() {
    for columns in ["80", "200"] {
        let mut world = world_with_changes();
        for number in [5, 6] {
            world.issue(&format!("acme/shop#{number}"), "Working");
            world.github.delete(&format!("acme/shop#{number}"));
            world.issue(&format!("secret/plans#{number}"), "Working");
            world.issue(&format!("acme/shop#{}", number + 10), "Working");
        }
        world.github.hide_repository("secret/plans");
        world.execute(
            "UPDATE core_externalissuemapping SET html_url = 'nonsense' WHERE number > 10",
        );
        world
            .weaviate
            .reject_object(&uuid(GithubIssue, 4), "no space");
        check_at(&world, columns, "sync_failures", &["sync"], 3);
        world.execute("UPDATE core_externalissuemapping SET worker_error_at = '2026-03-03T08:00:00Z' WHERE worker_error IS NOT NULL;
             UPDATE core_externalissuemapping SET worker_delivery_at = '2100-01-01' WHERE worker_delivery_error IS NOT NULL");
        check_at(
            &world,
            columns,
            "status_failures",
            &["status", "--failed"],
            0,
        );
        world.weaviate.settings().down = true;
        world.closed_issue("acme/shop#20");
        check_at(
            &world,
            columns,
            "sync_outage",
            &["sync", "--limit", "1"],
            75,
        );
    }
}

#[test]
fn a_status() {
    let mut world = world_with_changes();
    world.issue("acme/other#5", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_external_updated_at = now() WHERE id < 5;
         UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = '2100-01-01T00:00:00Z' WHERE id = 2;
         UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_attempts = 10, worker_error_at = '2026-03-03T08:00:00Z',
            worker_error = 'acme/shop#3 was deleted on GitHub; delete the mapping, or correct its html_url' WHERE id = 3;
         UPDATE core_externalissuemapping SET worker_due_at = '2100-01-01T00:00:00Z', worker_attempts = 2, worker_outbox = '{}',
            worker_delivery_at = 'epoch', worker_error = 'Weaviate rejects github_issue:4: 壊れた', worker_error_at = '2026-03-03T09:00:00Z' WHERE id = 4;
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since) VALUES
            ('acme/shop', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', '2026-03-03T00:00:00Z', NULL, NULL, NULL),
            ('acme/other', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', NULL, 'acme/other is not to be seen with this token', '2026-03-03T00:00:00Z', '2026-03-02T12:00:00Z');
         INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', '2100-01-01T00:00:00Z', 'too many requests', 1);
         INSERT INTO worker_run (run, command, started_at, finished_at, exit_code, stopped_by, counts) VALUES
            (gen_random_uuid(), 'push-weaviate', '2026-03-03T00:00:00Z', '2026-03-03T00:01:00Z', 0, NULL, '{\"synced\": 12, \"failed\": 0}'),
            (gen_random_uuid(), 'sync', '2026-03-03T01:00:00Z', '2026-03-03T01:01:00Z', 75, 'rate_limit', '{\"synced\": 7, \"failed\": 2}')",
    );
    check(&world, "status", &["status"], 0);
    check(&world, "status_failed", &["status", "--failed"], 0);
    check(
        &world,
        "status_check",
        &["status", "--check", "--max-age", "1h", "--project", "1"],
        4,
    );
}

#[test]
fn a_status_of_one_mapping() {
    let mut world = world_with_changes();
    world.run(&["sync"]).exits(3);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = '2100-01-01T00:00:00Z', worker_checked_at = '2026-03-03T08:00:00Z',
            worker_pushed_at = '2026-03-03T08:00:01Z' WHERE id = 1;
         UPDATE core_externalissuemapping SET worker_error_at = '2026-03-03T08:00:00Z', worker_checked_at = '2026-03-03T08:00:00Z' WHERE id = 3;
         UPDATE core_activity SET created_at = '2026-03-03T08:00:00Z';
         UPDATE worker_run SET finished_at = '2026-03-03T08:01:00Z'; DELETE FROM worker_repository",
    );
    check(&world, "status_mapping", &["status", "--mapping", "1"], 0);
    check(
        &world,
        "status_mapping_parked",
        &["status", "--mapping", "3"],
        0,
    );
}
