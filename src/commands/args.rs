//! Arguments that several commands share. Doc comments here are the help text.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::{ArgAction, Args, ValueEnum};

use crate::core::model::{CloseReason, ItemStatus};
use crate::core::plan::Policy;

/// How to report.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// The result on stdout: for a person, or one JSON object.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub output: Format,
    /// Log lines on stderr: for a person, or one JSON object each.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub log_format: Format,
    /// No progress bar, even on a terminal.
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Log why things happen (-vv: and what is sent). RUST_LOG overrides this.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Log warnings and errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// A form of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// Which mappings.
#[derive(Debug, Args)]
pub struct Narrowed {
    /// Only mappings of items of this project; may be repeated.
    #[arg(long = "project", value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub projects: Vec<i64>,
    /// Only this mapping, due or not; may be repeated.
    #[arg(long = "mapping", value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub mappings: Vec<i64>,
}

/// How much, and whether for real.
#[derive(Debug, Args)]
pub struct Batch {
    /// At most this many mappings.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Print what would be done, and change nothing anywhere.
    #[arg(long)]
    pub dry_run: bool,
    /// Start no further request after this time, such as 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, env = "AGIRA_WORKER_TIME_BUDGET")]
    pub time_budget: std::time::Duration,
    /// Write the metrics of the run to this file, in the format of Prometheus' node_exporter; a file per command.
    #[arg(long, value_name = "PATH")]
    pub metrics_file: Option<std::path::PathBuf>,
    /// How long GitHub and Weaviate have for one answer. Longer would not fit into the grace after a signal, so only tests
    /// have a use for it.
    #[arg(long, hide = true, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub answer_timeout: std::time::Duration,
    /// Which mappings.
    #[command(flatten)]
    pub narrowed: Narrowed,
}

/// What the operator decides. Set it by environment where all runs shall agree.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Look at a healthy mapping without a reason after this time at the earliest.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "AGIRA_WORKER_RECHECK_AFTER")]
    pub recheck_after: std::time::Duration,
    /// Park a mapping after this many failed attempts.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=1000), env = "AGIRA_WORKER_MAX_ATTEMPTS")]
    pub max_attempts: i32,
    /// Item status that a closed issue does not change, besides Testing, ReadyForRelease and Closed; may be repeated.
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = PossibleValuesParser::new(ItemStatus::KNOWN), env = "AGIRA_WORKER_KEEP_STATUS")]
    pub keep_status: Vec<String>,
    /// Move items only for closings with this reason; may be repeated. Default: all.
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = PossibleValuesParser::new(close_reasons()), env = "AGIRA_WORKER_CLOSE_REASON")]
    pub close_reason: Vec<String>,
    /// Move no item for a closing before this time: a date (UTC) or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time, env = "AGIRA_WORKER_IGNORE_CLOSED_BEFORE")]
    pub ignore_closed_before: Option<DateTime<Utc>>,
    /// Replace the issue and pull request objects that Agira wrote with the item's text.
    #[arg(long, value_parser = BoolishValueParser::new(), env = "AGIRA_WORKER_REPLACE_FOREIGN")]
    pub replace_foreign: bool,
}

impl PolicyArgs {
    /// The policy as the core needs it.
    pub fn policy(&self) -> Policy {
        Policy {
            keep_status: self.keep_status.clone(),
            close_reasons: (!self.close_reason.is_empty()).then(|| self.close_reason.clone()),
            ignore_closed_before: self.ignore_closed_before,
            replace_foreign: self.replace_foreign,
            // Bounded by `duration` to a year, which fits.
            recheck_after: chrono::Duration::from_std(self.recheck_after)
                .unwrap_or(chrono::Duration::hours(24)),
            max_attempts: self.max_attempts,
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

/// A duration between one second and a year.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 90s, 5m or 24h"))?;
    let (least, most) = (1, 365 * 24 * 60 * 60);
    match duration.as_secs() {
        seconds if seconds < least => Err("it must be at least 1s".to_owned()),
        seconds if seconds > most => Err("it must be at most 365days".to_owned()),
        _ => Ok(duration),
    }
}

/// A date, which means its first moment, or a moment.
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
        assert_eq!(duration("5m"), Ok(std::time::Duration::from_secs(300)));
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
