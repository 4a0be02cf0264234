//! Histories that failed once, each as a readable test.

use crate::fixtures::seconds_from_now;
use crate::harness::{Linked, World};

/// Returns three issues that were checked; the last one has the earliest recheck time.
fn synced() -> (World, [String; 3], [Linked; 3]) {
    let mut world = World::new();
    let keys = [1, 2, 3].map(|number| format!("acme/shop#{number}"));
    let linked = keys.each_ref().map(|key| world.issue(key, "Working"));
    world.sync();
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = worker_recheck_at - id * interval '1 h'");
    (world, keys, linked)
}

/// Makes the dry run and the real run; both must check these mappings first.
#[track_caller]
fn check_choice(world: &World, args: &[&str], expected: &[i64]) {
    let chosen = [&["--dry-run"][..], &[]].map(|dry| {
        let report = world
            .run(&[args, &["--output", "json"], dry].concat())
            .exits(0)
            .json();
        let mappings = report["mappings"].as_array().expect("mappings").clone();
        mappings
            .iter()
            .map(|one| one["mapping_id"].as_i64().expect("an id"))
            .collect::<Vec<i64>>()
    });
    assert_eq!(chosen, [expected, expected]);
}

/// Mappings that discovery marks come in the order of their ids, whatever their recheck times are.
#[test]
fn a_dry_run_with_a_limit_chooses_the_same_mappings_as_the_run() {
    let (world, keys, linked) = synced();
    let at = seconds_from_now(10);
    keys.iter().for_each(|key| world.github.close(key, &at));
    for expected in &linked {
        check_choice(&world, &["sync", "--limit", "1"], &[expected.mapping]);
    }
}

/// Mappings that discovery marks come before rechecks.
#[test]
fn a_dry_run_with_rechecks_and_a_limit_chooses_the_same_mappings_as_the_run() {
    let (mut world, keys, linked) = synced();
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = '2026-01-01'");
    world.github.close(&keys[2], &seconds_from_now(10));
    check_choice(
        &world,
        &["sync", "--limit", "2"],
        &[linked[0].mapping, linked[2].mapping],
    );
}

/// A person moves an item back. In the same run, one of its issues plans to write that status, and another issue, which
/// was closed, moves the item again. Weaviate already has the final status, so nothing is written (invariant 7).
#[test]
fn an_item_whose_final_status_equals_weaviates_is_not_written() {
    let (mut world, keys, linked) = synced();
    let item = linked[0].item;
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET item_id = {item}"
    ));
    world.github.close(&keys[0], &seconds_from_now(10));
    world.sync();
    assert_eq!(world.item_status(item), "Testing");
    world.execute(&format!(
        "UPDATE core_item SET status = 'Backlog' WHERE id = {item}"
    ));
    world.github.close(&keys[1], &seconds_from_now(20));
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now() - interval '1 h' WHERE number = 3");
    world.weaviate.clear_log();
    let report = world.run(&["sync", "--output", "json"]).exits(0).json();
    assert_eq!(world.item_status(item), "Testing");
    assert_eq!(
        report["mappings"][0]["actions"][0]["change"]["from"], "Testing",
        "{report}"
    );
    assert_eq!(
        (&report["synced"], &report["weaviate"]["updated"]),
        (&2.into(), &1.into()),
        "{report}"
    );
    let written = world.weaviate.requests();
    let written = written
        .iter()
        .filter(|exchange| exchange.request.path == "/v1/batch/objects");
    let written: Vec<serde_json::Value> = written
        .map(|exchange| serde_json::from_slice(&exchange.request.body).unwrap())
        .collect();
    let objects = written
        .iter()
        .flat_map(|body| body["objects"].as_array().unwrap());
    let types: Vec<&str> = objects
        .map(|object| object["properties"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["github_issue"]);
}

/// Discovery marks a merged pull request, so the check of its issue does not have to.
#[test]
fn a_dry_run_includes_the_marks_of_discovery() {
    let mut world = World::new();
    let (issue, pull_request) = ("acme/shop#1", "acme/shop#2");
    world.issue(issue, "Working");
    world.github.pull_request(pull_request, |_| {});
    world.github.issue(issue, |issue| {
        issue.references = vec![pull_request.to_owned()]
    });
    world.sync();
    world.github.merge(pull_request, &seconds_from_now(10));
    let [dry, real] = [&["--dry-run"][..], &[]].map(|dry| {
        let args = [&["sync", "--limit", "1", "--output", "json"], dry].concat();
        world.run(&args).exits(0).json()["mappings"][0]["actions"].clone()
    });
    assert_eq!(dry, real);
    assert_eq!(real[0]["action"], "record_state", "{real}");
}
