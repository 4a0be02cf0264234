//! GitHub cannot answer the poll of one repository, but it answers other requests.

use serde_json::json;

use crate::fixtures::{seconds_from_now, text_response};
use crate::harness::World;

/// Returns repositories with one issue each, which was checked.
fn settled(names: &[&str]) -> World {
    let mut world = World::new();
    for name in names {
        world.issue(&format!("{name}#1"), "Working");
    }
    world.sync();
    world
}

/// Invariant 10: only that repository fails, and the others continue.
#[test]
fn a_repository_whose_poll_fails_alone_stops_no_other() {
    for answer in [
        text_response(500, ""),
        text_response(503, "<html>"),
        text_response(200, "{\"data\":"),
        text_response(502, "<html>"),
    ] {
        let mut world = settled(&["acme/shop", "acme/broken", "zoo/keeper"]);
        for key in ["acme/shop#1", "acme/broken#1", "zoo/keeper#1"] {
            world.github.close(key, &seconds_from_now(5));
        }
        world.github.fail_polls_of("acme/broken", answer.clone());
        let run = world.run(&["sync", "--output", "json"]).exits(3);
        let report = run.json();
        assert_eq!(
            (&report["items_moved"], &report["failed"]),
            (&json!(2), &json!(0)),
            "{answer:?}\n{}",
            run.all()
        );
        run.logs("acme/broken: GitHub could not answer: ")
            .logs("the next run polls it again");
        let touched = "SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts > 0 OR worker_error IS NOT NULL";
        assert_eq!(world.one::<i64>(touched), 0, "no mapping's failure");
        // The next run polls it again, and no change is lost.
        world.github.forget_faults();
        world.sync();
        assert_eq!(world.item_status(2), "Testing");
    }
}

/// The token is valid, and due mappings of other repositories are checked.
#[test]
fn a_failed_poll_of_the_only_repository_is_not_a_failure_of_github() {
    let mut world = settled(&["acme/shop"]);
    world
        .github
        .fail_polls_of("acme/shop", text_response(500, ""));
    let linked = world.issue("acme/shop#2", "Working");
    world.github.close("acme/shop#2", &seconds_from_now(5));
    let run = world
        .run(&["sync"])
        .exits(3)
        .logs("acme/shop: GitHub could not answer");
    assert!(!run.stderr.contains("GITHUB_TOKEN"), "{}", run.all());
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// If GitHub does not answer the smallest request either, the failure is GitHub's and not that of a repository.
#[test]
fn failed_polls_of_all_repositories_are_a_failure_of_github() {
    let mut world = settled(&["acme/shop", "zoo/keeper"]);
    world
        .github
        .fail_next(100, &kit::github::Fault::Answer(text_response(500, "")));
    world
        .run(&["sync"])
        .exits(75)
        .logs("GitHub: not available: 500");
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM worker_repository WHERE error IS NOT NULL"),
        0
    );
}

/// The clock of GitHub Enterprise Server was a day ahead when a run stored what it read.
#[test]
fn times_that_github_gave_while_its_clock_was_ahead_hide_no_change() {
    for ahead in [
        "UPDATE worker_repository SET issues_cursor = now() + interval '1 day'",
        "UPDATE core_externalissuemapping SET worker_external_updated_at = now() + interval '1 day'",
        "UPDATE core_externalissuemapping SET worker_external_updated_at = now() + interval '1 day',
            worker_checked_at = now() + interval '1 day'",
    ] {
        let mut world = World::new();
        let one = world.issue("acme/shop#1", "Working");
        world.sync();
        world.execute(ahead);
        world.github.close("acme/shop#1", &seconds_from_now(5));
        world.sync();
        assert_eq!(world.item_status(one.item), "Testing", "{ahead}");
        let future = "SELECT count(*) FROM worker_repository WHERE issues_cursor > now() + interval '1 minute'";
        assert_eq!(world.one::<i64>(future), 0, "{ahead}");
    }
}
