//! Claims mappings and returns them slice by slice (design.md, "The pipeline"): due mappings and
//! rechecks first, then suspects, one at a time. Releases mappings that were not finished.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use log::Level;

use super::finish::Finished;
use super::job::{Job, Scope};
use super::record;
use super::state::Run;
use super::stop::Stop;
use crate::core::model::MappingId;
use crate::db::{Claimed, MappingFilter, Selection, Suspect};
use crate::report::{MappingReport, Outcome, StoppedBy, Subject, schedule};

/// Largest number of mappings that go through the steps together.
pub const SLICE: usize = 100;

/// The part of the limit that a run has for suspects on top of it, as a divisor.
const SUSPECTS: usize = 5;

/// Time for the first suspect of a run that has used up its time budget.
const SUSPECT_TIME: Duration = Duration::from_secs(15);

/// Corrects times that PostgreSQL's clock set while it was ahead.
pub fn correct_times(run: &mut Run) -> Result<(), Stop> {
    let now = run.now();
    let count = run.db.correct_times(now)?;
    if count > 0 {
        log::warn!(
            "{count} mappings had times that lie too far in the future, because PostgreSQL's clock was ahead; they are due \
             now"
        );
    }
    Ok(())
}

/// Sets the recheck time of all waiting mappings of the job to now, if the job demands it.
pub fn recheck_now(run: &mut Run, job: &Job) -> Result<(), Stop> {
    if !job.recheck_now {
        return Ok(());
    }
    let now = run.now();
    let (mut count, mut held, mut after) = (0, 0, MappingId(0));
    let is_over = loop {
        if run.budget.exhausted().is_some() {
            break true;
        }
        let batch = run.db.recheck_now(&job.filter.projects, after, now)?;
        let Some(last) = batch.last else { break false };
        (count, held, after) = (count + batch.set, held + batch.held, last);
    };
    let text = format!("{count} waiting mappings will be rechecked now");
    run.report.notice(Level::Info, &text);
    if held > 0 {
        log::warn!(
            "{held} more keep their recheck times, because other sessions hold their rows; \
             use --recheck-now again for them"
        );
    }
    if is_over {
        log::warn!("the run ends before all recheck times are set; use --recheck-now again");
    }
    Ok(())
}

/// Ends the wait of mappings whose repositories are not hidden, or no longer.
pub fn wake(run: &mut Run, job: &Job) -> Result<(), Stop> {
    if job.discovers {
        let now = run.now();
        let count = run.db.wake(now)?;
        if count > 0 {
            log::info!("{count} mappings no longer wait for hidden repositories");
        }
    }
    Ok(())
}

/// Starts the progress bar with the number of mappings that the run will claim, as far as it is
/// known.
pub fn expect(run: &mut Run, job: &Job, limit: usize) -> Result<(), Stop> {
    if !run.progress.is_visible() {
        return Ok(());
    }
    let (now, filter) = (run.now(), &job.filter);
    let counts = run.db.counts(&filter.projects, &filter.mappings, now)?;
    let count = match filter.selection {
        Selection::Due => counts.totals.due + counts.to_recheck,
        Selection::Failed => counts.totals.parked + counts.totals.backing_off,
        Selection::Named => counts.totals.total,
        Selection::NeverPushed => 0,
    };
    run.progress
        .expect(limit.min(usize::try_from(count).unwrap_or(0)));
    Ok(())
}

/// The mappings of a run: those that may still be claimed, those that wait for a slice, and those
/// of the current slice.
pub struct Queue {
    filter: MappingFilter,
    /// Number of mappings that may still be claimed.
    limit: usize,
    /// Number of suspects that a `sync` may claim even if the others use up the limit.
    suspects: usize,
    /// Last id of the previous claim, for selections in the order of ids.
    after: MappingId,
    stage: Stage,
    /// This run has claimed or parked a suspect.
    has_suspect: bool,
    /// Claimed mappings, and rows that this run inserted, for the next slices.
    waiting: VecDeque<Claimed>,
    /// The slice that was returned last.
    current: Vec<Claimed>,
}

/// The kind of claim that comes next.
#[derive(Clone, Copy)]
enum Stage {
    Batches,
    /// Mappings whose run died. They come last and one at a time, so that a mapping that kills its
    /// run affects no other.
    Suspects,
    Done,
}

impl Queue {
    /// Returns the queue of a job that may claim up to `limit` mappings.
    pub fn new(job: &Job, limit: usize) -> Self {
        Self {
            filter: job.filter.clone(),
            limit,
            suspects: (limit / SUSPECTS).max(1),
            after: MappingId(0),
            stage: Stage::Batches,
            has_suspect: false,
            waiting: VecDeque::new(),
            current: Vec::new(),
        }
    }

    /// Returns the next slice, or `None` at the end of the run.
    pub fn next(&mut self, run: &mut Run) -> Result<Option<Vec<Claimed>>, Stop> {
        self.current.clear();
        record::prepare(run);
        run.renew_claims()?;
        if let Some(by) = run.budget.exhausted().filter(|_| !self.waiting.is_empty()) {
            run.report.stop(by, "");
            self.release(run);
        }
        while self.waiting.is_empty() {
            match self.stage {
                Stage::Batches => self.claim_batch(run)?,
                Stage::Suspects => self.claim_suspect(run)?,
                Stage::Done => return Ok(None),
            }
        }
        let count = self.waiting.len().min(SLICE);
        self.current = self.waiting.drain(..count).collect();
        if self.filter.selection == Selection::Failed {
            // What fails again stays in the selection, and is left to a later run.
            let ids = self.current.iter().map(|claimed| claimed.mapping.id.0);
            self.filter.excluded.extend(ids);
        }
        run.refresh_pauses()?;
        self.record_check_start(run)?;
        Ok(Some(self.current.clone()))
    }

    /// Adds the result of a slice: inserted rows get slices of their own, and released mappings are
    /// not claimed again.
    pub fn add(&mut self, run: &mut Run, finished: Finished) {
        let Finished {
            inserted,
            released,
            not_asked,
        } = finished;
        self.current.clear();
        // Mappings of an installation that reached its limit take no place from others.
        self.limit += not_asked;
        self.filter.excluded.extend(released.iter().map(|id| id.0));
        run.report.claimed += inserted.len() as u64;
        run.progress.find(inserted.len());
        self.waiting.extend(inserted);
    }

    /// Releases the mappings that wait for a slice and those of the current slice.
    pub fn release(&mut self, run: &mut Run) {
        let mut claimed = std::mem::take(&mut self.current);
        claimed.extend(self.waiting.drain(..));
        if claimed.is_empty() {
            return;
        }
        for Claimed { mapping, item } in &claimed {
            if !run.report.has(mapping.id) {
                let entry = MappingReport::new(&Subject::new(mapping, item), Outcome::GivenBack);
                run.report.add(&entry);
            }
        }
        let mut ids: Vec<MappingId> = claimed.iter().map(|claimed| claimed.mapping.id).collect();
        ids.extend(&run.inserted);
        if let Err(error) = run.db.release(run.id, &ids) {
            log::warn!("{error:#}; the claims will expire");
        }
    }

    fn claim_batch(&mut self, run: &mut Run) -> Result<(), Stop> {
        // At the end of the limit, nothing is left for the budget or a signal to stop.
        let over = run.budget.exhausted().filter(|_| self.limit > 0);
        if let Some(by) = over {
            run.report.stop(by, "");
        }
        let (now, lease) = (run.now(), run.lease());
        if self.limit > 0 && over.is_none() {
            let count = self.limit.min(SLICE);
            run.hidden
                .set_aside(&mut run.db, &run.budget, &self.filter, self.limit)?;
            let batch = run.db.claim(&self.filter, count, self.after, now, lease)?;
            if let Some(last) = batch.iter().map(|claimed| claimed.mapping.id).max() {
                self.after = last;
                self.limit -= batch.len();
                count_claims(run, batch.len());
                self.waiting.extend(batch);
                return Ok(());
            }
        }
        if self.limit == 0 && run.db.has_more(&self.filter, self.after, now)? {
            run.report.stop(StoppedBy::Limit, "");
        }
        self.stage = match self.filter.selection {
            Selection::Due => Stage::Suspects,
            Selection::Named if run.scope == Scope::Everything => Stage::Suspects,
            Selection::Named => self.end(run)?,
            Selection::Failed | Selection::NeverPushed => Stage::Done,
        };
        if self.filter.selection == Selection::Due {
            // A backlog does not keep suspects waiting, and they take no place from it.
            self.limit = self.limit.max(self.suspects);
        }
        Ok(())
    }

    fn claim_suspect(&mut self, run: &mut Run) -> Result<(), Stop> {
        let is_over = match run.budget.exhausted() {
            Some(by @ StoppedBy::Signal(_)) => {
                run.report.stop(by, "");
                true
            }
            over => over.is_some() && self.has_suspect,
        };
        let (now, lease, max_attempts) = (run.now(), run.lease(), run.policy.max_attempts);
        if is_over || self.limit == 0 {
            self.stage = self.end(run)?;
            return Ok(());
        }
        if run.budget.exhausted().is_some() {
            // The first suspect has its turn even if the others used up the time.
            run.set_deadline(Instant::now() + SUSPECT_TIME);
        }
        self.limit -= 1;
        self.has_suspect = true;
        let db = &mut run.db;
        match db.claim_suspect(&self.filter, max_attempts, now, lease)? {
            Some(Suspect::Taken(claimed)) => {
                let subject = Subject::new(&claimed.mapping, &claimed.item);
                subject.log(Level::Warn, "the run that held it died; checking it alone");
                count_claims(run, 1);
                self.waiting.push_back(claimed);
            }
            Some(Suspect::Parked(Claimed { mapping, item })) => {
                let subject = Subject::new(&mapping, &item);
                let reason = parked(mapping.error.as_deref().unwrap_or_default());
                subject.log(
                    run.report.level(Level::Error),
                    format_args!("failed: {reason}"),
                );
                let entry = MappingReport::new(&subject, Outcome::Failed).because(&reason);
                run.report.add(&entry);
            }
            None => self.stage = self.end(run)?,
        }
        Ok(())
    }

    /// Ends the claims, and logs the named mappings that another run holds.
    fn end(&self, run: &mut Run) -> Result<Stage, Stop> {
        if self.filter.selection == Selection::Named {
            let now = run.now();
            for Claimed { mapping, item } in run.db.claimed(&self.filter)? {
                let (subject, held) = (Subject::new(&mapping, &item), schedule(&mapping, now));
                subject.log(
                    run.report.level(Level::Warn),
                    format_args!("nothing was done: {held}"),
                );
                let entry = MappingReport::new(&subject, Outcome::GivenBack).because(&held);
                run.report.show(&entry);
            }
        }
        Ok(Stage::Done)
    }

    /// Records the check time of mappings that failed before, because their fetch may kill this
    /// process (design.md, "Failure model"). Parked mappings are left out: if the run ended before
    /// such a fetch, its check time would hide a change from discovery.
    fn record_check_start(&self, run: &mut Run) -> Result<(), Stop> {
        let mappings = self.current.iter().map(|claimed| &claimed.mapping);
        let failed = mappings.filter(|mapping| mapping.attempts > 0 && !mapping.is_parked());
        let ids: Vec<MappingId> = failed.map(|mapping| mapping.id).collect();
        match run.github.answered_at() {
            Some(checked_at) if !ids.is_empty() => {
                Ok(run.db.record_check_start(run.id, &ids, checked_at)?)
            }
            _ => Ok(()),
        }
    }
}

/// Returns the error of a mapping whose attempts are used up.
pub fn parked(reason: &str) -> String {
    format!("{reason}; the mapping is parked")
}

fn count_claims(run: &mut Run, count: usize) {
    run.report.claimed += count as u64;
    run.progress.claim(count);
}
