//! Invariant 11: no request is made to GitHub before the time that it told us to wait for, by whatever run.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use kit::github::Fault;
use serde_json::{Value, json};

use super::*;
use crate::world::{Run, World};

/// An issue that is due and one that failed.
fn world() -> World {
    let mut world = World::new();
    for number in 1..=2 {
        world.issue(&format!("acme/shop#{number}"), "Working");
        world
            .github
            .close(&format!("acme/shop#{number}"), "2026-03-01T10:00:00Z");
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'no luck', worker_error_at = now(), worker_attempts = 1 WHERE id = 2",
    );
    world
}

/// A `sync` that meets a limit, and how many seconds it stored: from its own clock to the pause's end.
fn limited(world: &mut World) -> i64 {
    let run = world.run(&["sync", "--output", "json"]).exits(75);
    assert_eq!(run.json()["stopped_by"], "rate_limit", "{}", run.all());
    let pause = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NOT NULL OR worker_attempts > 1";
    assert_eq!(
        world.one::<i64>(pause),
        0,
        "nothing is held, and no attempt counted"
    );
    // The pause begins between the run's start and its end.
    let (most, least): (f64, f64) = {
        let sql = "SELECT extract(epoch FROM p.until - r.started_at)::float8, extract(epoch FROM p.until - r.finished_at)::float8
            FROM worker_pause p, worker_run r ORDER BY r.id DESC LIMIT 1";
        let row = world.client.query_one(sql, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let seconds = least.ceil();
    assert!(
        least <= seconds && seconds <= most,
        "{least} {most}\n{}",
        run.all()
    );
    seconds as i64
}

/// The pause is over.
fn wait(world: &mut World) {
    world.execute("UPDATE worker_pause SET until = now() - interval '1 second'");
}

fn says(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "message": message }))
}

/// Every shape, with the seconds that it names; none named: a minute.
fn shapes() -> Vec<(Response, i64)> {
    let by_clock = |answer: Response| {
        let answer = answer
            .header("date", "Tue, 24 Nov 2026 04:00:00 GMT")
            .header("x-ratelimit-remaining", "0");
        answer.header("x-ratelimit-reset", "1795493100")
    };
    let error = |error: Value| Response::json(200, &json!({ "errors": [error], "data": null }));
    let secondary = "You have exceeded a secondary rate limit.";
    vec![
        (
            by_clock(says(403, "API rate limit exceeded for user ID 1.")),
            300,
        ),
        (
            by_clock(says(429, "API rate limit exceeded for user ID 1.")),
            300,
        ),
        (
            by_clock(error(
                json!({ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }),
            )),
            300,
        ),
        (
            by_clock(error(
                json!({ "type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": "no" }),
            )),
            300,
        ),
        (says(403, secondary).header("retry-after", "77"), 77),
        (says(429, secondary).header("retry-after", "77"), 77),
        (
            error(json!({ "message": secondary })).header("retry-after", "77"),
            77,
        ),
        (says(403, secondary), 60),
        (says(429, "Slow down."), 60),
        (error(json!({ "message": secondary })), 60),
    ]
}

#[test]
fn every_shape_of_a_limit_is_a_pause_that_outlives_the_run() {
    for (answer, seconds) in shapes() {
        let mut world = world();
        world.github.fail_next(1, &Fault::Answer(answer.clone()));
        assert_eq!(limited(&mut world), seconds, "{answer:?}");
        assert_eq!(world.github.requests().len(), 1, "it is not asked again");
        world.github.clear_log();
        world
            .run(&["sync"])
            .exits(75)
            .logs("GitHub is not asked before");
        assert_eq!(world.github.requests().len(), 0);
        wait(&mut world);
        world.sync();
        assert_eq!(world.one::<i64>("SELECT count(*) FROM worker_pause"), 0);
        assert_eq!(world.item_status(1), "Testing");
    }
}

/// Whatever is run, and what is shown of it.
#[test]
fn every_command_honours_a_pause() {
    let mut world = world();
    world
        .github
        .fail_next(1, &Fault::Answer(says(429, "Slow down.")));
    limited(&mut world);
    world.github.clear_log();
    let before: Value =
        world.one("SELECT json_agg(to_jsonb(m) ORDER BY id) FROM core_externalissuemapping m");
    let commands: &[&[&str]] = &[
        &["sync"],
        &["sync", "--recheck-now"],
        &["sync", "--mapping", "1"],
        &["sync", "--dry-run"],
        &["push-weaviate"],
        &["push-weaviate", "--mapping", "1"],
        &["push-weaviate", "--dry-run"],
        &["retry-failed"],
        &["retry-failed", "--mapping", "2"],
        &["retry-failed", "--dry-run"],
    ];
    for args in commands {
        let run = world
            .run(&[*args, &["--output", "json"]].concat())
            .exits(75);
        let report = run.json();
        assert_eq!(report["stopped_by"], "rate_limit", "{}", run.all());
        assert_eq!(report["pause"]["reason"], "Slow down.", "{}", run.all());
    }
    assert_eq!(world.github.requests().len(), 0);
    let after: Value =
        world.one("SELECT json_agg(to_jsonb(m) ORDER BY id) FROM core_externalissuemapping m");
    assert_eq!(after, before);
    world
        .run(&["status"])
        .exits(0)
        .prints("GitHub is not asked before");
}

/// GraphQL's limit and REST's, with a clock of ours that is wrong by an hour.
#[test]
fn a_pause_ends_by_githubs_clock() {
    for ahead in [-3600, 0, 3600] {
        // The poll and the look are each a point; then REST is asked about what was deleted.
        for (points, requests) in [(0, 1), (1, 2), (2, 3)] {
            let mut world = world();
            world.github.delete("acme/shop#1");
            world.github.settings().clock_ahead = ahead;
            world.github.settings().points = points;
            let seconds = limited(&mut world);
            assert!(
                (1799..=1800).contains(&seconds),
                "{seconds} with a clock {ahead} s ahead"
            );
            assert_eq!(world.github.requests().len(), requests);
        }
    }
}

#[test]
fn pauses_without_a_named_end_double_in_a_row_up_to_two_hours() {
    let mut world = world();
    for seconds in [60, 120, 240, 480, 960, 1920, 3840, 7200, 7200] {
        world
            .github
            .fail_next(1, &Fault::Answer(says(429, "Slow down.")));
        assert_eq!(limited(&mut world), seconds);
        wait(&mut world);
    }
    // One that names its end ends the row, as does an answer.
    world.github.fail_next(
        1,
        &Fault::Answer(says(429, "Slow down.").header("retry-after", "9000")),
    );
    assert_eq!(limited(&mut world), 9000);
    for _ in 0..2 {
        wait(&mut world);
        world
            .github
            .fail_next(1, &Fault::Answer(says(429, "Slow down.")));
        assert_eq!(limited(&mut world), 60);
        wait(&mut world);
        world.sync();
    }
}

#[test]
fn outboxes_are_delivered_while_github_is_paused() {
    for command in ["sync", "push-weaviate", "retry-failed"] {
        let mut world = world();
        world.weaviate.settings().down = true;
        world.run(&["sync"]).exits(75);
        world.weaviate.settings().down = false;
        assert_eq!(world.properties(GithubIssue, 1), Value::Null);
        world.execute(
            "INSERT INTO worker_pause (scope, until, reason) VALUES ('github', '2100-01-01T00:00:00Z', 'limit')",
        );
        world.github.clear_log();
        let run = world.run(&[command, "--output", "json"]).exits(75);
        assert_eq!(
            (
                run.json()["stopped_by"].as_str(),
                world.github.requests().len()
            ),
            (Some("rate_limit"), 0)
        );
        assert_eq!(
            world.properties(GithubIssue, 1)["status"],
            "closed",
            "{}",
            run.all()
        );
        assert_eq!(
            world.properties(Item, 2)["status"],
            "Testing",
            "{}",
            run.all()
        );
    }
}

/// Two runs share a token: what one was told holds for the other, too, from its next slice on.
#[test]
fn a_pause_that_another_run_meets_is_honoured_in_mid_run() {
    let mut world = World::new();
    for number in 1..=101 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let mut other = world.database.client();
    world.github.meanwhile(move || {
        let pause =
            "INSERT INTO worker_pause (scope, until, reason) VALUES ('github', '2100-01-01T00:00:00Z', 'limit')";
        other.batch_execute(pause).unwrap();
    });
    let report = world
        .run(&["sync", "--limit", "200", "--output", "json"])
        .exits(75)
        .json();
    assert_eq!(
        (
            &report["synced"],
            &report["given_back"],
            &report["stopped_by"]
        ),
        (&json!(100), &json!(1), &json!("rate_limit"))
    );
    // And what this run is told does not shorten it.
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM worker_pause WHERE until > now() + interval '1 year'"
        ),
        1
    );
}

#[test]
fn a_refusal_is_no_limit_and_pauses_nobody() {
    let mut world = world();
    let answer = says(403, "Resource not accessible by personal access token");
    world.github.fail_next(
        1,
        &Fault::Answer(answer.header("x-accepted-github-permissions", "issues=read")),
    );
    let run: Run = world.run(&["sync"]).exits(1).logs("needed: issues=read");
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM worker_pause"),
        0,
        "{}",
        run.all()
    );
    world.sync();
}
