//! Deleted, moved and hidden issues and repositories: their messages, and how they recover.

use kit::github::Fault;
use serde_json::{Value, json};

use crate::fixtures::seconds_from_now;
use crate::harness::World;

const PARKED: &str =
    "SELECT count(*) FROM core_externalissuemapping WHERE id = 1 AND worker_claim IS NULL
    AND worker_attempts = 1 AND worker_due_at IS NULL AND worker_recheck_at IS NULL";

/// Returns two issues that were checked. The first one was lost afterwards, and both are due for a recheck.
fn lost(lose: impl Fn(&World)) -> World {
    let mut world = World::new();
    for number in 1..=2 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    lose(&world);
    world.github.close("acme/shop#2", &seconds_from_now(5));
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = now()");
    world
}

/// Checks that the mapping is parked at once with the reason, that the other one continues, and that later runs do not
/// fetch it.
#[track_caller]
fn check_parked(lose: impl Fn(&World), said: &[&str]) -> World {
    let mut world = lost(lose);
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    assert_eq!(
        (&run.json()["failed"], &run.json()["items_moved"]),
        (&json!(1), &json!(1)),
        "{}",
        run.all()
    );
    assert_eq!(world.one::<i64>(PARKED), 1, "{}", run.all());
    let failure = world
        .run(&["status", "--failed", "--output", "json"])
        .exits(0)
        .json()["failures"][0]
        .clone();
    let error = failure["error"].as_str().unwrap_or_default();
    assert!(said.iter().all(|part| error.contains(part)), "{error}");
    assert_eq!(
        (&failure["attempts"], &failure["next_attempt_at"]),
        (&json!(1), &Value::Null)
    );
    world.github.clear_log();
    for args in [&["sync"][..], &["sync", "--recheck-now"]] {
        world.run(args).exits(0);
    }
    let asked = |variables: &Value| (0..50).any(|index| variables[format!("i{index}")] == json!(1));
    assert!(
        !world.github.variables().iter().any(asked),
        "parked is parked"
    );
    assert_eq!(world.one::<i64>(PARKED), 1);
    world
}

#[test]
fn a_deleted_issue_is_parked_at_once_and_revived_by_hand() {
    let mut world = check_parked(
        |world| world.github.delete("acme/shop#1"),
        &["acme/shop#1 was deleted on GitHub"],
    );
    // A retry by a person fetches it once more, with the same result.
    world.run(&["retry-failed"]).exits(3);
    assert_eq!(world.one::<i64>(PARKED), 1);
    world.run(&["sync", "--mapping", "1"]).exits(3);
    world.github.issue("acme/shop#1", |_| {});
    world.run(&["retry-failed"]).exits(0);
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NULL"
        ),
        2
    );
}

#[test]
fn an_issue_that_is_visible_again_is_revived_by_its_next_change() {
    let mut world = check_parked(|world| world.github.delete("acme/shop#1"), &["deleted"]);
    world.github.settings().clock_ahead = 100;
    world.github.issue("acme/shop#1", |issue| {
        issue.updated_at = seconds_from_now(90)
    });
    world.github.close("acme/shop#1", &seconds_from_now(95));
    world.execute("UPDATE core_externalissuemapping SET worker_error_at = now() - interval '7 hours' WHERE id = 1");
    world.sync();
    assert_eq!(world.item_status(1), "Testing");
}

#[test]
fn a_moved_issue_is_parked_with_its_new_address() {
    let transfer = |world: &World| {
        world.github.issue("acme/docs#1", |_| {});
        world.github.transfer("acme/shop#1", "acme/docs#7");
    };
    let mut world = check_parked(
        transfer,
        &["https://github.com/acme/docs/issues/7", "html_url"],
    );
    world.github.close("acme/docs#7", &seconds_from_now(5));
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/acme/docs/issues/7', number = 7 WHERE id = 1",
    );
    world.run(&["retry-failed", "--mapping", "1"]).exits(0);
    assert_eq!(world.item_status(1), "Testing");
}

#[test]
fn an_issue_that_was_moved_to_an_inaccessible_repository_is_parked() {
    let transfer = |world: &World| {
        world.github.issue("secret/plans#1", |_| {});
        world.github.transfer("acme/shop#1", "secret/plans#7");
        world.github.hide_repository("secret/plans");
    };
    check_parked(transfer, &["acme/shop#1"]);
}

/// Checks that a mapping waits while its repository is hidden, and is handled by the first run whose poll can read it.
#[track_caller]
fn check_waiting(hide: impl Fn(&World), show: impl Fn(&World), said: &str) {
    let mut world = World::new();
    world.issue("secret/plans#1", "Working");
    world.issue("acme/shop#1", "Working");
    world.sync();
    for key in ["secret/plans#1", "acme/shop#1"] {
        world.github.close(key, &seconds_from_now(5));
    }
    let rested = "UPDATE worker_repository SET polled_at = now() - interval '61 minutes' * (1 + (name = 'acme/shop')::int),
        error_at = CASE WHEN error IS NOT NULL THEN now() - interval '61 minutes' END";
    // The mapping is never parked, because no attempt is counted.
    for round in 1..=3 {
        hide(&world);
        world.execute(&format!(
            "UPDATE core_externalissuemapping SET worker_due_at = now() WHERE id = 1; {rested}"
        ));
        let run = world
            .run(&["sync", "--max-attempts", "1", "--output", "json"])
            .exits(3);
        let report = run.json();
        assert_eq!(
            (&report["items_moved"], &report["failed"]),
            (&i32::from(round == 1).into(), &0.into()),
            "{}",
            run.all()
        );
        let waits = "SELECT worker_attempts = 0 AND worker_due_at IS NULL AND worker_recheck_at > now() + interval '29 days'
            AND worker_claim IS NULL AND worker_error <> '' FROM core_externalissuemapping WHERE id = 1";
        assert!(world.one::<bool>(waits), "round {round}\n{}", run.all());
        run.logs(said)
            .logs("1 mappings wait until their hidden repositories can be read");
    }
    show(&world);
    world.execute(rested);
    world.sync();
    assert_eq!(world.item_status(1), "Testing");
}

#[test]
fn the_mappings_of_a_hidden_repository_wait_and_are_never_parked() {
    let hide = |world: &World| world.github.hide_repository("secret/plans");
    let show = |world: &World| world.github.show_repository("secret/plans");
    check_waiting(
        hide,
        show,
        "repository secret/plans cannot be read with this token",
    );
}

/// The organization demands its single sign-on. GraphQL returns null for hidden parts.
#[test]
fn the_mappings_of_a_repository_behind_saml_wait_and_are_never_parked() {
    for kind in ["FORBIDDEN", "INSUFFICIENT_SCOPES"] {
        let hide = |world: &World| {
            world.github.forget_faults();
            // The second repository was polled later.
            let (alias, kind) = ("r1".to_owned(), kind.to_owned());
            let message = "Resource protected by organization SAML enforcement.".to_owned();
            let fault = Fault::Alias {
                alias,
                kind,
                message,
            };
            world.github.fail_next(1, &fault);
        };
        check_waiting(
            hide,
            |world| world.github.forget_faults(),
            "SAML enforcement",
        );
    }
}

#[test]
fn a_renamed_repository_is_followed_by_mappings_with_old_and_new_names() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.sync();
    world.github.rename_repository("acme/shop", "acme/store");
    world.github.close("acme/store#1", &seconds_from_now(5));
    world.sync();
    assert_eq!(world.item_status(1), "Testing");
    let healthy =
        "SELECT worker_error IS NULL AND worker_attempts = 0 AND html_url LIKE '%/acme/shop/%'
        FROM core_externalissuemapping";
    assert!(world.one::<bool>(healthy), "its address is Agira's");
    let polled = "SELECT count(*) FROM worker_repository WHERE error IS NULL AND name IN ('acme/shop', 'acme/store')";
    assert_eq!(world.one::<i64>(polled), 2);
    let key = world.properties(agira_worker::core::agira_object::ObjectType::GithubIssue, 1)["external_key"].clone();
    assert_eq!(key, "acme/store#1");
}
