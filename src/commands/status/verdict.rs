//! The verdict of `status` in one sentence: whether a person should look.

use chrono::{DateTime, Utc};

use super::data::{Status, StatusArgs};
use crate::core::text::Printable;
use crate::db::{Overview, RunState};
use crate::report::{ago, away, counted, number};
use crate::run::WEAVIATE;

/// The state in one sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_healthy: bool,
    pub sentence: String,
    /// Facts that are no reason to look.
    facts: String,
}

impl Verdict {
    /// Returns the sentence for a caller who tolerates everything that is wrong.
    pub fn as_healthy(&self) -> String {
        format!("Healthy: {}", self.facts)
    }
}

/// Returns true if no sync did its work within `--max-age`, and says when the last one did. `last` is
/// the last one that ended, whether it did its work or not.
fn age(
    args: &StatusArgs,
    overview: &Overview,
    last: Option<&RunState>,
    now: DateTime<Utc>,
) -> (bool, String) {
    if let Some(at) = overview.synced_at {
        let is_late = (now - at).to_std().is_ok_and(|age| age > args.max_age);
        return (is_late, format!("last sync {}", ago(at, now)));
    }
    let says = match last {
        Some(_) => "no sync has done its work so far",
        None => "no sync has run so far (does cron or a timer start it?)",
    };
    (true, says.to_owned())
}

/// Judges the state; `now` is in UTC.
pub fn verdict(args: &StatusArgs, status: &Status, now: DateTime<Utc>) -> Verdict {
    let overview = &status.overview;
    let (counts, totals) = (&overview.counts, &overview.counts.totals);
    let mut wrong = Vec::new();
    let mut rest = Vec::new();
    let mut syncs = overview.runs.iter().flatten();
    let last = syncs.find(|run| run.command == "sync");
    let (is_late, age) = age(args, overview, last, now);
    if is_late { &mut wrong } else { &mut rest }.push(age);
    if let Some(run) = last.filter(|run| !matches!(run.exit_code, 0 | 3)) {
        let reason = run.stopped_by.iter().map(|by| format!(" ({by})"));
        let reason: String = reason.collect();
        rest.push(format!(
            "the last one ended with exit code {}{reason}",
            run.exit_code
        ));
    }
    let count = |count: i64, noun: &str| counted(count.max(0).unsigned_abs(), noun);
    if totals.parked > 0 {
        wrong.push(format!("{} parked", count(totals.parked, "mapping")));
    }
    wrong.extend(hidden(status, now));
    if counts.weaviate.rejected > 0 {
        let rejected = count(counts.weaviate.rejected, "mapping");
        wrong.push(format!("{rejected} with objects that Weaviate rejects"));
    }
    if counts.failing > 0 {
        rest.push(format!("{} tried again", count(counts.failing, "mapping")));
    }
    let waiting = counts.weaviate.pending - counts.weaviate.rejected;
    if waiting > 0 {
        let waiting = count(waiting, "mapping");
        rest.push(format!("objects of {waiting} wait for Weaviate"));
    }
    for pause in status.github_pauses.iter().chain(&status.weaviate_pause) {
        let service = if pause.scope == WEAVIATE {
            "Weaviate"
        } else {
            "GitHub"
        };
        rest.push(format!(
            "{service} is asked again {}",
            away(pause.until, now)
        ));
    }
    Verdict {
        is_healthy: wrong.is_empty(),
        sentence: match wrong.is_empty() {
            true => format!("Healthy: {}", rest.join(", ")),
            false => {
                let first = wrong.join(", ");
                let parts = std::iter::once(first).chain(rest.first().cloned());
                format!("Needs a look: {}", parts.collect::<Vec<_>>().join("; "))
            }
        },
        facts: rest.join(", "),
    }
}

/// Describes the repositories that cannot be read.
fn hidden(status: &Status, now: DateTime<Utc>) -> Option<String> {
    let all = status.overview.repositories.as_deref().unwrap_or_default();
    let hidden: Vec<_> = all.iter().filter(|one| one.error_at.is_some()).collect();
    let first = hidden.iter().filter_map(|one| one.unreadable_since).min();
    let (name, joint) = match hidden.as_slice() {
        [] => return None,
        [one] => (Printable(&one.name).to_string(), " "),
        more => (
            format!("{} repositories", number(more.len() as u64)),
            ", the first ",
        ),
    };
    let since = since(first, now).map(|since| format!("{joint}{since}"));
    Some(format!(
        "{name} cannot be read{}",
        since.unwrap_or_default()
    ))
}

/// Returns for how long something has lasted, such as `since 3 h`; `None` for less than a second, or
/// if a clock that was ahead stored the time. Both times are UTC.
pub(super) fn since(time: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<String> {
    let told = ago(time?, now);
    let span = told
        .strip_suffix(" ago")
        .or_else(|| told.strip_prefix("on "));
    span.map(|span| format!("since {span}"))
}
