//! Repositories whose issues are turned off, and repositories that were taken down, in worlds that are larger than the
//! limit. Their mappings wait, and are looked at again when they can be.

use kit::agira;
use kit::github::Shown;
use serde_json::Value;

use crate::fixtures::{CLOSED_AT, MOVED, rest_is_over, seconds_from_now};
use crate::harness::World;

const WAITING: &str = "SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts = 0 AND worker_error IS NOT NULL
    AND worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at > now() + interval '29 days'";
const PARKED: &str = "SELECT count(*) FROM core_externalissuemapping
    WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at IS NULL";

/// Returns a world with 60 due mappings of `acme/off`, which come first, and 30 of `acme/shop`, all of closed issues.
fn sick_and_healthy() -> World {
    let mut world = World::new();
    let project = world.project("acme/off");
    let item = agira::item(&mut world.client, project, "Working");
    for number in 1..=60 {
        world.github.issue(&format!("acme/off#{number}"), |_| {});
    }
    world.execute(&format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha)
         SELECT -n, n, 'Issue', 'open', 'https://github.com/acme/off/issues/' || n, now(), {item}, '', ''
         FROM generate_series(1, 60) n;
         UPDATE core_externalissuemapping SET worker_due_at = now() - interval '1 hour'"
    ));
    for number in 1..=30 {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        world.github.close(&key, CLOSED_AT);
    }
    world
}

fn sync(world: &mut World, code: i32) -> Value {
    let args = ["sync", "--limit", "20", "--output", "json"];
    world.run(&args).exits(code).json()
}

/// Checks that three runs look at the 30 healthy mappings (L1) and let the 60 others wait.
#[track_caller]
fn check_that_they_wait(world: &mut World) {
    sync(world, 3);
    for _ in 0..2 {
        sync(world, 0);
    }
    assert_eq!(
        [MOVED, WAITING, PARKED].map(|sql| world.one::<i64>(sql)),
        [30, 60, 0]
    );
}

/// Checks that the mappings of `acme/off` wait while it shows only this, that the others go on (L1), and that all comes
/// level once it shows everything (L5).
#[track_caller]
fn check(shown: Shown, words: &str) {
    let mut world = sick_and_healthy();
    world.github.show("acme/off", shown);
    // A poll finds that a repository was taken down, and only a look that issues are turned off.
    check_that_they_wait(&mut world);
    let failures = world.run(&["status", "--output", "json"]).exits(0).json();
    assert!(
        failures["failures"].to_string().contains(words),
        "{failures}"
    );
    // The poll after its rest finds the same, and wakes nobody.
    for _ in 0..2 {
        rest_is_over(&mut world);
        world.github.clear_log();
        let report = sync(&mut world, 3);
        assert_eq!(report["claimed"], 0);
        assert_eq!(world.github.requests().len(), 1);
        assert_eq!(world.one::<i64>(WAITING), 60);
    }
    world.github.show("acme/off", Shown::Everything);
    world.github.close("acme/off#60", &seconds_from_now(0));
    rest_is_over(&mut world);
    for _ in 0..4 {
        sync(&mut world, 0);
    }
    assert_eq!(
        [MOVED, WAITING, PARKED].map(|sql| world.one::<i64>(sql)),
        [31, 0, 0]
    );
}

#[test]
fn the_mappings_of_a_repository_wait_while_its_issues_are_turned_off() {
    check(
        Shown::WithoutIssues,
        "issues are turned off in acme/off: GitHub says: Issues are disabled for this repo",
    );
}

#[test]
fn the_mappings_of_a_repository_wait_while_it_is_taken_down() {
    check(Shown::NameOnly, "Repository access blocked");
}

/// No poll has met the repository so far.
#[test]
fn a_look_that_finds_a_repository_taken_down_sets_its_mappings_aside() {
    let mut world = sick_and_healthy();
    world.github.show("acme/off", Shown::NameOnly);
    world.execute(
        "UPDATE core_project SET github_owner = '', github_repo = '' WHERE github_repo = 'off'",
    );
    check_that_they_wait(&mut world);
    let error: String = world.one("SELECT error FROM worker_repository WHERE name = 'acme/off'");
    assert!(
        error.contains("acme/off was taken down: GitHub says: Repository access blocked"),
        "{error}"
    );
}

/// It may have pull requests only.
#[test]
fn a_repository_without_issues_is_polled_as_usual() {
    let mut world = World::new();
    let github_id = world.github.pull_request("acme/off#1", |_| {});
    let project = world.project("acme/off");
    let item = agira::item(&mut world.client, project, "Working");
    agira::pull_request(&mut world.client, item, github_id, "acme/off", 1, "open");
    world.github.show("acme/off", Shown::WithoutIssues);
    for round in 0..2 {
        world.github.merge("acme/off#1", &seconds_from_now(round));
        let report = world.run(&["sync", "--output", "json"]).exits(0).json();
        assert_eq!(report["claimed"], 1);
    }
    // It could not be read for another reason before.
    world.github.hide_repository("acme/off");
    world.run(&["sync"]).exits(1);
    world.github.show_repository("acme/off");
    rest_is_over(&mut world);
    world.github.merge("acme/off#1", &seconds_from_now(2));
    let report = world.run(&["sync", "--output", "json"]).exits(0).json();
    assert_eq!(report["claimed"], 1);
}

/// The repository that an issue was moved to says nothing about the one that it came from.
#[test]
fn an_issue_that_was_moved_into_a_repository_without_issues_concerns_itself_only() {
    let mut world = sick_and_healthy();
    world.github.transfer("acme/shop#30", "acme/moved#7");
    world.github.show("acme/moved", Shown::WithoutIssues);
    let report = world
        .run(&["sync", "--limit", "100", "--output", "json"])
        .exits(3)
        .json();
    assert_eq!(report["failed"], 1);
    let hidden = "SELECT count(*) FROM worker_repository WHERE error_at IS NOT NULL";
    assert_eq!(world.one::<i64>(hidden), 0);
    assert_eq!([MOVED, PARKED].map(|sql| world.one::<i64>(sql)), [29, 1]);
}

/// Returns a world with a pull request and an issue of `acme/off`, whose issues are turned off afterwards, and with
/// other repositories. A look has found that they are.
fn with_pull_request(others: &[&str]) -> World {
    let mut world = World::new();
    let github_id = world.github.pull_request("acme/off#1", |_| {});
    let project = world.project("acme/off");
    let item = agira::item(&mut world.client, project, "Working");
    agira::pull_request(&mut world.client, item, github_id, "acme/off", 1, "open");
    world.issue("acme/off#2", "Working");
    for name in others {
        world.issue(&format!("{name}#1"), "Working");
    }
    world.sync();
    world.github.show("acme/off", Shown::WithoutIssues);
    world.execute(RECHECK);
    sync(&mut world, 3);
    assert_eq!(world.one::<i64>(WAITING), 1);
    world
}

const RECHECK: &str =
    "UPDATE core_externalissuemapping SET worker_recheck_at = now() WHERE worker_due_at IS NULL";
const PULL_REQUEST: &str = "SELECT json_build_array(state, worker_error, worker_attempts) FROM core_externalissuemapping WHERE kind = 'PR'";

/// Only the issues are hidden. The pull requests are polled in each run, and looked at.
#[test]
fn the_pull_requests_of_a_repository_without_issues_go_on() {
    for others in [&["acme/shop"][..], &[]] {
        let mut world = with_pull_request(others);
        world.github.merge("acme/off#1", &seconds_from_now(5));
        let dry = world.run(&["sync", "--dry-run", "--output", "json"]);
        assert_eq!(dry.exits(0).json()["claimed"], 1);
        assert_eq!(sync(&mut world, 0)["claimed"], 1);
        let merged = serde_json::json!(["merged", null, 0]);
        assert_eq!(world.one::<Value>(PULL_REQUEST), merged);
        // At the recheck, only the issue is set aside.
        world.execute(RECHECK);
        assert_eq!(sync(&mut world, 0)["claimed"], 1 + others.len());
        assert_eq!(world.one::<i64>(WAITING), 1);
        // The failure is reported once an hour, and the credentials are not to blame.
        rest_is_over(&mut world);
        world
            .run(&["sync"])
            .exits(3)
            .logs("the mappings of its issues wait");
        sync(&mut world, 0);
        assert_eq!(world.one::<i64>(WAITING), 1);
    }
}

/// The failure was reported once an hour for ever, although the README says to delete the mappings.
#[test]
fn issues_that_nobody_names_any_more_are_no_failure() {
    let mut world = with_pull_request(&["acme/shop"]);
    world.execute(
        "DELETE FROM core_externalissuemapping WHERE kind = 'Issue' AND html_url LIKE '%acme/off%'",
    );
    rest_is_over(&mut world);
    sync(&mut world, 0);
    let failed = "SELECT count(*) FROM worker_repository WHERE error IS NOT NULL";
    assert_eq!(world.one::<i64>(failed), 0);
}

/// An older version let it wait for the issues of its repository.
#[test]
fn a_pull_request_that_waits_for_issues_is_woken() {
    let mut world = with_pull_request(&["acme/shop"]);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'issues are turned off in acme/off', worker_error_at = now(),
            worker_recheck_at = now() + interval '30 days' WHERE kind = 'PR'",
    );
    assert_eq!(sync(&mut world, 0)["claimed"], 1);
    let open = serde_json::json!(["open", null, 0]);
    assert_eq!(world.one::<Value>(PULL_REQUEST), open);
}

/// GitHub says the same about each number that it does not have.
#[test]
fn a_missing_pull_request_does_not_hide_the_issues_of_its_repository() {
    let mut world = World::new();
    world.github.pull_request("acme/off#1", |_| {});
    let project = world.project("acme/off");
    let item = agira::item(&mut world.client, project, "Working");
    agira::pull_request(&mut world.client, item, 77, "acme/off", 7, "open");
    world.github.show("acme/off", Shown::WithoutIssues);
    sync(&mut world, 3);
    let hidden = "SELECT count(*) FROM worker_repository WHERE error_at IS NOT NULL";
    assert_eq!(world.one::<i64>(hidden), 0);
    let row: Value = world.one(PULL_REQUEST);
    assert_eq!(row[2], 1, "{row}");
}
