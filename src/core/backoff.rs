//! When to look again: after a failure, and without a reason. The one place where such times are computed.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::model::MappingId;

/// Delay before the second attempt.
const FIRST_DELAY: Duration = Duration::minutes(1);
/// No delay is longer.
const LONGEST_DELAY: Duration = Duration::hours(6);
/// Recheck of a mapping whose issue is closed and whose item is `Closed`: hardly anything will change.
const SETTLED_RECHECK: Duration = Duration::days(30);

/// What follows a mapping's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another attempt, not before that time (UTC).
    RetryAt(DateTime<Utc>),
    /// No further attempt until something changes or a person asks for one.
    Park,
}

/// Design, section 5: one minute, doubled with each attempt, at most six hours, a quarter more or less by chance.
/// `attempts` counts the failure that just happened.
pub fn after_failure(
    id: MappingId,
    attempts: i32,
    max_attempts: i32,
    now: DateTime<Utc>,
) -> NextAttempt {
    if attempts >= max_attempts {
        return NextAttempt::Park;
    }
    let doublings = u32::try_from(attempts.saturating_sub(1))
        .unwrap_or(0)
        .min(16);
    let delay = (FIRST_DELAY * 2_i32.pow(doublings)).min(LONGEST_DELAY);
    NextAttempt::RetryAt(now + scaled(delay, 0.75 + 0.5 * chance(id, now)))
}

/// When to look at a healthy mapping without a reason: at the earliest after `recheck_after`, at the latest after half
/// as much again, so that what was looked at together does not come back together (design, section 3, step 8).
pub fn recheck(
    id: MappingId,
    settled: bool,
    recheck_after: Duration,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let at_least = if settled {
        recheck_after.max(SETTLED_RECHECK)
    } else {
        recheck_after
    };
    now + scaled(at_least, 1.0 + 0.5 * chance(id, now))
}

/// `--recheck-after` is bounded by the command line, so that this stays far from any overflow.
fn scaled(delay: Duration, factor: f64) -> Duration {
    Duration::milliseconds((delay.num_milliseconds() as f64 * factor) as i64)
}

/// A number from 0 up to 1 that differs from mapping to mapping and from time to time, without a source of chance: a
/// hash of both.
fn chance(id: MappingId, now: DateTime<Utc>) -> f64 {
    let hash = Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{}/{}", id.0, now.timestamp_micros()).as_bytes(),
    );
    f64::from(hash.as_fields().0) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[track_caller]
    fn check(attempts: i32, expected_minutes: i64) {
        for id in 1..200 {
            let NextAttempt::RetryAt(at) = after_failure(MappingId(id), attempts, i32::MAX, now())
            else {
                panic!("parked after {attempts} attempts");
            };
            let delay = (at - now()).as_seconds_f64() / 60.0 / expected_minutes as f64;
            assert!(
                (0.75..=1.25).contains(&delay),
                "attempt {attempts}, mapping {id}: {delay} of {expected_minutes} min"
            );
        }
    }

    #[test]
    fn the_delay_doubles_up_to_six_hours() {
        for (attempts, minutes) in [
            (1, 1),
            (2, 2),
            (3, 4),
            (8, 128),
            (9, 256),
            (10, 360),
            (60, 360),
            (i32::MAX - 1, 360),
        ] {
            check(attempts, minutes);
        }
        check(0, 1);
        check(-7, 1);
    }

    #[test]
    fn the_last_attempt_parks() {
        assert!(matches!(
            after_failure(MappingId(1), 9, 10, now()),
            NextAttempt::RetryAt(_)
        ));
        assert_eq!(
            after_failure(MappingId(1), 10, 10, now()),
            NextAttempt::Park
        );
        assert_eq!(
            after_failure(MappingId(1), 11, 10, now()),
            NextAttempt::Park
        );
    }

    #[test]
    fn rechecks_are_spread_and_never_early() {
        let day = Duration::hours(24);
        let times: Vec<_> = (1..1000)
            .map(|id| recheck(MappingId(id), false, day, now()) - now())
            .collect();
        assert!(
            times
                .iter()
                .all(|delay| *delay >= day && *delay <= day + day / 2)
        );
        let in_first_half = times.iter().filter(|delay| **delay < day + day / 4).count();
        assert!(
            (400..600).contains(&in_first_half),
            "{in_first_half} of 999 in the first half"
        );
    }

    #[test]
    fn a_settled_mapping_is_looked_at_after_a_month() {
        assert!(
            recheck(MappingId(1), true, Duration::hours(24), now()) >= now() + Duration::days(30)
        );
        assert!(
            recheck(MappingId(1), true, Duration::days(90), now()) >= now() + Duration::days(90)
        );
    }
}
