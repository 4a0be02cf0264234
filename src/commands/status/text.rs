//! `status` for a person.

use super::{Status, StatusArgs};
use crate::commands::report::say;
use crate::commands::screen::{Screen, Tone};
use crate::core::plan::time;
use crate::db::{FailedMapping, RepositoryState, RunState, SharedAddress, Totals};

/// Prints it, as the arguments narrow it.
pub fn print(args: &StatusArgs, status: &Status, sentences: &[String]) {
    let screen = Screen::of_stdout();
    let line = |tone: Option<Tone>, text: &str| {
        for line in screen.wrapped(text) {
            screen.say(tone, &line);
        }
    };
    match &status.unhealthy {
        Some(reasons) if reasons.is_empty() => line(None, "healthy"),
        Some(reasons) => {
            for reason in reasons {
                line(Some(Tone::Alarm), &format!("unhealthy: {reason}"));
            }
        }
        None => {}
    }
    for sentence in sentences {
        line(None, sentence);
    }
    if !args.failed {
        counts(status, &screen);
        if let Some(pause) = &status.pause {
            let text = format!(
                "GitHub is not asked before {}: {}",
                time(pause.until),
                pause.reason
            );
            line(Some(Tone::Warning), &text);
        }
        runs(&status.runs, &screen);
        repositories(&status.repositories, &screen);
    }
    for SharedAddress {
        html_url,
        mapping_ids,
    } in &status.shared
    {
        let ids: Vec<String> = mapping_ids.iter().map(i64::to_string).collect();
        line(
            Some(Tone::Warning),
            &format!("mappings {} mean the same {}", ids.join(" and "), html_url),
        );
    }
    match status.failures.len() {
        0 => line(None, "failures: none"),
        count => line(Some(Tone::Alarm), &format!("failures: {count}")),
    }
    for failure in &status.failures {
        line(None, &told(failure));
    }
}

fn counts(status: &Status, screen: &Screen) {
    let Totals {
        total,
        due,
        in_work,
        backing_off,
        parked,
        waiting,
    } = status.mappings;
    screen.say(Some(Tone::Bold), &screen.count("mappings", total));
    for (name, count) in [
        ("  due", due),
        ("  in work", in_work),
        ("  backing off", backing_off),
        ("  parked", parked),
        ("  waiting", waiting),
    ] {
        let tone = (name == "  parked" && count > 0).then_some(Tone::Alarm);
        screen.say(tone, &screen.count(name, count));
    }
    say(&screen.count("never synced", status.never_synced));
    say(&screen.count("to recheck", status.to_recheck));
    say(&screen.count("Weaviate pending", status.weaviate.pending));
}

fn runs(runs: &[RunState], screen: &Screen) {
    if runs.is_empty() {
        return say("last runs: none yet");
    }
    screen.say(Some(Tone::Bold), "last runs:");
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let count = |name: &str| {
                run.counts[name]
                    .as_i64()
                    .map_or_else(|| "-".to_owned(), |count| count.to_string())
            };
            vec![
                run.command.clone(),
                time(run.finished_at),
                run.exit_code.to_string(),
                count("synced"),
                count("failed"),
                run.stopped_by.clone().unwrap_or_default(),
            ]
        })
        .collect();
    for line in screen.table(
        &[
            "command",
            "ended",
            "#exit code",
            "#synced",
            "#failed",
            "stopped by",
        ],
        &rows,
    ) {
        say(&line);
    }
}

fn repositories(repositories: &[RepositoryState], screen: &Screen) {
    if repositories.is_empty() {
        return;
    }
    screen.say(Some(Tone::Bold), "repositories:");
    let rows: Vec<Vec<String>> = repositories
        .iter()
        .map(|repository| {
            vec![
                repository.name.clone(),
                repository
                    .polled_at
                    .map_or_else(|| "never".to_owned(), time),
                time(repository.issues_cursor),
                time(repository.pull_requests_cursor),
                repository.due.to_string(),
                repository.error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let names = [
        "repository",
        "polled",
        "issues up to",
        "pull requests up to",
        "#due",
        "error",
    ];
    for line in screen.table(&names, &rows) {
        say(&line);
    }
}

fn told(failure: &FailedMapping) -> String {
    let repository = failure.repository.as_deref().unwrap_or("?");
    let next = failure.next_attempt_at.map_or("parked".to_owned(), |at| {
        format!("next attempt {}", time(at))
    });
    format!(
        "  mapping {} (item {}, {} {}#{}): attempt {} at {}, {next}: {}",
        failure.mapping_id,
        failure.item_id,
        failure.kind.label(),
        repository,
        failure.number,
        failure.attempts,
        time(failure.error_at),
        failure.error
    )
}
