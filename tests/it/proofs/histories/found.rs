//! What histories found, each as a story of its own.

use chrono::{SecondsFormat, Utc};

use crate::world::{Linked, World};

/// Three issues that were looked at, of which the last one is to be rechecked first.
fn synced() -> (World, [String; 3], [Linked; 3]) {
    let mut world = World::new();
    let keys = [1, 2, 3].map(|number| format!("acme/shop#{number}"));
    let linked = keys.each_ref().map(|key| world.issue(key, "Working"));
    world.sync();
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = worker_recheck_at - id * interval '1 h'");
    (world, keys, linked)
}

/// At least ten: late enough for discovery to see it as a change.
fn in_seconds(seconds: i64) -> String {
    (Utc::now() + chrono::Duration::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Both runs, in which these mappings are looked at first.
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

/// Whatever the rows' recheck times are: what discovery makes due goes by id.
#[test]
fn a_dry_run_with_a_limit_chooses_what_the_run_then_chooses() {
    let (world, keys, linked) = synced();
    let at = in_seconds(10);
    keys.iter().for_each(|key| world.github.close(key, &at));
    for expected in &linked {
        check_choice(&world, &["sync", "--limit", "1"], &[expected.mapping]);
    }
}

/// What discovery makes due comes first, and of what is rechecked now nothing is older than the rest.
#[test]
fn a_dry_run_that_rechecks_all_with_a_limit_chooses_what_the_run_then_chooses() {
    let (world, keys, linked) = synced();
    world.github.close(&keys[2], &in_seconds(10));
    check_choice(
        &world,
        &["sync", "--recheck-now", "--limit", "2"],
        &[linked[0].mapping, linked[2].mapping],
    );
}

/// A person takes an item back, and in the same run one of its issues wants that written, and another one, which was
/// closed, moves it again: Weaviate has that status already (invariant 7).
#[test]
fn an_item_whose_status_is_in_the_end_what_weaviate_has_is_not_written() {
    let (mut world, keys, linked) = synced();
    let item = linked[0].item;
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET item_id = {item}"
    ));
    world.github.close(&keys[0], &in_seconds(10));
    world.sync();
    assert_eq!(world.item_status(item), "Testing");
    world.execute(&format!(
        "UPDATE core_item SET status = 'Backlog' WHERE id = {item}"
    ));
    world.github.close(&keys[1], &in_seconds(20));
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

/// Discovery sees that a pull request was merged, and so the look at the issue that it closed need not make it due.
#[test]
fn a_dry_run_knows_what_discovery_would_have_made_due() {
    let mut world = World::new();
    let (issue, pull_request) = ("acme/shop#1", "acme/shop#2");
    world.issue(issue, "Working");
    world.github.pull_request(pull_request, |_| {});
    world.github.issue(issue, |issue| {
        issue.references = vec![pull_request.to_owned()]
    });
    world.sync();
    world.github.merge(pull_request, &in_seconds(10));
    let [dry, real] = [&["--dry-run"][..], &[]].map(|dry| {
        let args = [&["sync", "--limit", "1", "--output", "json"], dry].concat();
        world.run(&args).exits(0).json()["mappings"][0]["actions"].clone()
    });
    assert_eq!(dry, real);
    assert_eq!(real[0]["action"], "record_state", "{real}");
}
