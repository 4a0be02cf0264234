//! Finishes a slice: records success and failure, and releases the rest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use log::Level;

use super::discover::OVERLAP;
use super::hidden::waits;
use super::job::Scope;
use super::observe::Dropped;
use super::plan::PlannedMapping;
use super::push::{Pushed, PushedMapping};
use super::state::Run;
use super::stop::Stop;
use crate::core::backoff::{self, NextAttempt};
use crate::core::failure::{MappingError, MappingErrorKind};
use crate::core::model::*;
use crate::core::text::recorded;
use crate::db::{Claimed, DelayRecord, FailureRecord, HIDDEN_RECHECK, SuccessRecord};
use crate::report::{MappingReport, Next, Outcome, Subject};

/// Delay of a mapping whose repository is hidden, if that could not be recorded.
const HIDDEN_DELAY: chrono::Duration = chrono::Duration::hours(1);

/// Mappings that a finished slice hands to the queue.
#[derive(Debug, Default)]
pub struct Finished {
    /// Rows that were inserted for pull requests, still claimed by this run.
    pub inserted: Vec<Claimed>,
    /// Mappings that this run must not claim again, because they are left to the next run.
    pub released: Vec<MappingId>,
    /// Number of those that GitHub was not asked about, because of an installation's limit.
    pub not_asked: usize,
}

/// Records of one slice; one statement writes each kind.
#[derive(Default)]
struct SliceRecords {
    successes: Vec<SuccessRecord>,
    delays: Vec<DelayRecord>,
    failures: Vec<FailureRecord>,
    /// Those of the released ones that go behind what is due.
    postponed: Vec<MappingId>,
    released: Vec<MappingId>,
}

/// Finishes a slice.
pub fn slice(run: &mut Run, pushed: Pushed) -> Result<Finished, Stop> {
    run.renew_claims()?;
    let mut records = SliceRecords::default();
    hide_repositories(run, &pushed)?;
    for dropped in &pushed.rest.dropped {
        finish_dropped(run, dropped, &mut records);
    }
    for PushedMapping { one, delivery } in &pushed.mappings {
        let outcome = match one.plan.actions.is_empty() {
            true => Outcome::Unchanged,
            false => Outcome::Synced,
        };
        let (subject, error) = (one.subject(), delivery.error());
        let mut entry = MappingReport::new(&subject, outcome).with_plan(&one.plan, &one.snapshot);
        (entry.written, entry.waiting) = (&delivery.written, delivery.waiting);
        entry.delivery_error = error.as_deref();
        if error.is_some() {
            // Its outbox is new, so that this is its first rejection.
            let delay = delivery.delay(run, &subject, 0);
            entry.next = Some(Next::At(delay.at));
            records.delays.push(delay);
        }
        run.report.add(&entry);
        let record = success_record(run, one, delivery.is_done());
        records.successes.push(record);
    }
    add_repositories(run, &pushed)?;
    let mut released = write(run, records)?;
    let dropped = pushed.rest.dropped.iter();
    let unanswered = dropped.filter(|one| one.error.kind == MappingErrorKind::Unanswered);
    released.extend(unanswered.map(|one| one.subject.mapping));
    if let Some(stop) = pushed.rest.stop {
        return Err(stop);
    }
    let inserted = match pushed.inserted.as_slice() {
        [] => Vec::new(),
        inserted => run.db.mappings(inserted)?,
    };
    Ok(Finished {
        inserted,
        released,
        not_asked: pushed.rest.not_asked,
    })
}

/// Adds the record of a mapping that dropped out.
fn finish_dropped(run: &mut Run, dropped: &Dropped, records: &mut SliceRecords) {
    let (subject, message) = (&dropped.subject, &dropped.error.message);
    let is_failure = !dropped.error.is_release();
    let is_hidden = dropped.error.kind == MappingErrorKind::RepositoryHidden;
    let mut outcome = Outcome::GivenBack;
    if is_failure && dropped.error.kind != MappingErrorKind::Unanswered {
        outcome = Outcome::Failed;
        // The line of a hidden repository says everything about its mappings.
        let level = if is_hidden {
            Level::Debug
        } else {
            run.report.level(Level::Error)
        };
        subject.log(level, format_args!("failed: {message}"));
    }
    let mut entry = MappingReport::new(subject, outcome).because(message);
    if outcome == Outcome::Failed && !is_hidden {
        let record = failure_record(run, &dropped.claimed.mapping, &dropped.error);
        entry.next = Some(record.due_at.map_or(Next::Parked, Next::At));
    }
    run.report.add(&entry);
    // `push-weaviate` records no check, so that `sync` still notices a change on GitHub.
    let is_sync = run.scope == Scope::Everything;
    if is_sync && dropped.error.kind == MappingErrorKind::Postponed {
        records.postponed.push(subject.mapping);
    }
    if !is_failure || !is_sync && dropped.updated_at.is_none() {
        return records.released.push(subject.mapping);
    }
    let mut record = failure_record(run, &dropped.claimed.mapping, &dropped.error);
    if is_hidden && run.hidden.has(&dropped.claimed) {
        record.due_at = None;
        record.recheck_at = Some(run.now() + HIDDEN_RECHECK);
    }
    records.failures.push(FailureRecord {
        external_updated_at: dropped.updated_at.filter(|_| is_sync),
        was_checked: record.was_checked && is_sync,
        ..record
    });
}

fn success_record(run: &Run, one: &PlannedMapping, pushed: bool) -> SuccessRecord {
    let Claimed { mapping, item } = &one.claimed;
    let is_settled = one.snapshot.state != State::Open
        && item.status.0 == ItemStatus::CLOSED
        && one.snapshot.missing.is_empty();
    SuccessRecord {
        id: mapping.id,
        due_at: mapping.due_at,
        recheck_at: backoff::recheck(mapping.id, is_settled, run.policy.recheck_after, run.now()),
        external_updated_at: one.snapshot.updated_at,
        pushed,
    }
}

/// Returns the record of a failed attempt.
fn failure_record(run: &Run, mapping: &Mapping, error: &MappingError) -> FailureRecord {
    let (now, max_attempts) = (run.now(), run.policy.max_attempts);
    let attempts = mapping.attempts.saturating_add(1);
    let (attempts, next) = match error.kind {
        MappingErrorKind::Failed => (
            attempts,
            backoff::after_failure(mapping.id, attempts, max_attempts, now),
        ),
        MappingErrorKind::Gone => (attempts, NextAttempt::Park),
        // Its due time is the latest one, so that it comes after what is due already.
        MappingErrorKind::Unanswered => (mapping.attempts, NextAttempt::RetryAt(now)),
        MappingErrorKind::RepositoryHidden
        | MappingErrorKind::Postponed
        | MappingErrorKind::Released => {
            (mapping.attempts, NextAttempt::RetryAt(now + HIDDEN_DELAY))
        }
    };
    FailureRecord {
        id: mapping.id,
        attempts,
        error: recorded(&error.message),
        due_at: match next {
            NextAttempt::RetryAt(time) => Some(time),
            NextAttempt::Park => None,
        },
        recheck_at: None,
        external_updated_at: None,
        was_checked: matches!(
            error.kind,
            MappingErrorKind::Failed | MappingErrorKind::Gone
        ),
    }
}

/// Records the repositories that the slice found hidden, each once. This comes before the records
/// of their mappings: a poll that succeeds afterwards then knows that mappings wait.
fn hide_repositories(run: &mut Run, pushed: &Pushed) -> Result<(), Stop> {
    let dropped = pushed.rest.dropped.iter();
    let found = dropped.filter(|one| one.error.kind == MappingErrorKind::RepositoryHidden);
    let found: BTreeMap<String, String> = found
        .filter(|one| !run.hidden.has(&one.claimed))
        .map(|one| {
            let reason = recorded(&one.error.message);
            (repository(&one.subject), reason)
        })
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<(String, String)> = found.into_iter().collect();
    for (name, reason) in &found {
        let reason = format!("{name}: {reason}; {}", waits(reason));
        run.report.fail_repository(&reason);
    }
    let (since, now) = (checked_at(run) - OVERLAP, run.now());
    // `push-weaviate` changes no due time, so that it leaves them to `sync`.
    let is_known = match run.scope {
        Scope::Everything => run.db.hide_repositories(&found, since, now)?,
        Scope::WeaviateOnly => true,
    };
    if is_known {
        for (name, reason) in found {
            run.hidden.insert(&name, &reason);
            run.repositories.insert(name);
        }
    }
    Ok(())
}

/// Returns the repository of a mapping (`owner/name`, lower case).
fn repository(subject: &Subject) -> String {
    subject.repository().unwrap_or_default().to_lowercase()
}

/// Adds repositories that snapshots name, and the names by which mappings know them, so that later
/// runs poll them and notice if another repository gets the name.
fn add_repositories(run: &mut Run, pushed: &Pushed) -> Result<(), Stop> {
    let dropped = pushed.rest.dropped.iter();
    let fetched = dropped.filter(|dropped| dropped.updated_at.is_some());
    let fetched = fetched.map(|dropped| (dropped.subject.clone(), None));
    let named = pushed
        .mappings
        .iter()
        .flat_map(|PushedMapping { one, .. }| {
            let Claimed { mapping, item } = &one.claimed;
            let names = [Subject::new(mapping, item), one.subject()];
            names.map(|subject| (subject, one.snapshot.repository_id))
        });
    let names = fetched
        .chain(named)
        .map(|(subject, id)| (repository(&subject), id));
    let new = names.filter(|(name, _)| !name.is_empty() && !run.repositories.contains(name));
    let new: BTreeMap<String, Option<GithubId>> = new.collect();
    if !new.is_empty() {
        let new: Vec<(String, Option<GithubId>)> = new.into_iter().collect();
        let since = checked_at(run) - OVERLAP;
        run.db.add_repositories(&new, since)?;
        run.repositories
            .extend(new.into_iter().map(|(name, _)| name));
    }
    Ok(())
}

/// Returns GitHub's clock at its last answer (UTC).
fn checked_at(run: &Run) -> DateTime<Utc> {
    run.github.answered_at().unwrap_or_else(|| run.now())
}

/// Writes the records; returns the mappings that were released.
fn write(run: &mut Run, records: SliceRecords) -> Result<Vec<MappingId>, Stop> {
    let (now, checked_at) = (run.now(), checked_at(run));
    let (successes, mut released) = (records.successes, records.released);
    if !records.delays.is_empty() {
        run.db.record_delays(run.id, &records.delays)?;
    }
    match run.scope {
        _ if successes.is_empty() => {}
        Scope::Everything => run.db.record_success(run.id, &successes, now, checked_at)?,
        Scope::WeaviateOnly => {
            let (pushed, waiting): (Vec<_>, Vec<_>) =
                successes.iter().partition(|record| record.pushed);
            released.extend(waiting.iter().map(|record| record.id));
            let pushed: Vec<MappingId> = pushed.iter().map(|record| record.id).collect();
            run.db.record_delivery(run.id, &pushed, &[], now)?;
        }
    }
    if !records.failures.is_empty() {
        run.db
            .record_failure(run.id, &records.failures, now, checked_at)?;
    }
    if !records.postponed.is_empty() {
        run.db.postpone(run.id, &records.postponed, now)?;
    }
    if !released.is_empty() {
        run.db.release(run.id, &released)?;
    }
    Ok(released)
}
