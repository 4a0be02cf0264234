//! The time of the next attempt after a failure, and of the next recheck.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::model::MappingId;

/// Delay after the first failure.
const FIRST_DELAY: Duration = Duration::minutes(1);
/// Longest delay after a failure.
const LONGEST_DELAY: Duration = Duration::hours(6);
/// Longest delay after a rejected delivery, which costs Weaviate one try a day for as long as it
/// rejects the object.
const LONGEST_DELIVERY_DELAY: Duration = Duration::hours(24);
/// Shortest time until the recheck of a mapping whose issue is closed and whose item is `Closed`,
/// because such a mapping rarely changes.
const SETTLED_RECHECK: Duration = Duration::days(30);

/// Consequence of a mapping's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another attempt, not before this time (UTC).
    RetryAt(DateTime<Utc>),
    /// No further attempt until something changes or a person asks for one.
    Park,
}

/// Returns the consequence of a failure (design.md, "Failure model"): a delay of one minute,
/// doubled with each attempt up to six hours, and varied by up to a quarter. `attempts` includes
/// this failure.
pub fn after_failure(
    id: MappingId,
    attempts: i32,
    max_attempts: i32,
    now: DateTime<Utc>,
) -> NextAttempt {
    if attempts >= max_attempts {
        return NextAttempt::Park;
    }
    NextAttempt::RetryAt(now + delay(id, attempts, LONGEST_DELAY, now))
}

/// Returns the time of the next delivery after Weaviate rejected an object: as after another
/// failure, but up to a day, and without an end of the attempts.
pub fn after_rejection(id: MappingId, attempts: i32, now: DateTime<Utc>) -> DateTime<Utc> {
    now + delay(id, attempts, LONGEST_DELIVERY_DELAY, now)
}

fn delay(id: MappingId, attempts: i32, longest: Duration, now: DateTime<Utc>) -> Duration {
    let doublings = attempts.saturating_sub(1).clamp(0, 16);
    let delay = (FIRST_DELAY * (1 << doublings)).min(longest);
    scaled(delay, 0.75 + 0.5 * chance(id, now))
}

/// Returns the time of the next recheck: `recheck_after` from now, plus up to half of it, so that
/// mappings that were checked together are not rechecked together (design.md, "The pipeline").
pub fn recheck(
    id: MappingId,
    settled: bool,
    recheck_after: Duration,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let at_least = match settled {
        true => recheck_after.max(SETTLED_RECHECK),
        false => recheck_after,
    };
    now + scaled(at_least, 1.0 + 0.5 * chance(id, now))
}

/// Multiplies a delay. It cannot overflow, because the command line bounds `--recheck-after`.
fn scaled(delay: Duration, factor: f64) -> Duration {
    Duration::milliseconds((delay.num_milliseconds() as f64 * factor) as i64)
}

/// Returns a number from 0 to below 1 that differs between mappings and times. It is a hash of
/// both, because the core has no random numbers.
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
    fn a_rejected_delivery_is_tried_again_up_to_a_day_later_and_is_never_parked() {
        for (attempts, minutes) in [
            (-1, 1),
            (1, 1),
            (4, 8),
            (11, 1024),
            (12, 1440),
            (i32::MAX, 1440),
        ] {
            for id in 1..200 {
                let delay = after_rejection(MappingId(id), attempts, now()) - now();
                let part = delay.as_seconds_f64() / 60.0 / f64::from(minutes);
                assert!(
                    (0.75..=1.25).contains(&part),
                    "attempt {attempts}: {part} of {minutes} min"
                );
            }
        }
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
    fn a_settled_mapping_is_rechecked_after_a_month() {
        assert!(
            recheck(MappingId(1), true, Duration::hours(24), now()) >= now() + Duration::days(30)
        );
        assert!(
            recheck(MappingId(1), true, Duration::days(90), now()) >= now() + Duration::days(90)
        );
    }
}
