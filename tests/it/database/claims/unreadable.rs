//! Since when a repository cannot be read.

use agira_worker::db::PollResult;

use super::plans::polled;
use super::*;

const NAME: &str = "acme/shop";

impl Bench {
    /// Records a poll that began at that minute, with its error and whether that hides the repository.
    fn poll(&mut self, error: Option<&str>, is_hidden: bool, minute: i64) {
        let result = PollResult {
            error: error.map(str::to_owned),
            is_hidden,
            ..polled(NAME, Vec::new())
        };
        let now = self.at(minute);
        // A poll that changes a mapping is stored by the same statement with another condition.
        let stored = self.db.record_quiet_polls(&[result], now).unwrap();
        assert_eq!(stored.len(), 1);
    }

    /// Records that a look found the repository hidden.
    fn hide(&mut self, minute: i64) {
        let (hidden, now) = ([(NAME.to_owned(), "hidden".to_owned())], self.at(minute));
        assert!(self.db.hide_repositories(&hidden, now, now).unwrap());
    }

    /// Checks the minute of the first failure that is stored, and that there is one if there is an error.
    #[track_caller]
    fn check_since(&mut self, expected: Option<i64>) {
        let sql =
            "SELECT error IS NOT NULL, unreadable_since FROM worker_repository WHERE name = $1";
        let row = self.client.query_one(sql, &[&NAME]).unwrap();
        let since: Option<DateTime<Utc>> = row.get(1);
        let since = since.map(|since| (since - self.start).num_minutes());
        assert_eq!((row.get(0), since), (expected.is_some(), expected));
    }
}

#[test]
fn the_first_of_several_failures_in_a_row_is_remembered_until_a_poll_succeeds() {
    let mut bench = Bench::new();
    bench.poll(None, false, 0);
    bench.check_since(None);
    // The reasons may differ, and a poll without an answer leaves a hidden repository hidden.
    for (error, is_hidden, minute) in [
        ("no answer", false, 10),
        ("hidden", true, 20),
        ("no answer", false, 30),
        ("hidden", true, 90),
    ] {
        bench.poll(Some(error), is_hidden, minute);
        bench.check_since(Some(10));
    }
    bench.hide(95);
    bench.check_since(Some(10));
    bench.poll(None, false, 100);
    bench.check_since(None);
    bench.poll(Some("no answer"), false, 110);
    bench.check_since(Some(110));
}

#[test]
fn a_repository_that_is_new_cannot_be_read_since_its_first_failure() {
    let mut bench = Bench::new();
    bench.poll(Some("hidden"), true, 5);
    bench.check_since(Some(5));
    let mut bench = Bench::new();
    bench.hide(5);
    bench.check_since(Some(5));
    bench.poll(Some("hidden"), true, 70);
    bench.check_since(Some(5));
}

/// Another run's look found it hidden after the poll had begun.
#[test]
fn a_poll_that_succeeded_before_a_look_failed_ends_only_the_failures_before_it() {
    let mut bench = Bench::new();
    bench.poll(Some("no answer"), false, 10);
    bench.hide(30);
    bench.poll(None, false, 20);
    bench.check_since(Some(30));
}

#[test]
fn a_first_failure_of_a_clock_that_was_ahead_gives_way_to_the_next_failure() {
    let day = 24 * 60;
    let mut bench = Bench::new();
    bench.poll(Some("hidden"), true, day);
    bench.poll(Some("hidden"), true, 10);
    bench.check_since(Some(10));
    let mut bench = Bench::new();
    bench.hide(day);
    bench.hide(20);
    bench.poll(Some("no answer"), false, 30);
    bench.check_since(Some(20));
    bench.poll(None, false, 40);
    bench.check_since(None);
}
