//! Random histories: people, GitHub, failing services, dying and overlapping runs, and clocks act in any order. The
//! final state must equal that of an undisturbed twin.
//!
//! `AGIRA_WORKER_HISTORIES` is the number of histories, and `AGIRA_WORKER_SEED` the seed of the first one. With
//! `AGIRA_WORKER_SHOWN=1`, a single history prints its steps: `AGIRA_WORKER_SHOWN=1 AGIRA_WORKER_HISTORIES=1
//! AGIRA_WORKER_SEED=17 cargo test --test it histories_with -- --nocapture`.

mod agira;
mod happenings;
mod invariants;
mod logger;
mod moment;
mod regressions;
mod soak;
mod steps;
mod twin;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use agira::Databases;
use steps::History;
use world::HistoryWorld;

/// Number of histories after which the databases are created again, because nothing vacuums them.
const OF_ONE_DATABASE: usize = 200;
/// Number of histories at the same time.
const AT_ONCE: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |value| value.parse().expect("a number"))
}

fn is_shown() -> bool {
    std::env::var_os("AGIRA_WORKER_SHOWN").is_some()
}

/// Steps of a history. Each has its own seed, so that one can be omitted without changing the others.
fn steps(seed: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..random.usize(4..=14)).map(|_| random.u64(..)).collect()
}

/// Plays a history; returns the reason if it fails.
fn play(databases: &mut Databases, steps: &[u64]) -> Result<(), String> {
    let mut world = HistoryWorld::new(databases);
    let result = catch_unwind(AssertUnwindSafe(|| History::play(&mut world, steps)));
    result.map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()))
            .unwrap_or_default();
        format!("{}\n{said}", world.story.join("\n"))
    })
}

/// Returns the same history with as few steps as still fail, and the reason.
fn shrunk(databases: &mut Databases, mut steps: Vec<u64>, mut failure: String) -> String {
    let mut index = 0;
    while index < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(index);
        match play(databases, &fewer) {
            Err(other) => (steps, failure) = (fewer, other),
            Ok(()) => index += 1,
        }
    }
    failure
}

#[test]
fn histories_with_simulated_services_end_as_their_undisturbed_twins() {
    logger::init();
    let (first, count) = (
        number("AGIRA_WORKER_SEED", 1),
        number("AGIRA_WORKER_HISTORIES", 1000),
    );
    let next = AtomicU64::new(first);
    let failures = std::sync::Mutex::new(Vec::new());
    let work = || {
        let mut databases = Databases::create();
        for played in 1.. {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            let enough = failures.lock().unwrap().len() >= 3;
            if seed >= first + count || enough {
                return;
            }
            if let Err(failure) = play(&mut databases, &steps(seed)) {
                let failure = shrunk(&mut databases, steps(seed), failure);
                let mut failures = failures.lock().unwrap();
                failures.push(format!("seed {seed}, shrunk:\n{failure}"));
                databases = Databases::create();
            }
            if played % OF_ONE_DATABASE == 0 {
                databases = Databases::create();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(usize::try_from(count).unwrap_or(AT_ONCE)) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {count} histories failed:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}
