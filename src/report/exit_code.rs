//! Exit codes, and the reasons that end a run early.

use serde::{Serialize, Serializer};

use crate::signal::Signal;

/// All exit codes with their meaning. If several apply, the first in the table of design.md counts
/// ("Command line and output").
#[rustfmt::skip]
pub const EXIT_CODES: [(u8, &str); 10] = [
    (DONE, "done, or nothing to do; mappings beyond the limit or the time budget stay due"),
    (CANNOT_RUN, "cannot run: configuration, database, schema or credentials; a person has to act"),
    (2, "usage: unknown flag or value"),
    (SOME_FAILED, "done, but some mappings failed; they wait for their retry or are parked"),
    (UNHEALTHY, "`status --check` only: too many mappings are parked or fail, or no recent sync did its work"),
    (CRASHED, "a bug stopped the run: report the last line of the log; nothing is lost, and the next run goes on"),
    (TRY_LATER, "try later: rate limit, too little time to poll, or GitHub, Weaviate or PostgreSQL is down; nothing is lost"),
    (129, "stopped by SIGHUP: the rest was released; a second signal stops at once"),
    (130, "the same by SIGINT"),
    (143, "the same by SIGTERM"),
];

pub(super) const DONE: u8 = 0;
/// Exit code of a run that needs a person to act.
pub const CANNOT_RUN: u8 = 1;
/// Exit code of a command of which a part failed.
pub const SOME_FAILED: u8 = 3;
/// Exit code of `status --check` if a person should act.
pub const UNHEALTHY: u8 = 4;
/// Exit code of a process that panicked (`EX_SOFTWARE` of sysexits.h).
pub const CRASHED: u8 = 70;
/// Exit code of a command that a later one can complete (`EX_TEMPFAIL` of sysexits.h).
pub const TRY_LATER: u8 = 75;

/// Reason that ended a run early; the names are those of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// `--limit` was reached; the rest stays due.
    Limit,
    /// `--time-budget` was used up; the rest stays due.
    TimeBudget,
    /// GitHub demanded a pause.
    RateLimit,
    /// GitHub is not reachable.
    Github,
    /// Weaviate is not reachable; its objects wait in the outboxes.
    Weaviate,
    /// PostgreSQL is not reachable, or another session holds rows that this run needs.
    Database,
    /// A signal asked this process to end.
    Signal(Signal),
}

/// Weight of a reason: a stronger one replaces a weaker one in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Bound,
    Outage,
    Signal,
}

impl StoppedBy {
    /// Returns the name in the JSON report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::TimeBudget => "time_budget",
            Self::RateLimit => "rate_limit",
            Self::Github => "github",
            Self::Weaviate => "weaviate",
            Self::Database => "database",
            Self::Signal(_) => "signal",
        }
    }

    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Limit | Self::TimeBudget => Severity::Bound,
            Self::RateLimit | Self::Github | Self::Weaviate | Self::Database => Severity::Outage,
            Self::Signal(_) => Severity::Signal,
        }
    }
}

impl Serialize for StoppedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
