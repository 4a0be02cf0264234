//! Runs with a thousand objects.

use std::process::Stdio;

use kit::weaviate::Settings;

use super::{check_complete, counts};
use crate::fixtures::closed_issues;

/// Invariants 6 and 7, with two concurrent runs.
#[test]
fn two_concurrent_runs_write_each_of_1000_objects_once() {
    let world = closed_issues(Settings::default(), 500);
    let start = || {
        let mut command = world.command(&["sync", "--limit", "1000"]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    let mut both = [start(), start()];
    for run in &mut both {
        assert_eq!(kit::wait::end(run, kit::wait::RUN).code(), Some(0));
    }
    check_complete(&world, 500);
    assert_eq!(world.weaviate.writes(), 1000);
    world.weaviate.clear_log();
    let run = world
        .run(&[
            "sync",
            "--recheck-now",
            "--limit",
            "1000",
            "--output",
            "json",
        ])
        .exits(0);
    assert_eq!(counts(&run), [0, 0, 1000]);
    assert_eq!(world.weaviate.writes(), 0);
}

/// Checks that a lost index is restored with little more than one query and one batch per 100 objects. No object is
/// written twice, and every text is as before.
fn check_restored(issues: i32) {
    let world = closed_issues(Settings::default(), issues);
    let run_until_done = |first: &[&str]| {
        for run in 0..(issues + 999) / 1000 {
            // GitHub's hourly budget is too small for this number of issues.
            world.github.settings().points = 5000;
            let first = if run == 0 { first } else { &[] };
            world
                .run(&[&["sync", "--limit", "1000"], first].concat())
                .exits(0);
        }
    };
    run_until_done(&[]);
    let before = world.weaviate.objects();
    check_complete(&world, i64::from(issues));
    world.weaviate.lose_everything();
    world.weaviate.clear_log();
    run_until_done(&["--recheck-now"]);
    let objects = 2 * issues as usize;
    let most = objects * 13 / 1000;
    assert!(
        world.weaviate.batches() <= most,
        "{} batches",
        world.weaviate.batches()
    );
    assert!(
        world.weaviate.reads() <= most,
        "{} queries",
        world.weaviate.reads()
    );
    assert_eq!(world.weaviate.writes(), objects);
    assert!(
        world.weaviate.objects() == before,
        "an object is missing or not what it was"
    );
}

#[test]
fn restoring_1000_objects_takes_at_most_13_batches_and_13_queries() {
    check_restored(500);
}

#[test]
#[ignore = "takes minutes, and is the same as for 1,000 objects"]
fn restoring_10000_objects_takes_at_most_130_batches_and_130_queries() {
    check_restored(5000);
}
