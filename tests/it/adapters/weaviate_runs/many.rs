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
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    let mut both = [start(), start()];
    for run in &mut both {
        assert_eq!(run.wait().expect("an end").code(), Some(0));
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

/// An index that was lost comes back with little more than one query and one batch for 100 objects, no object written
/// twice, and every text as before.
fn check_brought_back(issues: i32) {
    let world = closed_issues(Settings::default(), issues);
    let run_until_done = |first: &[&str]| {
        for run in 0..(issues + 999) / 1000 {
            // So many issues are more than GitHub tells within an hour.
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
fn bringing_1000_objects_back_takes_13_batches_and_13_queries_at_most() {
    check_brought_back(500);
}

#[test]
#[ignore = "takes minutes, and is the same as for 1,000 objects"]
fn bringing_10000_objects_back_takes_130_batches_and_130_queries_at_most() {
    check_brought_back(5000);
}
