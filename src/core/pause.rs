//! A time before which a service must not be asked.

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;

use super::failure::LONGEST_WAIT;

/// Length of a pause without a named end; each later one in a row lasts twice as long (design.md,
/// "Failure model").
const UNNAMED_PAUSE: Duration = Duration::seconds(60);
/// Longest pause. GitHub refills its budgets every hour; whatever ends later was stored with a
/// wrong clock.
const LONGEST_PAUSE: Duration = Duration::seconds(LONGEST_WAIT as i64);

/// A pause that a service demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Service that must not be asked: `github` or `weaviate`; `github:acme` is the installation of
    /// a GitHub App for that owner.
    pub scope: String,
    /// End of the pause (UTC).
    pub until: DateTime<Utc>,
    /// Message of the service.
    pub reason: String,
    /// Number of pauses in a row for which the service named no end.
    #[serde(skip)]
    pub count: i32,
}

impl Pause {
    /// Returns true if the pause is not over; `now` is in UTC. No pause ends later than the longest
    /// wait from now, unless the clock was ahead when it was stored.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.until > now && (self.until - now).num_seconds() <= LONGEST_PAUSE.num_seconds()
    }

    /// Returns the pause that a rate limit demands. `wait` is in seconds, if the service named a
    /// time; `now` is in UTC.
    pub fn after_limit(
        scope: &str,
        previous: Option<&Self>,
        wait: Option<u64>,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Self {
        let in_a_row = previous.map_or(0, |pause| pause.count);
        let named = wait.and_then(|seconds| Duration::try_seconds(seconds.try_into().ok()?));
        let unnamed = UNNAMED_PAUSE * 2_i32.pow(in_a_row.clamp(0, 10).unsigned_abs());
        let until = now + named.unwrap_or(unnamed.min(LONGEST_PAUSE));
        let count = if named.is_some() {
            0
        } else {
            in_a_row.saturating_add(1)
        };
        Self {
            scope: scope.to_owned(),
            until,
            reason: reason.to_owned(),
            count,
        }
    }

    /// Shortens a pause that ends too late, as of `now` (UTC); returns true if it did.
    pub fn shorten(&mut self, now: DateTime<Utc>) -> bool {
        let latest = now + LONGEST_PAUSE;
        let is_too_long = self.until > latest;
        self.until = self.until.min(latest);
        is_too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(previous: Option<i32>, wait: Option<u64>, minutes: i64, count: i32) {
        let now = DateTime::UNIX_EPOCH;
        let pause = |count| Pause {
            scope: String::new(),
            until: now,
            reason: String::new(),
            count,
        };
        let next = Pause::after_limit("github", previous.map(pause).as_ref(), wait, "limit", now);
        assert_eq!(
            (next.until - now, next.count),
            (Duration::minutes(minutes), count)
        );
    }

    #[test]
    fn a_pause_without_a_named_end_doubles_up_to_two_hours() {
        check(None, None, 1, 1);
        check(Some(1), None, 2, 2);
        check(Some(6), None, 64, 7);
        check(Some(7), None, 120, 8);
        check(Some(i32::MAX), None, 120, i32::MAX);
        check(Some(-3), None, 1, -2);
    }

    #[test]
    fn a_pause_that_was_stored_with_a_wrong_clock_ends_in_two_hours() {
        let now = DateTime::UNIX_EPOCH;
        for (hours, left, is_shortened) in [(1, 1, false), (2, 2, false), (24, 2, true)] {
            let mut pause = Pause {
                scope: String::new(),
                until: now + Duration::hours(hours),
                reason: String::new(),
                count: 0,
            };
            assert_eq!(pause.shorten(now), is_shortened);
            assert_eq!(pause.until - now, Duration::hours(left));
        }
    }

    #[test]
    fn a_named_end_counts_and_ends_the_row() {
        check(Some(5), Some(300), 5, 0);
    }
}
