//! A thousand objects.

use std::process::Stdio;

use kit::weaviate::Settings;

use super::{check_complete, closed_issues, counts};

/// Invariants 6 and 7, with two runs at once.
#[test]
fn two_runs_at_once_write_each_of_1000_objects_once_and_later_ones_none() {
    let world = closed_issues(Settings::default(), 500);
    let start = || {
        let mut command = world.command(&["sync", "--limit", "1000"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
    };
    let mut both = [start(), start()];
    for run in &mut both {
        assert_eq!(run.wait().expect("an end").code(), Some(0));
    }
    check_complete(&world, 500);
    assert_eq!(world.weaviate.writes(), 1000);
    world.weaviate.clear_log();
    let run = world.run(&["sync", "--recheck-now", "--limit", "1000", "--output", "json"]).exits(0);
    assert_eq!(counts(&run), [0, 0, 1000]);
    assert_eq!(world.weaviate.writes(), 0);
}

/// What a lost index costs: little more than one query and one batch for 100 objects.
#[test]
fn bringing_1000_objects_back_takes_13_batches_and_13_queries_at_most() {
    let world = closed_issues(Settings::default(), 500);
    world.run(&["sync", "--limit", "1000"]).exits(0);
    let before = world.weaviate.objects();
    world.weaviate.lose_everything();
    world.weaviate.clear_log();
    world.run(&["sync", "--recheck-now", "--limit", "1000"]).exits(0).prints("Weaviate: 1000 created");
    assert!(world.weaviate.batches() <= 13, "{} batches", world.weaviate.batches());
    assert!(world.weaviate.reads() <= 13, "{} queries", world.weaviate.reads());
    assert_eq!((world.weaviate.writes(), world.weaviate.objects()), (1000, before));
}
