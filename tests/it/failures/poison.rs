//! A mapping whose look kills the process that makes it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use super::*;
use crate::world::World;

const SYNC: &[&str] = &["sync", "--max-attempts", "3"];
const PARKED: &str =
    "SELECT count(*) FROM core_externalissuemapping WHERE id = 1 AND worker_claim IS NULL
    AND worker_error IS NOT NULL AND worker_due_at IS NULL AND worker_recheck_at IS NULL";

/// A `sync` that is killed while GitHub is asked for issues; its claims are over.
fn dies(world: &mut World) {
    let (tell, told) = mpsc::channel::<u32>();
    world.github.meanwhile(move || {
        let id = told.recv().expect("the run's process id").to_string();
        let killed = Command::new("sh")
            .args(["-c", "kill -KILL \"$0\"", &id])
            .status()
            .expect("sh");
        assert!(killed.success(), "the run is not there");
    });
    let mut run = world
        .command(SYNC)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    tell.send(run.id()).expect("somebody waits");
    assert_eq!(run.wait().expect("the run ends").signal(), Some(9));
    world.execute(
        "UPDATE core_externalissuemapping SET worker_claimed_until = now() - interval '1 second'
         WHERE worker_claim IS NOT NULL",
    );
}

/// Design, section 5: one attempt for each change. The change that is reported poll after poll, being the repository's latest,
/// is no other.
#[test]
fn a_mapping_parked_as_a_suspect_is_not_revived_by_the_change_that_it_was_looked_at_for() {
    let mut world = World::new();
    for number in 1..=2 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    for (change, clock, deaths) in [(30, 60, 3), (100, 200, 1)] {
        world.github.settings().clock_ahead = clock;
        world
            .github
            .issue("acme/shop#1", |issue| issue.updated_at = at(change));
        if deaths == 1 {
            world.execute(
                "UPDATE core_externalissuemapping SET worker_error_at = now() - interval '7 hours' WHERE id = 1",
            );
        }
        for _ in 0..deaths {
            dies(&mut world);
        }
        world.run(SYNC).exits(3).logs("did not finish");
        assert_eq!(world.one::<i64>(PARKED), 1, "change at {change}");
        for _ in 0..2 {
            world.run(SYNC).exits(0);
            assert_eq!(
                world.one::<i64>(PARKED),
                1,
                "the same change at {change}, seen again by the overlap"
            );
        }
    }
    world
        .github
        .issue("acme/shop#1", |issue| issue.updated_at = at(300));
    world.run(SYNC).exits(0);
    assert_eq!(world.one::<i64>(PARKED), 0, "another change");
}
