//! Random histories: people, GitHub, failing services, dying and overlapping runs, and clocks act in any order. The
//! final state must equal that of an undisturbed twin.
//!
//! `AGIRA_WORKER_HISTORIES` is the number of histories, and `AGIRA_WORKER_SEED` the seed of the first one. With
//! `AGIRA_WORKER_SHOWN=1`, a single history prints its steps: `AGIRA_WORKER_SHOWN=1 AGIRA_WORKER_HISTORIES=1
//! AGIRA_WORKER_SEED=17 cargo test --test it histories_with -- --nocapture`.

mod agira;
mod happenings;
pub(super) mod invariants;
pub(super) mod logger;
mod moment;
mod regressions;
mod soak;
mod steps;
mod twin;
pub(super) mod world;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use agira::Databases;
use steps::History;
use world::HistoryWorld;

/// Number of histories after which the databases are created again, because nothing vacuums them.
const OF_ONE_DATABASE: usize = 200;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |value| value.parse().expect("a number"))
}

fn is_shown() -> bool {
    std::env::var_os("AGIRA_WORKER_SHOWN").is_some()
}

/// A kind of histories.
pub(super) struct Kind {
    /// Variable with the number of histories.
    pub variable: &'static str,
    /// Number of histories without the variable.
    pub count: u64,
    /// Number of histories at the same time.
    pub at_once: usize,
    /// Number of steps of one history.
    pub steps: RangeInclusive<usize>,
    /// Plays the steps in a world; the other number is the seed of the history.
    pub play: fn(&mut HistoryWorld<'_>, u64, &[u64]),
}

impl Kind {
    /// Steps of a history. Each has its own seed, so that one can be omitted without changing the others.
    fn steps(&self, seed: u64) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(self.steps.clone());
        (0..count).map(|_| random.u64(..)).collect()
    }

    /// Plays a history; returns the reason if it fails.
    fn play(&self, databases: &mut Databases, seed: u64, steps: &[u64]) -> Result<(), String> {
        let mut world = HistoryWorld::new(databases);
        let play = || (self.play)(&mut world, seed, steps);
        let result = catch_unwind(AssertUnwindSafe(play));
        result.map_err(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said
                .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()))
                .unwrap_or_default();
            format!("{}\n{said}", world.story.join("\n"))
        })
    }

    /// Returns the same history with as few steps as still fail, and the reason.
    fn shrunk(&self, databases: &mut Databases, seed: u64, mut failure: String) -> String {
        let (mut steps, mut index) = (self.steps(seed), 0);
        while index < steps.len() {
            let mut fewer = steps.clone();
            fewer.remove(index);
            match self.play(databases, seed, &fewer) {
                Err(other) => (steps, failure) = (fewer, other),
                Ok(()) => index += 1,
            }
        }
        failure
    }

    /// Plays all histories, some at the same time; panics with those that fail.
    pub fn check_all(&self) {
        logger::init();
        let first = number("AGIRA_WORKER_SEED", 1);
        let count = number(self.variable, self.count);
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
                if let Err(failure) = self.play(&mut databases, seed, &self.steps(seed)) {
                    eprintln!("seed {seed} fails; it is shrunk now");
                    let failure = self.shrunk(&mut databases, seed, failure);
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
            for _ in 0..self.at_once.min(usize::try_from(count).unwrap_or(1)) {
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
}

#[test]
fn histories_with_simulated_services_end_as_their_undisturbed_twins() {
    let kind = Kind {
        variable: "AGIRA_WORKER_HISTORIES",
        count: 1000,
        at_once: 6,
        steps: 4..=14,
        play: |world, _, steps| History::play(world, steps),
    };
    kind.check_all();
}
