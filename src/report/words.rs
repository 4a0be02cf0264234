//! Numbers and times in words.

use chrono::{DateTime, Duration, Utc};

use crate::core::text::timestamp;

/// Age from which a date says more than a number of days.
const LONG_AGO: Duration = Duration::days(60);

/// Formats a number with a comma between thousands.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun, such as `1 item` or `2,980 items`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count))
}

/// Returns how long ago a time is, such as `5 min ago`, or its date if that is more than two months
/// ago; both times are UTC.
pub fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match now - time {
        passed if passed > LONG_AGO => format!("on {}", time.format("%Y-%m-%d")),
        passed if passed.num_seconds() < 1 => "just now".to_owned(),
        passed => format!("{} ago", span(passed)),
    }
}

/// Returns how far away a time is, such as `5 min ago` or `in 5 min`; both times are UTC.
pub fn away(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match time - now {
        left if left.num_seconds() < 1 => ago(time, now),
        left if left > LONG_AGO => format!("on {}", time.format("%Y-%m-%d")),
        left => format!("in {}", span(left)),
    }
}

/// Formats a time with how far away it is, unless that is more than two months; both times are UTC.
pub fn when(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let text = timestamp(time);
    match (time - now).abs() > LONG_AGO {
        true => text,
        false => format!("{text} ({})", away(time, now)),
    }
}

/// Formats a span of time in its largest unit.
fn span(span: Duration) -> String {
    let (seconds, days) = (span.num_seconds(), span.num_days());
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{days} days"),
    }
}

/// Formats how long something took.
pub fn took(time: Duration) -> String {
    let milliseconds = time.num_milliseconds().max(0);
    let seconds = milliseconds / 1000;
    match seconds {
        ..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_nouns_a_plural() {
        let texts = [0, 1, 999, 1000, 1_234_567].map(|count| counted(count, "item"));
        assert_eq!(
            texts,
            [
                "0 items",
                "1 item",
                "999 items",
                "1,000 items",
                "1,234,567 items"
            ]
        );
    }

    #[test]
    fn a_time_is_told_in_its_largest_unit_and_an_old_one_by_its_date() {
        let now: DateTime<Utc> = "2026-03-31T12:00:00Z".parse().unwrap();
        let told = |seconds| away(now + Duration::seconds(seconds), now);
        for (seconds, text) in [
            (0, "just now"),
            (-59, "59 s ago"),
            (-119, "1 min ago"),
            (-7200, "2 h ago"),
            (-3 * 86_400, "3 days ago"),
            (-90 * 86_400, "on 2025-12-31"),
            (90, "in 1 min"),
            (90 * 86_400, "on 2026-06-29"),
        ] {
            assert_eq!(told(seconds), text);
        }
        assert_eq!(ago(now + Duration::seconds(5), now), "just now");
    }

    #[test]
    fn a_duration_has_tenths_below_a_minute() {
        let told = |milliseconds| took(Duration::milliseconds(milliseconds));
        assert_eq!(told(1249), "1.2 s");
        assert_eq!(told(-5), "0.0 s");
        assert_eq!(told(125_000), "2 min 5 s");
    }
}
