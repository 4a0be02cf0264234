//! `status`: totals, failures, and how the last run ended. It only reads, and asks nobody but PostgreSQL.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::args::{Format, Narrowed, Output};
use super::context::GITHUB;
use super::preview;
use super::report::{CANNOT_RUN, say, say_json};
use super::settings::Secret;
use crate::core::model::MappingId;
use crate::core::plan::time;
use crate::core::text::Printable;
use crate::db::{Access, Db, Failure, Overview, Pause, RepositoryState, RunState, Shared, Totals};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which mappings.
    #[command(flatten)]
    pub narrowed: Narrowed,
    /// Only the mappings that failed.
    #[arg(long)]
    pub failed: bool,
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
    shared: Vec<Shared>,
    repositories: Vec<RepositoryState>,
    last_run: Option<RunState>,
    pause: Option<Pause>,
    failures: Vec<Failure>,
}

#[derive(Debug, Default, Serialize)]
struct WeaviateState {
    pending: i64,
}

/// `status`.
pub fn status(args: &StatusArgs, output: &Output, database_url: anyhow::Result<Secret>) -> u8 {
    let mut status = Status { schema_version: 1, command: "status", ..Status::default() };
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
        Format::Text => print(args, &status, &sentences),
    }
    status.exit_code
}

/// Fills in the status; returns what is to be said about the mappings that were named.
fn read(args: &StatusArgs, database_url: &Secret, status: &mut Status) -> anyhow::Result<Vec<String>> {
    let (mut db, now) = Db::connect(database_url.expose())?;
    db.check_privileges(Access::ReadOnly)?;
    let (projects, mappings) = (&args.narrowed.projects, &args.narrowed.mappings);
    let unknown = db.unknown(Access::ReadOnly, projects, mappings)?;
    if !unknown.is_empty() {
        bail!("there is no {}", unknown.join(", no "));
    }
    let Overview { totals, never_synced, to_recheck, outboxes, failures, shared, repositories, last_run } =
        db.overview(projects, mappings, now)?;
    status.mappings = totals;
    status.never_synced = never_synced;
    status.to_recheck = to_recheck;
    status.weaviate.pending = outboxes;
    status.failures = failures;
    status.shared = shared;
    status.repositories = repositories;
    status.last_run = last_run;
    status.pause = db.pause(Access::ReadOnly, GITHUB)?.filter(|pause| pause.until > now);
    let ids: Vec<MappingId> = mappings.iter().copied().map(MappingId).collect();
    let named = db.mappings(Access::ReadOnly, &ids)?;
    Ok(named
        .iter()
        .map(|claimed| {
            let (mapping, item) = (&claimed.mapping, &claimed.item);
            let address = mapping.address(item).map_or_else(|reason| reason, |address| address.to_string());
            format!(
                "mapping {} is the {} {} ({} there), for item {} ({}): {}{}",
                mapping.id,
                mapping.kind.words(),
                Printable(&address),
                Printable(&mapping.state),
                item.id,
                Printable(&item.status.0),
                preview::due(mapping, now),
                if mapping.has_outbox { "; objects wait for Weaviate" } else { "" }
            )
        })
        .collect())
}

fn print(args: &StatusArgs, status: &Status, sentences: &[String]) {
    for sentence in sentences {
        say(sentence);
    }
    if !args.failed {
        let Totals { total, due, in_work, backing_off, parked, waiting } = status.mappings;
        say(&format!("mappings         {total:>8}"));
        for (name, count) in
            [("due", due), ("in work", in_work), ("backing off", backing_off), ("parked", parked), ("waiting", waiting)]
        {
            say(&format!("  {name:<15}{count:>8}"));
        }
        say(&format!("never synced     {:>8}", status.never_synced));
        say(&format!("to recheck       {:>8}", status.to_recheck));
        say(&format!("Weaviate pending {:>8}", status.weaviate.pending));
        match &status.last_run {
            Some(run) => say(&format!(
                "last run: {}, ended {}, exit code {}{}",
                run.command,
                time(run.finished_at),
                run.exit_code,
                run.stopped_by.as_ref().map(|by| format!(", stopped by {by}")).unwrap_or_default()
            )),
            None => say("last run: none yet"),
        }
        if let Some(pause) = &status.pause {
            say(&format!("GitHub is not asked before {}: {}", time(pause.until), Printable(&pause.reason)));
        }
    }
    if !args.failed && !status.repositories.is_empty() {
        say("repositories:");
        for repository in &status.repositories {
            let polled = repository.polled_at.map_or("never polled".to_owned(), |at| format!("polled {}", time(at)));
            say(&format!(
                "  {}: {polled}, issues seen up to {}, pull requests up to {}, {} due",
                Printable(&repository.name),
                time(repository.issues_cursor),
                time(repository.pull_requests_cursor),
                repository.due
            ));
            if let Some(error) = &repository.error {
                say(&format!("    {}", Printable(error)));
            }
        }
    }
    for Shared { html_url, mapping_ids } in &status.shared {
        let ids: Vec<String> = mapping_ids.iter().map(i64::to_string).collect();
        say(&format!("mappings {} mean the same {}", ids.join(" and "), Printable(html_url)));
    }
    match status.failures.len() {
        0 => say("failures: none"),
        count => say(&format!("failures: {count}")),
    }
    for failure in &status.failures {
        let repository = failure.repository.as_deref().unwrap_or("?");
        let next = failure.next_attempt_at.map_or("parked".to_owned(), |at| format!("next attempt {}", time(at)));
        say(&format!(
            "  mapping {} (item {}, {} {}#{}): attempt {} at {}, {next}: {}",
            failure.mapping_id,
            failure.item_id,
            failure.kind.words(),
            Printable(repository),
            failure.number,
            failure.attempts,
            time(failure.error_at),
            Printable(&failure.error)
        ));
    }
}
