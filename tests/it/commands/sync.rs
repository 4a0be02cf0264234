//! The main job: closed issues move their items, pull requests are linked, and objects are written to Weaviate. Some
//! tests repeat defects of Agira's own worker.

mod objects;
mod together;

use std::collections::BTreeMap;

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};
use kit::agira;
use kit::github::{Closer, Event, Sickness};
use kit::postgres_server::Database;
use serde_json::{Value, json};

use crate::fixtures::{CLOSED_AT, LATER};
use crate::harness::{Linked, Run, World, uuid};

const ISSUE: &str = "acme/shop#12";
const PULL_REQUEST: &str = "acme/shop#13";

/// Returns a world with an issue that a merged pull request closed.
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

/// Returns the links: id of the issue's mapping, number of the pull request, and relation.
fn links(world: &mut World) -> Vec<(i64, i32, String)> {
    let rows = world.client.query(
        "SELECT l.item_id, m.number, l.relation FROM worker_pull_request_link l
         JOIN core_externalissuemapping m ON m.github_id = l.github_id AND m.kind = 'PR' ORDER BY 1, 2",
        &[],
    );
    rows.unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

fn pull_request_rows(world: &mut World) -> Vec<(i64, i32, String, i64)> {
    let rows = world.client.query(
        "SELECT item_id, number, state, github_id FROM core_externalissuemapping WHERE kind = 'PR' ORDER BY id",
        &[],
    );
    rows.unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect()
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
            (
                "item.status_changed".to_owned(),
                "Status: Working → Testing".to_owned()
            ),
            (
                "github.issue_state_changed".to_owned(),
                "GitHub issue #12 changed from open to closed".to_owned()
            ),
        ]
    );
    let moved: chrono::DateTime<chrono::Utc> = world.one("SELECT updated_at FROM core_item");
    assert!(moved >= before, "{moved} {before}");
    let state: String =
        world.one("SELECT state FROM core_externalissuemapping WHERE kind = 'Issue'");
    assert_eq!(state, "closed");
}

#[test]
fn the_pull_requests_of_an_issue_are_rows_and_links_that_a_query_finds() {
    let (mut world, linked) = merged();
    world.sync();
    let id = world.github.pull_request(PULL_REQUEST, |_| {});
    assert_eq!(
        pull_request_rows(&mut world),
        [(linked.item, 13, "merged".to_owned(), id)]
    );
    assert_eq!(links(&mut world), [(linked.item, 13, "closes".to_owned())]);
    let row = world
        .client
        .query_one(
            "SELECT html_url, pr_body, merge_commit_sha, merged_at FROM core_externalissuemapping WHERE kind = 'PR'",
            &[],
        )
        .unwrap();
    assert_eq!(
        row.get::<_, &str>(0),
        "https://github.com/acme/shop/pull/13"
    );
    assert_eq!(
        (row.get::<_, &str>(1), row.get::<_, &str>(2).len()),
        ("Fixes #12", 40)
    );
    assert_eq!(
        row.get::<_, chrono::DateTime<chrono::Utc>>(3),
        CLOSED_AT.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    );
}

/// Returns the whole state of a world, without the worker's bookkeeping.
fn everything(world: &World) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Value>) {
    (world.database.dump("worker_"), world.weaviate.objects())
}

#[test]
fn a_second_and_a_third_run_change_nothing_anywhere() {
    let (world, _) = merged();
    world.sync();
    let (before, links) = (
        everything(&world),
        world.database.dump("")["worker_pull_request_link"].clone(),
    );
    world.weaviate.clear_log();
    for _ in 2..=3 {
        world.sync().prints("Nothing to do");
        assert_eq!(everything(&world), before);
        assert_eq!(world.database.dump("")["worker_pull_request_link"], links);
    }
    assert_eq!(world.weaviate.requests().len(), 0);
}

/// Invariant 3: applying a plan and planning again gives an empty plan. Only the check time may differ.
#[test]
fn a_second_run_changes_nothing_but_the_time_of_the_check() {
    let (mut world, _) = merged();
    world.sync();
    let rows = "SELECT json_agg(to_jsonb(m) - 'last_synced_at' - 'worker_recheck_at' - 'worker_checked_at' - 'worker_pushed_at'
        ORDER BY id) FROM core_externalissuemapping m";
    let (mut before, mapping_rows) = (everything(&world), world.one::<Value>(rows));
    before.0.remove("core_externalissuemapping");
    let run = world
        .run(&["sync", "--recheck-now", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&run["unchanged"], &run["synced"], &run["claimed"]),
        (&json!(2), &json!(0), &json!(2))
    );
    let mut after = everything(&world);
    after.0.remove("core_externalissuemapping");
    assert_eq!(after, before);
    assert_eq!(world.one::<Value>(rows), mapping_rows);
}

/// Defect "pull request mentioned in the 110th timeline event".
#[test]
fn a_pull_request_in_the_110th_timeline_event_is_linked() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.issue("acme/shop#99", |_| {});
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| {
        let mention = Event::CrossReferenced {
            source: "acme/shop#99".to_owned(),
            will_close: false,
        };
        issue.timeline = vec![mention; 109];
        issue.timeline.push(Event::CrossReferenced {
            source: PULL_REQUEST.to_owned(),
            will_close: true,
        });
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
    world.github.close_by(
        ISSUE,
        CLOSED_AT,
        "COMPLETED",
        Closer::PullRequest("acme/backend#7".to_owned()),
    );
    world.sync();
    assert_eq!(
        pull_request_rows(&mut world),
        [(linked.item, 7, "open".to_owned(), other)]
    );
    let row: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(
        world.properties(GithubPr, row)["external_key"],
        "acme/backend#7"
    );
}

#[test]
fn a_plain_mention_gets_no_row() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |pull_request| {
        pull_request.body = "See #12".to_owned()
    });
    world.github.issue(ISSUE, |issue| {
        issue.timeline.push(Event::CrossReferenced {
            source: PULL_REQUEST.to_owned(),
            will_close: false,
        });
    });
    world.sync();
    assert_eq!(pull_request_rows(&mut world), []);
}

#[test]
fn protected_statuses_and_policy_flags_keep_the_item() {
    let mut world = World::new();
    for (index, status) in [
        "Testing",
        "ReadyForRelease",
        "Closed",
        "Review",
        "Inbox",
        "Backlog",
    ]
    .iter()
    .enumerate()
    {
        let key = format!("acme/shop#{}", index + 1);
        world.issue(&key, status);
        world.github.close(&key, CLOSED_AT);
    }
    world.issue("acme/shop#7", "Working");
    world
        .github
        .close_by("acme/shop#7", CLOSED_AT, "NOT_PLANNED", Closer::Nobody);
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
    let run = run.exits(0);
    assert!(!run.stderr.contains("in the future"), "{}", run.all());
    let statuses: Vec<String> = world
        .client
        .query("SELECT status FROM core_item ORDER BY id", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        statuses,
        [
            "Testing",
            "ReadyForRelease",
            "Closed",
            "Review",
            "Testing",
            "Testing",
            "Working",
            "Working"
        ]
    );
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_closed_at IS NOT NULL"
        ),
        8
    );
    // Without the flags, the same close events still move nothing, because they were handled.
    let run = world.run(&["sync", "--recheck-now"]).exits(0);
    assert!(!run.stdout.contains("moved"), "{}", run.all());
}

/// Invariant 4: the reason of a closing is changed, which moves `closedAt`, after a person took the item back.
#[test]
fn a_changed_reason_overrules_no_person() {
    let mut world = World::new();
    let linked = world.closed_issue(ISSUE);
    world.sync();
    assert_eq!(world.item_status(linked.item), "Testing");
    world.execute("UPDATE core_item SET status = 'Working'");
    world
        .github
        .close_by(ISSUE, LATER, "NOT_PLANNED", Closer::Nobody);
    for _ in 1..=2 {
        world
            .run(&["sync", "--recheck-now", "--verbose"])
            .exits(0)
            .logs("GitHub shows no reopening since the handled closing of 2026-03-01T10:00:00Z: item left");
    }
    assert_eq!(world.item_status(linked.item), "Working");
    // No run sees it open in between.
    world.github.reopen(ISSUE, "2026-03-03T10:00:00Z");
    world.github.close(ISSUE, "2026-03-03T11:00:00Z");
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 item moved");
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// Returns a world with an issue whose closing was handled, whose item a person took back, and which was reopened and
/// closed again between two runs.
fn closed_again_unseen() -> (World, Linked) {
    let mut world = World::new();
    let linked = world.closed_issue(ISSUE);
    world.sync();
    world.execute("UPDATE core_item SET status = 'Working'");
    world.github.reopen(ISSUE, "2026-03-02T09:00:00Z");
    world.github.close(ISSUE, LATER);
    (world, linked)
}

/// A later look sees the reopening that this one could not read.
#[test]
fn a_closing_waits_while_nobody_knows_whether_the_issue_was_open() {
    let (mut world, linked) = closed_again_unseen();
    world
        .github
        .make_sick(ISSUE, "latestTimelineItems", Sickness::Timeout);
    world
        .run(&["sync", "--recheck-now", "--verbose"])
        .exits(0)
        .logs("could not be read: item left until the next recheck");
    world.github.heal(ISSUE, "latestTimelineItems");
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 item moved");
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn a_timeline_that_github_never_answers_hides_no_second_closing() {
    let (mut world, linked) = closed_again_unseen();
    world
        .github
        .make_sick(ISSUE, "timelineItems", Sickness::Timeout);
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 item moved");
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn githubs_id_replaces_a_wrong_one_and_agiras_negative_id_is_adopted() {
    let (mut world, linked) = merged();
    world.execute("UPDATE core_externalissuemapping SET github_id = 17");
    agira::pull_request(&mut world.client, linked.item, -13, "acme/shop", 13, "open");
    world.sync();
    let issue_id = world.github.issue(ISSUE, |_| {});
    let id = world.github.pull_request(PULL_REQUEST, |_| {});
    assert_eq!(
        world.one::<i64>("SELECT github_id FROM core_externalissuemapping WHERE kind = 'Issue'"),
        issue_id
    );
    assert_eq!(
        pull_request_rows(&mut world),
        [(linked.item, 13, "merged".to_owned(), id)]
    );
    assert_eq!(links(&mut world).len(), 1);
}

#[test]
fn a_link_that_github_no_longer_supports_is_deleted_and_the_row_stays() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| {
        issue
            .timeline
            .push(Event::Connected(PULL_REQUEST.to_owned()))
    });
    world.sync();
    assert_eq!(
        links(&mut world)
            .first()
            .map(|link| link.2.clone())
            .as_deref(),
        Some("connected")
    );
    world.github.issue(ISSUE, |issue| {
        issue
            .timeline
            .push(Event::Disconnected(PULL_REQUEST.to_owned()))
    });
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(
        (links(&mut world).len(), pull_request_rows(&mut world).len()),
        (0, 1)
    );
}

#[test]
fn a_pull_request_that_is_merged_later_is_followed() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.github.pull_request(PULL_REQUEST, |_| {});
    world.github.issue(ISSUE, |issue| {
        issue.references = vec![PULL_REQUEST.to_owned()]
    });
    world.sync();
    let row: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(world.properties(GithubPr, row)["status"], "open");
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    // Only the issue is checked. The check shows that the row of its pull request is stale.
    world
        .run(&["sync", "--mapping", &linked.mapping.to_string()])
        .exits(0)
        .logs("becomes due");
    world.sync();
    assert_eq!(world.properties(GithubPr, row)["status"], "merged");
    let summaries: Vec<_> = agira::activities(&mut world.client, linked.item)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert!(
        summaries.contains(&"GitHub PR #13 changed from open to merged".to_owned()),
        "{summaries:?}"
    );
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn the_limit_ends_a_run_and_the_rest_stays_due() {
    let mut world = World::new();
    for number in 1..=5 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    let run = world
        .run(&["sync", "--limit", "2", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&run["claimed"], &run["remaining_due"], &run["stopped_by"]),
        (&json!(2), &json!(3), &json!("limit"))
    );
    let run = world
        .run(&["sync", "--limit", "3", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&run["claimed"], &run["remaining_due"], &run["stopped_by"]),
        (&json!(3), &json!(0), &json!(null))
    );
}

#[test]
fn a_link_to_a_pull_request_that_is_hidden_today_stays() {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.github.pull_request("secret/backend#7", |_| {});
    world.github.issue(ISSUE, |issue| {
        issue
            .timeline
            .push(Event::Connected("secret/backend#7".to_owned()))
    });
    world.sync();
    assert_eq!(links(&mut world).len(), 1);
    world.github.hide_repository("secret/backend");
    world
        .execute("UPDATE core_externalissuemapping SET worker_due_at = now() WHERE kind = 'Issue'");
    world
        .run(&["sync"])
        .exits(3)
        .logs("repository secret/backend cannot be read with this token");
    assert_eq!(links(&mut world).len(), 1);
}

#[test]
fn an_issue_with_the_same_name_on_another_host_is_not_used() {
    let mut world = World::new();
    let linked = world.closed_issue(ISSUE);
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://ghe.example/acme/shop/issues/12'",
    );
    world
        .run(&["sync"])
        .exits(3)
        .logs("is on another host than the issue that GITHUB_API_URL returned");
    assert_eq!(world.item_status(linked.item), "Working");
}

/// Agira's list of activities sorts by time alone, the latest first.
#[test]
fn the_activity_of_the_closing_comes_before_that_of_the_move() {
    let mut world = World::new();
    world.closed_issue(ISSUE);
    world.sync();
    let verbs: String =
        world.one("SELECT string_agg(verb, ' ' ORDER BY created_at) FROM core_activity");
    assert_eq!(verbs, "github.issue_state_changed item.status_changed");
    let apart: String =
        world.one("SELECT (max(created_at) - min(created_at))::text FROM core_activity");
    assert_eq!(apart, "00:00:00.000001");
}

#[test]
fn a_time_in_the_future_that_keeps_every_item_is_warned_of() {
    let mut world = World::new();
    let issue = world.closed_issue("acme/shop#1");
    let time = "2999-01-31";
    world
        .run(&["sync", "--ignore-closed-before", time])
        .exits(0)
        .logs("is 2999-01-31T00:00:00Z, which is in the future: no item moves until then");
    assert_eq!(world.item_status(issue.item), "Working");
}
