//! Discovery: polls repositories and marks the mappings of issues and pull requests that changed
//! (design.md, "The pipeline").

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use log::Level;

use super::hidden::waits;
use super::job::Job;
use super::state::Run;
use super::stop::Stop;
use crate::core::discovery::{Candidate, RemoteChange, marks};
use crate::core::failure::{MappingError, MappingErrorKind, NO_ANSWER, hides_only_issues};
use crate::core::model::{MappingId, Repository};
use crate::core::text::recorded;
use crate::db::{PollResult, RepositoryCursors};
use crate::github::{Github, Poll, Polled, RepositoryChanges};
use crate::report::StoppedBy;

/// Overlap of polls: a poll asks for changes since the cursor minus this time, and the first
/// cursors of a repository are earlier than GitHub's clock by the same time. GitHub's clock and its
/// change times may differ by seconds.
pub const OVERLAP: Duration = Duration::seconds(60);

/// Time after which a change was seen by every poll. What a pull request closes is asked for until
/// then. Our clock may differ from GitHub's, and what is asked for in vain costs little.
const SEEN: Duration = Duration::minutes(5);

/// Largest number of repositories whose polls share a request and are stored together.
const BATCH: usize = 50;

/// Time for which a transaction waits for a row.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(10);
/// Time for which a run waits for all rows that it did not get at once.
const LAST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// GitHub's answer about one repository.
type Answer = Result<RepositoryChanges, MappingError>;

/// A repository that GitHub gave no answer about.
struct Silence {
    name: String,
    reason: String,
    /// It is the repository's own failure if GitHub answers about another one.
    is_known: bool,
    /// The same even if there is no other one: GitHub answered the lightest query meanwhile.
    is_own: bool,
}

/// The polls of one run.
#[derive(Default)]
struct Discovery {
    /// Repositories that are left to poll, in order.
    waiting: Vec<(RepositoryCursors, Poll)>,
    /// Number of repositories of which not all pages were read in time. A later run polls them
    /// after all others.
    unfinished: usize,
    /// Number of repositories that can be polled, now or after their rest.
    known: usize,
    /// Number of those that are hidden, and the first reason.
    hidden: usize,
    reason: Option<String>,
    /// GitHub answered about a repository.
    is_heard: bool,
    /// Repositories that it gave no answer about.
    silent: Vec<Silence>,
    /// Number of repositories that this run polls unless its time ends.
    total: usize,
    /// Results that change no mapping; one statement stores all of them at the end.
    quiet: Vec<PollResult>,
    /// Results that are not stored yet, because another session holds rows.
    held: Vec<PollResult>,
    /// Marks that are stored, or would be.
    marks: BTreeSet<MappingId>,
}

/// Polls the repositories, the one that was polled longest ago first. Marks the mappings that
/// changed on GitHub, and stores the cursors. A dry run only returns the marks.
pub fn changes(run: &mut Run, job: &Job) -> Result<Vec<MappingId>, Stop> {
    if !job.discovers {
        return Ok(Vec::new());
    }
    run.progress.wait_for("asking GitHub what changed");
    let now = run.now();
    let mut discovery = Discovery::default();
    for repository in repositories(run)? {
        discovery.add(run, repository, now);
    }
    let polled = discovery.poll(run, now);
    discovery.report_silence(run);
    // This is stored even if a limit or an outage ended the polls.
    discovery.store_quiet(run, now)?;
    polled?;
    discovery.store_held(run, now)?;
    discovery.report(run);
    Ok(discovery.marks.into_iter().collect())
}

impl Discovery {
    /// Adds a repository unless it must not be polled now.
    fn add(&mut self, run: &mut Run, repository: RepositoryCursors, now: DateTime<Utc>) {
        let name = &repository.name;
        let Some(poll) = poll(&repository, now) else {
            log::warn!(
                "{name} is not the name of a repository; correct github_owner and github_repo of the project"
            );
            return;
        };
        self.known += 1;
        let hidden = repository.hidden();
        if let Some(reason) = hidden {
            run.hidden.insert(name, reason);
        }
        match hidden.filter(|reason| !hides_only_issues(reason)) {
            Some(reason) if repository.is_resting => {
                self.hidden += 1;
                self.reason.get_or_insert_with(|| reason.to_owned());
            }
            _ => {
                self.total += 1;
                self.waiting.push((repository, poll));
            }
        }
    }

    /// Polls the repositories of one request after the other, and stores the results of each at
    /// once. It uses half of the time that is left, because due mappings need the rest.
    fn poll(&mut self, run: &mut Run, now: DateTime<Utc>) -> Result<(), Stop> {
        let half = run.budget.half();
        run.github.set_deadline(half.deadline());
        while !self.waiting.is_empty() && half.exhausted() != Some(StoppedBy::TimeBudget) {
            let batch = self.next_batch(&run.github);
            let polls: Vec<Poll> = batch.iter().map(|(_, poll)| poll.clone()).collect();
            let Polled { answers, ended_by } = run.github.poll(&polls);
            let begin = run.github.answered_at().unwrap_or(now) - OVERLAP;
            let mut answered = Vec::with_capacity(batch.len());
            for (one, answer) in batch.into_iter().zip(answers) {
                match answer {
                    Some(answer) => answered.push((one.0, answer)),
                    // A later run polls it, once the pause of its installation is over.
                    None if run.github.leaves_out(one.1.repository.owner()) => self.total -= 1,
                    None => self.waiting.push(one),
                }
            }
            run.store_limits()?;
            let owners = polls.first().map(|poll| poll.repository.owner());
            let answering = owners.filter(|owner| !run.github.leaves_out(owner));
            let key = answering.map(|owner| run.github.batch_key(owner));
            let results = self.read(run, answered.into_iter(), begin)?;
            self.store(run, results, now)?;
            match ended_by {
                None => run.pause.clear(&mut run.db, key)?,
                Some(error) => return Err(run.pause.stop_for(&mut run.db, &run.github, error)),
            }
        }
        run.github.set_deadline(run.budget.deadline());
        Ok(())
    }

    /// Takes the repositories of the next request: the first one, and others that can share it.
    fn next_batch(&mut self, github: &Github) -> Vec<(RepositoryCursors, Poll)> {
        let key_of = |poll: &Poll| github.batch_key(poll.repository.owner());
        let key = self.waiting.first().map(|(_, poll)| key_of(poll));
        let mut batch = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for one in waiting {
            if batch.len() < BATCH && Some(key_of(&one.1)) == key {
                batch.push(one);
            } else {
                self.waiting.push(one);
            }
        }
        batch
    }

    /// Turns the answers of one request into results with marks, and reports those that failed.
    fn read(
        &mut self,
        run: &mut Run,
        answers: impl Iterator<Item = (RepositoryCursors, Answer)>,
        begin: DateTime<Utc>,
    ) -> Result<Vec<PollResult>, Stop> {
        let mut results = Vec::new();
        let mut changes = Vec::new();
        for (repository, answer) in answers {
            let mut result = result(&repository, &answer, begin);
            if answer.is_ok() && result.is_hidden && !run.db.issues_wait_for(&result.name)? {
                // Nobody needs the issues any more that are turned off.
                (result.error, result.is_hidden) = (None, false);
            }
            match (&answer, &result.error) {
                (Err(error), Some(reason)) => self.fail(run, &repository, error, reason),
                (Ok(_), Some(reason)) if result.is_hidden => {
                    let reason = format!("{}: {reason}; {}", result.name, waits(reason));
                    run.report.fail_repository(&reason);
                    self.is_heard = true;
                }
                _ => self.is_heard = true,
            }
            results.push(result);
            changes.push(match answer {
                // The mappings of a new repository get their first check anyway, whatever changed
                // before.
                Ok(read) if repository.cursors.is_some() && !read.is_far_behind => {
                    [read.issues, read.pull_requests].concat()
                }
                _ => Vec::new(),
            });
        }
        let mut candidates = candidates(run, &changes)?;
        // A clock that was ahead has stored them: they would hide every change before that time.
        let latest = begin + OVERLAP * 2;
        for one in &mut candidates {
            one.updated_at = one.updated_at.filter(|at| *at <= latest);
            one.checked_at = one.checked_at.filter(|at| *at <= latest);
        }
        for (result, changes) in results.iter_mut().zip(&changes) {
            result.marks = marks(changes, &candidates);
        }
        Ok(results)
    }

    /// Reports a repository that could not be read.
    fn fail(
        &mut self,
        run: &mut Run,
        repository: &RepositoryCursors,
        error: &MappingError,
        reason: &str,
    ) {
        let name = &repository.name;
        match error.kind {
            _ if error.is_silence() => {
                let before = repository.error.as_deref().unwrap_or_default();
                let is_own = error.kind == MappingErrorKind::Failed;
                self.silent.push(Silence {
                    name: name.clone(),
                    reason: reason.to_owned(),
                    is_known: is_own || repository.is_hidden || before.starts_with(NO_ANSWER),
                    is_own,
                });
            }
            MappingErrorKind::RepositoryHidden => {
                self.is_heard = true;
                self.hidden += 1;
                self.reason.get_or_insert_with(|| reason.to_owned());
                let reason = format!("{name}: {reason}; it is polled again after an hour");
                run.report.fail_repository(&reason);
            }
            MappingErrorKind::Released | MappingErrorKind::Postponed => self.unfinished += 1,
            MappingErrorKind::Failed | MappingErrorKind::Gone | MappingErrorKind::Unanswered => {
                self.is_heard = true;
                let reason = format!("{name}: {reason}; the next run polls it again");
                run.report.fail_repository(&reason);
            }
        }
    }

    /// Reports the repositories that GitHub gave no answer about. One of them must not end all runs
    /// with the exit code of an outage, but the silence about all of two or more is an outage.
    fn report_silence(&mut self, run: &mut Run) {
        let is_lone = self.silent.len() == 1;
        for silence in std::mem::take(&mut self.silent) {
            let Silence { name, reason, .. } = &silence;
            let reason = format!("{name}: {reason}; the next run polls it again");
            if silence.is_known && self.is_heard || silence.is_own && is_lone {
                run.report.fail_repository(&reason);
            } else {
                run.report.stop_and_warn(StoppedBy::Github, &reason);
            }
        }
    }

    /// Stores the results of one request. Those that change no mapping, and those whose rows
    /// another session holds, are left for later.
    fn store(
        &mut self,
        run: &mut Run,
        results: Vec<PollResult>,
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        if run.is_dry() {
            results
                .into_iter()
                .for_each(|one| self.add_stored(run, one));
            return Ok(());
        }
        let (quiet, others): (Vec<_>, Vec<_>) = results.into_iter().partition(PollResult::is_quiet);
        self.quiet.extend(quiet);
        let all: Vec<&PollResult> = others.iter().collect();
        // Only after a conflict does each repository get a transaction of its own.
        let is_stored = all.len() > 1 && run.db.record_polls(&all, now, PATIENCE)?;
        for one in others {
            if is_stored || run.db.record_polls(&[&one], now, PATIENCE)? {
                self.add_stored(run, one);
            } else {
                self.held.push(one);
            }
        }
        Ok(())
    }

    /// Stores the results that change no mapping.
    fn store_quiet(&mut self, run: &mut Run, now: DateTime<Utc>) -> Result<(), Stop> {
        let quiet = std::mem::take(&mut self.quiet);
        let stored = run.db.record_quiet_polls(&quiet, now)?;
        for one in quiet {
            match stored.contains(&one.name) {
                true => self.add_stored(run, one),
                false => self.held.push(one),
            }
        }
        Ok(())
    }

    /// Tries once more to store what another session held. One that holds the rows of many
    /// repositories does not cost the run more than seconds.
    fn store_held(&mut self, run: &mut Run, now: DateTime<Utc>) -> Result<(), Stop> {
        let held = std::mem::take(&mut self.held);
        let count = u32::try_from(held.len()).unwrap_or(u32::MAX).max(1);
        for result in held {
            if run
                .db
                .record_polls(&[&result], now, LAST_PATIENCE / count)?
            {
                self.add_stored(run, result);
                continue;
            }
            run.report.fail_repository(&format!(
                "{}: the changes on GitHub are left to the next run, because another session holds rows of its mappings; \
                 pg_stat_activity shows it",
                result.name
            ));
        }
        Ok(())
    }

    fn add_stored(&mut self, run: &mut Run, result: PollResult) {
        match result.error.as_deref() {
            Some(reason) if result.is_hidden => run.hidden.insert(&result.name, reason),
            _ if result.stays_hidden() => {}
            _ => run.hidden.remove(&result.name),
        }
        run.repositories.insert(result.name);
        self.marks.extend(result.marks);
        run.report.discovered = self.marks.len() as u64;
    }

    /// Reports what the run found, and why it did not poll all repositories.
    fn report(&self, run: &mut Run) {
        let (left, total) = (self.waiting.len() + self.unfinished, self.total);
        log::debug!(
            "the changes in {} repositories concern {} mappings",
            total - left,
            self.marks.len()
        );
        if self.known > 0 && self.hidden == self.known {
            let (reason, check) = (
                self.reason.as_deref().unwrap_or_default(),
                run.github.refusal().1,
            );
            let error = format!("no repository can be read: {reason}; check {check}");
            log::log!(run.report.level(Level::Error), "{error}");
            run.report.fail(&error);
        }
        if left > 0 {
            let reason = format!(
                "polled {} of {total} repositories within half of the time budget; the next run goes on with the others; \
                 a longer --time-budget reaches more",
                total - left
            );
            log::log!(run.report.level(Level::Warn), "{reason}");
            run.report.leave_repositories(&reason);
        }
    }
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

/// Returns the poll of one repository; `None` if it has no usable name.
fn poll(repository: &RepositoryCursors, now: DateTime<Utc>) -> Option<Poll> {
    let parsed = Repository::parse(&repository.name)?;
    let (issues, pull_requests) = repository.cursors.unwrap_or((now, now));
    // The latest change before the cursor is seen by every poll, until there is another one.
    let seen = repository.polled_at.map(|at| at - SEEN);
    let seen = seen.filter(|_| repository.error.is_none());
    let earliest = pull_requests - OVERLAP * 2;
    Some(Poll {
        repository: parsed,
        issues_since: issues - OVERLAP,
        pull_requests_since: pull_requests - OVERLAP,
        closing_after: seen.map_or(earliest, |seen| seen.min(pull_requests)),
    })
}

/// Returns the new cursors of a repository: the times of its latest changes. The cursors of a new
/// repository, and of one whose backlog is left to rechecks, start at `begin`. A repository that
/// could not be read keeps its cursors.
fn result(repository: &RepositoryCursors, answer: &Answer, begin: DateTime<Utc>) -> PollResult {
    let (issues_cursor, pull_requests_cursor) = repository.cursors.unwrap_or((begin, begin));
    let mut result = PollResult {
        name: repository.name.clone(),
        github_id: answer.as_ref().ok().and_then(|read| read.github_id),
        issues_cursor,
        pull_requests_cursor,
        error: None,
        is_hidden: false,
        was_hidden: repository.is_hidden,
        is_far_behind: false,
        is_ahead: false,
        marks: Vec::new(),
    };
    let name = &repository.name;
    let answered_at = answer.as_ref().ok().and_then(|read| read.answered_at);
    let latest = issues_cursor.max(pull_requests_cursor);
    result.is_ahead = answered_at.is_some_and(|at| latest > at + OVERLAP);
    match answer {
        Ok(_) if result.is_ahead => {
            log::warn!(
                "{name}: it was read up to {latest}, which is in the future, because a clock was ahead; \
                 its mappings are rechecked"
            );
            (result.issues_cursor, result.pull_requests_cursor) = (begin, begin);
            result.is_far_behind = true;
        }
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
            let reason = recorded(&error.message);
            result.error = Some(reason);
            result.is_hidden = error.kind == MappingErrorKind::RepositoryHidden;
        }
    }
    let are_off = answer.as_ref().is_ok_and(|read| read.issues_are_off);
    if let Some(reason) = repository
        .hidden()
        .filter(|one| are_off && hides_only_issues(one))
    {
        // Its pull requests are polled in each run, and the failure is reported once an hour.
        result.error = Some(reason.to_owned());
        result.is_hidden = !repository.is_resting;
    }
    result
}

/// Reads the mappings that the changes may concern.
fn candidates(run: &mut Run, changes: &[Vec<RemoteChange>]) -> Result<Vec<Candidate>, Stop> {
    if changes.iter().all(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let named = || {
        let changes = changes.iter().flatten();
        changes.flat_map(|change| std::iter::once(&change.subject).chain(&change.closes))
    };
    let ids = named().filter_map(|named| named.github_id);
    let ids: Vec<i64> = ids.map(|id| id.0).collect();
    let urls: Vec<String> = named().map(|named| named.url.to_lowercase()).collect();
    Ok(run.db.candidates(&ids, &urls)?)
}
