//! The start of a run: opens the database and checks the preconditions of the steps.

use std::collections::HashSet;

use anyhow::Context as _;
use secrecy::ExposeSecret;

use super::hidden::Hidden;
use super::job::{Job, Start};
use super::last_result::LastResult;
use super::pause::GithubPause;
use super::state::Run;
use super::stop::{Budget, Claims};
use super::weaviate::Index;
use crate::config::{GithubLogin, GithubSettings, WeaviateSettings};
use crate::core::text::timestamp;
use crate::db::{Db, Selection};
use crate::github::Github;
use crate::report::{Progress, Report};
use crate::weaviate::Weaviate;

/// Opens the database and sets up the clients; no service is asked yet.
pub fn open(
    job: &Job,
    start: Start,
    progress: Progress,
    last_result: LastResult,
) -> anyhow::Result<Run> {
    let (settings, signals, id) = start;
    let (github, weaviate) = (
        github_client(settings.github)?,
        weaviate_client(&settings.weaviate)?,
    );
    let access = job.access();
    let (mut db, now) = Db::connect(settings.database_url.expose_secret(), access)?;
    db.stop_at(signals.clone());
    db.check_privileges()?;
    check_ids(&mut db, job)?;
    let budget = Budget::start(now, job.time_budget, signals.clone());
    let pause = GithubPause::read(&mut db, access, budget.clone())
        .context("cannot read whether GitHub is paused")?;
    let mut report = Report::new(job.command, job.dry_run, job.format);
    report.started_at = Some(now);
    let deadline = budget.deadline();
    let mut run = Run {
        id,
        claims: Claims::new(id, budget.clone()),
        db,
        github: github
            .with_timeouts(job.timeouts)
            .with_signals(signals.clone()),
        index: Index::new(
            weaviate
                .with_timeouts(job.timeouts)
                .with_signals(signals.clone()),
            budget.clone(),
        ),
        pause,
        budget,
        policy: job.policy.clone(),
        scope: job.scope,
        access,
        report,
        progress,
        last_result,
        inserted: HashSet::new(),
        repositories: HashSet::new(),
        hidden: Hidden::default(),
        accepts_ids: job.accepts_ids(),
    };
    run.set_deadline(deadline);
    warn_of_future(&run);
    Ok(run)
}

/// Warns about a time that is meant to be in the past, because the run would move no item.
fn warn_of_future(run: &Run) {
    let time = run.policy.ignore_closed_before;
    if let Some(time) = time.filter(|time| *time > run.now()) {
        log::warn!(
            "--ignore-closed-before is {}, which is in the future: no item moves until then",
            timestamp(time)
        );
    }
}

/// Returns a client for GitHub, which has sent no request.
pub fn github_client(settings: GithubSettings) -> anyhow::Result<Github> {
    match settings.login {
        GithubLogin::Token(token) => Github::new(&settings.url, token.expose_secret()),
        GithubLogin::App(app) => Github::with_app(&settings.url, *app),
    }
}

/// Returns a client for Weaviate, which has sent no request.
pub fn weaviate_client(settings: &WeaviateSettings) -> anyhow::Result<Weaviate> {
    let key = settings.key.as_ref().map(ExposeSecret::expose_secret);
    Weaviate::new(&settings.url, key)
}

/// Checks that the mappings and projects of the command line exist, and names the mappings that
/// did not fail if only failed ones are tried.
fn check_ids(db: &mut Db, job: &Job) -> anyhow::Result<()> {
    let (projects, mappings) = (&job.filter.projects, &job.filter.mappings);
    db.check_ids(projects, mappings)?;
    if job.filter.selection == Selection::Failed && job.is_named() {
        for id in db.not_failed(mappings)? {
            log::warn!(
                "mapping {id} did not fail, so that there is nothing to retry; to check it now, run: agira-worker sync --mapping {id}"
            );
        }
    }
    Ok(())
}
