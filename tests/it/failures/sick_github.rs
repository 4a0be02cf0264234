//! A GitHub that fails for a while, partly or endlessly: what the run stores, says and asks again.

use std::time::{Duration, Instant};

use agira_worker::core::agira_object::ObjectType;
use chrono::{DateTime, Utc};
use kit::github::{Event, Fault, NullAlias, Sickness};
use kit::http::Response;
use kit::weaviate::{GraphQl, Settings};
use serde_json::{Value, json};

use crate::fixtures::{closed_issues, seconds_from_now};
use crate::harness::{Run, World};

const WRONG: &str = "Something went wrong while executing your query. Please include `ABCD:1` when reporting this issue.";

/// Every form in which GitHub gives no answer about one alias: message, type, and whether the path
/// names the alias.
fn silences() -> Vec<NullAlias> {
    let forms: [(Option<&str>, Option<&str>, bool); 6] = [
        (None, None, false),
        (Some(WRONG), None, false),
        (Some(WRONG), None, true),
        (Some(WRONG), Some("INTERNAL"), false),
        (Some(WRONG), Some("INTERNAL"), true),
        (Some("try later"), Some("SERVICE_UNAVAILABLE"), true),
    ];
    let alias = |(message, kind, has_path): (Option<&str>, Option<&str>, bool)| NullAlias {
        message: message.map(str::to_owned),
        kind: kind.map(str::to_owned),
        has_path,
    };
    forms.into_iter().map(alias).collect()
}

/// Returns a world of two repositories with an issue each that was checked and then closed.
fn changed() -> World {
    let mut world = World::new();
    for key in ["acme/shop#1", "zoo/keeper#1"] {
        world.issue(key, "Working");
    }
    world.sync();
    for key in ["acme/shop#1", "zoo/keeper#1"] {
        world.github.close(key, &seconds_from_now(5));
    }
    world.github.clear_log();
    world
}

/// Cursors and errors of the repositories, and attempts, error and claim of the mappings.
fn stored(world: &mut World, repository: &str) -> Value {
    world.one(&format!(
        "SELECT json_build_array(
            (SELECT json_agg(json_build_array(issues_cursor, pull_requests_cursor, error_at)) FROM worker_repository
             WHERE name = '{repository}'),
            (SELECT json_agg(json_build_array(worker_attempts, worker_error, worker_claim, worker_recheck_at IS NULL))
             FROM core_externalissuemapping WHERE html_url LIKE '%/{repository}/%'))"
    ))
}

#[track_caller]
fn check_stopped(run: &Run, message: &str) {
    let report = run.json();
    assert_eq!(report["stopped_by"], "github", "{}", run.all());
    let error = report["error"].as_str().unwrap_or_default();
    assert!(error.contains(message), "{}", run.all());
    assert!(!run.stderr.contains("GITHUB_TOKEN"), "{}", run.all());
}

/// A repository without an answer in a poll is asked about again at once, and then left to the next
/// run.
#[test]
fn a_poll_without_an_answer_about_one_repository_moves_no_cursor_and_rests_no_hour() {
    for alias in silences() {
        let mut world = changed();
        let before = stored(&mut world, "acme/shop");
        world.github.nullify("acme/shop", 3, alias.clone());
        let run = world.run(&["sync", "--output", "json"]).exits(75);
        check_stopped(&run, "acme/shop: ");
        assert_eq!(run.json()["items_moved"], 1, "{alias:?}\n{}", run.all());
        assert_eq!(stored(&mut world, "acme/shop"), before, "{alias:?}");
        // Three polls and the fetch of the other one.
        assert_eq!(world.github.requests().len(), 4, "{alias:?}\n{}", run.all());
        world.sync();
        assert_eq!(world.item_status(1), "Testing", "{alias:?}");
    }
}

/// The same for all repositories at once: it is not the token that is to blame.
#[test]
fn a_poll_without_any_answer_is_githubs_failure() {
    for alias in silences() {
        let mut world = changed();
        let before = stored(&mut world, "acme/shop");
        for name in ["acme/shop", "zoo/keeper"] {
            world.github.nullify(name, 3, alias.clone());
        }
        let run = world.run(&["sync", "--output", "json"]).exits(75);
        check_stopped(&run, "the next run polls it again");
        assert_eq!(stored(&mut world, "acme/shop"), before, "{alias:?}");
        world.sync();
        for item in [1, 2] {
            assert_eq!(world.item_status(item), "Testing", "{alias:?}");
        }
    }
}

/// An issue without an answer is asked about again at once, and then released without an attempt.
#[test]
fn a_fetch_without_an_answer_about_one_issue_counts_no_attempt() {
    for alias in silences() {
        let mut world = changed();
        world.github.nullify("acme/shop#1", 3, alias.clone());
        let run = world.run(&["sync", "--output", "json"]).exits(75);
        check_stopped(&run, "GitHub gives no answer about acme/shop#1");
        let report = run.json();
        assert_eq!(
            (
                &report["items_moved"],
                &report["given_back"],
                &report["failed"]
            ),
            (&json!(1), &json!(1), &json!(0)),
            "{alias:?}\n{}",
            run.all()
        );
        let due = "SELECT worker_attempts = 0 AND worker_error LIKE 'GitHub gives no answer about acme/shop#1: %'
            AND worker_claim IS NULL AND worker_due_at <= now() FROM core_externalissuemapping WHERE id = 1";
        assert!(world.one::<bool>(due), "{alias:?}\n{}", run.all());
        world.sync();
        assert_eq!(world.item_status(1), "Testing", "{alias:?}");
        let error: Option<String> =
            world.one("SELECT worker_error FROM core_externalissuemapping WHERE id = 1");
        assert_eq!(error, None, "{alias:?}");
    }
}

/// Returns a world with that many issues, which were closed a moment ago.
fn just_closed(count: i64) -> World {
    let mut world = World::new();
    for number in 1..=count {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        world.github.close(&key, &seconds_from_now(-5));
    }
    world
}

/// An issue without an answer goes to the end of the queue, and a second run without one counts.
#[test]
fn an_issue_that_github_never_answers_neither_comes_first_nor_ends_every_run() {
    let mut world = just_closed(5);
    world
        .github
        .nullify("acme/shop#1", 99, silences().remove(1));
    let limited = &["sync", "--limit", "2", "--output", "json"];
    world.run(limited).exits(75);
    world.run(limited).exits(0);
    for item in 2..=4 {
        assert_eq!(world.item_status(item), "Testing", "{item}");
    }
    let row = "SELECT json_build_array(worker_attempts, worker_due_at > now(), worker_claim)
        FROM core_externalissuemapping WHERE id = 1";
    let run = world.run(limited).exits(3);
    assert_eq!(run.json()["stopped_by"], Value::Null, "{}", run.all());
    assert_eq!(world.one::<Value>(row), json!([1, true, null]));
    world.run(limited).exits(0);
}

/// A failure that passes within the run is not noticed.
#[test]
fn one_or_two_answers_that_fail_are_repeated_in_the_run() {
    for (key, count) in [
        ("acme/shop", 1),
        ("acme/shop", 2),
        ("acme/shop#1", 1),
        ("acme/shop#1", 2),
    ] {
        for alias in silences() {
            let mut world = changed();
            world.github.nullify(key, count, alias.clone());
            world.sync();
            for item in [1, 2] {
                assert_eq!(world.item_status(item), "Testing", "{key} {alias:?}");
            }
        }
    }
}

/// Only these types can mean that a repository is hidden, with a path or without one.
#[test]
fn a_type_that_names_a_missing_permission_hides_the_repository() {
    for kind in ["NOT_FOUND", "FORBIDDEN", "INSUFFICIENT_SCOPES"] {
        for has_path in [true, false] {
            let mut world = changed();
            let alias = NullAlias {
                message: Some("no".to_owned()),
                kind: Some(kind.to_owned()),
                has_path,
            };
            world.github.nullify("acme/shop", 1, alias);
            let run = world.run(&["sync", "--output", "json"]).exits(3);
            run.logs("acme/shop: repository acme/shop cannot be read")
                .logs("it is polled again after an hour");
            let resting =
                "SELECT error_at IS NOT NULL FROM worker_repository WHERE name = 'acme/shop'";
            assert!(world.one::<bool>(resting), "{kind}");
        }
    }
}

/// A wait that GitHub names is believed for two hours at most, whatever form it has; a 503 can name
/// one, too.
#[test]
fn a_named_wait_is_believed_for_two_hours_at_most() {
    let date = "Tue, 24 Nov 2026 04:00:00 GMT";
    let (in_five_minutes, in_a_year) = (
        "Tue, 24 Nov 2026 04:05:00 GMT",
        "Wed, 24 Nov 2027 04:00:00 GMT",
    );
    let retry_after = |status, value: &str| {
        Response::json(status, &json!({ "message": "Slow down." }))
            .header("date", date)
            .header("retry-after", value)
    };
    let reset = |value: &str| {
        Response::json(403, &json!({ "message": "Slow down." }))
            .header("date", date)
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", value)
    };
    let table = [
        (retry_after(429, "31536000"), 7200),
        (retry_after(403, "7201"), 7200),
        (retry_after(429, "7199"), 7199),
        (retry_after(429, in_five_minutes), 300),
        (retry_after(403, in_a_year), 7200),
        (retry_after(503, "120"), 120),
        (retry_after(503, in_five_minutes), 300),
        (retry_after(503, "31536000"), 7200),
        (reset("1795493100"), 300),
        (reset("1795493100000"), 7200),
    ];
    for (answer, seconds) in table {
        let mut world = changed();
        world.github.fail_next(1, &Fault::Answer(answer.clone()));
        let run = world.run(&["sync", "--output", "json"]).exits(75);
        assert_eq!(run.json()["stopped_by"], "rate_limit", "{}", run.all());
        assert_eq!(world.github.requests().len(), 1, "{answer:?}");
        let stored = format!(
            "SELECT p.until - interval '{seconds} s' BETWEEN r.started_at AND r.finished_at
             FROM worker_pause p, worker_run r ORDER BY r.id DESC LIMIT 1"
        );
        assert!(world.one::<bool>(&stored), "{answer:?}\n{}", run.all());
        world.github.clear_log();
        world.run(&["sync"]).exits(75);
        assert_eq!(world.github.requests().len(), 0, "{answer:?}");
    }
}

/// A change in GitHub's future, such as one made before its clock was corrected, is checked and is
/// no cursor.
#[test]
fn a_change_in_the_future_is_no_cursor_and_hides_no_other() {
    for (seconds, is_pull_request) in [(120, false), (7200, false), (7200, true), (90_000, false)] {
        let mut world = changed();
        let time = seconds_from_now(seconds);
        match is_pull_request {
            true => {
                world.github.pull_request("acme/shop#50", |pull_request| {
                    pull_request.updated_at = time;
                });
            }
            false => {
                world.github.issue("acme/shop#51", |issue| {
                    issue.updated_at = time;
                });
            }
        }
        world.sync();
        let cursor = "SELECT greatest(issues_cursor, pull_requests_cursor) FROM worker_repository WHERE name = 'acme/shop'";
        assert!(
            world.one::<DateTime<Utc>>(cursor) <= Utc::now(),
            "{seconds}"
        );
        world.github.reopen("acme/shop#1", &seconds_from_now(15));
        world.sync();
        let state: String = world.one("SELECT state FROM core_externalissuemapping WHERE id = 1");
        assert_eq!(state, "open", "{seconds}");
    }
}

/// Returns so many plain mentions, 50 on each page of the timeline.
fn mentions(count: usize) -> Vec<Event> {
    let mention = Event::CrossReferenced {
        source: "acme/shop#99".to_owned(),
        will_close: false,
    };
    vec![mention; count]
}

/// At most 40 pages of a timeline are read. The links stay, and the issue is named.
#[test]
fn the_rest_of_an_endless_timeline_counts_as_hidden() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    world.closing_pull_request("acme/shop#1", "acme/shop#7");
    world.sync();
    world.github.issue("acme/shop#1", |issue| {
        issue.references = Vec::new();
        issue.timeline = mentions(50_000);
    });
    for key in ["acme/shop#1", "acme/shop#2"] {
        world.github.close(key, &seconds_from_now(5));
    }
    world.github.clear_log();
    let run = world.run(&["sync"]).exits(0);
    run.logs(
        "acme/shop#1: not all of its pull requests could be read (there are more than 40 pages)",
    );
    // The poll, the fetch of both, and 39 further pages.
    assert_eq!(world.github.requests().len(), 41);
    for item in [1, 2] {
        assert_eq!(world.item_status(item), "Testing");
    }
    let links = "SELECT count(*) FROM worker_pull_request_link";
    assert_eq!(world.one::<i64>(links), 1);
}

/// The time budget ends the reading of pages, and nobody else pays for it: what GitHub answered is recorded.
#[test]
fn an_endless_timeline_does_not_outlast_the_time_budget() {
    let mut world = just_closed(30);
    world.github.issue("acme/shop#1", |issue| {
        issue.timeline.extend(mentions(50_000));
    });
    world.github.settings().latency = Duration::from_millis(300);
    let begin = Instant::now();
    let args = &["sync", "--time-budget", "3s", "--output", "json"];
    let run = world.run(args).exits(0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{}", run.all());
    let report = run.json();
    let counts = ["stopped_by", "synced", "given_back"].map(|name| report[name].clone());
    assert_eq!(
        counts,
        [json!("time_budget"), json!(25), json!(5)],
        "{}",
        run.all()
    );
    world.run(args).exits(0);
    for item in 1..=30 {
        assert_eq!(world.item_status(item), "Testing", "{item}");
    }
}

/// What GitHub cannot answer about is left out, said once, and asked for again by the next recheck.
#[test]
fn an_issue_with_a_timeline_that_github_never_answers_moves_its_item_and_keeps_its_links() {
    for sickness in [Sickness::Timeout, Sickness::Error] {
        let mut world = changed();
        world.github.issue("acme/shop#1", |issue| {
            issue
                .timeline
                .push(Event::Connected("acme/shop#7".to_owned()));
        });
        world.github.pull_request("acme/shop#7", |_| {});
        world.sync();
        assert_eq!(world.item_status(1), "Testing");
        world
            .github
            .make_sick("acme/shop#1", "timelineItems", sickness);
        world.github.reopen("acme/shop#1", &seconds_from_now(15));
        let run = world.run(&["sync"]).exits(0);
        let run = run.logs("acme/shop#1: not all of its pull requests could be read (");
        let facts = "SELECT json_build_array(state, worker_error, worker_attempts,
                (SELECT count(*) FROM worker_pull_request_link)) FROM core_externalissuemapping WHERE id = 1";
        assert_eq!(
            world.one::<Value>(facts),
            json!(["open", null, 0, 1]),
            "{sickness:?}\n{}",
            run.all()
        );
    }
}

/// A huge pull request, whose files time out, is recorded; its object has everything else.
#[test]
fn a_pull_request_whose_files_github_never_answers_is_recorded_without_them() {
    for sickness in [Sickness::Timeout, Sickness::Error] {
        let mut world = changed();
        world.closing_pull_request("acme/shop#1", "acme/shop#7");
        world.github.pull_request("acme/shop#7", |found| {
            found.files = vec!["src/cart.rs".to_owned()];
            found.commits = vec!["Keep the cart".to_owned()];
        });
        world.github.make_sick("acme/shop#7", "files", sickness);
        world.github.merge("acme/shop#7", &seconds_from_now(5));
        let run = world.run(&["sync"]).exits(0);
        let run = run.logs("acme/shop#7: not all of its changed files could be read (");
        let row: Value = world.one(
            "SELECT json_build_array(id, state, worker_error) FROM core_externalissuemapping WHERE kind = 'PR'",
        );
        assert_eq!(row[1], "merged", "{}", run.all());
        let id = row[0].as_i64().expect("an id");
        let object = world.properties(ObjectType::GithubPr, id);
        let text = object["text"].as_str().unwrap_or_default();
        assert!(
            text.contains("Keep the cart") && !text.contains("Changed files"),
            "{object}"
        );
    }
}

/// A pause of a day, which a wrong clock of PostgreSQL had stored, ends within two hours.
#[test]
fn a_stored_pause_that_is_too_long_is_shortened_once() {
    let mut world = changed();
    world.execute(
        "INSERT INTO worker_pause (scope, until, reason) VALUES ('github', now() + interval '1 day', 'limit')",
    );
    world.run(&["sync", "--dry-run"]).exits(75);
    let left = "SELECT extract(epoch FROM until - now())::float8 FROM worker_pause";
    assert!(world.one::<f64>(left) > 80_000.0);
    world.run(&["sync"]).exits(75);
    let until = "SELECT until::text FROM worker_pause";
    let shortened: String = world.one(until);
    assert!((7000.0..=7200.0).contains(&world.one::<f64>(left)));
    world.run(&["sync"]).exits(75);
    assert_eq!(world.one::<String>(until), shortened);
}

mod simulated {
    use super::*;

    /// Two hundred objects are read with a slow request each, and then GitHub is asked all the same.
    #[test]
    fn slow_requests_to_weaviate_do_not_outlast_the_time_budget() {
        let mut world = closed_issues(
            Settings {
                graphql: GraphQl::Disabled422,
                latency: Duration::from_millis(100),
                ..Settings::default()
            },
            101,
        );
        let args = &[
            "sync",
            "--limit",
            "150",
            "--time-budget",
            "3s",
            "--output",
            "json",
        ];
        for moved in [100, 1] {
            let begin = Instant::now();
            let run = world.run(args).exits(0);
            assert!(begin.elapsed() < Duration::from_secs(8), "{}", run.all());
            let report = run.json();
            assert_eq!(report["stopped_by"], "time_budget", "{}", run.all());
            assert_eq!(report["items_moved"], moved, "{}", run.all());
            assert!(!run.stderr.contains("WARN"), "{}", run.all());
        }
        // The objects of the last issue had the other half of the time.
        let waiting =
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL";
        assert_eq!(world.one::<i64>(waiting), 100);
        world.weaviate.settings().latency = Duration::ZERO;
        world.run(args).exits(0);
        assert_eq!(world.one::<i64>(waiting), 0);
    }
}
