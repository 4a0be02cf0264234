//! Several rows, runs and people that act at the same time.

use super::*;

/// Defect "one pull request, two items", and invariant 5.
#[test]
fn one_pull_request_of_two_items_keeps_its_row_where_it_is_and_has_two_links() {
    let (mut world, first) = merged();
    let second = world.issue("acme/shop#20", "Working");
    world.github.issue("acme/shop#20", |issue| {
        issue.references = vec![PULL_REQUEST.to_owned()]
    });
    world.github.close("acme/shop#20", CLOSED_AT);
    let expected = [
        (first.item, 13, "closes".to_owned()),
        (second.item, 13, "closes".to_owned()),
    ];
    for _ in 1..=3 {
        world.run(&["sync", "--recheck-now"]).exits(0);
        assert_eq!(
            pull_request_rows(&mut world)
                .iter()
                .map(|row| row.0)
                .collect::<Vec<_>>(),
            [first.item]
        );
        assert_eq!(links(&mut world), expected);
    }
    assert_eq!(world.weaviate.objects().len(), 5);
}

/// Defect "a person moves an item back from Testing", and invariant 4.
#[test]
fn an_item_that_a_person_moves_back_stays_there_as_long_as_the_issue_stays_closed() {
    let (mut world, linked) = merged();
    world.sync();
    for status in ["Working", "Inbox", "Review"] {
        agira::person_sets_status(&mut world.client, linked.item, status);
        world.run(&["sync", "--recheck-now"]).exits(0);
        assert_eq!(world.item_status(linked.item), status);
        // The object of the item follows the person's change, because its status changed.
        assert_eq!(world.properties(Item, linked.item)["status"], status);
    }
    // The next closing is later than these decisions.
    world.execute(&format!("UPDATE core_activity SET created_at = '{LATER}'"));
    world.github.reopen(ISSUE, LATER);
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .logs("issue is open again: item left in Review");
    assert_eq!(world.item_status(linked.item), "Review");
    world.github.close(ISSUE, "2026-03-03T10:00:00Z");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(
        world.item_status(linked.item),
        "Testing",
        "another close event"
    );
}

/// Defect "a tester rejects between the webhook's move and the first look of a run", and invariant 4.
#[test]
fn an_item_that_a_person_moves_back_before_the_first_run_stays_there() {
    let (mut world, linked) = merged();
    agira::person_sets_status(&mut world.client, linked.item, "Testing");
    agira::person_sets_status(&mut world.client, linked.item, "Working");
    let dry = world.run(&[
        "sync",
        "--mapping",
        &linked.mapping.to_string(),
        "--dry-run",
    ]);
    dry.exits(0)
        .prints("a person decided after the closing: yes");
    world
        .sync()
        .logs("item left in Working: a person set its status at ");
    assert_eq!(world.item_status(linked.item), "Working");
    assert_eq!(world.properties(Item, linked.item)["status"], "Working");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(world.item_status(linked.item), "Working");
}

/// The item has the status that the run read, and yet a person decided meanwhile.
#[test]
fn an_item_that_a_person_moves_and_moves_back_during_the_run_stays_there() {
    let (mut world, linked) = merged();
    let (mut client, item) = (world.database.client(), linked.item);
    world.github.meanwhile(move || {
        agira::person_sets_status(&mut client, item, "Testing");
        agira::person_sets_status(&mut client, item, "Working");
    });
    world.sync();
    assert_eq!(world.item_status(linked.item), "Working");
}

/// What stood before the closing does not keep the item, whoever set it; what the webhook does has no actor.
#[test]
fn a_status_that_a_person_set_before_the_closing_does_not_keep_the_item() {
    let (mut world, linked) = merged();
    agira::person_sets_status(&mut world.client, linked.item, "Inbox");
    world.execute(&format!(
        "UPDATE core_activity SET created_at = '{CLOSED_AT}'"
    ));
    agira::person_sets_status(&mut world.client, linked.item, "Working");
    world.execute(
        "UPDATE core_activity SET actor_id = NULL WHERE created_at > now() - interval '1 hour'",
    );
    world.sync();
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// Defect "item closed by a person during the run".
#[test]
fn an_item_that_a_person_closes_during_the_run_stays_closed() {
    let (mut world, linked) = merged();
    let (mut client, item) = (world.database.client(), linked.item);
    world.github.meanwhile(move || {
        let by_form =
            format!("UPDATE core_item SET status = 'Closed', updated_at = now() WHERE id = {item}");
        client.batch_execute(&by_form).unwrap();
    });
    world
        .sync()
        .logs("item left: somebody changed its status meanwhile");
    assert_eq!(world.item_status(linked.item), "Closed");
    assert_eq!(world.properties(Item, linked.item)["status"], "Closed");
    let verbs: Vec<_> = agira::activities(&mut world.client, linked.item)
        .into_iter()
        .map(|(_, summary)| summary)
        .collect();
    assert!(
        !verbs.contains(&"Status: Working → Testing".to_owned()),
        "{verbs:?}"
    );
    agira::person_sets_status(&mut world.client, linked.item, "Working");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(
        world.item_status(linked.item),
        "Working",
        "the close event was dealt with"
    );
}

#[test]
fn an_item_with_a_row_of_the_same_number_gets_no_second_row() {
    let (mut world, linked) = merged();
    let other = world.github.pull_request("acme/backend#13", |_| {});
    let row = agira::pull_request(
        &mut world.client,
        linked.item,
        other,
        "acme/backend",
        13,
        "open",
    );
    world.sync().logs(&format!(
        "pull request acme/shop#13 not linked: row {row} of the item has that number"
    ));
    assert_eq!(
        pull_request_rows(&mut world),
        [(linked.item, 13, "open".to_owned(), other)]
    );
    assert_eq!(links(&mut world), []);
}

/// Returns the world of [`merged`], whose item has a second closed issue.
fn merged_with_second_issue() -> (World, Linked) {
    let (mut world, linked) = merged();
    let github_id = world.github.issue("acme/shop#14", |_| {});
    agira::issue(
        &mut world.client,
        linked.item,
        github_id,
        "acme/shop",
        14,
        "open",
    );
    world.github.close("acme/shop#14", LATER);
    (world, linked)
}

#[test]
fn two_mappings_of_one_item_move_it_once_and_write_its_object_once() {
    let (mut world, linked) = merged_with_second_issue();
    let run = world.run(&["sync", "--output", "json"]).exits(0).json();
    assert_eq!(run["items_moved"], 1);
    let moves = agira::activities(&mut world.client, linked.item)
        .iter()
        .filter(|(verb, _)| verb == "item.status_changed")
        .count();
    assert_eq!(moves, 1);
    assert_eq!(
        (world.weaviate.objects().len(), world.weaviate.writes()),
        (4, 4)
    );
}

#[test]
fn several_items_can_link_the_same_issue_and_one_failure_stops_no_other() {
    let (mut world, _) = merged();
    let project = world.project("acme/shop");
    let item = agira::item(&mut world.client, project, "Working");
    agira::issue(&mut world.client, item, 99, "acme/shop", 12, "open");
    let gone = world.issue("acme/shop#30", "Working");
    world.github.delete("acme/shop#30");
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    assert_eq!(run.json()["failed"], 1);
    assert_eq!(world.item_status(item), "Testing");
    assert_eq!(world.item_status(gone.item), "Working");
    let error: String =
        world.one("SELECT worker_error FROM core_externalissuemapping WHERE number = 30");
    assert_eq!(
        error,
        "acme/shop#30 was deleted on GitHub; delete the mapping, or correct its html_url"
    );
    run.logs(&format!(
        "mapping={} item={} acme/shop#30: failed: acme/shop#30 was deleted",
        gone.mapping, gone.item
    ));
}

/// Invariant 9: two runs never work on the same mapping at once, and together they do what one run would do.
#[test]
fn two_runs_at_once_share_the_work() {
    let mut world = World::new();
    for number in 1..=240 {
        let key = format!("acme/shop#{number}");
        world.closed_issue(&key);
    }
    world.github.settings().latency = std::time::Duration::from_millis(20);
    let commands = [1, 2].map(|_| world.command(&["sync", "--limit", "500", "--output", "json"]));
    let runs = commands
        .map(|mut command| std::thread::spawn(move || Run::of(&mut command).exits(0).json()));
    let runs = runs.map(|run| run.join().unwrap());
    let looked_at: Vec<i64> = runs
        .iter()
        .flat_map(|run| run["mappings"].as_array().unwrap())
        .map(|mapping| mapping["mapping_id"].as_i64().unwrap())
        .collect();
    let unique: std::collections::BTreeSet<_> = looked_at.iter().collect();
    assert_eq!((looked_at.len(), unique.len()), (240, 240));
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM core_item WHERE status = 'Testing'"),
        240
    );
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM core_activity WHERE verb = 'item.status_changed'"),
        240
    );
    assert_eq!(
        (world.weaviate.objects().len(), world.weaviate.writes()),
        (480, 480)
    );
}

/// Two rows of one item: the second plan depends on the changes of the first one.
#[test]
fn a_plan_that_is_not_applied_cancels_later_plans_of_its_item() {
    let (mut world, linked) = merged_with_second_issue();
    // Another item is not affected.
    let other = world.closed_issue("acme/shop#20");
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such move'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core_item FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION refuse()",
    );
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    assert_eq!(
        (
            &run.json()["failed"],
            &run.json()["given_back"],
            &run.json()["items_moved"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (
            world.item_status(linked.item),
            world.item_status(other.item)
        ),
        ("Working".to_owned(), "Testing".to_owned())
    );
    let dealt = "SELECT count(*) FROM core_externalissuemapping WHERE worker_closed_at IS NOT NULL AND item_id = 1";
    assert_eq!(
        world.one::<i64>(dealt),
        0,
        "neither close event was dealt with"
    );
    world.execute("DROP TRIGGER refuse ON core_item; UPDATE core_externalissuemapping SET worker_due_at = now() WHERE item_id = 1");
    world.sync();
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// The failed plan of another issue would have inserted the row of the pull request.
#[test]
fn a_link_whose_row_was_not_inserted_is_not_forgotten() {
    let (mut world, first) = merged();
    let second = world.issue("acme/shop#20", "Working");
    world.github.issue("acme/shop#20", |issue| {
        issue.references = vec![PULL_REQUEST.to_owned()]
    });
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such move'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core_item FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION refuse()",
    );
    world
        .run(&["sync"])
        .exits(3)
        .logs("acme/shop#20: released: a pull request has no row");
    assert_eq!(links(&mut world), []);
    world.sync();
    assert_eq!(links(&mut world), [(second.item, 13, "closes".to_owned())]);
    world.execute("DROP TRIGGER refuse ON core_item; UPDATE core_externalissuemapping SET worker_due_at = now() WHERE item_id = 1");
    world.sync();
    assert_eq!(links(&mut world).len(), 2);
    assert_eq!(world.item_status(first.item), "Testing");
}

#[test]
fn a_faster_webhook_leaves_one_activity_row() {
    let mut world = World::new();
    let linked = world.closed_issue(ISSUE);
    let mut client = world.database.client();
    world.github.meanwhile(move || {
        client
            .batch_execute("UPDATE core_externalissuemapping SET state = 'closed'")
            .unwrap();
    });
    world.sync().logs("released: its row was changed");
    world.sync();
    let summaries: Vec<_> = agira::activities(&mut world.client, linked.item)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(summaries, ["Status: Working → Testing"]);
}

#[test]
fn a_suspect_on_its_last_attempt_is_parked_and_reported() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_attempts = 9,
            worker_claimed_until = now() - interval '1 hour'",
    );
    let run = world.run(&["sync"]).exits(3);
    run.logs(&format!(
        "mapping={} item={} acme/shop#12: failed: attempt 10 did not finish",
        linked.mapping, linked.item
    ));
    world
        .run(&["status"])
        .exits(0)
        .prints("  parked                1");
}

/// Issues that GitHub returned before the limit are finished, because otherwise a tight limit would stop all progress.
#[test]
fn a_rate_limit_in_the_middle_releases_only_unfetched_mappings() {
    let mut world = World::new();
    for number in 1..=60 {
        let key = format!("acme/shop#{number}");
        world.closed_issue(&key);
    }
    world.github.settings().points = 2;
    let run = world
        .run(&["sync", "--limit", "60", "--output", "json"])
        .exits(75);
    let report = run.json();
    assert_eq!(
        (
            &report["synced"],
            &report["given_back"],
            &report["stopped_by"]
        ),
        (&json!(25), &json!(35), &json!("rate_limit"))
    );
    assert!(report["pause"]["until"].is_string(), "{}", run.all());
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM core_item WHERE status = 'Testing'"),
        25
    );
    let due = "SELECT count(*) FROM core_externalissuemapping WHERE worker_due_at <= now() AND worker_claim IS NULL AND worker_attempts = 0";
    assert_eq!(world.one::<i64>(due), 35);
    // No run asks GitHub during the pause.
    world.github.settings().points = 5000;
    world.github.clear_log();
    world
        .run(&["sync"])
        .exits(75)
        .logs("GitHub is not asked before");
    assert_eq!(world.github.requests().len(), 0);
    world.execute("UPDATE worker_pause SET until = now() - interval '1 second'");
    world
        .run(&["sync", "--limit", "60"])
        .exits(0)
        .prints("35 items moved");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM worker_pause"), 0);
}

#[test]
fn the_time_budget_is_checked_between_requests() {
    let mut world = World::new();
    for number in 1..=60 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    // The poll, and one request for 25 issues.
    world.github.settings().latency = std::time::Duration::from_millis(700);
    let report = world
        .run(&[
            "sync",
            "--limit",
            "60",
            "--time-budget",
            "1s",
            "--output",
            "json",
        ])
        .exits(0)
        .json();
    assert_eq!(
        (
            &report["synced"],
            &report["given_back"],
            &report["stopped_by"]
        ),
        (&json!(25), &json!(35), &json!("time_budget"))
    );
    assert_eq!(world.github.requests().len(), 2);
    assert_eq!(report["remaining_due"], 35);
}
