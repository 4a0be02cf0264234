//! Discovery (design, section 3, step 2): what changed at GitHub since the cursors becomes due.

use chrono::{DateTime, Duration, Utc};

use super::context::{Context, Mode, Stop};
use crate::core::discovery::{Candidate, RemoteChange, marks};
use crate::core::model::Repository;
use crate::core::text::{Printable, shortened};
use crate::db::{PollResult, RepositoryCursors};
use crate::github::{LookError, Poll, RepositoryChanges};

/// GitHub's clock and what it says about changes need not agree to the second: what lies this far back is asked for again,
/// and polling begins this long before a repository was met, so that nothing falls between.
pub const OVERLAP: Duration = Duration::seconds(60);

/// Marks what changed; in a dry run only in memory.
pub fn discover(ctx: &mut Context) -> Result<(), Stop> {
    let (now, access) = (ctx.now(), ctx.access());
    let (cursors, last_sync) = ctx.db.repositories_to_poll(access, now)?;
    ctx.repositories.extend(
        cursors
            .iter()
            .filter(|one| one.cursors.is_some())
            .map(|one| one.name.clone()),
    );
    let is_first_today = last_sync.is_some_and(|last| last.date_naive() < now.date_naive());
    if is_first_today && ctx.mode == Mode::Apply {
        let count = ctx.db.delete_unreferenced_repositories()?;
        log::debug!("{count} repositories are no longer named by any mapping or project");
    }
    let polled: Vec<(&RepositoryCursors, Poll)> = cursors
        .iter()
        .filter_map(|one| Some((one, poll(one, now)?)))
        .collect();
    if polled.is_empty() {
        return Ok(());
    }
    let polls: Vec<Poll> = polled.iter().map(|(_, poll)| poll.clone()).collect();
    let answers = ctx
        .github
        .changes(&polls)
        .map_err(|error| ctx.github_failed(error))?;
    ctx.github_answered()?;
    let begin = ctx.github.answered_at().unwrap_or(now) - OVERLAP;
    let mut changes: Vec<RemoteChange> = Vec::new();
    let mut results = Vec::with_capacity(answers.len());
    let (mut failed, mut hidden) = (0, 0);
    for ((cursors, _), answer) in polled.iter().zip(answers) {
        let (result, found) = match answer {
            Ok(found) => (read(cursors, &found, begin), found),
            Err(error) => {
                failed += 1;
                hidden += usize::from(matches!(error, LookError::RepositoryHidden(_)));
                (
                    unreadable(cursors, &error, begin),
                    RepositoryChanges::default(),
                )
            }
        };
        results.push(result);
        // What changed before a repository was met is not news: its mappings get their first look anyway.
        if cursors.cursors.is_some() && !found.is_far_behind {
            changes.extend(found.issues.into_iter().chain(found.pull_requests));
        }
    }
    ctx.report.repositories_failed = failed;
    if hidden > 0 && hidden == results.len() {
        let first = results
            .iter()
            .find_map(|result| result.error.as_deref())
            .unwrap_or_default();
        let error = format!(
            "no repository can be read: {first}; check {}",
            ctx.github.login().1
        );
        log::error!("{error}");
        ctx.report.fatal(error);
    }
    let seen = concerned(ctx, &changes)?;
    let marks = marks(&changes, &seen);
    ctx.report.discovered = marks.len() as u64;
    log::debug!(
        "{} changes in {} repositories concern {} mappings",
        changes.len(),
        results.len(),
        marks.len()
    );
    match ctx.mode {
        Mode::Apply => ctx.db.record_discovery(&marks, &results, now)?,
        Mode::Preview => ctx.marked.extend(marks.iter().map(|id| id.0)),
    }
    ctx.repositories
        .extend(results.into_iter().map(|result| result.name));
    Ok(())
}

/// What is to be asked about a repository; `None`: nothing now.
fn poll(cursors: &RepositoryCursors, now: DateTime<Utc>) -> Option<Poll> {
    if cursors.is_resting {
        return None;
    }
    let Some(repository) = Repository::parse(&cursors.name) else {
        log::warn!(
            "{} is not the name of a repository; correct github_owner and github_repo of the project",
            cursors.name
        );
        return None;
    };
    let (issues, pull_requests) = cursors.cursors.unwrap_or((now, now));
    Some(Poll {
        repository,
        issues_since: issues - OVERLAP,
        pull_requests_since: pull_requests - OVERLAP,
    })
}

/// The new cursors of a repository that was read: the latest change that was seen. One that is met for the first time, or
/// whose backlog is left to rechecks, goes on from `begin`.
fn read(
    cursors: &RepositoryCursors,
    found: &RepositoryChanges,
    begin: DateTime<Utc>,
) -> PollResult {
    let (issues, pull_requests) = match cursors.cursors {
        Some(seen) if !found.is_far_behind => seen,
        _ => (begin, begin),
    };
    let latest = |changes: &[RemoteChange], cursor: DateTime<Utc>| {
        changes
            .iter()
            .map(|change| change.updated_at)
            // As a cursor it would hide what changes until then.
            .filter(|at| *at < begin + Duration::days(1))
            .max()
            .filter(|_| !found.is_far_behind)
            .map_or(cursor, |latest| latest.max(cursor))
    };
    if found.is_far_behind {
        log::warn!(
            "{}: too many changes to read one by one; its mappings are rechecked instead",
            cursors.name
        );
    }
    PollResult {
        name: cursors.name.clone(),
        issues_cursor: latest(&found.issues, issues),
        pull_requests_cursor: latest(&found.pull_requests, pull_requests),
        error: None,
        is_far_behind: found.is_far_behind,
    }
}

fn unreadable(cursors: &RepositoryCursors, error: &LookError, begin: DateTime<Utc>) -> PollResult {
    let (LookError::Gone(reason) | LookError::RepositoryHidden(reason) | LookError::Failed(reason)) =
        error;
    let reason = Printable(&shortened(reason, 1000)).to_string();
    log::error!(
        "{}: {reason}; it is asked about again after an hour",
        cursors.name
    );
    let (issues_cursor, pull_requests_cursor) = cursors.cursors.unwrap_or((begin, begin));
    PollResult {
        name: cursors.name.clone(),
        issues_cursor,
        pull_requests_cursor,
        error: Some(reason),
        is_far_behind: false,
    }
}

/// What is stored about everything that the changes name.
fn concerned(ctx: &mut Context, changes: &[RemoteChange]) -> Result<Vec<Candidate>, Stop> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let named = || {
        changes
            .iter()
            .flat_map(|change| std::iter::once(&change.subject).chain(&change.closes))
    };
    let ids: Vec<i64> = named()
        .filter_map(|named| named.github_id)
        .map(|id| id.0)
        .collect();
    let urls: Vec<String> = named().map(|named| named.url.to_lowercase()).collect();
    Ok(ctx.db.candidates(ctx.access(), &ids, &urls)?)
}
