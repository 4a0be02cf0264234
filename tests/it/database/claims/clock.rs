//! Times that PostgreSQL's clock has stored while it was ahead (design.md, "Data").

use super::Class::*;
use super::*;

/// A day, in minutes.
const DAY: i64 = 24 * 60;

impl Bench {
    /// Corrects times at minute 10, and returns the number of corrected rows.
    fn correct(&mut self) -> u64 {
        let now = self.at(10);
        self.db.correct_times(now).unwrap()
    }
}

/// The error is older than the time at which the clock was ahead.
#[test]
fn a_mark_of_a_clock_that_was_ahead_is_corrected_beside_an_older_error() {
    let mut bench = Bench::new();
    let parked = bench.row_in(Parked);
    bench.mark(parked, DAY);
    bench.check(parked, BackingOff, 10);
    assert_eq!(bench.correct(), 1);
    assert_eq!(bench.due_at(parked), Some(bench.at(10)));
}

#[test]
fn the_longest_backoff_and_the_mark_of_a_parked_row_are_not_corrected() {
    let mut bench = Bench::new();
    let [failed, parked] = [bench.issue(), bench.row_in(Parked)];
    let claimed = bench.take(failed, EARLY);
    bench.fail(&claimed, Some(EARLY + 450), EARLY);
    bench.mark(parked, EARLY);
    assert_eq!(bench.due_at(parked), Some(bench.at(EARLY + 360)));
    let before = [failed, parked].map(|id| bench.row(id));
    assert_eq!(bench.correct(), 0);
    assert_eq!([failed, parked].map(|id| bench.row(id)), before);
}

/// A rejection waits for 1 min, doubled with each attempt up to 24 h, and a quarter more.
#[test]
fn a_delivery_waits_no_longer_than_its_attempts_explain() {
    for (attempts, minutes, is_corrected) in [
        (1, 1, false),
        (1, DAY + 1, true),
        (5, 20, false),
        (5, 60, true),
        (12, 30 * 60, false),
        (12, 32 * 60, true),
        (i32::MAX, 30 * 60, false),
        (i32::MAX, 32 * 60, true),
    ] {
        let mut bench = Bench::new();
        let waiting = outbox(bench.at(0));
        let id = bench.row_with(Waiting, Some(&waiting));
        bench
            .db
            .claim_outboxes(&due(), 9, None, bench.hold)
            .unwrap();
        let delay = DelayRecord {
            id,
            attempts,
            error: Some("odd".to_owned()),
            at: bench.at(10 + minutes),
        };
        bench.db.record_delays(bench.hold.run, &[delay]).unwrap();
        bench.db.release(bench.hold.run, &[id]).unwrap();
        let expected = u64::from(is_corrected);
        assert_eq!(bench.correct(), expected, "{attempts}, {minutes} min");
    }
}
