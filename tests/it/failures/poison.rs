//! A mapping whose fetch kills the process.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc;

use crate::fixtures::seconds_from_now;
use crate::harness::{World, send_signal};

const SYNC: &[&str] = &["sync", "--max-attempts", "3"];
const PARKED: &str =
    "SELECT count(*) FROM core_externalissuemapping WHERE id = 1 AND worker_claim IS NULL
    AND worker_error IS NOT NULL AND worker_due_at IS NULL AND worker_recheck_at IS NULL";

/// Runs a `sync` that is killed while it fetches issues; then ends its claims.
fn dies(world: &mut World) {
    let (id, id_of_run) = mpsc::channel::<u32>();
    world.github.meanwhile(move || {
        send_signal(id_of_run.recv().expect("the run's process id"), "KILL");
    });
    let mut run = world
        .command(SYNC)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    id.send(run.id()).expect("somebody waits");
    assert_eq!(kit::wait::end(&mut run, kit::wait::RUN).signal(), Some(9));
    world.expire_claims();
}

/// Each change gives a mapping one attempt (design.md, "Failure model"). Every poll reports the latest change of a
/// repository again; that does not make it a new change.
#[test]
fn a_parked_suspect_is_not_revived_by_the_change_that_it_was_claimed_for() {
    let mut world = World::new();
    for number in 1..=2 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    for (change, clock, deaths) in [(30, 60, 3), (100, 200, 1)] {
        world.github.settings().clock_ahead = clock;
        world.github.issue("acme/shop#1", |issue| {
            issue.updated_at = seconds_from_now(change)
        });
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
    world.github.issue("acme/shop#1", |issue| {
        issue.updated_at = seconds_from_now(300)
    });
    world.run(SYNC).exits(0);
    assert_eq!(world.one::<i64>(PARKED), 0, "another change");
}

/// Three mappings of one item. PostgreSQL refuses the change of the first one, and the two others
/// have nothing to change.
#[test]
fn a_mapping_that_fails_does_not_release_unchanged_ones_of_its_item() {
    let mut world = World::new();
    for number in 1..=3 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    world.execute("UPDATE core_externalissuemapping SET item_id = 1");
    world.run(&["sync", "--recheck-now"]).exits(0);
    world.execute("UPDATE core_externalissuemapping SET state = 'nonsense' WHERE id = 1");
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE OF state ON core_externalissuemapping FOR EACH ROW
            WHEN (OLD.id = 1 AND NEW.state <> OLD.state) EXECUTE FUNCTION refuse();",
    );
    let report = world
        .run(&["sync", "--recheck-now", "--output", "json"])
        .exits(3)
        .json();
    let counts = ["failed", "unchanged", "given_back"].map(|key| report[key].as_i64());
    assert_eq!(counts, [Some(1), Some(2), Some(0)]);
}

/// A run was killed. Its mappings do not wait until nothing else is due, and take no place from what is.
#[test]
fn suspects_have_a_fifth_of_the_limit_on_top_of_it() {
    let mut world = World::new();
    for number in 1..=30 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = now() - interval '1 hour'
         WHERE id <= 5",
    );
    let moved =
        "SELECT count(*) FROM core_item i JOIN core_externalissuemapping m ON m.item_id = i.id
        WHERE i.status = 'Testing'";
    for (suspects, others) in [(2, 10), (4, 20), (5, 25)] {
        world.run(&["sync", "--limit", "10"]).exits(0);
        let [first, rest] =
            ["<= 5", "> 5"].map(|which| world.one::<i64>(&format!("{moved} AND m.id {which}")));
        assert_eq!((first, rest), (suspects, others));
    }
}
