//! `retry-failed`: the same as `sync` for failed mappings, due or not, with their attempts set to 0.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::harness::{Linked, Run, World};

/// Returns closed issues of two projects. Mapping 1 fails for the first time now, 2 is backing off, 3 is parked, 4 (of
/// the other project) is backing off, 5 is healthy and due, 6 is healthy and waiting. No run has fetched any of them.
fn failed() -> (World, Vec<Linked>) {
    let mut world = World::new();
    let linked = [1, 2, 3, 4, 5, 6].map(|number| {
        let key = format!(
            "acme/{}#{number}",
            if number == 4 { "other" } else { "shop" }
        );
        world.closed_issue(&key)
    });
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'broken', worker_error_at = now() - interval '1 hour' WHERE id <= 4;
         UPDATE core_externalissuemapping SET worker_attempts = 1 WHERE id = 1;
         UPDATE core_externalissuemapping SET worker_attempts = 5, worker_due_at = now() + interval '6 hours' WHERE id IN (2, 4);
         UPDATE core_externalissuemapping SET worker_attempts = 10, worker_due_at = NULL WHERE id = 3;
         UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = '2100-01-01T00:00:00Z' WHERE id = 6",
    );
    (world, linked.to_vec())
}

/// Returns one row as JSON.
fn row(world: &mut World, id: i64) -> Value {
    world.one(&format!(
        "SELECT to_jsonb(m) FROM core_externalissuemapping m WHERE id = {id}"
    ))
}

fn rows(world: &mut World) -> Vec<Value> {
    (1..=6).map(|id| row(world, id)).collect()
}

/// Returns the mappings that a run checked.
#[track_caller]
fn fetched_mappings(run: &Run) -> Vec<i64> {
    let json = run.json();
    assert_eq!(json["command"], "retry-failed");
    json["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["mapping_id"].as_i64().unwrap())
        .collect()
}

/// Checks that `retry-failed` with these arguments succeeds, checks exactly these mappings, and changes no other row.
#[track_caller]
fn retries(args: &[&str], expected: &[i64]) {
    let (mut world, linked) = failed();
    let before = rows(&mut world);
    let run = world
        .run(&[&["retry-failed", "--output", "json"], args].concat())
        .exits(0);
    assert_eq!(fetched_mappings(&run), expected, "{}", run.all());
    for (before, linked) in before.iter().zip(&linked) {
        let after = row(&mut world, linked.mapping);
        if expected.contains(&linked.mapping) {
            assert_eq!(
                (&after["worker_error"], &after["worker_error_at"]),
                (&Value::Null, &Value::Null),
                "{after}"
            );
            assert_eq!(
                (&after["worker_attempts"], &after["worker_due_at"]),
                (&json!(0), &Value::Null),
                "{after}"
            );
            assert!(after["worker_recheck_at"].is_string(), "{after}");
            assert_eq!(
                (&after["state"], world.item_status(linked.item)),
                (&json!("closed"), "Testing".to_owned())
            );
        } else {
            assert_eq!(&after, before);
            assert_eq!(world.item_status(linked.item), "Working");
        }
    }
}

#[test]
fn every_failed_mapping_is_retried_due_or_not() {
    retries(&[], &[1, 2, 3, 4]);
}

#[test]
fn mapping_project_and_limit_restrict_it() {
    retries(&["--mapping", "3"], &[3]);
    retries(
        &["--mapping", "2", "--mapping", "4", "--mapping", "6"],
        &[2, 4],
    );
    retries(&["--project", "2"], &[4]);
    retries(
        &["--project", "1", "--mapping", "4", "--mapping", "1"],
        &[1],
    );
    retries(&["--limit", "2"], &[1, 2]);
    retries(&["--limit", "1", "--project", "2"], &[4]);
}

#[test]
fn a_reached_limit_is_reported_and_the_next_run_continues() {
    let (world, _) = failed();
    let run = world
        .run(&["retry-failed", "--limit", "3", "--output", "json"])
        .exits(0);
    assert_eq!(
        (fetched_mappings(&run), &run.json()["stopped_by"]),
        (vec![1, 2, 3], &json!("limit"))
    );
    let run = world
        .run(&["retry-failed", "--limit", "3", "--output", "json"])
        .exits(0);
    assert_eq!(fetched_mappings(&run), [4]);
}

#[test]
fn another_failure_counts_as_the_first_attempt() {
    let (mut world, _) = failed();
    world.execute("UPDATE core_externalissuemapping SET html_url = 'nonsense' WHERE id <= 3");
    let before: DateTime<Utc> = world.one("SELECT now()");
    let run = world.run(&["retry-failed", "--output", "json"]).exits(3);
    assert_eq!(
        (fetched_mappings(&run), &run.json()["failed"]),
        (vec![1, 2, 3, 4], &json!(3))
    );
    for id in 1..=3 {
        let row = row(&mut world, id);
        assert_eq!(row["worker_attempts"], 1, "{row}");
        assert!(
            row["worker_error"]
                .as_str()
                .unwrap()
                .contains("html_url \"nonsense\""),
            "{row}"
        );
        let time = |name: &str| {
            row[name]
                .as_str()
                .unwrap()
                .parse::<DateTime<Utc>>()
                .unwrap()
        };
        assert!(time("worker_error_at") >= before, "{row}");
        let wait = time("worker_due_at") - before;
        assert!(
            wait > Duration::seconds(20) && wait < Duration::minutes(3),
            "a first backoff: {wait}"
        );
        assert_eq!(
            (&row["worker_claim"], &row["worker_recheck_at"]),
            (&Value::Null, &Value::Null)
        );
    }
    assert_eq!(
        row(&mut world, 4)["worker_error"],
        Value::Null,
        "one that fails stops no other"
    );
}

#[test]
fn a_mapping_that_is_still_gone_is_parked_again_with_one_attempt() {
    let (mut world, _) = failed();
    world.github.delete("acme/shop#3");
    world
        .run(&["retry-failed", "--mapping", "3"])
        .exits(3)
        .logs("acme/shop#3 was deleted on GitHub");
    let row = row(&mut world, 3);
    assert_eq!(
        (
            &row["worker_attempts"],
            &row["worker_due_at"],
            &row["worker_recheck_at"]
        ),
        (&json!(1), &Value::Null, &Value::Null)
    );
}

#[test]
fn without_failed_mappings_it_succeeds_without_a_request() {
    let (mut world, _) = failed();
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = NULL, worker_error_at = NULL, worker_attempts = 0,
            worker_due_at = now()",
    );
    let before = rows(&mut world);
    for (args, says) in [
        (&[][..], "Nothing to do: no mapping has failed"),
        (&["--mapping", "6"], "Nothing to do"),
        (&["--dry-run"], "Nothing to do"),
    ] {
        world
            .run(&[&["retry-failed"], args].concat())
            .exits(0)
            .prints(says);
        assert_eq!(
            (
                world.github.requests().len(),
                world.weaviate.requests().len()
            ),
            (0, 0),
            "{args:?}"
        );
    }
    assert_eq!(rows(&mut world), before);
}

#[test]
fn mappings_claimed_by_another_run_are_skipped() {
    let (mut world, _) = failed();
    let hold = "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = now() + '1 min' WHERE id = 2";
    world.execute(hold);
    let before = row(&mut world, 2);
    let run = world.run(&["retry-failed", "--output", "json"]).exits(0);
    assert_eq!(fetched_mappings(&run), [1, 3, 4]);
    assert_eq!(row(&mut world, 2), before);
}

#[test]
fn a_dry_run_shows_the_same_and_changes_nothing_anywhere() {
    let (world, _) = failed();
    let before = (world.database.dump(""), world.weaviate.objects());
    let run = world
        .run(&["retry-failed", "--dry-run", "--output", "json"])
        .exits(0);
    assert_eq!(fetched_mappings(&run), [1, 2, 3, 4]);
    let run = world
        .run(&["retry-failed", "--dry-run"])
        .exits(0)
        .prints("4 mappings would change")
        .prints("nothing was changed");
    assert_eq!(
        run.stdout.matches("Working → Testing").count(),
        4,
        "{}",
        run.all()
    );
    assert_eq!((world.database.dump(""), world.weaviate.objects()), before);
}

/// A failure of the environment counts no attempt, and the rows stay due, so that the request for a retry is not lost.
#[test]
fn if_github_is_unreachable_the_retries_stay_due() {
    let (mut world, _) = failed();
    let mut command = world.command(&["retry-failed", "--output", "json"]);
    let run = Run::of(command.env("GITHUB_API_URL", "http://127.0.0.1:1")).exits(75);
    assert_eq!(run.json()["given_back"], 4);
    assert_eq!(
        (fetched_mappings(&run), &run.json()["stopped_by"]),
        (vec![1, 2, 3, 4], &json!("github"))
    );
    let retried = "worker_due_at <= now() AND worker_attempts = 0 AND worker_claim IS NULL AND worker_error = 'broken'";
    assert_eq!(
        world.one::<i64>(&format!(
            "SELECT count(*) FROM core_externalissuemapping WHERE {retried}"
        )),
        4
    );
    world
        .run(&["retry-failed"])
        .exits(0)
        .prints("4 mappings synced");
}

#[test]
fn a_retry_honors_a_pause() {
    let (mut world, _) = failed();
    world.execute(
        "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', '2100-01-01T00:00:00Z', 'limit', 0)",
    );
    let before = rows(&mut world);
    let run = world
        .run(&["retry-failed", "--output", "json"])
        .exits(75)
        .json();
    assert_eq!(run["stopped_by"], "rate_limit");
    assert_eq!(
        (world.github.requests().len(), rows(&mut world)),
        (0, before)
    );
}
