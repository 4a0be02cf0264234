//! Arguments that several commands share. Doc comments here are the help text.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::{ArgAction, Args};

use crate::core::model::{CloseReason, ItemStatus};
use crate::core::plan::Policy;
use crate::db::{MappingFilter, Selection};
use crate::http::Timeouts;
use crate::report::Format;
use crate::run::{Job, Scope};

/// Default of `--recheck-after`.
const RECHECK_AFTER: &str = "24h";
const RECHECKED_AFTER: chrono::Duration = chrono::Duration::hours(24);

/// Options for the output, which all commands have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Form of the result: text or json.
    ///
    /// With json, stdout has exactly one JSON object, with every exit code except 2.
    #[arg(
        long,
        value_enum,
        default_value_t,
        global = true,
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub output: Format,
    /// Form of the log lines on stderr: text, or json with one object in each line.
    #[arg(
        long,
        value_enum,
        default_value_t,
        global = true,
        value_name = "FORM",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub log_format: Format,
    /// Show no progress bar, even on a terminal.
    #[arg(long, global = true, hide_short_help = true)]
    pub no_progress: bool,
    /// Log the reason of each decision; -vv: also each request.
    ///
    /// RUST_LOG overrides this.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log only warnings and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Projects and mappings to which a command is restricted.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only this mapping, due or not; may be repeated.
    ///
    /// The id is that of a row of core_externalissuemapping: `mapping=ID` in the log.
    #[arg(long = "mapping", value_name = "ID", value_parser = mapping_id)]
    pub(super) mappings: Vec<i64>,
    /// Only mappings of this project's items; may be repeated.
    #[arg(long = "project", value_name = "ID", value_parser = project_id)]
    pub(super) projects: Vec<i64>,
}

/// Options of one batch.
#[derive(Debug, Args)]
pub struct Batch {
    /// Print what a run would do, and change nothing anywhere.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Process at most this many mappings.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
    pub(super) limit: u32,
    /// Write the metrics of the run to this file, in the format of Prometheus' node_exporter. Use
    /// one file per command.
    #[arg(
        long,
        value_name = "PATH",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(super) metrics_file: Option<PathBuf>,
    /// Start no further request after this time, such as 90s or 5m (1s to 1h).
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = time_budget, env = "AGIRA_WORKER_TIME_BUDGET", hide_env_values = true, hide_short_help = true, help_heading = "Time and network")]
    pub(super) time_budget: Duration,
    /// Wait at most this long for one response of GitHub or Weaviate (1s to 60s).
    ///
    /// A run that gets a signal still waits for the response that it asked for. Keep this below the
    /// time that your scheduler gives a process to end.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = request_timeout, hide_short_help = true, help_heading = "Time and network")]
    pub(super) request_timeout: Duration,
}

/// Policy flags of every run. Set them in the environment if all runs have to agree.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Stop retrying a mapping (park it) after this many failed attempts.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = max_attempts, env = "AGIRA_WORKER_MAX_ATTEMPTS", hide_env_values = true, hide_short_help = true)]
    pub(super) max_attempts: i32,
    /// Replace the issue and pull request objects in Weaviate that Agira filled with the item's
    /// text.
    #[arg(long, value_parser = BoolishValueParser::new(), env = "AGIRA_WORKER_REPLACE_FOREIGN", hide_env_values = true, hide_short_help = true)]
    pub(super) replace_foreign: bool,
}

/// Policy flags of runs that apply whole plans.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy")]
pub struct ClosingArgs {
    #[command(flatten)]
    pub(super) every: PolicyArgs,
    /// Check a healthy mapping again after this time, or up to half as much later, even without a
    /// change.
    #[arg(long, value_name = "DURATION", default_value = RECHECK_AFTER, value_parser = duration, env = "AGIRA_WORKER_RECHECK_AFTER", hide_env_values = true, hide_short_help = true)]
    pub(super) recheck_after: Duration,
    /// Keep items in this status when their issue is closed; may be repeated. Testing,
    /// ReadyForRelease and Closed are always kept.
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = PossibleValuesParser::new(ItemStatus::ALL), env = "AGIRA_WORKER_KEEP_STATUS", hide_env_values = true, hide_short_help = true)]
    pub(super) keep_status: Vec<String>,
    /// Move items only if the issue was closed with this reason; may be repeated. Default: all
    /// reasons.
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = PossibleValuesParser::new(close_reasons()), env = "AGIRA_WORKER_CLOSE_REASON", hide_env_values = true, hide_short_help = true)]
    pub(super) close_reason: Vec<String>,
    /// Move no item whose issue was closed before this time: a date (UTC), or a time in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time, env = "AGIRA_WORKER_IGNORE_CLOSED_BEFORE", hide_env_values = true, hide_short_help = true)]
    pub(super) ignore_closed_before: Option<DateTime<Utc>>,
}

impl Batch {
    /// Returns true if `--mapping` names mappings.
    pub(super) fn is_named(&self) -> bool {
        !self.filter.mappings.is_empty()
    }

    /// Returns a job that applies whole plans and does not discover changes.
    pub(super) fn job(
        &self,
        command: &'static str,
        selection: Selection,
        policy: Policy,
        format: Format,
    ) -> Job {
        Job {
            command,
            filter: MappingFilter {
                selection,
                projects: self.filter.projects.clone(),
                mappings: self.filter.mappings.clone(),
                excluded: Vec::new(),
            },
            limit: self.limit as usize,
            policy,
            scope: Scope::Everything,
            discovers: false,
            recheck_now: false,
            dry_run: self.dry_run,
            time_budget: self.time_budget,
            timeouts: Timeouts {
                answer: self.request_timeout,
                ..Timeouts::default()
            },
            metrics_file: self.metrics_file.clone(),
            format,
        }
    }
}

impl PolicyArgs {
    /// Returns the policy for the core, whose other parts say nothing.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            keep_status: Vec::new(),
            close_reasons: None,
            ignore_closed_before: None,
            replace_foreign: self.replace_foreign,
            recheck_after: RECHECKED_AFTER,
            max_attempts: self.max_attempts,
        }
    }
}

impl ClosingArgs {
    /// Returns the policy for the core.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            keep_status: self.keep_status.clone(),
            close_reasons: (!self.close_reason.is_empty()).then(|| self.close_reason.clone()),
            ignore_closed_before: self.ignore_closed_before,
            // `duration` allows at most a year, so that the fallback is never used.
            recheck_after: chrono::Duration::from_std(self.recheck_after)
                .unwrap_or(RECHECKED_AFTER),
            ..self.every.policy()
        }
    }
}

fn close_reasons() -> [&'static str; 3] {
    [
        CloseReason::Completed,
        CloseReason::NotPlanned,
        CloseReason::Duplicate,
    ]
    .map(CloseReason::as_str)
}

fn mapping_id(text: &str) -> Result<i64, String> {
    id(
        text,
        "mapping",
        "`mapping=42` in the log names it, and so does `agira-worker status --failed`",
    )
}

fn project_id(text: &str) -> Result<i64, String> {
    id(text, "project", "the address of its page in Agira has it")
}

/// Parses the id of a row; `place` says where a person finds it.
fn id(text: &str, of: &str, place: &str) -> Result<i64, String> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| format!("the id of a {of} is a whole number such as 42; {place}"))
}

fn limit(text: &str) -> Result<u32, String> {
    whole(text, 1, 100_000)
}

fn max_attempts(text: &str) -> Result<i32, String> {
    whole(text, 1, 1000)
}

/// Parses a number of mappings that `status --check` tolerates.
pub(super) fn tolerated(text: &str) -> Result<i64, String> {
    whole(text, 0, 1_000_000_000)
}

/// Parses a whole number from `least` to `most`.
fn whole<T>(text: &str, least: u8, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + From<u8> + Display,
{
    let number = text.parse().ok();
    let number = number.filter(|number| *number >= T::from(least) && *number <= most);
    number.ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
}

/// Parses a duration from 1 second to 365 days.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    bounded(text, 365 * 24 * 60 * 60, "from 1s to 365days, such as 24h")
}

/// Reads a time budget; it also bounds how long the claims of a run that died stay.
fn time_budget(text: &str) -> Result<Duration, String> {
    bounded(text, 60 * 60, "from 1s to 1h, such as 5m")
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    bounded(text, 60, "from 1s to 60s, such as 15s")
}

/// Parses a duration from one second to `most` seconds; `range` says that to a person.
fn bounded(text: &str, most: u64, range: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    let duration = duration.filter(|duration| (1..=most).contains(&duration.as_secs()));
    duration.ok_or_else(|| format!("it must be a time {range}"))
}

/// Parses a time, or a date, which means its first moment in UTC.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "write it like 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_bounded() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(request_timeout("60s"), Ok(Duration::from_secs(60)));
        assert!(request_timeout("61s").is_err());
        assert_eq!(time_budget("1h"), Ok(Duration::from_secs(3600)));
        assert!(time_budget("61m").is_err());
        for bad in ["", "5", "0s", "2years", "-1h", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_date_means_its_first_moment() {
        assert_eq!(
            time("2026-01-31"),
            Ok("2026-01-31T00:00:00Z".parse().unwrap())
        );
        assert_eq!(
            time("2026-01-31T12:00:00+02:00"),
            Ok("2026-01-31T10:00:00Z".parse().unwrap())
        );
        assert!(time("yesterday").is_err());
    }
}
