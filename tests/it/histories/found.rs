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

/// Late enough for discovery to see it as a change.
fn soon() -> String {
    (Utc::now() + chrono::Duration::seconds(10)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Both runs, in which these mappings are looked at first.
#[track_caller]
fn check_choice(world: &World, args: &[&str], expected: &[i64]) {
    let chosen = [&["--dry-run"][..], &[]].map(|dry| {
        let report = world.run(&[args, &["--output", "json"], dry].concat()).exits(0).json();
        let mappings = report["mappings"].as_array().expect("mappings").clone();
        mappings.iter().map(|one| one["mapping_id"].as_i64().expect("an id")).collect::<Vec<i64>>()
    });
    assert_eq!(chosen, [expected, expected]);
}

/// Whatever the rows' recheck times are: what discovery makes due goes by id.
#[test]
fn a_dry_run_with_a_limit_chooses_what_the_run_then_chooses() {
    let (world, keys, linked) = synced();
    let at = soon();
    keys.iter().for_each(|key| world.github.close(key, &at));
    for expected in &linked {
        check_choice(&world, &["sync", "--limit", "1"], &[expected.mapping]);
    }
}

/// What discovery makes due comes first, and of what is rechecked now nothing is older than the rest.
#[test]
fn a_dry_run_that_rechecks_all_with_a_limit_chooses_what_the_run_then_chooses() {
    let (world, keys, linked) = synced();
    world.github.close(&keys[2], &soon());
    check_choice(&world, &["sync", "--recheck-now", "--limit", "2"], &[linked[0].mapping, linked[2].mapping]);
}
