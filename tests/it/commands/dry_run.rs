//! `--dry-run` reads everything, prints the exact plan, and changes nothing anywhere (invariant 2).

use std::collections::BTreeSet;

use agira_worker::core::agira_object::ObjectType::GithubIssue;
use kit::agira;
use kit::github::{Closer, Event};
use kit::postgres_server::Database;
use serde_json::{Value, json};

use crate::fixtures::{CLOSED_AT, plans};
use crate::harness::{Run, World, uuid};

/// Returns a world in which plans have an action of every kind.
fn rich(mut world: World) -> World {
    for (number, status) in [
        (1, "Working"),
        (2, "Working"),
        (3, "Testing"),
        (4, "Working"),
        (5, "Review"),
        (6, "Backlog"),
    ] {
        world.issue(&format!("acme/shop#{number}"), status);
    }
    let closes_two = "acme/shop#20".to_owned();
    world.github.pull_request(&closes_two, |_| {});
    for number in [1, 2] {
        world.github.issue(&format!("acme/shop#{number}"), |issue| {
            issue.references = vec![closes_two.clone()]
        });
    }
    world.github.merge(&closes_two, CLOSED_AT);
    world.github.close("acme/shop#3", CLOSED_AT);
    world.github.pull_request("acme/backend#7", |_| {});
    let elsewhere = Closer::PullRequest("acme/backend#7".to_owned());
    world
        .github
        .close_by("acme/shop#4", CLOSED_AT, "COMPLETED", elsewhere);
    world.github.pull_request("acme/shop#21", |_| {});
    world.github.issue("acme/shop#5", |issue| {
        issue
            .timeline
            .push(Event::Connected("acme/shop#21".to_owned()))
    });
    world.github.delete("acme/shop#6");
    // Agira stores a negative id for a pull request that its own queue worker opened.
    let item: i64 = world.one("SELECT item_id FROM core_externalissuemapping WHERE number = 5");
    agira::pull_request(&mut world.client, item, -21, "acme/shop", 21, "open");
    world
}

/// Returns a world whose Weaviate already has some objects.
fn grown() -> World {
    let mut world = rich(World::new());
    let ids: Vec<(i64, i32)> = world
        .client
        .query(
            "SELECT id, number FROM core_externalissuemapping ORDER BY id",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for (id, number) in ids {
        match number {
            1 => world.weaviate.put_object(
                &uuid(GithubIssue, id),
                json!({ "status": "open", "text": "State: open\n\nOld text" }),
            ),
            3 => world
                .weaviate
                .put_object(&uuid(GithubIssue, id), json!({ "status": "closed" })),
            _ => {}
        }
    }
    world
}

#[track_caller]
fn check_same_plan(world: &World) {
    let before = (
        world.database.dump(""),
        world.weaviate.objects(),
        world.weaviate.class(),
    );
    let dry = world
        .run(&["sync", "--dry-run", "--output", "json"])
        .exits(3)
        .json();
    assert_eq!(
        (
            world.database.dump(""),
            world.weaviate.objects(),
            world.weaviate.class()
        ),
        before
    );
    let real = world.run(&["sync", "--output", "json"]).exits(3).json();
    assert_eq!(plans(&dry), plans(&real));
    assert_eq!(
        (&dry["dry_run"], &dry["claimed"], &real["failed"]),
        (&json!(true), &json!(9), &json!(1))
    );
    let counts = |report: &Value| {
        let weaviate = &report["weaviate"];
        let counts = ["items_moved", "pull_requests_linked", "failed"].map(|name| &report[name]);
        let objects = ["created", "updated", "unchanged"].map(|name| &weaviate[name]);
        [counts, objects]
            .concat()
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&dry), counts(&real));
    assert_eq!(dry["planned"], real["synced"]);
    let outcomes: Vec<_> = dry["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapping| &mapping["outcome"])
        .collect();
    assert!(
        outcomes.iter().all(
            |outcome| [json!("planned"), json!("failed"), json!("unchanged")].contains(outcome)
        ),
        "{outcomes:?}"
    );
    check_nothing_left(world, &real, &[]);
}

/// Checks that a second plan is empty for every mapping that the real run finished.
#[track_caller]
fn check_nothing_left(world: &World, real: &Value, args: &[&str]) {
    let mappings = real["mappings"].as_array().unwrap().iter();
    let done = mappings.filter(|mapping| mapping["outcome"] != "failed");
    let named: Vec<String> = done
        .map(|mapping| format!("--mapping={}", mapping["mapping_id"]))
        .collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    world
        .run(&[&["sync", "--dry-run"], args, &named[..]].concat())
        .exits(0)
        .prints(" would not change. ");
}

#[test]
fn it_changes_nothing_and_prints_what_the_real_run_does() {
    check_same_plan(&grown());
}

#[test]
fn without_a_class_it_reports_that_a_run_would_create_it() {
    let world = rich(World::on(Database::create()));
    world
        .run(&["sync", "--dry-run"])
        .exits(3)
        .prints("Weaviate has no class AgiraObject: it would be created, without a vectorizer");
    assert_eq!(world.weaviate.class(), None);
    check_same_plan(&world);
}

#[test]
fn later_slices_use_the_new_status_of_an_item() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.github.close("acme/shop#1", CLOSED_AT);
    for number in 2..=230 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    // The last mapping of the third slice belongs to the item that the first one moves.
    let github_id = world.github.issue("acme/shop#300", |_| {});
    world.github.close("acme/shop#300", CLOSED_AT);
    agira::issue(
        &mut world.client,
        linked.item,
        github_id,
        "acme/shop",
        300,
        "open",
    );
    let dry = world
        .run(&["sync", "--dry-run", "--limit", "300", "--output", "json"])
        .exits(0)
        .json();
    let moves = dry["mappings"].to_string().matches("move_item").count();
    assert_eq!(moves, 1);
    let real = world
        .run(&["sync", "--limit", "300", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(plans(&dry), plans(&real));
}

#[test]
fn every_statement_is_in_a_read_only_transaction() {
    let world = grown();
    world.database.reset_statements();
    world.run(&["sync", "--dry-run"]).exits(3);
    world.run(&["push-weaviate", "--dry-run"]).exits(3);
    world.run(&["retry-failed", "--dry-run"]).exits(0);
    let statements = world.database.statements();
    let count = |wanted: &str| {
        statements
            .iter()
            .filter(|(query, _)| query == wanted)
            .map(|(_, calls)| calls)
            .sum::<i64>()
    };
    assert!(count("BEGIN READ ONLY") > 10, "{statements:#?}");
    assert_eq!(count("BEGIN READ ONLY"), count("COMMIT"));
    for (query, _) in statements {
        let verbs = ["INSERT", "UPDATE", "DELETE", "FOR UPDATE"];
        assert!(!verbs.iter().any(|verb| query.contains(verb)), "{query}");
    }
}

/// Defect "dry run": Agira's own worker does not ask GitHub, so its dry run cannot show a status change.
#[test]
fn it_shows_the_status_change_that_github_implies() {
    let world = grown();
    let run = world.run(&["sync", "--dry-run"]).exits(3);
    let told = format!("\n{}", run.stdout);
    let blocks: Vec<&str> = told.split("\nitem ").skip(1).collect();
    let block = |item: &str| {
        let found = blocks.iter().find(|block| block.starts_with(item));
        *found.unwrap_or_else(|| panic!("no block for {item}\n{}", run.all()))
    };
    for part in [
        "An item  acme/shop#1       Working → Testing    closed on 2026-03-01 as completed\n",
        " + acme/shop#20    pull request linked  merged, closes the issue\n",
        " + Weaviate        item, pull request\n",
        " Weaviate          issue                status updated",
    ] {
        assert!(block("1 ").contains(part), "no {part:?}\n{}", run.all());
    }
    assert!(block("3 ").contains("stays Testing "), "{}", run.all());
    assert!(block("3 ").contains(" a closed issue does not change this status\n"));
    assert!(block("4 ").contains(" + acme/backend#7  pull request linked "));
    assert!(block("5 ").contains("mapping 7         GitHub id corrected"));
    run.prints("failed: acme/shop#6 was deleted on GitHub")
        .prints("8 mappings would change, 1 would fail: 3 items would move, ")
        .prints("; nothing was changed. ");
    assert!(!world.github.requests().is_empty());
}

#[test]
fn mappings_that_would_not_change_are_counted_and_not_shown() {
    let mut world = World::new();
    for number in 1..=3 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    world.github.close("acme/shop#2", CLOSED_AT);
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = now()");
    let run = world.run(&["sync", "--dry-run"]).exits(0);
    let blocks = run.stdout.lines().filter(|line| line.starts_with("item "));
    assert_eq!(blocks.count(), 1, "{}", run.all());
    run.prints("item 2  An item  acme/shop#2")
        .prints("1 mapping would change, 2 would not change: 1 item would move, ");
}

#[test]
fn one_mapping_is_explained_with_the_text_as_a_diff() {
    let world = grown();
    let run = world.run(&["sync", "--mapping", "1", "--dry-run"]).exits(0);
    let parts = [
        "item 1  An item  acme/shop#1 ",
        "mapping 1 (item 1, issue acme/shop#1)\n    due since ",
        "    item 1 \"An item\" is in Working\n",
        "    GitHub: closed, closed 2026-03-01T10:00:00Z as completed, last changed ",
        "    last handled close event: none\n",
        "    why:\n",
        "        state differs: yes, stored is open, GitHub has closed\n        close event to handle: yes, closed 2026-03-01T10:00:00Z; last handled closing: none\n",
        "        status is protected: no, ",
        "        item moves: yes, Working => Testing, unless a person moves it before the run does\n        issue has a pull request: yes, acme/shop#20 closes it (a new row); stored link: none\n",
        "    plan:\n        state: open => closed\n        item status: Working => Testing\n",
        "    text of github_issue:1:\n",
        "        -State: open\n",
        "        +State: closed\n",
        "        +What acme/shop#1 says",
        "\nmapping new (item 1, pull request acme/shop#20)\n",
        "\n2 mappings would change: ",
    ];
    let mut rest = run.stdout.as_str();
    for part in parts {
        rest = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("no {part:?} in its place\n{}", run.all()))
            .1;
    }
}

#[test]
fn json_explains_one_mapping_too() {
    let world = grown();
    let explanation = |args: &[&str], code| {
        let report = world
            .run(&[args, &["--output", "json", "--dry-run"]].concat())
            .exits(code)
            .json();
        report["mappings"][0]["explanation"].clone()
    };
    assert_eq!(
        explanation(&["sync"], 3),
        Value::Null,
        "a batch is not explained"
    );
    let told = explanation(&["sync", "--mapping", "1"], 0);
    let (status, github) = (told["item_status"].clone(), told["github"].clone());
    assert_eq!(
        (status, github["state"].clone()),
        (json!("Working"), json!("closed"))
    );
    assert_eq!(
        (&github["closed_at"], &github["close_reason"]),
        (&json!(CLOSED_AT), &json!("completed"))
    );
    let reasons = told["reasons"].as_array().unwrap();
    assert_eq!(
        reasons[2],
        json!({ "question": "close_event", "answer": "yes", "facts": "closed 2026-03-01T10:00:00Z; last handled closing: none" })
    );
    let diff = told["text_diffs"][1].clone();
    assert_eq!(diff["object"], "github_issue:1");
    assert!(
        diff["diff"].as_str().unwrap().contains("\n-State: open\n"),
        "{diff}"
    );
    let failed = explanation(&["sync", "--mapping", "6"], 3);
    assert_eq!(
        (&failed["github"], &failed["reasons"]),
        (&Value::Null, &json!([])),
        "without a snapshot"
    );
    assert!(failed["due"].as_str().unwrap().starts_with("due since "));
}

/// Checks a line of `sync --mapping 1 --dry-run` after a change to the mapping.
#[track_caller]
fn check_why(change: &str, line: &str) {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.sync();
    world.execute(&format!("UPDATE core_externalissuemapping SET {change}"));
    world
        .run(&["sync", "--mapping", "1", "--dry-run"])
        .exits(0)
        .prints(line);
}

#[test]
fn a_mapping_that_does_not_move_shows_the_reason() {
    check_why("state = state", "    not due; next recheck at ");
    check_why(
        "worker_recheck_at = now() - interval '1 hour'",
        "    not due; its recheck has waited since ",
    );
    check_why(
        "worker_due_at = now() - interval '1 hour'",
        "    due since ",
    );
    check_why(
        "worker_due_at = now() + interval '1 hour', worker_error = 'it broke', worker_error_at = now(), worker_attempts = 2",
        " (backing off)",
    );
    check_why(
        "worker_recheck_at = NULL, worker_error = 'it broke', worker_error_at = now(), worker_attempts = 2",
        "    last failure (attempt 2): it broke",
    );
    check_why(
        "worker_recheck_at = NULL, worker_error = 'it broke', worker_error_at = now()",
        "    parked: ",
    );
    check_why(
        "worker_claim = gen_random_uuid(), worker_claimed_until = now() + interval '1 hour'",
        "left to a later run: in work, held by a run until ",
    );
    check_why(
        "worker_claim = gen_random_uuid(), worker_claimed_until = now() - interval '1 hour'",
        "    in work by a run that died; its claim expired ",
    );
}

#[test]
fn an_outbox_that_waits_is_named() {
    let world = grown();
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "1"]).exits(75);
    world.weaviate.settings().down = false;
    world
        .run(&["sync", "--mapping", "1", "--dry-run"])
        .exits(0)
        .prints("    objects wait for Weaviate; a run delivers them first");
}

#[test]
fn a_mapping_that_another_run_holds_is_skipped() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.execute("UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = now() + interval '1 hour'");
    let mapping = linked.mapping.to_string();
    world
        .run(&["sync", "--mapping", &mapping])
        .exits(0)
        .logs("mapping=1 item=1 acme/shop#1: nothing was done: in work, held by a run until ");
    assert_eq!(world.github.requests().len(), 0);
    // The run that held it died.
    world.execute(
        "UPDATE core_externalissuemapping SET worker_claimed_until = now() - interval '1 second'",
    );
    world
        .run(&["sync", "--mapping", &mapping])
        .exits(0)
        .logs("the run that held it died; checking it alone")
        .prints("1 mapping synced");
}

/// Runs a command as a dry run and then for real. The real run must do exactly what the dry run printed.
#[track_caller]
fn check_preview(world: &World, args: &[&str]) -> Value {
    let before = (world.database.dump(""), world.weaviate.objects());
    let dry = world
        .run(&[args, &["--dry-run", "--output", "json"]].concat())
        .exits(0)
        .json();
    assert_eq!((world.database.dump(""), world.weaviate.objects()), before);
    let real = world
        .run(&[args, &["--output", "json"]].concat())
        .exits(0)
        .json();
    assert_eq!(plans(&dry), plans(&real), "{args:?}");
    assert_eq!(
        (&dry["claimed"], &dry["failed"]),
        (&real["claimed"], &real["failed"]),
        "{args:?}"
    );
    real
}

/// Returns an issue and the pull request that closes it, both synced while they were open.
fn synced() -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.github.pull_request("acme/shop#2", |_| {});
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    world.sync();
    world
}

const DUE: &str = "UPDATE core_externalissuemapping SET worker_due_at = now() WHERE kind = 'Issue'";

#[test]
fn a_row_that_a_plan_marks_is_listed_and_not_planned() {
    let mut world = synced();
    world.github.merge("acme/shop#2", CLOSED_AT);
    world.execute(DUE);
    let dry = world
        .run(&["sync", "--dry-run", "--output", "json"])
        .exits(0)
        .json();
    let mappings = dry["mappings"].as_array().unwrap();
    assert_eq!(mappings.len(), 1, "{dry:#}");
    assert!(
        mappings[0]["actions"].to_string().contains("make_due"),
        "{dry:#}"
    );
    // Discovery marks this row first, so the plan does not have to.
    world.execute("UPDATE worker_repository SET pull_requests_cursor = '2026-01-01'");
    check_preview(&world, &["sync", "--limit", "1"]);
}

const PARKED: &str =
    "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = NULL,
    worker_error = 'it broke', worker_error_at = now() - interval";

#[test]
fn the_preview_of_push_weaviate_respects_the_limit() {
    for args in [
        &["--limit", "1"][..],
        &["--limit", "3"],
        &[],
        &["--mapping", "1", "--mapping", "3"],
    ] {
        let mut world = World::new();
        for number in 1..=4 {
            world.issue(&format!("acme/shop#{number}"), "Working");
        }
        check_preview(&world, &[&["push-weaviate"], args].concat());
    }
}

#[test]
fn a_slice_whose_fetches_all_fail_keeps_the_results_of_earlier_slices() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.github.close("acme/shop#1", CLOSED_AT);
    // These rows fill the rest of the first slice, and the whole second slice.
    world.execute(&format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body, merge_commit_sha)
         SELECT -n, n, 'Issue', 'open', 'nonsense', now(), {}, '', '' FROM generate_series(1000, 1198) n",
        linked.item
    ));
    let github_id = world.github.issue("acme/shop#2", |_| {});
    world.github.close("acme/shop#2", CLOSED_AT);
    agira::issue(
        &mut world.client,
        linked.item,
        github_id,
        "acme/shop",
        2,
        "open",
    );
    let dry = world
        .run(&["sync", "--dry-run", "--limit", "300", "--output", "json"])
        .exits(3)
        .json();
    let told = dry["mappings"].to_string();
    assert_eq!(
        (
            told.matches("\"failed\"").count(),
            told.matches("\"move_item\"").count()
        ),
        (199, 1)
    );
}

#[test]
fn the_preview_shows_objects_as_waiting_while_weaviate_is_down() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.weaviate.settings().down = true;
    world.run(&["sync"]).exits(75);
    world.execute(DUE);
    let [dry, real] = [&["--dry-run"][..], &[]].map(|more| {
        let run = world
            .run(&[&["sync", "--output", "json"], more].concat())
            .exits(75);
        plans(&run.json())
    });
    assert_eq!(dry, real);
    assert!(
        real.values().any(|(_, actions)| actions.contains("decide")),
        "{real:?}"
    );
}

#[test]
fn the_preview_of_rechecks_respects_the_limit() {
    let mut world = World::new();
    for number in 1..=6 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.issue("acme/backend#7", "Working");
    world.sync();
    // A row with a higher id has an earlier recheck time.
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = now() - id * interval '1 hour'",
    );
    for (limit, expected) in [("2", &[6, 7][..]), ("3", &[3, 4, 5]), ("50", &[1, 2])] {
        let real = check_preview(&world, &["sync", "--limit", limit]);
        let mappings = real["mappings"].as_array().unwrap().iter();
        let checked = mappings.map(|one| one["mapping_id"].as_i64().unwrap());
        assert_eq!(
            checked.collect::<BTreeSet<_>>(),
            expected.iter().copied().collect()
        );
    }
}

#[test]
fn recheck_now_changes_rows_and_has_no_dry_run() {
    World::new()
        .run(&["sync", "--recheck-now", "--dry-run"])
        .exits(2)
        .logs("'--recheck-now' cannot be used with '--dry-run'");
}

#[test]
fn the_preview_of_a_retry_respects_the_limit() {
    for args in [&["--limit", "2"][..], &["--mapping", "3"], &[]] {
        let mut world = World::new();
        for number in 1..=4 {
            world.issue(&format!("acme/shop#{number}"), "Working");
            world
                .github
                .close(&format!("acme/shop#{number}"), CLOSED_AT);
        }
        world.execute(&format!("{PARKED} '1 hour' WHERE id > 1"));
        check_preview(&world, &[&["retry-failed"], args].concat());
    }
}

#[test]
fn the_preview_applies_the_policy() {
    for args in [
        &["--keep-status", "Working"][..],
        &["--close-reason", "not_planned"],
        &["--ignore-closed-before", "2026-03-02"],
        &["--replace-foreign"],
    ] {
        let mut world = grown();
        world.execute("DELETE FROM core_externalissuemapping WHERE number = 6");
        let real = check_preview(&world, &[&["sync"], args].concat());
        check_nothing_left(&world, &real, args);
    }
}

#[test]
fn the_time_budget_ends_a_dry_run_like_the_real_run() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.github.pull_request("acme/shop#2", |_| {});
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    world.github.settings().latency = std::time::Duration::from_millis(1100);
    let real = check_preview(&world, &["sync", "--time-budget", "2s"]);
    assert_eq!(
        (&real["claimed"], &real["given_back"], &real["stopped_by"]),
        (&json!(2), &json!(1), &json!("time_budget"))
    );
}

/// The preview of a batch does not show suspects, which a run checks alone and last. A named suspect is planned
/// exactly.
#[test]
fn a_named_suspect_is_planned_exactly() {
    let mut world = World::new();
    let linked = [1, 2].map(|number| world.issue(&format!("acme/shop#{number}"), "Working"));
    for number in 1..=2 {
        world
            .github
            .close(&format!("acme/shop#{number}"), CLOSED_AT);
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_attempts = 1,
            worker_claimed_until = now() - interval '1 hour'",
    );
    let [first, second] = [0, 1].map(|index| linked[index].mapping.to_string());
    world
        .run(&["sync", "--dry-run"])
        .exits(0)
        .prints("Nothing to do");
    world
        .run(&["sync", "--mapping", &first, "--dry-run"])
        .exits(0)
        .prints("died; its claim expired ")
        .prints("        item status: Working => Testing");
    check_preview(&world, &["sync", "--mapping", &first]);
    assert_eq!(world.item_status(linked[0].item), "Testing");
    world.execute("UPDATE core_externalissuemapping SET worker_attempts = 9 WHERE number = 2");
    let parked = "attempt 10 did not finish: the run that made it died; the mapping is parked";
    let args = ["sync", "--mapping", &second, "--output", "json"];
    world
        .run(&["sync", "--mapping", &second, "--dry-run"])
        .exits(3)
        .prints(parked);
    let [dry, real] =
        [&["--dry-run"][..], &[]].map(|dry| world.run(&[&args[..], dry].concat()).exits(3).json());
    assert_eq!(plans(&dry), plans(&real));
    assert_eq!(
        (&dry["failed"], &dry["mappings"][0]["error"]),
        (&json!(1), &json!(parked))
    );
}

/// Returns the ids and outcomes of a report, in the order of the ids; a plan counts as synced.
fn outcomes(report: &Value) -> Vec<(i64, String)> {
    let mappings = report["mappings"].as_array().unwrap();
    let mut outcomes: Vec<(i64, String)> = mappings
        .iter()
        .map(|one| {
            let outcome = one["outcome"]
                .as_str()
                .unwrap()
                .replace("planned", "synced");
            (one["mapping_id"].as_i64().unwrap(), outcome)
        })
        .collect();
    outcomes.sort();
    outcomes
}

/// Three named mappings, some of which failed, are held or have a run that died. A dry run shows
/// the mappings that the run takes, and those that it only reports as held.
#[test]
fn a_dry_run_of_named_mappings_takes_those_of_the_run() {
    const FAILED: &str = "worker_error = 'x', worker_error_at = now(), worker_recheck_at = NULL";
    const HELD: &str =
        "worker_claim = gen_random_uuid(), worker_claimed_until = now() + interval '1 hour'";
    const DIED: &str =
        "worker_claim = gen_random_uuid(), worker_claimed_until = now() - interval '1 hour'";
    for (command, limit, change, expected, held) in [
        (
            "sync",
            "2",
            format!("{FAILED}, worker_attempts = 9 WHERE id = 1"),
            &[(1, "synced"), (2, "synced")][..],
            &[][..],
        ),
        (
            "sync",
            "2",
            format!("{FAILED}, worker_attempts = 10, worker_due_at = NULL WHERE id = 1"),
            &[(1, "synced"), (2, "synced")],
            &[],
        ),
        (
            "sync",
            "2",
            "worker_due_at = now() - interval '1 day' WHERE id = 3".to_owned(),
            &[(1, "synced"), (2, "synced")],
            &[],
        ),
        (
            "sync",
            "2",
            format!("{HELD} WHERE id = 1"),
            &[(2, "synced"), (3, "synced")],
            &[1],
        ),
        (
            "sync",
            "2",
            format!("{DIED} WHERE id = 1"),
            &[(2, "synced"), (3, "synced")],
            &[],
        ),
        (
            "sync",
            "2",
            format!("{DIED}, worker_attempts = 9 WHERE id < 3"),
            &[(1, "failed"), (3, "synced")],
            &[],
        ),
        (
            "push-weaviate",
            "3",
            format!("{DIED} WHERE id = 1"),
            &[(2, "synced"), (3, "synced")],
            &[1],
        ),
    ] {
        let mut world = World::new();
        for number in 1..=3 {
            world.closed_issue(&format!("acme/shop#{number}"));
        }
        world.execute(&format!("UPDATE core_externalissuemapping SET {change}"));
        let args = [
            command,
            "--mapping",
            "1",
            "--mapping",
            "2",
            "--mapping",
            "3",
            "--limit",
            limit,
            "--output",
            "json",
        ];
        let expected: Vec<(i64, String)> = expected
            .iter()
            .map(|(id, outcome)| (*id, (*outcome).to_owned()))
            .collect();
        let dry = world.run(&[&args[..], &["--dry-run"]].concat()).json();
        let (given_back, taken): (Vec<_>, Vec<_>) = outcomes(&dry)
            .into_iter()
            .partition(|(_, outcome)| outcome == "given_back");
        assert_eq!(taken, expected, "{command} {change}");
        let given_back: Vec<i64> = given_back.into_iter().map(|(id, _)| id).collect();
        assert_eq!(given_back, held, "{command} {change}");
        let real = world.run(&args).json();
        assert_eq!(outcomes(&real), expected, "{command} {change}");
    }
}

#[test]
fn a_dry_run_respects_a_pause_that_another_run_stores_meanwhile() {
    let world = crate::fixtures::closed_issues(kit::weaviate::Settings::default(), 150);
    let mut other_run = world.database.client();
    let mut stored = false;
    world.github.clear_log();
    world.github.meanwhile(move || {
        if !std::mem::replace(&mut stored, true) {
            let sql = "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', '2100-01-01', 'too many', 1)";
            other_run.batch_execute(sql).unwrap();
        }
    });
    let run = world
        .run(&["sync", "--dry-run", "--limit", "150", "--output", "json"])
        .exits(75);
    assert_eq!(run.json()["stopped_by"], "rate_limit");
    assert_eq!(outcomes(&run.json()).len(), 100, "the first slice");
}

/// Nobody knows what Weaviate has, so nothing can be said to be written: not even the object of a row that the run inserts.
#[test]
fn without_weaviate_a_dry_run_counts_what_the_run_leaves() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    world.closing_pull_request("acme/shop#1", "acme/shop#2");
    let counts = |args: &[&str]| {
        let mut command = world.command(args);
        command.args(["--output", "json"]);
        command.env("WEAVIATE_URL", "http://127.0.0.1:1");
        let run = Run::of(&mut command).exits(75).logs("objects have to wait");
        run.json()["weaviate"].clone()
    };
    let planned = counts(&["sync", "--dry-run"]);
    assert_eq!(
        (&planned["pending"], &planned["created"]),
        (&json!(3), &json!(0)),
        "{planned}"
    );
    assert_eq!(planned, counts(&["sync"]));
}
