//! One run of `sync`, `push-weaviate` or `retry-failed`: a file for each step (design.md, "The
//! pipeline").

mod apply;
mod claim;
mod deliver;
mod discover;
mod dry_run;
mod finish;
mod hidden;
mod job;
mod last_result;
mod observe;
mod pause;
mod plan;
mod push;
mod record;
mod start;
mod state;
mod stop;
mod weaviate;
mod writer;

use crate::report::{LastWord, Progress, Report, metrics};
use claim::Queue;
use last_result::LastResult;
use state::Run;

pub use job::{Job, Scope, Start};
pub use pause::GITHUB;
pub use start::{github_client, weaviate_client};
pub use stop::Stop;
pub use weaviate::WEAVIATE;

/// Runs all steps of a job.
fn run(run: &mut Run, job: &Job) -> Result<(), Stop> {
    let limit = deliver::outboxes(run, job)?;
    // `push-weaviate` has one limit for deliveries and claims, and does nothing without Weaviate.
    if limit == 0 {
        return Ok(());
    }
    run.announce_pauses(&job.filter)?;
    claim::recheck_now(run, job)?;
    discover::changes(run, job)?;
    claim::wake(run, job)?;
    claim::expect(run, job, limit)?;
    let mut queue = Queue::new(job, limit);
    let result = slices(run, &mut queue);
    queue.release(run);
    result
}

/// Takes one slice after the other through the steps. Each step takes the result of the step
/// before.
fn slices(run: &mut Run, queue: &mut Queue) -> Result<(), Stop> {
    while let Some(slice) = queue.next(run)? {
        let observed = observe::slice(run, slice)?; // reads only
        let planned = plan::slice(run, observed); // pure
        let applied = apply::slice(run, planned)?;
        let pushed = push::slice(run, applied)?;
        let finished = finish::slice(run, pushed)?;
        queue.add(run, finished);
    }
    Ok(())
}

/// Carries out a job and writes its metrics. Returns the report, also of a run that could not
/// start.
pub fn execute(
    job: &Job,
    start: impl FnOnce() -> anyhow::Result<Start>,
    progress: Progress,
    last_word: LastWord,
) -> Report {
    let (mut report, mut state) = (Report::new(job.command, job.dry_run, job.format), None);
    let result = LastResult::new(job, last_word, progress.clone());
    result.prepare(&mut report, None);
    let start = start();
    let signals = start.as_ref().map(|(_, signals, _)| signals.clone());
    let signals = signals.unwrap_or_default();
    let metrics_file = result.metrics_file.clone();
    match start.and_then(|start| start::open(job, start, progress, result)) {
        Ok(mut opened) => {
            record::prepare(&mut opened);
            let result = match job.dry_run {
                true => dry_run::run(&mut opened, job),
                false => claim::correct_times(&mut opened).and_then(|()| run(&mut opened, job)),
            };
            record::end(&mut opened, job, result);
            state = metrics_file
                .as_ref()
                .and_then(|_| record::database_state(&mut opened));
            report = opened.report;
        }
        Err(error) => record::stop(&mut report, error.into(), &signals),
    }
    report.exit_code();
    if let Some(path) = metrics_file {
        metrics::write(&path, &mut report, state.as_ref());
    }
    report
}
