//! Repositories that are hidden, whose rows a session holds, or that are too many for one run, in worlds that are
//! larger than the limit. They hold up nothing else.

use std::time::Duration;

use kit::agira;
use serde_json::json;

use crate::fixtures::{CLOSED_AT, MOVED, rest_is_over, seconds_from_now};
use crate::harness::World;

/// Adds that many issues of a repository, with rows that Django just inserted. GitHub has none of them.
fn fill(world: &mut World, repository: &str, count: i64) {
    let project = world.project(repository);
    let item = agira::item(&mut world.client, project, "Working");
    world.execute(&format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha)
         SELECT 9000000 + n, n, 'Issue', 'open', CASE WHEN n % 2 = 0 THEN 'https://github.com/{repository}/issues/' || n ELSE '' END,
            now(), {item}, '', '' FROM generate_series(1, {count}) n;
         UPDATE core_externalissuemapping SET worker_due_at = now() - interval '1 hour' WHERE item_id = {item}"
    ));
}

/// Returns a world with 300 due mappings of a hidden repository, which come first, and 30 of a healthy one.
fn hidden_and_healthy() -> World {
    let mut world = World::new();
    world.github.issue("secret/plans#1", |_| {});
    world.github.hide_repository("secret/plans");
    fill(&mut world, "secret/plans", 300);
    for number in 1..=30 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    for number in 1..=30 {
        world
            .github
            .close(&format!("acme/shop#{number}"), CLOSED_AT);
    }
    world
}

/// Returns a world with an issue in each of that many repositories, which was checked.
fn repositories(count: i64) -> World {
    let mut world = World::new();
    for number in 1..=count {
        world.issue(&format!("acme/repo-{number:02}#1"), "Working");
    }
    world.run(&["sync", "--limit", "300"]).exits(0);
    world
}

/// Closes these issues a moment later.
fn close_all(world: &World, count: i64) {
    for number in 1..=count {
        let key = format!("acme/repo-{number:02}#1");
        world.github.close(&key, &seconds_from_now(5));
    }
}

/// Repositories that were polled after the test set their times to a minute ago or more.
const POLLED: &str =
    "SELECT count(*) FROM worker_repository WHERE polled_at > now() - interval '45 seconds'";
const WAITING: &str = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error ILIKE '%secret/plans%' AND worker_attempts = 0
    AND worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at > now() + interval '29 days'";

/// L1: 30 healthy mappings at 20 per run take two runs.
#[test]
fn the_mappings_of_a_hidden_repository_take_no_place_of_others() {
    let mut world = hidden_and_healthy();
    let run = world.run(&["sync", "--limit", "20"]).exits(3);
    let lines = run
        .stderr
        .lines()
        .filter(|line| line.contains("secret/plans"));
    assert_eq!(lines.count(), 1, "{}", run.all());
    assert_eq!(world.one::<i64>(MOVED), 20);
    // The repository rests because it is hidden (L3).
    world.run(&["sync", "--limit", "20"]).exits(0);
    assert_eq!(
        (world.one::<i64>(MOVED), world.one::<i64>(WAITING)),
        (30, 300)
    );
    // People and Django make mappings due again. A named mapping is looked at.
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = '2026-01-01' WHERE html_url LIKE '%/plans/%'");
    fill_one(&mut world);
    world.github.clear_log();
    let report = world
        .run(&["sync", "--limit", "20", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&report["claimed"], &report["remaining_due"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(world.one::<i64>(WAITING), 301);
    let named: i64 =
        world.one("SELECT max(id) FROM core_externalissuemapping WHERE html_url LIKE '%/plans/%'");
    let report = world
        .run(&["sync", "--mapping", &named.to_string(), "--output", "json"])
        .exits(3)
        .json();
    assert_eq!(
        (&report["claimed"], &report["failed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(world.one::<i64>(WAITING), 301);
}

/// Adds a row of the hidden repository, as Django does.
fn fill_one(world: &mut World) {
    world.execute(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body, merge_commit_sha)
         SELECT 9999999, 5000, 'Issue', 'open', 'https://github.com/secret/plans/issues/5000', now(), min(id), '', '' FROM core_item",
    );
}

/// L5: one poll an hour finds that the repository can be read again.
#[test]
fn a_repository_that_can_be_read_again_wakes_its_mappings() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "50"]).exits(3);
    world.github.show_repository("secret/plans");
    for number in 1..=300 {
        world
            .github
            .issue(&format!("secret/plans#{number}"), |_| {});
    }
    world.run(&["sync", "--limit", "50"]).exits(0);
    assert_eq!(world.one::<i64>(WAITING), 300, "it rests for an hour");
    rest_is_over(&mut world);
    for _ in 0..6 {
        world.run(&["sync", "--limit", "50"]).exits(0);
    }
    let left = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NOT NULL OR worker_checked_at IS NULL";
    assert_eq!(world.one::<i64>(left), 0);
}

/// L5: a wrong address names a hidden repository. Nobody polls the right one as one that is back.
#[test]
fn a_corrected_address_ends_the_wait_of_its_mapping() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "350"]).exits(3);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = now() + interval '1 day' WHERE worker_error IS NULL",
    );
    assert_eq!(world.one::<i64>(WAITING), 300);
    let wrong = "UPDATE core_externalissuemapping SET html_url = 'https://github.com/secret/plans/issues/1', worker_error = 'hidden',
            worker_error_at = now(), worker_due_at = NULL, worker_recheck_at = now() + interval '30 days'
        WHERE html_url = 'https://github.com/acme/shop/issues/1'";
    world.execute(wrong);
    let report = |world: &World| {
        let run = world.run(&["sync", "--output", "json"]);
        run.exits(0).json()
    };
    assert_eq!(report(&world)["claimed"], 0);
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/acme/shop/issues/1' WHERE worker_error = 'hidden'",
    );
    assert_eq!(report(&world)["claimed"], 1);
    let healthy = "SELECT worker_error IS NULL FROM core_externalissuemapping WHERE html_url = 'https://github.com/acme/shop/issues/1'";
    assert!(world.one::<bool>(healthy));
    assert_eq!(world.one::<i64>(WAITING), 300);
}

/// A poll without an answer does not end the wait of the mappings for good.
#[test]
fn a_hidden_repository_without_an_answer_stays_hidden() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "50"]).exits(3);
    rest_is_over(&mut world);
    world
        .github
        .fail_polls_of("secret/plans", crate::fixtures::text_response(500, ""));
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = now() WHERE worker_error IS NOT NULL",
    );
    let report = world
        .run(&["sync", "--limit", "50", "--output", "json"])
        .exits(3)
        .json();
    assert_eq!(report["claimed"], 0);
    assert_eq!(world.one::<i64>(WAITING), 300);
    world.github.forget_faults();
    world.github.show_repository("secret/plans");
    for number in 1..=300 {
        world
            .github
            .issue(&format!("secret/plans#{number}"), |_| {});
    }
    // It does not rest.
    let report = world
        .run(&["sync", "--limit", "300", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(report["claimed"], 300);
}

/// A repository with many pages of changes takes more than half of the time. The others go on, and it comes last.
#[test]
fn a_repository_that_is_not_read_in_time_comes_last_in_the_next_run() {
    let mut world = World::new();
    for name in ["aa/far", "zz/shop"] {
        world.issue(&format!("{name}#1"), "Working");
    }
    world.run(&["sync"]).exits(0);
    for number in 1..=600 {
        let at = seconds_from_now(0);
        world
            .github
            .issue(&format!("aa/far#{}", 1000 + number), |issue| {
                issue.updated_at = at;
            });
    }
    world.github.close("zz/shop#1", &seconds_from_now(0));
    world.github.settings().latency = Duration::from_millis(600);
    let args = ["sync", "--time-budget", "5s", "--output", "json"];
    let run = world.run(&args).exits(75);
    let run = run.logs("polled 1 of 2 repositories within half of the time budget");
    assert_eq!(run.json()["items_moved"], 1, "{}", run.all());
    let kept = "SELECT issues_cursor < now() - interval '30 seconds' AND error_at IS NULL FROM worker_repository WHERE name = 'aa/far'";
    assert!(world.one::<bool>(kept));
    world.github.settings().latency = Duration::ZERO;
    world.run(&["sync"]).exits(0);
}

/// No project names the repository, so that the first look finds that it is hidden.
#[test]
fn a_look_that_finds_a_repository_hidden_sets_all_its_mappings_aside() {
    let mut world = World::new();
    world.github.issue("secret/plans#1", |_| {});
    world.github.hide_repository("secret/plans");
    fill(&mut world, "secret/plans", 300);
    world.execute(
        "UPDATE core_project SET github_owner = '', github_repo = '';
         UPDATE core_externalissuemapping SET html_url = 'https://github.com/Secret/plans/issues/' || number",
    );
    world.issue("acme/shop#1", "Working");
    world.github.close("acme/shop#1", CLOSED_AT);
    let report = world
        .run(&["sync", "--limit", "120", "--output", "json"])
        .exits(3)
        .json();
    // The first slice had mappings of that repository only.
    assert_eq!(
        (&report["claimed"], &report["failed"]),
        (&json!(101), &json!(100))
    );
    assert_eq!(
        (world.one::<i64>(MOVED), world.one::<i64>(WAITING)),
        (1, 300)
    );
    let hidden = "SELECT error ILIKE '%secret/plans%' AND error_at IS NOT NULL FROM worker_repository WHERE name = 'secret/plans'";
    assert!(world.one::<bool>(hidden));
}

/// Each poll, and each look at a named mapping, finds again that it is hidden.
#[test]
fn status_says_since_when_a_hidden_repository_cannot_be_read() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "20"]).exits(3);
    world.execute(
        "UPDATE worker_repository SET error_at = error_at - interval '200 minutes', polled_at = polled_at - interval '200 minutes',
            unreadable_since = unreadable_since - interval '200 minutes' WHERE error IS NOT NULL",
    );
    let one: i64 =
        world.one("SELECT min(id) FROM core_externalissuemapping WHERE html_url LIKE '%/plans/%'");
    for args in [
        &["sync", "--limit", "20"][..],
        &["sync", "--mapping", &one.to_string()],
    ] {
        world.run(args).exits(3);
        let run = world.run(&["status"]).exits(0);
        let run = run.prints("Needs a look: secret/plans cannot be read since 3 h; last sync ");
        run.prints("  since 3 h: repository secret/plans ");
    }
    // A second one, and then a clock that was ahead.
    world.execute(
        "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, error, error_at, unreadable_since)
            VALUES ('acme/other', now(), now(), 'hidden', now(), now() - interval '50 minutes')",
    );
    let run = world.run(&["status"]).exits(0);
    run.prints("Needs a look: 2 repositories cannot be read, the first since 3 h; last sync ");
    world.execute("DELETE FROM worker_repository WHERE name = 'acme/other';
        UPDATE worker_repository SET unreadable_since = now() + interval '1 day' WHERE error IS NOT NULL");
    let run = world.run(&["status"]).exits(0);
    let run = run.prints("Needs a look: secret/plans cannot be read; last sync ");
    assert!(!run.stdout.contains("since"), "{}", run.all());
    world.github.show_repository("secret/plans");
    rest_is_over(&mut world);
    world.run(&["sync", "--limit", "20"]);
    let run = world.run(&["status", "--output", "json"]).exits(0);
    for repository in run.json()["repositories"].as_array().unwrap() {
        assert_eq!(repository["unreadable_since"], json!(null), "{repository}");
    }
}

/// `retry-failed` and `push-weaviate` do not poll.
#[test]
fn retry_failed_logs_a_hidden_repository_once() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "50"]).exits(3);
    let run = world.run(&["retry-failed", "--limit", "150"]).exits(3);
    let lines = run
        .stderr
        .lines()
        .filter(|line| line.contains("secret/plans"));
    assert_eq!(lines.count(), 1, "{}", run.all());
    assert_eq!(world.one::<i64>(WAITING), 300);
}

/// A run that polls nothing, because all repositories rest, is no success.
#[test]
fn runs_during_the_rest_of_all_repositories_say_so() {
    let mut world = World::new();
    world.github.issue("secret/plans#1", |_| {});
    world.github.hide_repository("secret/plans");
    fill(&mut world, "secret/plans", 60);
    for round in 1..=3 {
        let run = world
            .run(&["sync", "--limit", "20", "--output", "json"])
            .exits(1);
        let run = run.logs("no repository can be read: repository secret/plans cannot be read");
        assert_eq!(run.json()["claimed"], 0, "round {round}");
    }
    world.run(&["status", "--check"]).exits(4);
    // One of two repositories is hidden.
    world.issue("acme/shop#1", "Working");
    world.sync();
    world.run(&["status", "--check"]).exits(0);
}

/// A dry run shows what the run would do.
#[test]
fn a_dry_run_leaves_the_mappings_of_a_hidden_repository_out() {
    let mut world = hidden_and_healthy();
    world.run(&["sync", "--limit", "1"]).exits(3);
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = '2026-01-01' WHERE worker_error IS NOT NULL");
    let dry = world
        .run(&["sync", "--dry-run", "--limit", "20", "--output", "json"])
        .exits(0)
        .json();
    let real = world
        .run(&["sync", "--limit", "20", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&dry["claimed"], &real["items_moved"]),
        (&json!(20), &json!(20))
    );
}

/// A session holds a mapping row of every second repository. The others do not wait for it.
#[test]
fn a_locked_row_holds_up_its_own_repository_only() {
    let mut world = repositories(60);
    close_all(&world, 60);
    world.execute("UPDATE worker_repository SET polled_at = now() - interval '1 minute'");
    let mut person = world.database.client();
    let mut transaction = person.transaction().unwrap();
    let lock = "SELECT FROM core_externalissuemapping WHERE id % 2 = 0 FOR UPDATE";
    transaction.execute(lock, &[]).unwrap();
    let begin = std::time::Instant::now();
    let run = world
        .run(&["sync", "--limit", "100", "--output", "json"])
        .exits(3);
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    let report = run.json();
    assert_eq!(
        (&report["discovered"], &report["items_moved"]),
        (&json!(30), &json!(30)),
        "{}",
        run.all()
    );
    let run = run.logs("acme/repo-02: the changes on GitHub are left to the next run");
    assert!(
        !run.stderr.contains("acme/repo-01: the changes"),
        "{}",
        run.all()
    );
    assert_eq!(world.one::<i64>(POLLED), 30);
    transaction.rollback().unwrap();
    world.run(&["sync", "--limit", "100"]).exits(0);
    assert_eq!(
        (world.one::<i64>(MOVED), world.one::<i64>(POLLED)),
        (60, 60)
    );
}

/// A session holds the rows of repositories.
#[test]
fn a_locked_repository_holds_up_itself_only() {
    let mut world = repositories(30);
    let mut person = world.database.client();
    let mut transaction = person.transaction().unwrap();
    let lock = "SELECT FROM worker_repository WHERE name = 'acme/repo-07' FOR UPDATE";
    transaction.execute(lock, &[]).unwrap();
    let stale = "SELECT string_agg(name, ' ') FROM worker_repository WHERE polled_at < $1";
    let begin = chrono::Utc::now();
    world
        .run(&["sync"])
        .exits(3)
        .logs("acme/repo-07: the changes on GitHub are left to the next run");
    transaction.rollback().unwrap();
    let row = world.client.query_one(stale, &[&begin]).unwrap();
    assert_eq!(
        row.get::<_, Option<String>>(0).as_deref(),
        Some("acme/repo-07")
    );
    world.run(&["sync"]).exits(0);
}

/// Each request takes long. Each run polls a part of the repositories, and looks at due mappings.
#[test]
fn discovery_takes_half_of_the_time_and_goes_on_where_it_stopped() {
    let mut world = repositories(200);
    close_all(&world, 200);
    world.execute("UPDATE worker_repository SET polled_at = now() - interval '1 day'");
    world.github.settings().latency = Duration::from_millis(700);
    let (mut before, mut runs) = ((0, 0), 0);
    while before.0 < 200 {
        let args = [
            "sync",
            "--limit",
            "300",
            "--time-budget",
            "4s",
            "--output",
            "json",
        ];
        let run = world.run(&args);
        let now = (world.one::<i64>(POLLED), world.one::<i64>(MOVED));
        assert!(
            now.0 > before.0 && now.1 > before.1,
            "{before:?} {now:?}\n{}",
            run.all()
        );
        let report = run.json();
        assert_eq!(report["stopped_by"], "time_budget", "{}", run.all());
        // L3: as long as a repository was left out, the run is not done.
        if now.0 < 200 {
            let run = run
                .exits(75)
                .logs("of 200 repositories within half of the time budget");
            assert!(
                run.stderr.contains("polled 150 of") || run.stderr.contains("polled 100 of"),
                "{}",
                run.all()
            );
        }
        (before, runs) = (now, runs + 1);
        assert!(runs < 10);
    }
}

/// A limit in the middle of discovery keeps what was polled before it.
#[test]
fn a_limit_in_the_middle_of_discovery_keeps_what_was_polled() {
    let mut world = repositories(60);
    close_all(&world, 60);
    world.github.settings().points = 1;
    let report = world.run(&["sync", "--output", "json"]).exits(75).json();
    assert_eq!(
        (&report["stopped_by"], &report["discovered"]),
        (&json!("rate_limit"), &json!(50))
    );
    world.execute("DELETE FROM worker_pause");
    world.github.settings().points = 5000;
    world.github.clear_log();
    world.run(&["sync", "--limit", "100"]).exits(0);
    let first = world.github.variables().remove(0);
    assert_eq!(first["n0"], "repo-51", "oldest poll first");
    assert_eq!(world.one::<i64>(MOVED), 60);
}

/// L3: after exit code 0, every repository was polled by that run, or rests because it is hidden.
#[test]
fn exit_code_0_means_that_every_repository_was_polled_or_rests() {
    let mut world = repositories(60);
    let left = "SELECT string_agg(name, ' ') FROM worker_repository
        WHERE polled_at < $1 AND error_at IS NULL OR error_at < now() - interval '1 hour'";
    let mut codes = Vec::new();
    for round in 0..10 {
        world.github.forget_faults();
        *world.github.settings() = kit::github::Settings::default();
        world.execute("DELETE FROM worker_pause");
        let key = format!("acme/repo-{:02}#1", 10 + round);
        world.github.close(&key, &seconds_from_now(0));
        let (name, mut person) = (&key[..key.len() - 2], world.database.client());
        let mut transaction = person.transaction().unwrap();
        match round % 5 {
            0 => world.github.hide_repository(name),
            1 => world
                .github
                .fail_polls_of(name, crate::fixtures::text_response(500, "")),
            2 => drop(
                transaction
                    .execute("SELECT FROM core_externalissuemapping FOR UPDATE", &[])
                    .unwrap(),
            ),
            3 => world.github.settings().latency = Duration::from_millis(1700),
            _ => world.github.settings().points = 1,
        }
        for repeated in [false, true] {
            let begin: chrono::DateTime<chrono::Utc> = world.one("SELECT now()");
            let run = world.run(&["sync", "--limit", "100", "--time-budget", "3s"]);
            let row = world.client.query_one(left, &[&begin]).unwrap();
            let left: Option<String> = row.get(0);
            assert!(
                run.code != 0 || left.is_none(),
                "round {round}, {left:?}\n{}",
                run.all()
            );
            codes.push((round % 5, repeated, run.code));
        }
        drop(transaction);
    }
    // Only a hidden repository lets the second run end with 0.
    for (kind, is_repeated, code) in &codes {
        assert_eq!(*code == 0, *kind == 0 && *is_repeated, "{codes:?}");
    }
}
