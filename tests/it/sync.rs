//! The main job: closed issues move their items, pull requests are linked, Weaviate is filled. And what today's worker
//! gets wrong.

use std::collections::BTreeMap;

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};
use kit::agira;
use kit::github::{Closer, Event};
use kit::postgres_server::Database;
use serde_json::{Value, json};

use crate::world::{Linked, Run, World, uuid};

const CLOSED_AT: &str = "2026-03-01T10:00:00Z";
const LATER: &str = "2026-03-02T10:00:00Z";
const ISSUE: &str = "acme/shop#12";
const PULL_REQUEST: &str = "acme/shop#13";

/// An issue that a merged pull request closed.
fn merged() -> (World, Linked) {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.issue(ISSUE, |issue| {
        issue.title = "Cart loses items".to_owned();
        issue.body = "1. Open the cart".to_owned();
        issue.labels = vec!["bug".to_owned(), "ui".to_owned()];
        issue.references = vec![PULL_REQUEST.to_owned()];
    });
    world.github.pull_request(PULL_REQUEST, |pull_request| {
        pull_request.title = "Keep the cart".to_owned();
        pull_request.body = "Fixes #12".to_owned();
        pull_request.labels = vec!["backend".to_owned()];
        pull_request.files = vec!["src/cart.rs".to_owned()];
        pull_request.commits = vec!["Store the cart".to_owned()];
    });
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    (world, linked)
}

/// The links with the key of the issue's mapping, the number of the pull request, and how.
fn links(world: &mut World) -> Vec<(i64, i32, String)> {
    let rows = world.client.query(
        "SELECT l.item_id, m.number, l.relation FROM worker_pull_request_link l
         JOIN core_externalissuemapping m ON m.id = l.mapping_id AND m.kind = 'PR' ORDER BY 1, 2",
        &[],
    );
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn pull_request_rows(world: &mut World) -> Vec<(i64, i32, String, i64)> {
    let rows = world.client.query(
        "SELECT item_id, number, state, github_id FROM core_externalissuemapping WHERE kind = 'PR' ORDER BY id",
        &[],
    );
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[test]
fn a_closed_issue_moves_its_item_to_testing_with_activity_and_time() {
    let (mut world, linked) = merged();
    let before: chrono::DateTime<chrono::Utc> = world.one("SELECT now()");
    world.sync().logs(&format!(
        "mapping={} item={} acme/shop#12: item status: Working => Testing",
        linked.mapping, linked.item
    ));
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(
        agira::activities(&mut world.client, linked.item),
        [
            ("item.status_changed".to_owned(), "Status: Working → Testing".to_owned()),
            ("github.issue_state_changed".to_owned(), "GitHub issue #12 changed from open to closed".to_owned()),
        ]
    );
    let moved: chrono::DateTime<chrono::Utc> = world.one("SELECT updated_at FROM core_item");
    assert!(moved >= before, "{moved} {before}");
    let state: String = world.one("SELECT state FROM core_externalissuemapping WHERE kind = 'Issue'");
    assert_eq!(state, "closed");
}

#[test]
fn the_pull_requests_of_an_issue_are_rows_and_links_that_a_query_finds() {
    let (mut world, linked) = merged();
    world.sync();
    let id = world.github.pull_request(PULL_REQUEST, |_| {});
    assert_eq!(pull_request_rows(&mut world), [(linked.item, 13, "merged".to_owned(), id)]);
    assert_eq!(links(&mut world), [(linked.item, 13, "closes".to_owned())]);
    let row = world
        .client
        .query_one(
            "SELECT html_url, pr_body, merge_commit_sha, merged_at FROM core_externalissuemapping WHERE kind = 'PR'",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "https://github.com/acme/shop/pull/13");
    assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2).len()), ("Fixes #12", 40));
    assert_eq!(
        row.get::<_, chrono::DateTime<chrono::Utc>>(3),
        CLOSED_AT.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    );
}

#[test]
fn issue_and_pull_request_are_in_weaviate_with_githubs_content() {
    let (mut world, linked) = merged();
    world.sync();
    let pull_request: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(
        world.properties(GithubIssue, linked.mapping),
        json!({
            "type": "github_issue", "object_id": linked.mapping.to_string(), "project_id": "1",
            "parent_object_id": linked.item.to_string(), "title": "Cart loses items",
            "text": "State: closed\n\n1. Open the cart\n\n\nLabels: bug, ui", "status": "closed",
            "url": "https://github.com/acme/shop/issues/12", "source_system": "github", "external_key": ISSUE,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": CLOSED_AT,
        })
    );
    let object = world.properties(GithubPr, pull_request);
    assert_eq!(
        object["text"],
        "State: merged\n\nFixes #12\n\n\nChanged files:\n- src/cart.rs\n\n\nCommits:\n- Store the cart\n\n\nLabels: backend"
    );
    assert_eq!(
        (&object["title"], &object["status"], &object["external_key"]),
        (&json!("Keep the cart"), &json!("merged"), &json!(PULL_REQUEST))
    );
    assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
    assert_eq!(world.properties(Item, linked.item)["text"], "Status: Testing\n\nWhat the item says");
}

/// Everything that anybody could see of a world, the worker's bookkeeping aside.
fn everything(world: &World) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Value>) {
    (world.database.dump("worker_"), world.weaviate.objects())
}

#[test]
fn a_second_and_a_third_run_change_nothing_anywhere() {
    let (world, _) = merged();
    world.sync();
    let (before, links) = (everything(&world), world.database.dump("")["worker_pull_request_link"].clone());
    world.weaviate.clear_log();
    for _ in 2..=3 {
        world.sync().prints("sync: 0 synced, 0 unchanged, 0 failed");
        assert_eq!(everything(&world), before);
        assert_eq!(world.database.dump("")["worker_pull_request_link"], links);
    }
    assert_eq!(world.weaviate.requests().len(), 0);
}

/// Invariant 3: applying a plan and planning again gives an empty plan. Only the time of the look may differ.
#[test]
fn looking_again_changes_nothing_but_the_time_of_the_look() {
    let (mut world, _) = merged();
    world.sync();
    let rows = "SELECT json_agg(to_jsonb(m) - 'last_synced_at' - 'worker_recheck_at' - 'worker_checked_at' - 'worker_pushed_at'
        ORDER BY id) FROM core_externalissuemapping m";
    let (mut before, mapping_rows) = (everything(&world), world.one::<Value>(rows));
    before.0.remove("core_externalissuemapping");
    let run = world.run(&["sync", "--recheck-now", "--output", "json"]).exits(0).json();
    assert_eq!((&run["unchanged"], &run["synced"], &run["claimed"]), (&json!(2), &json!(0), &json!(2)));
    let mut after = everything(&world);
    after.0.remove("core_externalissuemapping");
    assert_eq!(after, before);
    assert_eq!(world.one::<Value>(rows), mapping_rows);
}

/// Invariant 7, and the user's rule.
#[test]
fn an_object_that_django_wrote_with_the_same_status_stays_byte_for_byte() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    let django = json!({ "type": "github_issue", "object_id": linked.mapping.to_string(), "title": "The item's title",
        "text": "State: open\n\nThe item's text", "status": "open", "url": "/items/1/" });
    world.weaviate.put_object(&issue, django);
    let before = world.weaviate.object(&issue);
    world.sync();
    assert_eq!(world.weaviate.object(&issue), before);
}

#[test]
fn an_object_that_django_wrote_with_another_status_gets_githubs_content() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    world
        .weaviate
        .put_object(&issue, json!({ "title": "The item's title", "status": "open", "mime_type": "text/plain" }));
    world.github.close(ISSUE, CLOSED_AT);
    world.sync();
    let object = world.properties(GithubIssue, linked.mapping);
    assert_eq!((&object["title"], &object["status"]), (&json!("Issue acme/shop#12"), &json!("closed")));
    assert_eq!(object["mime_type"], Value::Null);
}

#[test]
fn an_existing_objects_own_vector_is_kept_by_an_update() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    let object =
        json!({ "class": "AgiraObject", "id": issue, "properties": { "status": "open" }, "vector": [0.25, 0.5] });
    world.weaviate.put_whole_object(object);
    world.github.close(ISSUE, CLOSED_AT);
    world.sync();
    let object = world.weaviate.object(&issue).unwrap();
    assert_eq!((&object["properties"]["status"], &object["vector"]), (&json!("closed"), &json!([0.25, 0.5])));
}

/// Defect "content".
#[test]
fn what_is_indexed_for_an_issue_is_the_issues_own_title_body_and_labels() {
    let (world, linked) = merged();
    world.sync();
    let text = world.properties(GithubIssue, linked.mapping)["text"].to_string();
    assert!(
        text.contains("Open the cart") && text.contains("Labels: bug, ui") && !text.contains("item says"),
        "{text}"
    );
}

/// Defect "one pull request, two items", and invariant 5.
#[test]
fn one_pull_request_of_two_items_keeps_its_row_where_it_is_and_has_two_links() {
    let (mut world, first) = merged();
    let second = world.issue("acme/shop#20", "Working");
    world.github.issue("acme/shop#20", |issue| issue.references = vec![PULL_REQUEST.to_owned()]);
    world.github.close("acme/shop#20", CLOSED_AT);
    let expected = [(first.item, 13, "closes".to_owned()), (second.item, 13, "closes".to_owned())];
    for _ in 1..=3 {
        world.run(&["sync", "--recheck-now"]).exits(0);
        assert_eq!(pull_request_rows(&mut world).iter().map(|row| row.0).collect::<Vec<_>>(), [first.item]);
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
        // The item's own object follows what the person did: its status changed.
        assert_eq!(world.properties(Item, linked.item)["status"], status);
    }
    world.github.reopen(ISSUE, LATER);
    world.run(&["sync", "--recheck-now"]).exits(0).logs("issue is open again: item left in Review");
    assert_eq!(world.item_status(linked.item), "Review");
    world.github.close(ISSUE, "2026-03-03T10:00:00Z");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(world.item_status(linked.item), "Testing", "another close event");
}

/// Defect "pull request mentioned in the 110th timeline event".
#[test]
fn a_pull_request_in_the_110th_timeline_event_is_linked() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.issue("acme/shop#99", |_| {});
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| {
        let mention = Event::CrossReferenced { source: "acme/shop#99".to_owned(), will_close: false };
        issue.timeline = vec![mention; 109];
        issue.timeline.push(Event::CrossReferenced { source: PULL_REQUEST.to_owned(), will_close: true });
    });
    world.sync();
    assert_eq!(links(&mut world), [(linked.item, 13, "closes".to_owned())]);
}

/// Defect "pull request of another repository".
#[test]
fn a_pull_request_of_another_repository_is_linked_as_itself() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let other = world.github.pull_request("acme/backend#7", |_| {});
    world.github.pull_request("acme/shop#7", |_| {});
    world.github.close_by(ISSUE, CLOSED_AT, "COMPLETED", Closer::PullRequest("acme/backend#7".to_owned()));
    world.sync();
    assert_eq!(pull_request_rows(&mut world), [(linked.item, 7, "open".to_owned(), other)]);
    let row: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(world.properties(GithubPr, row)["external_key"], "acme/backend#7");
}

#[test]
fn a_plain_mention_gets_no_row() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |pull_request| pull_request.body = "See #12".to_owned());
    world.github.issue(ISSUE, |issue| {
        issue.timeline.push(Event::CrossReferenced { source: PULL_REQUEST.to_owned(), will_close: false });
    });
    world.sync();
    assert_eq!(pull_request_rows(&mut world), []);
}

/// Defect "item closed by a person during the run".
#[test]
fn an_item_that_a_person_closes_during_the_run_stays_closed() {
    let (mut world, linked) = merged();
    let (mut client, item) = (world.database.client(), linked.item);
    world.github.meanwhile(move || agira::person_sets_status(&mut client, item, "Closed"));
    world.sync().logs("item left: somebody changed its status meanwhile");
    assert_eq!(world.item_status(linked.item), "Closed");
    assert_eq!(world.properties(Item, linked.item)["status"], "Closed");
    let verbs: Vec<_> =
        agira::activities(&mut world.client, linked.item).into_iter().map(|(_, summary)| summary).collect();
    assert!(!verbs.contains(&"Status: Working → Testing".to_owned()), "{verbs:?}");
    agira::person_sets_status(&mut world.client, linked.item, "Working");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(world.item_status(linked.item), "Working", "the close event was dealt with");
}

/// Defect "Weaviate fails after the state was stored".
#[test]
fn what_weaviate_did_not_take_is_delivered_by_a_later_run() {
    let (mut world, linked) = merged();
    world.weaviate.settings().down = true;
    world.run(&["sync"]).exits(75);
    assert_eq!((world.item_status(linked.item), world.weaviate.objects().len()), ("Testing".to_owned(), 0));
    world.weaviate.settings().down = false;
    world.github.clear_log();
    world.sync().logs("delivered Weaviate github_issue");
    assert_eq!(world.weaviate.objects().len(), 3);
    assert_eq!(world.github.requests().len(), 0, "the outbox says what to write");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL"), 0);
}

#[test]
fn protected_statuses_and_the_policy_flags_leave_the_item() {
    let mut world = World::new();
    for (index, status) in ["Testing", "ReadyForRelease", "Closed", "Review", "Inbox", "Backlog"].iter().enumerate() {
        let key = format!("acme/shop#{}", index + 1);
        world.issue(&key, status);
        world.github.close(&key, CLOSED_AT);
    }
    world.issue("acme/shop#7", "Working");
    world.github.close_by("acme/shop#7", CLOSED_AT, "NOT_PLANNED", Closer::Nobody);
    world.issue("acme/shop#8", "Working");
    world.github.close("acme/shop#8", "2025-12-31T23:59:59Z");
    let run = world.run(&[
        "sync",
        "--keep-status",
        "Review",
        "--close-reason",
        "completed",
        "--ignore-closed-before",
        "2026-01-01",
        "-v",
    ]);
    run.exits(0);
    let statuses: Vec<String> = world
        .client
        .query("SELECT status FROM core_item ORDER BY id", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        statuses,
        ["Testing", "ReadyForRelease", "Closed", "Review", "Testing", "Testing", "Working", "Working"]
    );
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM core_externalissuemapping WHERE worker_closed_at IS NOT NULL"),
        8
    );
    // Without the flags the same close events move nothing any more: they were dealt with.
    world.run(&["sync", "--recheck-now"]).exits(0).prints("0 items moved");
}

#[test]
fn githubs_id_replaces_a_wrong_one_and_agiras_negative_id_is_adopted() {
    let (mut world, linked) = merged();
    world.execute("UPDATE core_externalissuemapping SET github_id = 17");
    agira::pull_request(&mut world.client, linked.item, -13, "acme/shop", 13, "open");
    world.sync();
    let issue_id = world.github.issue(ISSUE, |_| {});
    let id = world.github.pull_request(PULL_REQUEST, |_| {});
    assert_eq!(world.one::<i64>("SELECT github_id FROM core_externalissuemapping WHERE kind = 'Issue'"), issue_id);
    assert_eq!(pull_request_rows(&mut world), [(linked.item, 13, "merged".to_owned(), id)]);
    assert_eq!(links(&mut world).len(), 1);
}

#[test]
fn an_item_that_has_another_row_of_that_number_gets_no_second_one() {
    let (mut world, linked) = merged();
    let other = world.github.pull_request("acme/backend#13", |_| {});
    let row = agira::pull_request(&mut world.client, linked.item, other, "acme/backend", 13, "open");
    world.sync().logs(&format!("pull request acme/shop#13 not linked: row {row} of the item has that number"));
    assert_eq!(pull_request_rows(&mut world), [(linked.item, 13, "open".to_owned(), other)]);
    assert_eq!(links(&mut world), []);
}

#[test]
fn a_link_that_github_no_longer_supports_goes_and_the_row_stays() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| issue.timeline.push(Event::Connected(PULL_REQUEST.to_owned())));
    world.sync();
    assert_eq!(links(&mut world).first().map(|link| link.2.clone()).as_deref(), Some("connected"));
    world.github.issue(ISSUE, |issue| issue.timeline.push(Event::Disconnected(PULL_REQUEST.to_owned())));
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!((links(&mut world).len(), pull_request_rows(&mut world).len()), (0, 1));
}

#[test]
fn a_pull_request_that_is_merged_later_is_followed() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| issue.references = vec![PULL_REQUEST.to_owned()]);
    world.sync();
    let row: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(world.properties(GithubPr, row)["status"], "open");
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    // Only the issue is looked at; it sees that its pull request's row is behind.
    world.run(&["sync", "--mapping", &linked.mapping.to_string()]).exits(0).logs("becomes due");
    world.sync();
    assert_eq!(world.properties(GithubPr, row)["status"], "merged");
    let summaries: Vec<_> =
        agira::activities(&mut world.client, linked.item).into_iter().map(|(_, text)| text).collect();
    assert!(summaries.contains(&"GitHub PR #13 changed from open to merged".to_owned()), "{summaries:?}");
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn two_mappings_of_one_item_move_it_once_and_write_its_object_once() {
    let (mut world, linked) = merged();
    let github_id = world.github.issue("acme/shop#14", |_| {});
    agira::issue(&mut world.client, linked.item, github_id, "acme/shop", 14, "open");
    world.github.close("acme/shop#14", LATER);
    let run = world.run(&["sync", "--output", "json"]).exits(0).json();
    assert_eq!(run["items_moved"], 1);
    let moves = agira::activities(&mut world.client, linked.item)
        .iter()
        .filter(|(verb, _)| verb == "item.status_changed")
        .count();
    assert_eq!(moves, 1);
    assert_eq!((world.weaviate.objects().len(), world.weaviate.writes()), (4, 4));
}

#[test]
fn several_items_may_carry_the_same_issue_and_one_that_fails_stops_no_other() {
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
    let error: String = world.one("SELECT worker_error FROM core_externalissuemapping WHERE number = 30");
    assert_eq!(error, "acme/shop#30 was deleted at GitHub");
    run.logs(&format!("mapping={} item={} acme/shop#30: failed: acme/shop#30 was deleted", gone.mapping, gone.item));
}

/// Invariant 9: two runs at once never work on the same mapping, and together do what one would do.
#[test]
fn two_runs_at_once_share_the_work() {
    let mut world = World::new();
    for number in 1..=240 {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        world.github.close(&key, CLOSED_AT);
    }
    world.github.settings().latency = std::time::Duration::from_millis(20);
    let commands = [1, 2].map(|_| world.command(&["sync", "--limit", "500", "--output", "json"]));
    let runs = commands.map(|mut command| std::thread::spawn(move || Run::of(&mut command).exits(0).json()));
    let runs = runs.map(|run| run.join().unwrap());
    let looked_at: Vec<i64> = runs
        .iter()
        .flat_map(|run| run["mappings"].as_array().unwrap())
        .map(|mapping| mapping["mapping_id"].as_i64().unwrap())
        .collect();
    let unique: std::collections::BTreeSet<_> = looked_at.iter().collect();
    assert_eq!((looked_at.len(), unique.len()), (240, 240));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM core_item WHERE status = 'Testing'"), 240);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM core_activity WHERE verb = 'item.status_changed'"), 240);
    assert_eq!((world.weaviate.objects().len(), world.weaviate.writes()), (480, 480));
}

#[test]
fn a_missing_class_is_created_with_agiras_definition() {
    let mut world = World::on(Database::create());
    world.issue(ISSUE, "Working");
    world.sync().logs("Weaviate had no class AgiraObject; created it");
    let reference = kit::weaviate::Weaviate::start();
    reference.create_agira_class();
    let sorted = |class: Option<Value>| {
        let mut class = class.unwrap();
        class["properties"].as_array_mut().unwrap().sort_by_key(|property| property["name"].to_string());
        class
    };
    assert_eq!(sorted(world.weaviate.class()), sorted(reference.class()));
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn the_limit_ends_a_run_and_the_rest_stays_due() {
    let mut world = World::new();
    for number in 1..=5 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let run = world.run(&["sync", "--limit", "2", "--output", "json"]).exits(0).json();
    assert_eq!((&run["claimed"], &run["remaining_due"], &run["stopped_by"]), (&json!(2), &json!(3), &json!("limit")));
    let run = world.run(&["sync", "--limit", "3", "--output", "json"]).exits(0).json();
    assert_eq!((&run["claimed"], &run["remaining_due"], &run["stopped_by"]), (&json!(3), &json!(0), &json!(null)));
}

/// Two rows of one item: the second one's plan counts on what the first one's does.
#[test]
fn a_plan_that_is_not_carried_out_takes_its_items_later_plans_with_it() {
    let (mut world, linked) = merged();
    let github_id = world.github.issue("acme/shop#14", |_| {});
    agira::issue(&mut world.client, linked.item, github_id, "acme/shop", 14, "open");
    world.github.close("acme/shop#14", LATER);
    // Another item has nothing to do with it.
    let other = world.issue("acme/shop#20", "Working");
    world.github.close("acme/shop#20", CLOSED_AT);
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such move'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core_item FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION refuse()",
    );
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    assert_eq!(
        (&run.json()["failed"], &run.json()["given_back"], &run.json()["items_moved"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (world.item_status(linked.item), world.item_status(other.item)),
        ("Working".to_owned(), "Testing".to_owned())
    );
    let dealt = "SELECT count(*) FROM core_externalissuemapping WHERE worker_closed_at IS NOT NULL AND item_id = 1";
    assert_eq!(world.one::<i64>(dealt), 0, "neither close event was dealt with");
    world.execute("DROP TRIGGER refuse ON core_item; UPDATE core_externalissuemapping SET worker_due_at = now() WHERE item_id = 1");
    world.sync();
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// The pull request's row was to be inserted by the plan of an issue that failed.
#[test]
fn a_link_whose_row_was_not_inserted_is_not_forgotten() {
    let (mut world, first) = merged();
    let second = world.issue("acme/shop#20", "Working");
    world.github.issue("acme/shop#20", |issue| issue.references = vec![PULL_REQUEST.to_owned()]);
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such move'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON core_item FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION refuse()",
    );
    world.run(&["sync"]).exits(3).logs("acme/shop#20: given back: a pull request's row");
    assert_eq!(links(&mut world), []);
    world.sync();
    assert_eq!(links(&mut world), [(second.item, 13, "closes".to_owned())]);
    world.execute("DROP TRIGGER refuse ON core_item; UPDATE core_externalissuemapping SET worker_due_at = now() WHERE item_id = 1");
    world.sync();
    assert_eq!(links(&mut world).len(), 2);
    assert_eq!(world.item_status(first.item), "Testing");
}

#[test]
fn a_webhook_that_is_faster_leaves_one_activity() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.close(ISSUE, CLOSED_AT);
    let mut client = world.database.client();
    world.github.meanwhile(move || {
        client.batch_execute("UPDATE core_externalissuemapping SET state = 'closed'").unwrap();
    });
    world.sync().logs("given back: its row was changed");
    world.sync();
    let summaries: Vec<_> =
        agira::activities(&mut world.client, linked.item).into_iter().map(|(_, text)| text).collect();
    assert_eq!(summaries, ["Status: Working → Testing"]);
}

#[test]
fn a_link_to_a_pull_request_that_is_hidden_today_stays() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request("secret/backend#7", |_| {});
    world.github.issue(ISSUE, |issue| issue.timeline.push(Event::Connected("secret/backend#7".to_owned())));
    world.sync();
    assert_eq!(links(&mut world).len(), 1);
    world.github.hide_repository("secret/backend");
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now() WHERE kind = 'Issue'");
    world.sync();
    assert_eq!(links(&mut world).len(), 1);
}

#[test]
fn a_namesake_on_another_host_is_not_taken_for_the_issue() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.close(ISSUE, CLOSED_AT);
    world.execute("UPDATE core_externalissuemapping SET html_url = 'https://ghe.example/acme/shop/issues/12'");
    world.run(&["sync"]).exits(3).logs("is on another host than GITHUB_API_URL leads to");
    assert_eq!(world.item_status(linked.item), "Working");
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
    world.run(&["status"]).exits(0).prints("  parked                1");
}

/// Invariant 6: for every type and id there is at most one object, and its id is the UUIDv5 of them.
#[test]
fn every_object_has_the_id_that_follows_from_its_type_and_id() {
    let (world, _) = merged();
    world.sync();
    for (id, object) in world.weaviate.objects() {
        let properties = &object["properties"];
        let object_type = match properties["type"].as_str().unwrap() {
            "item" => Item,
            "github_issue" => GithubIssue,
            "github_pr" => GithubPr,
            other => panic!("{other}"),
        };
        assert_eq!(id, uuid(object_type, properties["object_id"].as_str().unwrap().parse().unwrap()));
    }
}
