//! The end of a run: completes its report, records it, and reads the database state for its
//! metrics.

use log::Level;
use serde_json::json;

use super::job::Job;
use super::state::Run;
use super::stop::Stop;
use crate::core::text::quoted;
use crate::db::{NAMED, RunRecord};
use crate::report::metrics::DatabaseState;
use crate::report::{Report, StoppedBy};
use crate::signal::Signals;

/// Prepares the result of this run in case that another thread ends the process.
pub fn prepare(run: &mut Run) {
    count(run);
    run.last_result.prepare(&mut run.report, Some(&run.budget));
}

/// Copies the counts of the clients into the report.
fn count(run: &mut Run) {
    let (limits, report) = (run.github.limits(), &mut run.report);
    report.pause = run.pause.active().cloned();
    report.github.requests = run.github.requests();
    report.github.points = limits.points;
    report.github.remaining = limits.remaining;
    report.github.reset_at = limits.reset_at;
    report.weaviate.requests = run.index.requests();
    report.weaviate.vectorizer = run.index.vectorizer().map(quoted);
    report.database.statements = run.db.statements();
}

/// Completes the report and records the run.
pub fn end(run: &mut Run, job: &Job, result: Result<(), Stop>) {
    run.progress.clear();
    if result.is_err() && run.db.has_lost_its_session() && !run.is_dry() {
        // The confirmation of a claim may be lost with the session.
        let started_at = run.report.started_at.unwrap_or_else(|| run.now());
        if let Err(error) = run.db.release_all(run.id, started_at) {
            log::warn!("{error:#}; the claims will expire");
        }
    }
    if let Err(reason) = result {
        stop(&mut run.report, reason, run.budget.signals());
    }
    prepare(run);
    let (now, is_dry) = (run.now(), run.is_dry());
    let due = run.db.due(now).ok();
    run.report.has_no_mappings = due == Some(None);
    run.report.remaining_due = due.map(Option::unwrap_or_default);
    count(run);
    // The record itself is a statement, too.
    run.report.database.statements += u64::from(!is_dry);
    run.report.finished_at = Some(now);
    let exit_code = i32::from(run.report.exit_code());
    if !is_dry {
        let mut counts = run.report.counts();
        if job.is_named() {
            // Its success says nothing about the others.
            counts[NAMED] = true.into();
        }
        let record = RunRecord {
            run: run.id,
            command: run.report.command(),
            started_at: run.report.started_at.unwrap_or(now),
            finished_at: now,
            exit_code,
            stopped_by: run.report.stopped_by().map(StoppedBy::as_str),
            counts: &counts,
        };
        if let Err(error) = run.db.record_run(&record) {
            log::warn!("{error:#}");
        }
    }
}

/// Logs and reports the reason why the run went no further. After a signal, the signal is the
/// reason: what the run waited for would have passed.
pub fn stop(report: &mut Report, reason: Stop, signals: &Signals) {
    match reason {
        Stop::Later(by, reason) => {
            report.stop_and_warn(by, &reason);
            if let Some(signal) = signals.caught() {
                report.stop(StoppedBy::Signal(signal), "");
            }
        }
        Stop::Fatal(error) => {
            log::log!(report.level(Level::Error), "{error:#}");
            report.fail(&format!("{error:#}"));
        }
    }
}

/// Reads the state of the database for the metrics; `None` if PostgreSQL fails.
pub fn database_state(run: &mut Run) -> Option<DatabaseState> {
    let (now, command) = (run.now(), run.report.command());
    let mut read = || -> anyhow::Result<DatabaseState> {
        let counts = run.db.counts(&[], &[], now)?;
        let mut classes = json!(counts.totals);
        if let Some(classes) = classes.as_object_mut() {
            classes.remove("total");
        }
        Ok(DatabaseState {
            classes,
            outboxes: counts.weaviate.pending,
            rejected: counts.weaviate.rejected,
            last_success: run.db.last_success(command)?,
        })
    };
    read()
        .inspect_err(|error| log::warn!("{error:#}; the metrics lack the state of the database"))
        .ok()
}
