//! What GitHub shows and what must not be recorded: states that are older than the recorded ones, and other issues and
//! pull requests that came to an address.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fixtures::{CLOSED_AT, LATER};
use crate::harness::{Linked, World};

const ISSUE: &str = "acme/shop#12";
const PULL_REQUEST: &str = "acme/shop#13";

/// A world that was synced after a merged pull request closed an issue.
fn synced() -> (World, Linked) {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    world.closing_pull_request(ISSUE, PULL_REQUEST);
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    world.sync().prints("1 item moved, 1 pull request linked");
    (world, linked)
}

/// Makes GitHub show both as they were before the merge.
fn lag_behind(world: &World) {
    world.github.issue(ISSUE, |issue| {
        (issue.state, issue.closed_at) = ("OPEN", None);
        issue.updated_at.clone_from(&issue.created_at);
    });
    world.github.pull_request(PULL_REQUEST, |found| {
        (found.state, found.merged_at) = ("OPEN", None);
        found.updated_at.clone_from(&found.created_at);
    });
}

/// Returns the rows as Agira sees them, without the transactions that wrote them, and all objects.
fn seen(world: &World) -> (Vec<String>, BTreeMap<String, Value>) {
    let rows = world.database.dump("worker_").into_values().flatten();
    let rows = rows.filter_map(|row| Some(row.split_once(' ')?.1.to_owned()));
    (rows.collect(), world.weaviate.objects())
}

/// A replica of GitHub's database lags behind, and the next answer comes from another one.
#[test]
fn an_older_state_is_not_recorded_and_looked_at_again() {
    let (world, _) = synced();
    lag_behind(&world);
    let before = seen(&world);
    let named = ["sync", "--mapping", "1", "--mapping", "2", "--dry-run"];
    let skipped = world.run(&named).exits(0);
    skipped.prints("left to a later run: GitHub shows its state of 2026-01-01");
    for args in [&["sync", "--recheck-now"][..], &["sync"]] {
        let run = world.run(&[args, &["--output", "json"]].concat()).exits(0);
        let run = run.logs("which is older than the recorded one of 2026-03-01T10:00:00Z");
        let run = run.json();
        assert_eq!(
            (&run["claimed"], &run["given_back"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(seen(&world), before);
    }
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    world.sync().prints("2 mappings unchanged");
    world.sync().prints("Nothing to do");
}

/// `push-weaviate` must not write them either.
#[test]
fn an_older_state_is_not_pushed() {
    let (world, linked) = synced();
    lag_behind(&world);
    let objects = world.weaviate.objects();
    let mapping = linked.mapping.to_string();
    world
        .run(&["push-weaviate", "--mapping", &mapping])
        .exits(0)
        .prints("1 mapping left to a later run");
    assert_eq!(world.weaviate.objects(), objects);
}

/// A GitHub Enterprise Server was restored from a backup.
#[test]
fn an_older_state_that_lasts_is_recorded() {
    let (mut world, linked) = synced();
    lag_behind(&world);
    world.execute("UPDATE core_externalissuemapping SET worker_checked_at = worker_checked_at - interval '10 minutes'");
    world.run(&["sync", "--recheck-now"]).exits(0);
    let states: String = world.one("SELECT string_agg(state, ' ') FROM core_externalissuemapping");
    assert_eq!(states, "open open");
    world.github.merge(PULL_REQUEST, LATER);
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(world.item_status(linked.item), "Testing");
}

/// Gives the name of the repository to a stranger, whose issue 12 and merged pull request 13 were created at that time.
/// The repository itself has another name by then.
fn take_over(world: &World, created_at: &str) {
    world.github.rename_repository("acme/shop", "acme/store");
    world.github.forget_redirect("acme/shop");
    world.github.issue(ISSUE, |issue| {
        created_at.clone_into(&mut issue.created_at);
        "A stranger".clone_into(&mut issue.title);
    });
    world.github.pull_request(PULL_REQUEST, |found| {
        created_at.clone_into(&mut found.created_at);
    });
    world.github.close(ISSUE, "2026-03-05T10:00:00Z");
    world.github.merge(PULL_REQUEST, "2026-03-05T10:00:00Z");
}

#[test]
fn a_stranger_who_takes_over_the_name_of_a_repository_changes_nothing() {
    // The stranger's issues are older than the last look, or newer.
    for created_at in ["2025-01-01T10:00:00Z", LATER] {
        let (mut world, _) = synced();
        world.execute("UPDATE core_item SET status = 'Working'");
        take_over(&world, created_at);
        let before = seen(&world);
        let run = world.run(&["sync", "--recheck-now"]).exits(3);
        let run = run.logs(
            "acme/shop#12 is another issue than before: the id was 5000000001 and is 50000000",
        );
        run.logs("acme/shop#13 is another pull request than before: the id was 5000000002 and is 50000000");
        // Neither a retry of all, nor one of the project, nor a change takes it up.
        world
            .run(&["retry-failed"])
            .exits(3)
            .prints("2 mappings failed");
        world.run(&["retry-failed", "--project", "1"]).exits(3);
        world.execute("UPDATE core_externalissuemapping SET worker_due_at = now()");
        world.run(&["sync"]).exits(3).prints("2 mappings failed");
        assert_eq!(seen(&world), before);
        let parked = "SELECT count(*) FROM core_externalissuemapping WHERE worker_due_at IS NULL
            AND worker_recheck_at IS NULL AND worker_error LIKE '%its repository_s id was 1 and is 2 now%'";
        assert_eq!(world.one::<i64>(parked), 2);
    }
}

/// The first id of the repository was not recorded, as after an upgrade.
#[test]
fn a_younger_issue_of_an_unknown_repository_changes_nothing() {
    let (mut world, _) = synced();
    take_over(&world, LATER);
    world.execute("UPDATE worker_repository SET github_id = NULL");
    let before = seen(&world);
    let run = world.run(&["sync", "--recheck-now"]).exits(3);
    run.logs("was created 2026-03-02T10:00:00Z, after the last change of the former one (2026-03-01T10:00:00Z)");
    world
        .run(&["retry-failed"])
        .exits(3)
        .prints("2 mappings failed");
    assert_eq!(seen(&world), before);
}

#[test]
fn a_person_who_retries_a_mapping_by_name_accepts_the_new_issue() {
    let (mut world, linked) = synced();
    world.execute("UPDATE core_item SET status = 'Working'");
    take_over(&world, LATER);
    world.run(&["sync", "--recheck-now"]).exits(3);
    let mapping = linked.mapping.to_string();
    let named = ["retry-failed", "--mapping", &mapping];
    let plan = world.run(&[&named[..], &["--dry-run"]].concat()).exits(0);
    plan.prints("GitHub id of row 1: 5000000001 => 50000000");
    world.run(&named).exits(0).prints("1 item moved");
    assert_eq!(world.item_status(linked.item), "Testing");
    let id = world.github.issue(ISSUE, |_| {});
    let healthy = format!(
        "SELECT count(*) FROM core_externalissuemapping WHERE github_id = {id} AND worker_error IS NULL"
    );
    assert_eq!(world.one::<i64>(&healthy), 1);
    // From then on, it is as good as any other.
    world
        .run(&["sync", "--mapping", &mapping])
        .exits(0)
        .prints("1 mapping unchanged");
    // Nobody accepted the pull request.
    let failed = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NOT NULL";
    assert_eq!(world.one::<i64>(failed), 1);
}

#[test]
fn a_renamed_repository_keeps_its_issues() {
    let (mut world, _) = synced();
    let ids = "SELECT string_agg(github_id::text, ' ' ORDER BY id) FROM core_externalissuemapping";
    let before: String = world.one(ids);
    world.github.rename_repository("acme/shop", "acme/store");
    let recheck = ["sync", "--recheck-now"];
    world.run(&recheck).exits(0).prints("2 mappings unchanged");
    let known: String = world.one(
        "SELECT string_agg(name || '=' || github_id, ' ' ORDER BY name) FROM worker_repository",
    );
    assert_eq!(known, "acme/shop=1 acme/store=1");
    // A person corrects the addresses.
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = replace(html_url, 'shop', 'store')",
    );
    world.run(&recheck).exits(0).prints("2 mappings unchanged");
    assert_eq!(world.one::<String>(ids), before);
}

/// The row of a pull request is known, and an issue elsewhere names the stranger's one.
#[test]
fn a_link_takes_up_no_strangers_pull_request() {
    let mut world = World::new();
    world.issue("acme/web#1", "Working");
    world.closing_pull_request("acme/web#1", PULL_REQUEST);
    world.sync().prints("1 pull request linked");
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = now() + interval '1 day' WHERE kind = 'PR'");
    let stored = "SELECT github_id FROM core_externalissuemapping WHERE kind = 'PR'";
    let before: i64 = world.one(stored);
    world.github.rename_repository("acme/shop", "acme/store");
    world.github.forget_redirect("acme/shop");
    world.github.pull_request(PULL_REQUEST, |_| {});
    let run = world.run(&["sync", "--mapping", "1"]).exits(0);
    run.logs("pull request acme/shop#13 not linked: row 2 has its address");
    assert_eq!(world.one::<i64>(stored), before);
}
