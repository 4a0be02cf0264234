//! `sync`, `push-weaviate` and `retry-failed`: the same steps over different selections.

use std::collections::HashSet;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use uuid::Uuid;

use super::args::{Batch, Format, Output};
use super::context::{Clock, Context, GITHUB, Mode, Stop, StoppedBy, WeaviateState};
use super::metrics::{self, After};
use super::report::{Outcome, Report};
use super::settings::{GithubLogin, Settings};
use super::slice::{self, Scope};
use super::{deliver, discover, preview};
use crate::core::model::MappingId;
use crate::core::plan::Policy;
use crate::core::records::Records;
use crate::db::{Access, Claimed, Db, MappingFilter, RunRecord, Selection, Suspect};
use crate::github::Github;
use crate::http::Timeouts;
use crate::secret::Secret;
use crate::signal::Signals;
use crate::weaviate::Weaviate;

/// What a job starts from: what the environment says, what may end it, and the id of the run.
pub type Start = (Settings, Signals, Uuid);

/// What distinguishes the three commands.
pub struct Job<'a> {
    /// The subcommand.
    pub name: &'static str,
    /// How much.
    pub batch: &'a Batch,
    /// What the operator decides.
    pub policy: Policy,
    /// Which mappings.
    pub selection: Selection,
    /// Which part of the plans is carried out.
    pub scope: Scope,
    /// Whether GitHub is asked what changed.
    pub discovers: bool,
    /// Whether all waiting mappings are made due for a recheck first.
    pub recheck_now: bool,
}

/// Runs a job to its end, whatever that is, and writes the metrics; the report is still to be printed.
pub fn carry_out(
    job: &Job<'_>,
    output: &Output,
    start: anyhow::Result<Start>,
    progress: ProgressBar,
) -> Report {
    let mode = if job.batch.dry_run {
        Mode::Preview
    } else {
        Mode::Apply
    };
    let mut report = Report::new(job.name, mode, output.output);
    let wanted = job
        .batch
        .metrics_file
        .as_deref()
        .filter(|_| mode == Mode::Apply);
    let mut after = None;
    match start.and_then(|start| prepare(job, mode, start, progress)) {
        Ok(mut ctx) => {
            std::mem::swap(&mut ctx.report, &mut report);
            ctx.report.started_at = Some(ctx.now());
            let result = steps(&mut ctx, job);
            end(&mut ctx, result);
            after = wanted.and_then(|_| After::read(&mut ctx));
            report = ctx.report;
        }
        Err(error) => {
            log::error!("{error:#}");
            report.fatal(format!("{error:#}"));
        }
    }
    report.exit_code();
    if let Some(path) = wanted {
        metrics::write(path, &mut report, after.as_ref());
    }
    report
}

/// Opens the database; no service is asked.
fn prepare(
    job: &Job<'_>,
    mode: Mode,
    start: Start,
    progress: ProgressBar,
) -> anyhow::Result<Context> {
    let (settings, signals, run) = start;
    let patience = Timeouts {
        answer: job.batch.answer_timeout,
        retry: settings.retry.unwrap_or(Timeouts::default().retry),
    };
    let github = match settings.github_login {
        GithubLogin::Token(token) => Github::new(&settings.github_url, token.expose())?,
        GithubLogin::App(app) => Github::with_app(&settings.github_url, *app)?,
    };
    let github = github.with_patience(patience).with_signals(signals.clone());
    let weaviate = Weaviate::new(
        &settings.weaviate_url,
        settings.weaviate_key.as_ref().map(Secret::expose),
    )?;
    let weaviate = weaviate
        .with_patience(patience)
        .with_signals(signals.clone());
    let (mut db, now) = Db::connect(settings.database_url.expose())?;
    let access = if mode == Mode::Preview {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    };
    db.check_privileges(access)?;
    let narrowed = &job.batch.narrowed;
    if !(narrowed.projects.is_empty() && narrowed.mappings.is_empty()) {
        let unknown = db.unknown_ids(access, &narrowed.projects, &narrowed.mappings)?;
        if !unknown.is_empty() {
            bail!(
                "there is no {}; see status for those that there are",
                unknown.join(", no ")
            );
        }
    }
    let pause = db
        .pause(access, GITHUB)
        .context("cannot tell whether GitHub may be asked")?;
    Ok(Context {
        db,
        github,
        weaviate,
        weaviate_state: WeaviateState::Unknown,
        policy: job.policy.clone(),
        clock: Clock::starting_at(now),
        signals,
        mode,
        run,
        time_budget: job.batch.time_budget,
        pause,
        report: Report::new(job.name, mode, Format::Text),
        progress,
        carried: Records::default(),
        marked: Vec::new(),
        given_back: Vec::new(),
        inserted: HashSet::new(),
        repositories: HashSet::new(),
        explain: mode == Mode::Preview && !narrowed.mappings.is_empty(),
    })
}

fn steps(ctx: &mut Context, job: &Job<'_>) -> Result<(), Stop> {
    let mut whole = MappingFilter {
        selection: job.selection,
        projects: job.batch.narrowed.projects.clone(),
        mappings: job.batch.narrowed.mappings.clone(),
        excluded: Vec::new(),
    };
    let limit = job.batch.limit as usize;
    let delivered = deliver::deliver(ctx, &whole, limit)?;
    // push-weaviate delivers and fills in within one limit; for the others delivering is extra.
    let limit = match job.scope {
        Scope::WeaviateOnly if ctx.weaviate_state == WeaviateState::Down => 0,
        Scope::WeaviateOnly => limit - delivered.len().min(limit),
        Scope::Everything => limit,
    };
    if limit == 0 {
        return Ok(());
    }
    ctx.may_ask_github()?;
    if job.recheck_now && ctx.mode == Mode::Apply {
        let now = ctx.now();
        let (count, held) = ctx.db.recheck_now(&whole.projects, now)?;
        log::info!("{count} waiting mappings are to be rechecked now");
        if held > 0 {
            log::warn!(
                "{held} more keep their recheck times: somebody holds their rows; use --recheck-now again for them"
            );
        }
    }
    if job.discovers {
        discover::discover(ctx)?;
    }
    match ctx.mode {
        Mode::Apply => work(ctx, job, whole, limit),
        Mode::Preview => {
            if job.selection == Selection::NeverPushed {
                // What would be delivered counts as pushed, what would be dropped as outdated does not.
                let pushed = delivered
                    .iter()
                    .map(|id| id.0)
                    .filter(|id| !ctx.marked.contains(id));
                whole.excluded = pushed.collect();
            }
            foresee(ctx, job, whole, limit)
        }
    }
}

/// What [`work`] would do, without claiming: rows that plans make due come after the others.
fn foresee(
    ctx: &mut Context,
    job: &Job<'_>,
    mut whole: MappingFilter,
    limit: usize,
) -> Result<(), Stop> {
    let mut left = limit;
    while left > 0 {
        if let Some(by) = ctx.over() {
            ctx.report.stopped(by, String::new());
            break;
        }
        let now = ctx.now();
        let batch = ctx.db.preview_marked(&whole, left, &ctx.marked, now)?;
        if batch.is_empty() {
            break;
        }
        left -= batch.len();
        ctx.report.claimed += batch.len() as u64;
        whole
            .excluded
            .extend(batch.iter().map(|claimed| claimed.mapping.id.0));
        slices(ctx, job.scope, batch)?;
    }
    match job.selection {
        Selection::Due { .. } => foresee_suspects(ctx, &whole, left.max(1))?,
        Selection::Named if job.scope == Scope::Everything => foresee_suspects(ctx, &whole, left)?,
        Selection::Named => {}
        Selection::Failed | Selection::NeverPushed => return Ok(()),
    }
    preview::claimed(ctx, &whole, limit)
}

/// What [`suspects`] would do.
fn foresee_suspects(ctx: &mut Context, whole: &MappingFilter, most: usize) -> Result<(), Stop> {
    let now = ctx.now();
    for (taken, claimed) in ctx
        .db
        .preview_suspects(whole, most, now, ctx.run)?
        .into_iter()
        .enumerate()
    {
        if taken > 0 && ctx.over().is_some() {
            return Ok(());
        }
        if preview::suspect_is_parked(ctx, &claimed) {
            continue;
        }
        ctx.report.claimed += 1;
        slices(ctx, Scope::Everything, vec![claimed])?;
    }
    Ok(())
}

/// Claims and works on batches until the limit, the time budget, or nothing is left; suspects come last.
fn work(
    ctx: &mut Context,
    job: &Job<'_>,
    mut whole: MappingFilter,
    limit: usize,
) -> Result<(), Stop> {
    let (mut left, mut after) = (limit, MappingId(0));
    while left > 0 {
        if let Some(by) = ctx.over() {
            ctx.report.stopped(by, String::new());
            break;
        }
        let (now, hold) = (ctx.now(), ctx.hold());
        whole.excluded.clone_from(&ctx.given_back);
        let batch = ctx
            .db
            .claim(&whole, left.min(slice::MOST), after, now, hold)?;
        let Some(last) = batch.iter().map(|claimed| claimed.mapping.id).max() else {
            break;
        };
        after = last;
        left -= batch.len();
        ctx.report.claimed += batch.len() as u64;
        slices(ctx, job.scope, batch)?;
    }
    let now = ctx.now();
    whole.excluded.clone_from(&ctx.given_back);
    if left == 0 && !ctx.db.preview(&whole, 1, after, now)?.is_empty() {
        ctx.report.stopped(StoppedBy::Limit, String::new());
    }
    match whole.selection {
        Selection::Due { .. } => suspects(ctx, &whole, left.max(1)),
        Selection::Named if job.scope == Scope::Everything => {
            suspects(ctx, &whole, left)?;
            held(ctx, &whole)
        }
        Selection::Named => held(ctx, &whole),
        Selection::Failed | Selection::NeverPushed => Ok(()),
    }
}

/// Says which of the mappings that were named another run holds.
fn held(ctx: &mut Context, whole: &MappingFilter) -> Result<(), Stop> {
    let now = ctx.now();
    for Claimed { mapping, item } in ctx.db.claimed(ctx.access(), whole, whole.mappings.len())? {
        let name = slice::name(&mapping, mapping.address(&item).ok().as_ref());
        log::warn!(mapping = name.mapping, item = name.item; "{name}: nothing was done: {}", preview::due(&mapping, now));
    }
    Ok(())
}

/// Works on a batch, and on the pull request rows that come out of it.
fn slices(ctx: &mut Context, scope: Scope, batch: Vec<Claimed>) -> Result<(), Stop> {
    ctx.progress.inc_length(batch.len() as u64);
    let mut queue = std::collections::VecDeque::from(batch);
    while !queue.is_empty() {
        let slice: Vec<Claimed> = queue.drain(..queue.len().min(slice::MOST)).collect();
        let result = slice::run(ctx, scope, slice);
        match result {
            Ok(inserted) => {
                ctx.progress.inc_length(inserted.len() as u64);
                ctx.report.claimed += inserted.len() as u64;
                queue.extend(inserted);
            }
            Err(stop) => {
                give_back(ctx, &queue);
                return Err(stop);
            }
        }
        if let Some(by) = ctx.over().filter(|_| !queue.is_empty()) {
            give_back(ctx, &queue);
            ctx.report.stopped(by, String::new());
            return Ok(());
        }
    }
    Ok(())
}

fn give_back(ctx: &mut Context, queue: &std::collections::VecDeque<Claimed>) {
    if ctx.mode == Mode::Preview || queue.is_empty() {
        return;
    }
    let mut ids = Vec::with_capacity(queue.len());
    for Claimed { mapping, item } in queue {
        ids.push(mapping.id);
        let address = mapping.address(item).ok();
        ctx.report.mapping(
            mapping,
            address.as_ref(),
            Outcome::GivenBack,
            Vec::new(),
            None,
        );
    }
    if let Err(error) = ctx.db.give_back(ctx.run, &ids) {
        log::warn!("{error:#}; the claims will expire");
    }
}

/// Mappings whose run died: one at a time and last, so that one that kills its run spoils nothing else.
fn suspects(ctx: &mut Context, whole: &MappingFilter, most: usize) -> Result<(), Stop> {
    for taken in 0..most {
        // At least one in each run, so that a backlog does not keep them waiting for ever.
        match ctx.over() {
            Some(by @ StoppedBy::Signal(_)) => {
                ctx.report.stopped(by, String::new());
                return Ok(());
            }
            Some(_) if taken > 0 => return Ok(()),
            _ => {}
        }
        let (now, hold, max_attempts) = (ctx.now(), ctx.hold(), ctx.policy.max_attempts);
        match ctx.db.claim_suspect(whole, max_attempts, now, hold)? {
            None => return Ok(()),
            Some(Suspect::Taken(claimed)) => {
                let name = slice::name(
                    &claimed.mapping,
                    claimed.mapping.address(&claimed.item).ok().as_ref(),
                );
                log::warn!(mapping = name.mapping, item = name.item; "{name}: the run that held it died; looking at it alone");
                ctx.report.claimed += 1;
                slices(ctx, Scope::Everything, vec![claimed])?;
            }
            Some(Suspect::Parked(Claimed { mapping, item })) => {
                let address = mapping.address(&item).ok();
                let reason = slice::parked(mapping.error.as_deref().unwrap_or_default());
                slice::log_failure(&mapping, address.as_ref(), &reason);
                ctx.report.mapping(
                    &mapping,
                    address.as_ref(),
                    Outcome::Failed,
                    Vec::new(),
                    Some(reason),
                );
            }
        }
    }
    Ok(())
}

/// Takes down how the run ended, in the report and in the database.
fn end(ctx: &mut Context, result: Result<(), Stop>) {
    ctx.progress.finish_and_clear();
    match result {
        Ok(()) => {}
        Err(Stop::Later(by, reason)) => {
            log::warn!("{reason}");
            ctx.report.stopped(by, reason);
        }
        Err(Stop::Fatal(error)) => {
            log::error!("{error:#}");
            ctx.report.fatal(format!("{error:#}"));
        }
    }
    let (now, access) = (ctx.now(), ctx.access());
    ctx.report.remaining_due = ctx.db.due(access, now).ok();
    ctx.report.pause = ctx.pause.clone().filter(|pause| pause.until > now);
    let limits = ctx.github.limits();
    ctx.report.github.requests = ctx.github.requests();
    ctx.report.github.points = limits.points;
    ctx.report.github.remaining = limits.remaining;
    ctx.report.github.reset_at = limits.reset_at;
    ctx.report.weaviate.requests = ctx.weaviate.requests();
    ctx.report.finished_at = Some(now);
    let exit_code = ctx.report.exit_code();
    // The record itself is a statement, too.
    ctx.report.database.statements = ctx.db.statements() + u64::from(ctx.mode == Mode::Apply);
    if ctx.mode == Mode::Preview {
        return;
    }
    let counts = ctx.report.counts();
    let record = RunRecord {
        run: ctx.run,
        command: ctx.report.command(),
        started_at: ctx.report.started_at.unwrap_or(now),
        finished_at: now,
        exit_code: i32::from(exit_code),
        stopped_by: ctx.report.stopped_by().map(StoppedBy::as_str),
        counts: &counts,
    };
    if let Err(error) = ctx.db.record_run(&record) {
        log::warn!("{error:#}");
    }
}
