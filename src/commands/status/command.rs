//! Reads the status, and judges it for `--check`.

use chrono::{DateTime, Duration, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::data::{Status, StatusArgs};
use super::{details, text};
use crate::core::model::MappingId;
use crate::core::text::{Printable, timestamp};
use crate::db::{Access, Db};
use crate::report::{
    CANNOT_RUN, Ending, Format, LastWord, TRY_LATER, UNHEALTHY, counted, is_result_lost,
    print_json, when,
};
use crate::run::{GITHUB, Stop, WEAVIATE};

/// The number of causes of failures that are shown without `--failed`.
const SHOWN_CAUSES: i64 = 20;

/// Prints the status and returns the exit code.
pub fn status(
    args: &StatusArgs,
    format: Format,
    database_url: impl FnOnce() -> anyhow::Result<SecretString>,
    last_word: &LastWord,
) -> u8 {
    let mut status = Status::new();
    last_word.prepare(false, move |ending| ended(ending, format));
    let details = match database_url().and_then(|url| read(args, &url, format, &mut status)) {
        Ok(details) => details,
        Err(error) => {
            let stop = Stop::from(error);
            log::error!("{stop}");
            status.exit_code = match stop {
                Stop::Later(..) => TRY_LATER,
                Stop::Fatal(_) => CANNOT_RUN,
            };
            status.error = Some(stop.to_string());
            Vec::new()
        }
    };
    last_word.take();
    match format {
        Format::Json => print_json(&status),
        Format::Text if status.error.is_some() => {}
        Format::Text => text::print_status(args, &status, &details),
    }
    match is_result_lost() {
        true => CANNOT_RUN,
        false => status.exit_code,
    }
}

/// Prints the result of a status that another thread ends.
fn ended(ending: &Ending, format: Format) -> u8 {
    let status = Status {
        exit_code: ending.exit_code(),
        error: Some(Printable(ending.reason()).to_string()),
        ..Status::new()
    };
    if format == Format::Json {
        print_json(&status);
    }
    status.exit_code
}

/// Fills in the status; returns sentences about the mappings that `--mapping` names.
fn read(
    args: &StatusArgs,
    database_url: &SecretString,
    format: Format,
    status: &mut Status,
) -> anyhow::Result<Vec<String>> {
    let (mut db, now) = Db::connect(database_url.expose_secret(), Access::ReadOnly)?;
    status.now = now;
    db.check_privileges()?;
    let (projects, mappings) = (&args.filter.projects, &args.filter.mappings);
    db.check_ids(projects, mappings)?;
    // A monitor asks often, and the rest of the overview takes seconds with a million mappings.
    status.overview = match args.check {
        true => db.essentials(projects, mappings, now)?,
        false => db.overview(projects, mappings, now)?,
    };
    if !args.check || args.failed {
        read_failures(&mut db, args, format, status)?;
        status.overview.rejected_deliveries = Some(db.rejected_deliveries(projects, mappings)?);
    }
    status.github_pauses = db.pauses(GITHUB)?;
    status.github_pauses.retain(|pause| pause.until > now);
    status.pause = status.github_pauses.first().cloned();
    status.weaviate_pause = db.pause(WEAVIATE)?.filter(|pause| pause.holds(now));
    if args.check {
        let reasons = unhealthy(args, status, now);
        status.exit_code = if reasons.is_empty() { 0 } else { UNHEALTHY };
        status.unhealthy = Some(reasons);
    }
    let ids: Vec<MappingId> = mappings.iter().copied().map(MappingId).collect();
    let mut sentences = Vec::new();
    for claimed in db.mappings(&ids)? {
        if let Some(history) = db.history(&claimed.mapping)? {
            sentences.extend(details::sentences(&claimed, &history, now));
        }
    }
    Ok(sentences)
}

/// Reads the failures: JSON has all of them, and a text has a line for each cause.
fn read_failures(
    db: &mut Db,
    args: &StatusArgs,
    format: Format,
    status: &mut Status,
) -> anyhow::Result<()> {
    let (projects, mappings) = (&args.filter.projects, &args.filter.mappings);
    if format == Format::Json {
        status.overview.failures = Some(db.failures(projects, mappings)?);
        return Ok(());
    }
    let causes = db.causes(projects, mappings, (!args.failed).then_some(SHOWN_CAUSES))?;
    let alone = causes.iter().filter(|cause| cause.count == 1);
    let alone: Vec<i64> = alone.flat_map(|cause| cause.mapping_ids.clone()).collect();
    if !alone.is_empty() {
        status.overview.failures = Some(db.failures(projects, &alone)?);
    }
    status.causes = Some(causes);
    Ok(())
}

/// Time by which a recorded end may be later than PostgreSQL's clock.
const CLOCKS_DIFFER: Duration = Duration::minutes(5);

/// Returns the reasons why a monitor should raise an alarm.
fn unhealthy(args: &StatusArgs, status: &Status, now: DateTime<Utc>) -> Vec<String> {
    let mut reasons = Vec::new();
    let parked = status.overview.counts.totals.parked;
    if parked > args.max_parked {
        reasons.push(format!(
            "{} parked, more than {}; see: agira-worker status --failed",
            are(parked),
            args.max_parked
        ));
    }
    let failing = status.overview.counts.failing;
    if let Some(most) = args.max_failing.filter(|most| failing > *most) {
        reasons.push(format!(
            "{} failing, more than {most}; see: agira-worker status --failed",
            are(failing)
        ));
    }
    let age = humantime::format_duration(args.max_age);
    match status.overview.synced_at {
        Some(at) if (now - at).to_std().is_ok_and(|passed| passed > args.max_age) => reasons.push(format!(
            "no sync did its work within {age}, the last one ended {}; see whether cron starts it, and what it logs",
            when(at, now)
        )),
        Some(at) if at - now > CLOCKS_DIFFER => reasons.push(format!(
            "the last sync that did its work ended {}, which is in the future: PostgreSQL's clock was ahead; see whether cron \
             starts sync, and what it logs",
            timestamp(at)
        )),
        Some(_) => {}
        None => {
            reasons.push("no sync has done its work so far; see whether cron starts it, and what it logs".to_owned())
        }
    }
    reasons
}

/// Returns a number of mappings with its verb.
fn are(count: i64) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(count.max(0).unsigned_abs(), "mapping"))
}
