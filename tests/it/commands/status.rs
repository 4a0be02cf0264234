//! `status`: totals, failures and the last run, as text and as JSON. It only reads.

use std::collections::BTreeSet;
use std::process::Stdio;

use kit::agira;
use kit::fault_proxy::{FaultProxy, WireFault};
use kit::postgres_server::Database;
use serde_json::{Value, json};

use crate::harness::{Run, World};

/// Returns two projects with a mapping in every class, as runs leave them: 1 due, 2 in work, 3 backing off, 4 parked, 5
/// and 6 waiting (6 with an outbox). 7, of the other project, is due. 1 and 7 were never checked.
fn every_class() -> World {
    let mut world = World::new();
    for number in 1..=6 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.issue("acme/other#7", "Review");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = '2026-03-01T08:00:00Z' WHERE id IN (1, 7);
         UPDATE core_externalissuemapping SET worker_checked_at = now(), worker_external_updated_at = now() WHERE id BETWEEN 2 AND 6;
         UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = '2100-01-03T00:00:00Z' WHERE id = 2;
         UPDATE core_externalissuemapping SET worker_due_at = '2100-01-01T00:00:00Z', worker_attempts = 3, worker_error = 'broken',
            worker_error_at = '2026-03-02T08:00:00Z' WHERE id = 3;
         UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_attempts = 10, worker_error = 'gone',
            worker_error_at = '2026-03-03T08:00:00Z' WHERE id = 4;
         UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = '2100-01-02T00:00:00Z' WHERE id IN (5, 6);
         UPDATE core_externalissuemapping SET worker_outbox = '{}', worker_delivery_at = 'epoch' WHERE id = 6",
    );
    world
}

/// Returns the JSON of `status` with these arguments, and checks that it sent no request and wrote nothing.
#[track_caller]
fn status(world: &World, args: &[&str]) -> Value {
    let before = world.database.dump("");
    let run = world
        .run(&[&["status", "--output", "json"], args].concat())
        .exits(0);
    assert_eq!(run.stderr, "");
    assert_eq!(run.stdout.lines().count(), 1);
    assert_eq!(
        (
            world.github.requests().len(),
            world.weaviate.requests().len()
        ),
        (0, 0)
    );
    assert_eq!(world.database.dump(""), before);
    run.json()
}

/// Checks that an object has exactly these fields, separated by spaces.
#[track_caller]
fn check_fields(object: &Value, fields: &str) {
    let names: BTreeSet<&str> = object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, fields.split_whitespace().collect(), "{object}");
}

#[test]
fn every_mapping_is_in_one_class_and_the_classes_add_up() {
    let world = every_class();
    let classes = |args: &[&str]| status(&world, args)["mappings"].clone();
    let expected =
        json!({ "total": 7, "due": 2, "in_work": 1, "backing_off": 1, "parked": 1, "waiting": 2 });
    assert_eq!(classes(&[]), expected);
    assert_eq!(classes(&["--failed"]), expected);
    let of_project =
        json!({ "total": 1, "due": 1, "in_work": 0, "backing_off": 0, "parked": 0, "waiting": 0 });
    assert_eq!(classes(&["--project", "2"]), of_project);
    assert_eq!(classes(&["--project", "1", "--project", "2"]), expected);
    for (mapping, class) in [
        ("1", "due"),
        ("2", "in_work"),
        ("3", "backing_off"),
        ("4", "parked"),
        ("5", "waiting"),
    ] {
        let mut one = json!({ "total": 1, "due": 0, "in_work": 0, "backing_off": 0, "parked": 0, "waiting": 0 });
        one[class] = json!(1);
        assert_eq!(classes(&["--mapping", mapping]), one);
    }
    let none =
        json!({ "total": 0, "due": 0, "in_work": 0, "backing_off": 0, "parked": 0, "waiting": 0 });
    assert_eq!(classes(&["--mapping", "1", "--project", "2"]), none);
}

#[test]
fn an_expired_claim_is_in_work_until_a_run_takes_it_over() {
    let mut world = every_class();
    world.execute("UPDATE core_externalissuemapping SET worker_claimed_until = '2026-03-01T00:00:00Z' WHERE id = 2");
    assert_eq!(status(&world, &[])["mappings"]["in_work"], 1);
    let sentence =
        "for item 2 (Working): in work by a run that died; its claim expired 2026-03-01T00:00:00Z";
    world
        .run(&["status", "--mapping", "2"])
        .exits(0)
        .prints(sentence);
}

#[test]
fn unfetched_mappings_and_full_outboxes_are_counted() {
    let world = every_class();
    let counts = |args: &[&str]| {
        let status = status(&world, args);
        (
            status["never_synced"].as_i64().unwrap(),
            status["weaviate"].clone(),
        )
    };
    let waiting = |pending| json!({ "pending": pending, "rejected": 0 });
    assert_eq!(counts(&[]), (2, waiting(1)));
    assert_eq!(counts(&["--project", "2"]), (1, waiting(0)));
    assert_eq!(counts(&["--mapping", "6"]), (0, waiting(1)));
}

/// The count shows the progress of a recheck of all mappings.
#[test]
fn the_mappings_left_of_recheck_now_are_counted() {
    let mut world = World::new();
    for number in 1..=5 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let left = |world: &World| {
        let count =
            world.run(&["status", "--output", "json"]).exits(0).json()["to_recheck"].as_i64()?;
        world
            .run(&["status"])
            .exits(0)
            .prints(&format!("to recheck {count:14}"));
        Some(count)
    };
    assert_eq!(left(&world), Some(0), "a new mapping is due");
    world.run(&["sync"]).exits(0);
    assert_eq!(left(&world), Some(0));
    world
        .run(&["sync", "--recheck-now", "--limit", "2"])
        .exits(0);
    assert_eq!(left(&world), Some(3));
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now() WHERE id = 5");
    assert_eq!(left(&world), Some(2), "one that is due is counted there");
    world.run(&["sync", "--limit", "10"]).exits(0);
    assert_eq!(left(&world), Some(0));
}

#[test]
fn the_json_has_exactly_the_documented_fields() {
    let mut world = every_class();
    world.execute(
        "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, error, error_at, unreadable_since)
         VALUES ('acme/shop', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', 'hidden', now(), '2026-03-03T00:00:00Z')",
    );
    let status = status(&world, &[]);
    check_fields(
        &status,
        "schema_version command exit_code error mappings never_synced to_recheck failing weaviate shared repositories last_run runs weaviate_vectorizer synced_at pause github_pauses weaviate_pause failures rejected_deliveries unhealthy",
    );
    assert_eq!(
        (
            &status["schema_version"],
            &status["command"],
            &status["exit_code"]
        ),
        (&json!(1), &json!("status"), &json!(0))
    );
    assert_eq!(
        (&status["error"], &status["pause"], &status["last_run"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    check_fields(
        &status["mappings"],
        "total due in_work backing_off parked waiting",
    );
    check_fields(&status["weaviate"], "pending rejected");
    check_fields(
        &status["failures"][0],
        "mapping_id item_id kind repository number attempts error error_at next_attempt_at",
    );
    let expected = json!([{ "name": "acme/shop", "issues_cursor": "2026-03-01T00:00:00Z",
        "pull_requests_cursor": "2026-03-02T00:00:00Z", "polled_at": null, "error": "hidden",
        "unreadable_since": "2026-03-03T00:00:00Z", "due": 1 }]);
    assert_eq!(status["repositories"], expected);
}

#[test]
fn a_failure_shows_its_reason_its_time_and_the_next_attempt() {
    let world = every_class();
    let failure = |id: i64, attempts: i64, error: &str, at: &str, next: Value| {
        json!({ "mapping_id": id, "item_id": id, "kind": "Issue", "repository": "acme/shop", "number": id, "attempts": attempts,
            "error": error, "error_at": at, "next_attempt_at": next })
    };
    let parked = failure(4, 10, "gone", "2026-03-03T08:00:00Z", Value::Null);
    let backing_off = failure(
        3,
        3,
        "broken",
        "2026-03-02T08:00:00Z",
        json!("2100-01-01T00:00:00Z"),
    );
    for args in [&[][..], &["--failed"], &["--project", "1"]] {
        assert_eq!(
            status(&world, args)["failures"],
            json!([parked, backing_off]),
            "the latest first"
        );
    }
    assert_eq!(
        status(&world, &["--mapping", "3"])["failures"],
        json!([backing_off])
    );
    assert_eq!(status(&world, &["--project", "2"])["failures"], json!([]));
    let parked =
        "  mapping 4 (item 4, issue acme/shop#4): attempt 10 at 2026-03-03T08:00:00Z, parked: gone";
    let backing_off = "  mapping 3 (item 3, issue acme/shop#3): attempt 3 at 2026-03-02T08:00:00Z, next attempt 2100-01-01T00:00:00Z: broken";
    let run = world
        .run(&["status"])
        .exits(0)
        .prints("failures: 2")
        .prints("mappings                7");
    assert!(
        run.stdout.ends_with(&format!("{parked}\n{backing_off}\n")),
        "{}",
        run.all()
    );
    let run = world.run(&["status", "--failed"]).exits(0);
    assert_eq!(
        run.stdout,
        format!("failures: 2\n{parked}\n{backing_off}\n")
    );
    world
        .run(&["status", "--failed", "--project", "2"])
        .exits(0)
        .prints("failures: none");
}

#[test]
fn a_failure_without_readable_address_is_still_shown() {
    let mut world = every_class();
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'nonsense', kind = 'bogus' WHERE id = 3;
         UPDATE core_externalissuemapping SET html_url = '', item_id = (SELECT id FROM core_item WHERE project_id = 2) WHERE id = 4;
         UPDATE core_project SET github_owner = '', github_repo = '' WHERE id = 2",
    );
    let status = status(&world, &["--failed"]);
    let known = |index: usize| {
        let failure = &status["failures"][index];
        (
            failure["kind"].clone(),
            failure["repository"].clone(),
            failure["number"].clone(),
        )
    };
    assert_eq!(known(0), (json!("Issue"), Value::Null, json!(4)));
    assert_eq!(known(1), (json!("unknown"), json!("acme/shop"), json!(3)));
    world
        .run(&["status", "--failed"])
        .exits(0)
        .prints("mapping of unknown kind")
        .prints("?#4");
}

#[test]
fn text_shows_the_same_numbers_as_json() {
    let world = every_class();
    let run = world.run(&["status"]).exits(0);
    let number = |name: &str| -> i64 {
        let line = run
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}\n{}", run.all()));
        line.split_whitespace()
            .next_back()
            .unwrap()
            .parse()
            .unwrap()
    };
    let json = status(&world, &[]);
    for name in ["due", "in work", "backing off", "parked", "waiting"] {
        assert_eq!(json["mappings"][name.replace(' ', "_")], number(name));
    }
    assert_eq!(
        (&json["never_synced"], &json["weaviate"]["pending"]),
        (
            &json!(number("never synced")),
            &json!(number("Weaviate pending"))
        )
    );
    assert_eq!(json["to_recheck"], number("to recheck"));
    assert_eq!(json["mappings"]["total"], number("mappings"));
    run.prints("last runs: none yet");
}

#[test]
fn a_mapping_that_is_named_is_described_in_a_sentence() {
    let world = every_class();
    let check = |mapping: &str, sentence: &str| {
        let run = world.run(&["status", "--mapping", mapping]).exits(0);
        assert_eq!(run.stdout.lines().next(), Some(sentence), "{}", run.all());
    };
    let start = |id: i64| {
        format!(
            "mapping {id} is the issue acme/shop#{id} (recorded as open), for item {id} (Working): "
        )
    };
    check("1", &(start(1) + "due since 2026-03-01T08:00:00Z"));
    check(
        "2",
        &(start(2) + "in work, held by a run until 2100-01-03T00:00:00Z at the latest"),
    );
    check(
        "3",
        &(start(3) + "not due before 2100-01-01T00:00:00Z (backing off)"),
    );
    check(
        "4",
        &(start(4) + "parked: checked again when it changes on GitHub, or by retry-failed"),
    );
    check(
        "5",
        &(start(5) + "not due; next recheck at 2100-01-02T00:00:00Z"),
    );
    check(
        "6",
        &(start(6) + "not due; next recheck at 2100-01-02T00:00:00Z"),
    );
    check(
        "7",
        "mapping 7 is the issue acme/other#7 (recorded as open), for item 7 (Review): due since 2026-03-01T08:00:00Z",
    );
    let run = world
        .run(&["status", "--mapping", "5", "--mapping", "1"])
        .exits(0);
    assert_eq!(
        run.stdout
            .lines()
            .filter(|line| line.contains(" is the issue "))
            .count(),
        2,
        "{}",
        run.all()
    );
}

#[test]
fn mappings_and_projects_that_do_not_exist_are_exit_code_1() {
    let world = every_class();
    for (args, says) in [
        (
            ["--mapping", "99"],
            "there is no mapping 99; check --mapping (`SELECT id, html_url FROM core_externalissuemapping` lists the ids)",
        ),
        (
            ["--project", "98"],
            "there is no project 98; check --project (the address of its page in Agira has the id)",
        ),
    ] {
        let run = world.run(&["status", args[0], args[1]]).exits(1).logs(says);
        assert_eq!(
            (&*run.stdout, run.stderr.lines().count()),
            ("", 1),
            "{}",
            run.all()
        );
        let json = world
            .run(&["status", args[0], args[1], "--output", "json"])
            .exits(1)
            .logs(says)
            .json();
        assert_eq!(json["exit_code"], 1);
        let error = json["error"].as_str().unwrap();
        assert!(error.starts_with(says), "{error}");
        check_fields(
            &json["mappings"],
            "total due in_work backing_off parked waiting",
        );
    }
}

#[test]
fn the_last_run_is_shown_however_it_ended() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.weaviate.settings().down = true;
    let sync = world.run(&["sync", "--output", "json"]).exits(75).json();
    let last_run = |world: &World| {
        let run = world.run(&["status", "--output", "json"]).exits(0);
        run.json()["last_run"].clone()
    };
    let run = last_run(&world);
    check_fields(
        &run,
        "command started_at finished_at exit_code stopped_by counts",
    );
    assert_eq!(
        (&run["command"], &run["exit_code"], &run["stopped_by"]),
        (&json!("sync"), &json!(75), &json!("weaviate"))
    );
    assert_eq!(
        (&run["counts"]["synced"], &run["counts"]["claimed"]),
        (&sync["synced"], &sync["claimed"])
    );
    let text = world.run(&["status"]).exits(0);
    let line = text
        .stdout
        .lines()
        .skip_while(|line| *line != "last runs:")
        .nth(2)
        .unwrap_or_else(|| panic!("{}", text.all()));
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        (cells[0], cells[cells.len() - 4], cells[cells.len() - 1]),
        ("sync", "75", "weaviate"),
        "{line}"
    );
    world.weaviate.settings().down = false;
    world.run(&["push-weaviate"]).exits(0);
    assert_eq!(
        (&last_run(&world)["command"], &last_run(&world)["exit_code"]),
        (&json!("push-weaviate"), &json!(0))
    );
    // `status` lists neither dry runs nor itself.
    world.run(&["sync", "--dry-run"]).exits(0);
    assert_eq!(last_run(&world)["command"], "push-weaviate");
}

#[test]
fn a_pause_is_shown_while_it_lasts() {
    let mut world = World::new();
    let pause = "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', '2100-01-01T00:00:00Z', 'too many requests', 1)";
    world.execute(pause);
    let expected = json!({ "scope": "github", "until": "2100-01-01T00:00:00Z", "reason": "too many requests" });
    let told = status(&world, &[])["pause"].clone();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&told[name], value);
    }
    let text = "GitHub is not asked before 2100-01-01T00:00:00Z: too many requests";
    world.run(&["status"]).exits(0).prints(text);
    world.execute("UPDATE worker_pause SET until = now() - interval '1 s'");
    assert_eq!(status(&world, &[])["pause"], Value::Null);
}

#[test]
fn a_read_only_role_without_any_service_is_enough() {
    let mut world = every_class();
    let role = world.database.url().rsplit_once('/').unwrap().1.to_owned() + "_reader";
    world.execute(&format!(
        "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET default_transaction_read_only = on;
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let url = world
        .database
        .url()
        .replace("postgres@", &format!("{role}@"));
    for args in [
        &["status"][..],
        &["status", "--mapping", "3"],
        &["status", "--failed", "--output", "json"],
    ] {
        let mut command = world.command(args);
        command.env("DATABASE_URL", &url);
        for name in ["GITHUB_TOKEN", "WEAVIATE_URL", "GITHUB_API_URL"] {
            command.env_remove(name);
        }
        let run = Run::of(&mut command).exits(0).prints("broken");
        assert_eq!(run.stderr, "");
    }
    world.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A run that waits for GitHub holds no lock that blocks others.
#[test]
fn status_works_while_a_run_waits_for_github() {
    let mut world = World::new();
    for number in 1..=3 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let front = FaultProxy::before(&world.github.url());
    // GitHub answers the poll, but not the fetch.
    front.fail_from(1, WireFault::Hang);
    let mut sync = world.command(&["sync", "--request-timeout", "60s"]);
    let mut sync = sync
        .env("GITHUB_API_URL", front.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    front.wait_for(2);
    let mappings = world.run(&["status", "--output", "json"]).exits(0).json()["mappings"].clone();
    let held = world.run(&["status", "--mapping", "2"]).exits(0);
    let is_running = sync.try_wait().unwrap().is_none();
    sync.kill().unwrap();
    sync.wait().unwrap();
    assert!(is_running, "the run still waits");
    assert_eq!(
        (&mappings["in_work"], &mappings["total"]),
        (&json!(3), &json!(3))
    );
    held.prints("for item 2 (Working): in work, held by a run until ");
}

#[test]
fn status_works_without_mappings() {
    let mut world = World::on(Database::create());
    let none =
        json!({ "total": 0, "due": 0, "in_work": 0, "backing_off": 0, "parked": 0, "waiting": 0 });
    assert_eq!(status(&world, &[])["mappings"], none);
    world
        .run(&["status"])
        .exits(0)
        .prints("failures: none")
        .prints("last runs: none yet");
    for args in [
        &["sync"][..],
        &["sync", "--dry-run"],
        &["retry-failed"],
        &["push-weaviate"],
    ] {
        let run = world.run(args).exits(0);
        run.prints("Nothing to do: Agira has no mappings yet");
    }
    let project = world.project("acme/shop");
    agira::item(&mut world.client, project, "Working");
    assert_eq!(
        status(&world, &["--project", &project.to_string()])["mappings"],
        none
    );
}

/// Only one row can have GitHub's id, so a person has to decide between rows that name the same issue.
#[test]
fn rows_that_name_the_same_issue_are_listed() {
    let mut world = World::new();
    let first = world.issue("acme/shop#1", "Working");
    let second = world.issue("acme/shop#2", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/Acme/Shop/issues/1' WHERE number = 2",
    );
    let line = format!(
        "mappings {} and {} have the same address https://github.com/acme/shop/issues/1",
        first.mapping, second.mapping
    );
    world.run(&["status"]).exits(0).prints(&line);
    world
        .run(&["status", "--mapping", &second.mapping.to_string()])
        .exits(0)
        .prints(&line);
    let shared = world.run(&["status", "--output", "json"]).json()["shared"].clone();
    assert_eq!(
        shared[0]["mapping_ids"],
        serde_json::json!([first.mapping, second.mapping])
    );
}

#[test]
fn the_lag_of_each_repository_is_shown() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/backend#1", "Working");
    world.sync();
    world.execute(
        "UPDATE worker_repository SET polled_at = '2026-03-01T10:00:00Z', issues_cursor = '2026-03-01T09:00:00Z',
            pull_requests_cursor = '2026-03-01T08:00:00Z';
         UPDATE worker_repository SET error = 'hidden from us', error_at = now() WHERE name = 'acme/backend';
         UPDATE core_externalissuemapping SET worker_due_at = now() WHERE html_url LIKE '%shop%'",
    );
    let run = world.run(&["status"]).exits(0);
    let run = run.prints("acme/shop     on 2026-03-01  2026-03-01 09:00Z  2026-03-01 08:00Z    1");
    run.prints("  acme/backend: hidden from us");
    let repositories = world.run(&["status", "--output", "json"]).json()["repositories"].clone();
    assert_eq!(
        (&repositories[0]["due"], &repositories[1]["due"]),
        (&serde_json::json!(0), &serde_json::json!(1))
    );
}
