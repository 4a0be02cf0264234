//! The start of a run: opens the database and checks the preconditions of the steps.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret;

use super::hidden::Hidden;
use super::job::{Job, Start};
use super::last_result::LastResult;
use super::pause::GithubPause;
use super::state::Run;
use super::stop::{Budget, Claims};
use super::weaviate::Index;
use crate::config::GithubLogin;
use crate::db::Db;
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
    let github = match settings.github_login {
        GithubLogin::Token(token) => Github::new(&settings.github_url, token.expose_secret())?,
        GithubLogin::App(app) => Github::with_app(&settings.github_url, *app)?,
    };
    let key = settings
        .weaviate_key
        .as_ref()
        .map(ExposeSecret::expose_secret);
    let weaviate = Weaviate::new(&settings.weaviate_url, key)?
        .with_timeouts(job.timeouts)
        .with_signals(signals.clone());
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
        index: Index::new(weaviate, budget.clone()),
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
    Ok(run)
}

/// Checks that the mappings and projects of the command line exist.
fn check_ids(db: &mut Db, job: &Job) -> anyhow::Result<()> {
    let (projects, mappings) = (&job.filter.projects, &job.filter.mappings);
    if projects.is_empty() && mappings.is_empty() {
        return Ok(());
    }
    let unknown = db.unknown_ids(projects, mappings)?;
    if !unknown.is_empty() {
        bail!(
            "there is no {}; check --mapping and --project",
            unknown.join(", no ")
        );
    }
    Ok(())
}
