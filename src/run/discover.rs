//! Discovery: polls repositories and marks the mappings of issues and pull requests that changed
//! (design.md, "The pipeline").

use chrono::{DateTime, Duration, Utc};

use super::job::Job;
use super::state::Run;
use super::stop::Stop;
use crate::core::discovery::{Candidate, RemoteChange, marks};
use crate::core::failure::{MappingError, MappingErrorKind};
use crate::core::model::{MappingId, Repository};
use crate::core::text::{Printable, shortened};
use crate::db::{PollResult, RepositoryCursors};
use crate::github::{Poll, RepositoryChanges};
use crate::report::StoppedBy;

/// Overlap of polls: a poll asks for changes since the cursor minus this time, and the first
/// cursors of a repository are earlier than GitHub's clock by the same time. GitHub's clock and its
/// change times may differ by seconds.
pub const OVERLAP: Duration = Duration::seconds(60);

/// Marks the mappings that changed on GitHub and stores the cursors. A dry run only returns the
/// marks.
pub fn changes(run: &mut Run, job: &Job) -> Result<Vec<MappingId>, Stop> {
    if !job.discovers {
        return Ok(Vec::new());
    }
    let now = run.now();
    let repositories = repositories(run)?;
    let polled: Vec<(&RepositoryCursors, Poll)> = repositories
        .iter()
        .filter_map(|repository| Some((repository, poll(repository, now)?)))
        .collect();
    if polled.is_empty() {
        return Ok(Vec::new());
    }
    let polls: Vec<Poll> = polled.iter().map(|(_, poll)| poll.clone()).collect();
    let answers = match run.github.poll(&polls) {
        Ok(answers) => answers,
        Err(error) => return Err(run.pause.stop_for(&mut run.db, &run.github, error)),
    };
    run.pause.clear(&mut run.db)?;
    let begin = run.github.answered_at().unwrap_or(now) - OVERLAP;
    let mut changes: Vec<RemoteChange> = Vec::new();
    let mut results = Vec::with_capacity(answers.len());
    let mut hidden = 0;
    for ((repository, _), answer) in polled.iter().zip(answers) {
        if let Err(error) = &answer
            && error.kind == MappingErrorKind::Unanswered
        {
            unanswered(run, &repository.name, &error.message);
            continue;
        }
        results.push(result(repository, &answer, begin));
        match answer {
            // The mappings of a new repository get their first check anyway, whatever changed
            // before.
            Ok(read) if repository.cursors.is_some() && !read.is_far_behind => {
                changes.extend(read.issues.into_iter().chain(read.pull_requests));
            }
            Ok(_) => {}
            Err(error) => {
                hidden += usize::from(error.kind == MappingErrorKind::RepositoryHidden);
                run.report.repositories_failed += 1;
            }
        }
    }
    if hidden > 0 && hidden == polled.len() {
        let first = results.iter().find_map(|result| result.error.as_deref());
        let (reason, check) = (first.unwrap_or_default(), run.github.refusal().1);
        let error = format!("no repository can be read: {reason}; check {check}");
        log::error!("{error}");
        run.report.fail(&error);
    }
    let marks = marks(&changes, &candidates(run, &changes)?);
    run.report.discovered = marks.len() as u64;
    log::debug!(
        "{} changes in {} repositories concern {} mappings",
        changes.len(),
        results.len(),
        marks.len()
    );
    if !run.is_dry() {
        run.db.record_discovery(&marks, &results, now)?;
    }
    let names = results.into_iter().map(|result| result.name);
    run.repositories.extend(names);
    Ok(marks)
}

/// Reads the repositories. Before the first poll of a day, it deletes those that no mapping and no
/// project names. It reads again after that, because the result of a poll would store them anew.
fn repositories(run: &mut Run) -> Result<Vec<RepositoryCursors>, Stop> {
    let now = run.now();
    let mut repositories = run.db.repositories_to_poll(now)?;
    let last_poll = repositories.iter().filter_map(|one| one.polled_at).max();
    let is_first_today = last_poll.is_some_and(|last| last.date_naive() < now.date_naive());
    if is_first_today && !run.is_dry() {
        let count = run.db.delete_unreferenced_repositories()?;
        log::debug!("deleted {count} repositories that no mapping and no project names");
        repositories = run.db.repositories_to_poll(now)?;
    }
    for repository in repositories.iter().filter(|one| one.cursors.is_some()) {
        run.repositories.insert(repository.name.clone());
    }
    Ok(repositories)
}

/// Returns the poll of one repository; `None` if it must not be polled now.
fn poll(repository: &RepositoryCursors, now: DateTime<Utc>) -> Option<Poll> {
    if repository.is_resting {
        return None;
    }
    let name = &repository.name;
    let Some(parsed) = Repository::parse(name) else {
        log::warn!(
            "{name} is not the name of a repository; correct github_owner and github_repo of the project"
        );
        return None;
    };
    let (issues, pull_requests) = repository.cursors.unwrap_or((now, now));
    Some(Poll {
        repository: parsed,
        issues_since: issues - OVERLAP,
        pull_requests_since: pull_requests - OVERLAP,
    })
}

/// Returns the new cursors of a repository: the times of its latest changes. The cursors of a new
/// repository, and of one whose backlog is left to rechecks, start at `begin`. A repository that
/// could not be read keeps its cursors.
fn result(
    repository: &RepositoryCursors,
    answer: &Result<RepositoryChanges, MappingError>,
    begin: DateTime<Utc>,
) -> PollResult {
    let (issues_cursor, pull_requests_cursor) = repository.cursors.unwrap_or((begin, begin));
    let mut result = PollResult {
        name: repository.name.clone(),
        issues_cursor,
        pull_requests_cursor,
        error: None,
        is_far_behind: false,
    };
    let name = &repository.name;
    match answer {
        Ok(changes) if changes.is_far_behind => {
            log::warn!(
                "{name}: too many changes to read one by one; its mappings are rechecked instead"
            );
            (result.issues_cursor, result.pull_requests_cursor) = (begin, begin);
            result.is_far_behind = true;
        }
        Ok(changes) => {
            // A cursor in the future would hide all changes before that time.
            let limit = changes.answered_at.unwrap_or(begin);
            let latest = |changes: &[RemoteChange], cursor| {
                let times = changes.iter().map(|change| change.updated_at);
                times
                    .filter(|time| *time <= limit)
                    .fold(cursor, DateTime::max)
            };
            result.issues_cursor = latest(&changes.issues, issues_cursor);
            result.pull_requests_cursor = latest(&changes.pull_requests, pull_requests_cursor);
        }
        Err(error) => {
            let reason = Printable(&shortened(&error.message, 1000)).to_string();
            log::error!("{name}: {reason}; it is polled again after an hour");
            result.error = Some(reason);
        }
    }
    result
}

/// Reports that GitHub gave no answer about a repository: it keeps its cursors, and the next run
/// polls it again.
fn unanswered(run: &mut Run, name: &str, reason: &str) {
    let reason = Printable(&shortened(reason, 1000)).to_string();
    let reason = format!("{name}: {reason}; the next run polls it again");
    log::warn!("{reason}");
    run.report.stop(StoppedBy::Github, &reason);
}

/// Reads the mappings that the changes may concern.
fn candidates(run: &mut Run, changes: &[RemoteChange]) -> Result<Vec<Candidate>, Stop> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let named = || {
        changes
            .iter()
            .flat_map(|change| std::iter::once(&change.subject).chain(&change.closes))
    };
    let ids = named().filter_map(|named| named.github_id);
    let ids: Vec<i64> = ids.map(|id| id.0).collect();
    let urls: Vec<String> = named().map(|named| named.url.to_lowercase()).collect();
    Ok(run.db.candidates(&ids, &urls)?)
}
