//! The text form of `status`.

use chrono::{DateTime, Utc};

use super::data::{Status, StatusArgs};
use super::verdict::{since, verdict};
use crate::core::text::Printable;
use crate::db::{
    Cause, Counts, FailedMapping, Overview, RejectedDelivery, RepositoryState, RunState, Totals,
};
use crate::report::{Screen, Tone, ago, number, print, when};
use crate::run::WEAVIATE;
use crate::weaviate::NO_VECTORIZER;

/// Prints the status; `details` are sentences about the mappings that `--mapping` names.
pub fn print_status(args: &StatusArgs, status: &Status, details: &[String]) {
    let screen = Screen::of_stdout();
    let line = |tone: Option<Tone>, text: &str| screen.print_wrapped(tone, text);
    print_verdict(args, status, &screen);
    let overview = &status.overview;
    details.iter().for_each(|sentence| line(None, sentence));
    if !args.failed {
        counts(&overview.counts, &screen);
        for pause in status.github_pauses.iter().chain(&status.weaviate_pause) {
            let (service, of) = match pause.scope.split_once(':') {
                Some((_, owner)) => ("GitHub", format!(" about repositories of {owner}")),
                None if pause.scope == WEAVIATE => ("Weaviate", String::new()),
                None => ("GitHub", String::new()),
            };
            let (until, reason) = (when(pause.until, status.now), &pause.reason);
            line(
                Some(Tone::Warning),
                &format!("{service} is not asked{of} before {until}: {reason}"),
            );
        }
        if let Some(vectorizer) = &overview.weaviate_vectorizer {
            let (tone, text) = class(vectorizer);
            line(tone, &text);
        }
        if let Some(read) = &overview.runs {
            runs(read, status.now, &screen);
        }
        let all = overview.repositories.as_deref().unwrap_or_default();
        repositories(all, status.now, &screen);
    }
    for shared in overview.shared.iter().flatten() {
        let ids: Vec<String> = shared.mapping_ids.iter().map(i64::to_string).collect();
        let (ids, url) = (ids.join(" and "), &shared.html_url);
        line(
            Some(Tone::Warning),
            &format!("mappings {ids} have the same address {url}"),
        );
    }
    if let Some(causes) = &status.causes {
        let alone = overview.failures.as_deref().unwrap_or_default();
        failures(causes, alone, status.now, &screen);
    }
    rejected_deliveries(overview, status.now, &screen);
}

/// Prints the verdict, or the reasons of `--check`.
fn print_verdict(args: &StatusArgs, status: &Status, screen: &Screen) {
    let reasons = status.unhealthy.as_deref().unwrap_or_default();
    for reason in reasons {
        screen.print_wrapped(Some(Tone::Alarm), &format!("Unhealthy: {reason}"));
    }
    // The sentences about named mappings, and a list of failures, come first themselves.
    let is_asked = args.check || !args.failed && args.filter.mappings.is_empty();
    if is_asked && reasons.is_empty() {
        let verdict = verdict(args, status, status.now);
        let sentence = match args.check {
            // What the caller tolerates is no reason to look.
            true => verdict.as_healthy(),
            false => verdict.sentence,
        };
        let tone = match verdict.is_healthy || args.check {
            true => Tone::Bold,
            false => Tone::Alarm,
        };
        screen.print_wrapped(Some(tone), &sentence);
    }
}

/// Returns the line about the vectorizer of Weaviate's class.
fn class(vectorizer: &str) -> (Option<Tone>, String) {
    if vectorizer != NO_VECTORIZER {
        let text = format!(
            "Weaviate's class has the vectorizer {}",
            Printable(vectorizer)
        );
        return (None, text);
    }
    let text = "Weaviate's class has no vectorizer: hybrid and near_text searches fail in Weaviate, and Agira's context \
                search finds nothing (README, \"A vectorizer\")";
    (Some(Tone::Warning), text.to_owned())
}

/// Prints a line for each cause; `alone` are the mappings that have a cause of their own.
fn failures(causes: &[Cause], alone: &[FailedMapping], now: DateTime<Utc>, screen: &Screen) {
    let Some(all) = causes.first().map(|cause| cause.failures) else {
        return print("failures: none");
    };
    screen.print(Some(Tone::Alarm), &format!("failures: {}", positive(all)));
    for cause in causes {
        let is_own = |one: &&FailedMapping| cause.mapping_ids == [one.mapping.mapping_id];
        let own = alone.iter().find(is_own);
        let line = own.map_or_else(|| describe_cause(cause, now), |one| describe(one, now));
        screen.print_wrapped(None, &line);
    }
    let more = all - causes.iter().map(|cause| cause.count).sum::<i64>();
    if more > 0 {
        screen.print_wrapped(
            None,
            &format!("  ... and {} more: --failed", positive(more)),
        );
    }
}

/// Prints the objects that Weaviate rejected.
fn rejected_deliveries(overview: &Overview, now: DateTime<Utc>, screen: &Screen) {
    let rejected = overview.rejected_deliveries.as_deref().unwrap_or_default();
    if !rejected.is_empty() {
        let (count, shown) = (overview.counts.weaviate.rejected, rejected.len());
        let first = match usize::try_from(count) == Ok(shown) {
            true => String::new(),
            false => format!(", the first {shown}:"),
        };
        screen.print_wrapped(
            Some(Tone::Alarm),
            &format!("rejected by Weaviate: {count}{first}"),
        );
    }
    for delivery in rejected {
        screen.print_wrapped(None, &describe_delivery(delivery, now));
    }
}

fn counts(counts: &Counts, screen: &Screen) {
    let Totals {
        total,
        due,
        in_work,
        backing_off,
        parked,
        waiting,
    } = counts.totals;
    let alarm = (parked > 0).then_some(Tone::Alarm);
    for (tone, name, count) in [
        (Some(Tone::Bold), "mappings", total),
        (None, "  due", due),
        (None, "  in work", in_work),
        (None, "  backing off", backing_off),
        (alarm, "  parked", parked),
        (None, "  waiting", waiting),
        (None, "never synced", counts.never_synced),
        (None, "to recheck", counts.to_recheck),
        (None, "Weaviate pending", counts.weaviate.pending),
    ] {
        screen.print(tone, &format!("{name:<16} {count:>8}"));
    }
    let rejected = counts.weaviate.rejected;
    if rejected > 0 {
        let line = format!("{:<16} {rejected:>8}", "  rejected");
        screen.print(Some(Tone::Alarm), &line);
    }
}

fn runs(runs: &[RunState], now: DateTime<Utc>, screen: &Screen) {
    if runs.is_empty() {
        return print("last runs: none yet");
    }
    screen.print(Some(Tone::Bold), "last runs:");
    let row = |run: &RunState| {
        let count = |name: &str| {
            let count = run.counts[name].as_i64();
            count.map_or_else(|| "-".to_owned(), |count| count.to_string())
        };
        vec![
            run.command.clone(),
            minute(run.finished_at),
            recent(run.finished_at, now),
            run.exit_code.to_string(),
            count("synced"),
            count("failed"),
            run.stopped_by.clone().unwrap_or_default(),
        ]
    };
    let names = [
        "command",
        "ended",
        "",
        "#code",
        "#synced",
        "#failed",
        "stopped by",
    ];
    screen.print_table(&names, runs.iter().map(row).collect());
}

/// Prints a table of the repositories, and below it the errors, which are too long for a column.
fn repositories(repositories: &[RepositoryState], now: DateTime<Utc>, screen: &Screen) {
    if repositories.is_empty() {
        return;
    }
    screen.print(Some(Tone::Bold), "repositories:");
    let row = |repository: &RepositoryState| {
        let polled = repository.polled_at;
        vec![
            repository.name.clone(),
            polled.map_or_else(|| "never".to_owned(), |at| ago(at, now)),
            minute(repository.issues_cursor),
            minute(repository.pull_requests_cursor),
            repository.due.to_string(),
        ]
    };
    let names = ["repository", "polled", "issues", "pull requests", "#due"];
    screen.print_table(&names, repositories.iter().map(row).collect());
    for repository in repositories {
        if let Some(error) = &repository.error {
            let name = (!error.contains(&repository.name)).then(|| repository.name.clone());
            let since = since(repository.unreadable_since, now);
            let parts: Vec<String> = name.into_iter().chain(since).collect();
            let text = match parts.is_empty() {
                true => format!("  {error}"),
                false => format!("  {}: {error}", parts.join(", ")),
            };
            screen.print_wrapped(Some(Tone::Warning), &text);
        }
    }
}

/// Returns a time for a table: it may be wrapped at its space.
fn minute(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%MZ").to_string()
}

/// Returns how long ago a time is, unless its date says more.
fn recent(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let text = ago(time, now);
    match text.starts_with("on ") {
        true => String::new(),
        false => text,
    }
}

fn positive(count: i64) -> String {
    number(count.max(0).unsigned_abs())
}

fn describe_delivery(delivery: &RejectedDelivery, now: DateTime<Utc>) -> String {
    let next = delivery.next_attempt_at.map(|at| when(at, now));
    format!(
        "  {}: attempt {}, {}: {}",
        delivery.mapping,
        delivery.attempts,
        next.map_or_else(
            || "next delivery with the next run".to_owned(),
            |at| format!("next delivery {at}")
        ),
        delivery.error
    )
}

fn describe_cause(cause: &Cause, now: DateTime<Utc>) -> String {
    let Cause {
        error,
        count,
        mapping_ids,
        error_at,
        ..
    } = cause;
    let ids: Vec<String> = mapping_ids.iter().map(i64::to_string).collect();
    let (ids, at) = (ids.join(", "), when(*error_at, now));
    let others = match usize::try_from(*count) == Ok(mapping_ids.len()) {
        true => "",
        false => ", ...",
    };
    let count = positive(*count);
    format!("  {count} mappings ({ids}{others}), the last at {at}: {error}")
}

fn describe(failure: &FailedMapping, now: DateTime<Utc>) -> String {
    let next = match failure.next_attempt_at.map(|at| when(at, now)) {
        _ if failure.waits => "waiting until its repository can be read".to_owned(),
        Some(at) => format!("next attempt {at}"),
        None => "parked".to_owned(),
    };
    format!(
        "  {}: attempt {} at {}, {}: {}",
        failure.mapping,
        failure.attempts,
        when(failure.error_at, now),
        next,
        failure.error
    )
}
