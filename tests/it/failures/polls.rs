//! GitHub cannot say what changed in one repository, and answers otherwise.

use serde_json::json;

use super::*;
use crate::world::World;

/// Repositories with an issue each that was looked at.
fn settled(names: &[&str]) -> World {
    let mut world = World::new();
    for name in names {
        world.issue(&format!("{name}#1"), "Working");
    }
    world.sync();
    world
}

/// Invariant 10: it is that repository's failure, and the others go on.
#[test]
fn a_repository_whose_poll_fails_alone_stops_no_other() {
    for answer in [
        text(500, ""),
        text(503, "<html>"),
        text(200, "{\"data\":"),
        text(502, "<html>"),
    ] {
        let mut world = settled(&["acme/shop", "acme/broken", "zoo/keeper"]);
        for key in ["acme/shop#1", "acme/broken#1", "zoo/keeper#1"] {
            world.github.close(key, &at(5));
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
            .logs("it is asked about again after an hour");
        let touched = "SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts > 0 OR worker_error IS NOT NULL";
        assert_eq!(world.one::<i64>(touched), 0, "no mapping's failure");
        // It rests for an hour, and nothing that changed meanwhile is lost.
        world.github.clear_log();
        world.run(&["sync"]).exits(0);
        assert!(
            !world
                .github
                .variables()
                .iter()
                .any(|asked| asked.to_string().contains("broken"))
        );
        world.execute("UPDATE worker_repository SET error_at = now() - interval '61 minutes' WHERE error IS NOT NULL");
        world.github.forget_faults();
        world.sync();
        assert_eq!(world.item_status(2), "Testing");
    }
}

/// The token is not to blame, and what is due in other repositories is looked at.
#[test]
fn the_only_repository_whose_poll_fails_is_not_githubs_failure() {
    let mut world = settled(&["acme/shop"]);
    world.github.fail_polls_of("acme/shop", text(500, ""));
    let linked = world.issue("acme/shop#2", "Working");
    world.github.close("acme/shop#2", &at(5));
    let run = world
        .run(&["sync"])
        .exits(3)
        .logs("acme/shop: GitHub could not answer");
    assert!(!run.stderr.contains("GITHUB_TOKEN"), "{}", run.all());
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// When GitHub does not answer the lightest of questions either, it is GitHub's failure, and no repository's.
#[test]
fn polls_that_all_fail_are_githubs_failure() {
    let mut world = settled(&["acme/shop", "zoo/keeper"]);
    world
        .github
        .fail_next(100, &kit::github::Fault::Answer(text(500, "")));
    world
        .run(&["sync"])
        .exits(75)
        .logs("GitHub: not available: 500");
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM worker_repository WHERE error IS NOT NULL"),
        0
    );
}
