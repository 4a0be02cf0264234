//! Invariant 11: no run sends a request to GitHub before the end of a pause.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use kit::github::Fault;
use kit::http::Response;
use serde_json::{Value, json};

use crate::harness::{Run, World};

/// Returns a due issue and one that failed.
fn world() -> World {
    let mut world = World::new();
    for number in 1..=2 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'no luck', worker_error_at = now(), worker_attempts = 1 WHERE id = 2",
    );
    world
}

/// Runs a `sync` that meets a limit. Returns the length of the stored pause in seconds, by the clock of the run.
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

/// Ends the pause.
fn wait(world: &mut World) {
    world.execute("UPDATE worker_pause SET until = now() - interval '1 second'");
}

fn error_message(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "message": message }))
}

/// Returns every form of a limit, with the seconds that it names; without a named time, a pause lasts a minute.
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
            by_clock(error_message(403, "API rate limit exceeded for user ID 1.")),
            300,
        ),
        (
            by_clock(error_message(429, "API rate limit exceeded for user ID 1.")),
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
        (
            error_message(403, secondary).header("retry-after", "77"),
            77,
        ),
        (
            error_message(429, secondary).header("retry-after", "77"),
            77,
        ),
        (
            error(json!({ "message": secondary })).header("retry-after", "77"),
            77,
        ),
        (error_message(403, secondary), 60),
        (error_message(429, "Slow down."), 60),
        (error(json!({ "message": secondary })), 60),
    ]
}

#[test]
fn every_form_of_a_rate_limit_is_stored_as_a_pause() {
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

/// Every command honors the pause and shows it.
#[test]
fn every_command_honors_a_pause() {
    let mut world = world();
    world
        .github
        .fail_next(1, &Fault::Answer(error_message(429, "Slow down.")));
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

/// The limits of GraphQL and REST, with a local clock that is wrong by an hour.
#[test]
fn a_pause_ends_by_githubs_clock() {
    for ahead in [-3600, 0, 3600] {
        // The poll and the fetch cost one point each; then the run asks REST about the deleted issue.
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
            .fail_next(1, &Fault::Answer(error_message(429, "Slow down.")));
        assert_eq!(limited(&mut world), seconds);
        wait(&mut world);
    }
    // A pause with a named end resets the count, and so does a normal response.
    world.github.fail_next(
        1,
        &Fault::Answer(error_message(429, "Slow down.").header("retry-after", "6000")),
    );
    assert_eq!(limited(&mut world), 6000);
    for _ in 0..2 {
        wait(&mut world);
        world
            .github
            .fail_next(1, &Fault::Answer(error_message(429, "Slow down.")));
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

/// Two runs share a token. A pause that one of them stores also stops the other one before its next slice.
#[test]
fn a_pause_that_another_run_stores_is_honored_during_a_run() {
    let mut world = World::new();
    for number in 1..=101 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let mut other = world.database.client();
    world.github.meanwhile(move || {
        let pause =
            "INSERT INTO worker_pause (scope, until, reason) VALUES ('github', now() + interval '100 min', 'limit')";
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
    // The shorter pause of this run does not shorten the stored one.
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM worker_pause WHERE until > now() + interval '90 min'"
        ),
        1
    );
}

#[test]
fn a_refusal_that_is_not_a_limit_stores_no_pause() {
    let mut world = world();
    let answer = error_message(403, "Resource not accessible by personal access token");
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
