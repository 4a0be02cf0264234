//! `status`: totals, failures, and how the last run ended. It only reads, and asks nobody but PostgreSQL.

mod sentences;
mod text;

use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::args::{Format, Narrowed, Output, duration};
use super::context::GITHUB;
use super::report::{CANNOT_RUN, UNHEALTHY, say_json};
use crate::core::model::MappingId;
use crate::core::plan::time;
use crate::db::{
    Access, Counts, Db, FailedMapping, Overview, Pause, RepositoryState, RunState, SharedAddress,
    Totals,
};
use crate::secret::Secret;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which mappings.
    #[command(flatten)]
    pub narrowed: Narrowed,
    /// Only the mappings that failed.
    #[arg(long)]
    pub failed: bool,
    /// Exit with code 4 when something is wrong: too many parked mappings, or no sync that did its work lately.
    #[arg(long)]
    pub check: bool,
    /// With --check: sync has to have done its work within this time, such as 1h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, requires = "check")]
    pub max_age: Duration,
    /// With --check: this many parked mappings are no alarm.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), requires = "check")]
    pub max_parked: i64,
}

/// The JSON form (design, section 6). Field names are stable: scripts depend on them.
#[derive(Debug, Default, Serialize)]
struct Status {
    schema_version: u32,
    command: &'static str,
    exit_code: u8,
    error: Option<String>,
    mappings: Totals,
    never_synced: i64,
    to_recheck: i64,
    weaviate: WeaviateState,
    shared: Vec<SharedAddress>,
    repositories: Vec<RepositoryState>,
    last_run: Option<RunState>,
    runs: Vec<RunState>,
    synced_at: Option<DateTime<Utc>>,
    pause: Option<Pause>,
    failures: Vec<FailedMapping>,
    /// With `--check`: what is wrong; empty when nothing is.
    unhealthy: Option<Vec<String>>,
}

#[derive(Debug, Default, Serialize)]
struct WeaviateState {
    pending: i64,
}

/// `status`.
pub fn status(args: &StatusArgs, output: &Output, database_url: anyhow::Result<Secret>) -> u8 {
    let mut status = Status {
        schema_version: 1,
        command: "status",
        ..Status::default()
    };
    let sentences = match database_url.and_then(|url| read(args, &url, &mut status)) {
        Ok(sentences) => sentences,
        Err(error) => {
            log::error!("{error:#}");
            status.exit_code = CANNOT_RUN;
            status.error = Some(format!("{error:#}"));
            Vec::new()
        }
    };
    match output.output {
        Format::Json => say_json(&status),
        Format::Text if status.error.is_some() => {}
        Format::Text => text::print(args, &status, &sentences),
    }
    status.exit_code
}

/// Fills in the status; returns what is to be said about the mappings that were named.
fn read(
    args: &StatusArgs,
    database_url: &Secret,
    status: &mut Status,
) -> anyhow::Result<Vec<String>> {
    let (mut db, now) = Db::connect(database_url.expose())?;
    db.check_privileges(Access::ReadOnly)?;
    let (projects, mappings) = (&args.narrowed.projects, &args.narrowed.mappings);
    let unknown = db.unknown_ids(Access::ReadOnly, projects, mappings)?;
    if !unknown.is_empty() {
        bail!("there is no {}", unknown.join(", no "));
    }
    let Overview {
        counts,
        failures,
        shared,
        repositories,
        runs,
        synced_at,
    } = db.overview(projects, mappings, now)?;
    let Counts {
        totals,
        never_synced,
        to_recheck,
        outboxes,
    } = counts;
    status.mappings = totals;
    status.never_synced = never_synced;
    status.to_recheck = to_recheck;
    status.weaviate.pending = outboxes;
    status.failures = failures;
    status.shared = shared;
    status.repositories = repositories;
    status.last_run = runs.first().cloned();
    status.runs = runs;
    status.synced_at = synced_at;
    status.pause = db
        .pause(Access::ReadOnly, GITHUB)?
        .filter(|pause| pause.until > now);
    if args.check {
        let reasons = unhealthy(args, status, now);
        status.exit_code = if reasons.is_empty() { 0 } else { UNHEALTHY };
        status.unhealthy = Some(reasons);
    }
    let ids: Vec<MappingId> = mappings.iter().copied().map(MappingId).collect();
    let mut said = Vec::new();
    for claimed in db.mappings(Access::ReadOnly, &ids)? {
        if let Some(story) = db.history(&claimed.mapping)? {
            said.extend(sentences::about(&claimed, &story, now));
        }
    }
    Ok(said)
}

/// What a monitor has to tell somebody.
fn unhealthy(args: &StatusArgs, status: &Status, now: DateTime<Utc>) -> Vec<String> {
    let mut reasons = Vec::new();
    let parked = status.mappings.parked;
    if parked > args.max_parked {
        reasons.push(format!(
            "{parked} mappings are parked, more than {}; see: agira-worker status --failed",
            args.max_parked
        ));
    }
    let age = humantime::format_duration(args.max_age);
    match status.synced_at {
        Some(at) if (now - at).to_std().is_ok_and(|passed| passed > args.max_age) => reasons.push(format!(
            "no sync did its work within {age}, the last one ended {}; see whether cron starts it, and what it logs",
            time(at)
        )),
        Some(_) => {}
        None => {
            reasons.push("no sync has done its work so far; see whether cron starts it, and what it logs".to_owned())
        }
    }
    reasons
}
