//! Runs many cases of one test, four at a time, because a run mostly waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const AT_A_TIME: usize = 4;

/// Checks every case; panics with all reasons if some fail.
#[track_caller]
pub fn check_each<T: Sync>(cases: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) {
    check_at_once(cases, AT_A_TIME, check);
}

/// Checks every case, so many at a time, for runs that do nothing but wait.
#[track_caller]
pub fn check_at_once<T: Sync>(
    cases: &[T],
    at_a_time: usize,
    check: impl Fn(&T) -> Result<(), String> + Sync,
) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(reason) = check(case) {
                        failures.lock().unwrap().push(reason);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}
