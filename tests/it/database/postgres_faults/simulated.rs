//! These tests are about PostgreSQL; starting a real Weaviate for hundreds of worlds would take too long.

mod restarted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::boundaries::{Side, Then};

use crate::harness::Run;
use crate::parallel::check_each;
use crate::proofs::kill_matrix::level::Level;
use crate::proofs::kill_matrix::scene::{Scene, Stage};

const SYNC: &[&str] = &["sync"];

/// Statements and requests of an undisturbed `sync`, and the final state.
fn undisturbed(scene: &Scene) -> (Vec<String>, Level) {
    let mut stage = scene.stage();
    stage.run(SYNC).exits(3);
    let passed = stage.boundaries.passed();
    stage.settle(SYNC).unwrap();
    (passed, Level::of(&mut stage.world))
}

/// Checks that the next runs finish the rest.
#[track_caller]
fn check_level(mut stage: Stage, expected: &Level) {
    stage.settle(SYNC).unwrap();
    let differences = Level::of(&mut stage.world).differences(expected);
    assert!(differences.is_empty(), "{differences}");
}

/// Makes a `sync` in which PostgreSQL raises an error up to `times` times instead of executing a statement that
/// contains `part`; returns how often it did.
fn raising(stage: &Stage, state: &'static str, part: &'static str, times: usize) -> (Run, usize) {
    let raised = Arc::new(AtomicUsize::new(0));
    let count = raised.clone();
    stage.boundaries.watch(move |place| {
        let is_here = place.side == Side::Before && place.what.contains(part);
        if is_here && count.fetch_add(1, Ordering::SeqCst) < times {
            Then::Raise(state)
        } else {
            Then::Pass
        }
    });
    let run = stage.run(SYNC);
    stage.boundaries.clear();
    (run, raised.load(Ordering::SeqCst))
}

/// The first statement at the end of a run, when all work is done.
const FIRST_OF_THE_END: &str = "/* count_due */";

#[test]
fn a_connection_that_is_cut_at_any_statement_loses_nothing() {
    let scene = Scene::grown();
    let (places, expected) = undisturbed(&scene);
    let at = |part: &str| {
        places
            .iter()
            .position(|what| what.contains(part))
            .expect(part)
    };
    let end = at(FIRST_OF_THE_END);
    let statements: Vec<usize> = (0..places.len())
        .filter(|index| places[*index].starts_with("PostgreSQL"))
        .collect();
    assert!(statements.len() > 50, "{places:#?}");
    println!("{} statements", statements.len());
    check_each(&statements, |index| {
        // PostgreSQL has the same state before the next statement; the kill matrix tests both sides.
        let cut = (*index, Side::After);
        let mut stage = scene.stage();
        stage.boundaries.watch(move |place| {
            if (place.index, place.side) == cut {
                Then::Lose
            } else {
                Then::Pass
            }
        });
        let run = stage.run(SYNC);
        // At the end, nothing can be lost, and a release begins another session.
        let code = match *index {
            index if places[index].contains("/* release */") => 3,
            index if index < end => 75,
            _ => 3,
        };
        let settled = stage.settle(SYNC);
        let differences = Level::of(&mut stage.world).differences(&expected);
        if run.code == code && settled.is_ok() && differences.is_empty() {
            return Ok(());
        }
        let what = &places[*index];
        Err(format!(
            "cut after {index} ({what}), {code} expected: {settled:?}\n{differences}{}",
            run.all()
        ))
    });
}

/// Transient faults at statements of each kind: the transaction is tried three times.
const PLACES: &[&str] = &[
    "/* claim */",
    "/* record_polls */",
    "/* record_quiet_polls */",
    "/* apply_move_item */", // a statement of a transaction
    "COMMIT",
    "/* record_success */",
    "/* record_failure */",
    "/* record_delivery */",
    "/* claim_suspect */",
    "/* record_run */",
];

#[test]
fn a_transient_conflict_has_no_effect() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for part in PLACES {
        for state in ["40001", "40P01", "55P03"] {
            if state == "55P03" && part.starts_with("/* apply_") {
                continue; // The wait was long enough.
            }
            let stage = scene.stage();
            let (run, raised) = raising(&stage, state, part, 2);
            assert!(raised >= 3, "{state} at {part}: {raised}");
            let run = run.exits(3);
            assert!(
                !run.stderr.contains("released"),
                "{state} at {part}: {}",
                run.all()
            );
            assert!(
                !run.stderr.contains("claims will expire"),
                "{state} at {part}: {}",
                run.all()
            );
            check_level(stage, &expected);
        }
    }
}

#[test]
fn a_lasting_conflict_releases_the_mapping_and_the_run_continues() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for state in ["40001", "40P01", "55P03"] {
        let mut stage = scene.stage();
        stage.world.execute(&format!(
            "CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'in the way' USING ERRCODE = '{state}'; END $$;
             CREATE TRIGGER in_the_way BEFORE UPDATE ON core_item FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION in_the_way()"
        ));
        let run = stage.run(SYNC);
        stage.world.execute("DROP FUNCTION in_the_way CASCADE");
        // The run continues and moves its other items; the next run moves the item of the first mapping.
        let run = run
            .exits(3)
            .logs("released: another session is working on its rows");
        assert!(
            stage
                .world
                .one::<i64>("SELECT count(*) FROM core_item WHERE status = 'Testing'")
                > 1,
            "{}",
            run.all()
        );
        check_level(stage, &expected);
    }
}

#[test]
fn claims_that_cannot_be_released_because_of_a_conflict_expire_later() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for part in [
        "/* record_success */",
        "/* record_failure */",
        "/* record_delivery */",
    ] {
        let stage = scene.stage();
        let (run, raised) = raising(&stage, "40P01", part, 3);
        assert!(raised >= 3, "{part}: {raised}");
        run.exits(3).logs("their claims will expire");
        check_level(stage, &expected);
    }
}

/// The next run polls the same changes again.
#[test]
fn changes_that_cannot_be_recorded_because_of_a_conflict_are_left_to_the_next_run() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let mut stage = scene.stage();
    let (run, _) = raising(&stage, "55P03", "/* record_polls */", usize::MAX);
    run.exits(3)
        .logs("the changes on GitHub are left to the next run");
    let entered = "SELECT count(*) FROM worker_repository WHERE name = 'acme/other'";
    assert_eq!(
        stage.world.one::<i64>(entered),
        1,
        "nothing falls between this run's look and the next poll"
    );
    check_level(stage, &expected);
}

/// Error of PostgreSQL, exit code of the run, and message to the operator.
#[test]
fn a_server_error_is_reported_with_a_remedy() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let claim = "/* claim */";
    // Disk full, statement timeout, lock timeout, server shutting down.
    let table: &[(&str, &str, &str)] = &[
        ("53100", claim, "make room on PostgreSQL's disk"),
        (
            "53100",
            "/* apply_move_item */",
            "make room on PostgreSQL's disk",
        ),
        ("57014", claim, "a statement took longer than 60 s"),
        (
            "55P03",
            claim,
            "another session holds the rows for longer than 5 s",
        ),
        ("57P01", claim, "claiming mappings failed"),
    ];
    for (state, part, said) in table {
        let stage = scene.stage();
        let (run, _) = raising(&stage, state, part, usize::MAX);
        run.exits(75).logs(said);
        check_level(stage, &expected);
    }
}

#[test]
fn a_read_only_server_is_reported_before_any_request() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let mut stage = scene.stage();
    let name: String = stage.world.one("SELECT current_database()::text");
    stage.world.execute(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    let run = stage
        .run(SYNC)
        .exits(1)
        .logs("this server is read-only; point DATABASE_URL at the primary");
    assert_eq!(stage.world.github.requests().len(), 0, "{}", run.all());
    stage.run(&["sync", "--dry-run"]);
    stage.world.execute(&format!(
        "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
    ));
    check_level(stage, &expected);
}

/// A person at psql locks a row before its claim ends, and keeps the lock until the run has ended. A statement that
/// waits for the row gets its lock timeout at once.
#[test]
fn a_locked_row_does_not_stop_the_release_of_other_claims() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let mut stage = scene.stage();
    let mut person = stage.world.database.client();
    stage.boundaries.watch(move |place| {
        let is_at = |tag: &str| place.side == Side::Before && place.what.contains(tag);
        if is_at("/* record_success */") {
            person
                .batch_execute(
                    "BEGIN; SELECT FROM core_externalissuemapping WHERE id = 4 FOR UPDATE",
                )
                .unwrap();
        }
        if is_at("/* record_success_locked */") {
            Then::Raise("55P03")
        } else {
            Then::Pass
        }
    });
    let run = stage.run(SYNC);
    stage.boundaries.clear(); // and the person is gone
    let run = run.exits(3).logs("their claims will expire");
    let held =
        "SELECT id FROM core_externalissuemapping WHERE worker_claim IS NOT NULL ORDER BY id";
    let held: Vec<i64> = stage
        .world
        .client
        .query(held, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(held, [4], "{}", run.all());
    check_level(stage, &expected);
}
