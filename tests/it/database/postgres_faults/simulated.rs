//! What is looked at is PostgreSQL; a real Weaviate for each of hundreds of worlds would take too long.

mod restarted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::boundaries::{Side, Then};

use crate::parallel::check_each;
use crate::proofs::kill_matrix::level::Level;
use crate::proofs::kill_matrix::scene::{Scene, Stage};
use crate::world::Run;

const SYNC: &[&str] = &["sync"];

/// The statements and requests of an undisturbed `sync`, and what there is in the end.
fn undisturbed(scene: &Scene) -> (Vec<String>, Level) {
    let mut stage = scene.stage();
    stage.run(SYNC).exits(3);
    let passed = stage.boundaries.passed();
    stage.settle(SYNC).unwrap();
    (passed, Level::of(&mut stage.world))
}

/// The next runs do what is left.
#[track_caller]
fn check_level(mut stage: Stage, expected: &Level) {
    stage.settle(SYNC).unwrap();
    let differences = Level::of(&mut stage.world).differences(expected);
    assert!(differences.is_empty(), "{differences}");
}

/// A `sync` in which PostgreSQL raises an error up to `times` times instead of a statement that contains `part`; returns how
/// often it came to that.
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

/// The last statement of the preparations, before which nothing has begun.
const LAST_PREPARATION: &str = "FROM worker_pause WHERE scope";
/// The first statement of a run's end, when all is done.
const FIRST_OF_THE_END: &str =
    "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at";

#[test]
fn a_connection_that_is_cut_at_any_statement_costs_nothing() {
    let scene = Scene::grown();
    let (places, expected) = undisturbed(&scene);
    let at = |part: &str| {
        places
            .iter()
            .position(|what| what.contains(part))
            .expect(part)
    };
    let (prepared, end) = (at(LAST_PREPARATION), at(FIRST_OF_THE_END));
    let statements: Vec<usize> = (0..places.len())
        .filter(|index| places[*index].starts_with("PostgreSQL"))
        .collect();
    assert!(statements.len() > 50, "{places:#?}");
    println!("{} statements", statements.len());
    check_each(&statements, |index| {
        // What PostgreSQL has then is what it has before the next statement; the kill matrix looks at both sides.
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
        // Before the first request it is a server that cannot be used; in the end there is nothing to be lost.
        let code = match *index {
            index if index <= prepared => 1,
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

/// Faults that pass, at statements of each kind: the transaction is tried three times.
const PLACES: &[&str] = &[
    "UPDATE core_externalissuemapping m SET worker_claim = $8", // claim
    "INSERT INTO worker_repository AS r",                       // marks and cursors
    "UPDATE core_item SET status", // apply, a statement of a transaction
    "COMMIT",
    "worker_attempts = 0, worker_error = NULL", // finish
    "worker_attempts = t.attempts",             // fail
    "worker_pushed_at = coalesce($3",           // delivered
    "worker_attempts = m.worker_attempts + 1",  // a suspect is taken over
    "INSERT INTO worker_run",
];

#[test]
fn a_conflict_that_passes_is_not_noticed() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for part in PLACES {
        for state in ["40001", "40P01", "55P03"] {
            let stage = scene.stage();
            let (run, raised) = raising(&stage, state, part, 2);
            assert!(raised >= 3, "{state} at {part}: {raised}");
            let run = run.exits(3);
            assert!(
                !run.stderr.contains("given back"),
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
fn a_conflict_that_stays_gives_the_mapping_back_and_the_run_goes_on() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for state in ["40001", "40P01", "55P03"] {
        let mut stage = scene.stage();
        let (run, raised) = raising(&stage, state, "UPDATE core_item SET status", 3);
        assert!(raised > 3, "{raised}");
        // The run goes on: its other items are moved, and the one of the first mapping is moved by the next run.
        let run = run
            .exits(3)
            .logs("given back: somebody else is working on its rows");
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
fn a_conflict_that_stays_while_claims_end_leaves_them_to_expire_and_the_run_goes_on() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    for part in [
        "worker_attempts = 0, worker_error = NULL",
        "worker_attempts = t.attempts",
        "worker_pushed_at = coalesce($3",
    ] {
        let stage = scene.stage();
        let (run, raised) = raising(&stage, "40P01", part, 3);
        assert!(raised >= 3, "{part}: {raised}");
        run.exits(3).logs("their claims will expire");
        check_level(stage, &expected);
    }
}

/// The next run sees the same changes again.
#[test]
fn a_conflict_that_stays_while_changes_are_recorded_leaves_them_to_the_next_run() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let mut stage = scene.stage();
    let (run, _) = raising(&stage, "55P03", "INSERT INTO worker_repository AS r", 3);
    run.exits(3)
        .logs("what changed at GitHub is left to the next run");
    let entered = "SELECT count(*) FROM worker_repository WHERE name = 'acme/other'";
    assert_eq!(
        stage.world.one::<i64>(entered),
        1,
        "nothing falls between this run's look and the next poll"
    );
    check_level(stage, &expected);
}

/// What PostgreSQL says, how the run ends, and what the operator is told.
#[test]
fn an_error_of_the_server_is_told_with_what_to_do() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let claim = "UPDATE core_externalissuemapping m SET worker_claim = $8";
    // Disk full, statement timeout, lock timeout, server shutting down.
    let table: &[(&str, &str, &str)] = &[
        ("53100", claim, "make room on PostgreSQL's disk"),
        (
            "53100",
            "UPDATE core_item SET status",
            "make room on PostgreSQL's disk",
        ),
        ("57014", claim, "a statement may take 60 s"),
        (
            "55P03",
            claim,
            "somebody holds what it needs for longer than 5 s",
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
fn a_server_that_takes_no_writes_is_told_before_anything_is_asked() {
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
        .logs("let DATABASE_URL lead to the primary server");
    assert_eq!(stage.world.github.requests().len(), 0, "{}", run.all());
    stage.run(&["sync", "--dry-run"]);
    stage.world.execute(&format!(
        "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
    ));
    check_level(stage, &expected);
}

/// A person at psql locks a row before its claim ends, and does not let go before the run has ended. What would wait for the
/// row gets its lock timeout at once.
#[test]
fn a_row_that_a_person_holds_keeps_no_others_from_ending_their_claims() {
    let scene = Scene::grown();
    let (_, expected) = undisturbed(&scene);
    let mut stage = scene.stage();
    let mut person = stage.world.database.client();
    stage.boundaries.watch(move |place| {
        let is_end = place.side == Side::Before
            && place
                .what
                .contains("worker_attempts = 0, worker_error = NULL");
        if is_end && place.what.contains("SKIP LOCKED") {
            person
                .batch_execute(
                    "BEGIN; SELECT FROM core_externalissuemapping WHERE id = 4 FOR UPDATE",
                )
                .unwrap();
        }
        if is_end && !place.what.contains("SKIP LOCKED") {
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
