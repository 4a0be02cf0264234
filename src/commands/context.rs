//! What the steps of a run share: the handles that they may use, and how a run can end early.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::report::Report;
use crate::core::model::MappingId;
use crate::core::plan::Policy;
use crate::core::records::Records;
use crate::db::{Access, Db, Lease, Pause, advice, is_transient};
use crate::github::Github;
use crate::http::ServiceError;
use crate::signal::{Signal, Signals};
use crate::weaviate::Weaviate;

/// The scope of GitHub's pauses in `worker_pause`.
pub const GITHUB: &str = "github";
/// A pause for which GitHub names no end; doubled each time in a row (design, section 5).
const UNNAMED_PAUSE: Duration = Duration::from_secs(60);
/// No pause is longer unless GitHub says so: its budgets are filled up every hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long after its time budget a run is believed to be alive.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Whether the plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Carry it out.
    Apply,
    /// Print it (`--dry-run`).
    Preview,
}

/// One clock for a whole run: PostgreSQL's at its start, and the time that has passed since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: DateTime<Utc>,
    started: Instant,
}

impl Clock {
    /// A clock that shows `started_at` (UTC) now.
    pub fn starting_at(started_at: DateTime<Utc>) -> Self {
        Self {
            started_at,
            started: Instant::now(),
        }
    }

    /// The time now (UTC).
    pub fn now(&self) -> DateTime<Utc> {
        self.started_at + self.elapsed()
    }

    /// The time since the run started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What ended a run early; the names are those of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// `--limit`; what is left stays due.
    Limit,
    /// `--time-budget`; what is left stays due.
    TimeBudget,
    /// GitHub wants us to wait.
    RateLimit,
    /// GitHub is not reachable.
    Github,
    /// Weaviate is not reachable; what it did not get waits.
    Weaviate,
    /// PostgreSQL is not reachable any more, or somebody holds what this run needs.
    Database,
    /// Somebody wants this process to end.
    Signal(Signal),
}

impl StoppedBy {
    /// The name in the JSON report.
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
}

impl Serialize for StoppedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a run goes no further.
#[derive(Debug)]
pub enum Stop {
    /// Another run will do better: exit 75, or the signal's.
    Later(StoppedBy, String),
    /// A person has to do something first: exit 1.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        let cause = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<postgres::Error>());
        let advice = cause
            .and_then(advice)
            .map(|advice| format!("{error:#}; {advice}"));
        if cause.is_some_and(is_transient) {
            Self::Later(
                StoppedBy::Database,
                advice.unwrap_or_else(|| format!("{error:#}")),
            )
        } else {
            Self::Fatal(advice.map_or(error, |said| anyhow::anyhow!(said)))
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(_, reason) => out.write_str(reason),
            Self::Fatal(error) => write!(out, "{error:#}"),
        }
    }
}

/// Whether Weaviate can be written to, as far as this run knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeaviateState {
    /// Not asked yet.
    Unknown,
    /// The class fits.
    Ready,
    /// There is no class, and a dry run does not create it.
    ClassMissing,
    /// It does not answer, or refuses us. What it does not get waits in the outboxes.
    Down,
}

/// The handles that the steps of a run may use.
pub struct Context {
    /// PostgreSQL.
    pub db: Db,
    /// GitHub.
    pub github: Github,
    /// Weaviate.
    pub weaviate: Weaviate,
    /// Whether Weaviate can be written to.
    pub weaviate_state: WeaviateState,
    /// What the operator decides.
    pub policy: Policy,
    /// The time.
    pub clock: Clock,
    /// Whether somebody wants this process to end.
    pub signals: Signals,
    /// Whether plans are carried out.
    pub mode: Mode,
    /// This run's id: its claims and its record carry it.
    pub run: Uuid,
    /// How long this run may start new requests.
    pub time_budget: Duration,
    /// GitHub's pause as last read, over or not.
    pub pause: Option<Pause>,
    /// What the run has done so far.
    pub report: Report,
    /// The bar on a terminal.
    pub progress: ProgressBar,
    /// In a dry run: what earlier slices' plans change.
    pub carried: Records,
    /// In a dry run: the mappings that would be made due.
    pub marked: Vec<i64>,
    /// Mappings that this run gave back; the next run may have better luck with them.
    pub given_back: Vec<i64>,
    /// Rows that this run inserted: nobody can have written their objects.
    pub inserted: HashSet<MappingId>,
    /// Repositories that are polled, as far as this run knows.
    pub repositories: HashSet<String>,
    /// One mapping was named: show everything about it.
    pub explain: bool,
}

impl Context {
    /// The time now (UTC).
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// What this run's claims look like if they are made now.
    pub fn hold(&self) -> Lease {
        Lease {
            run: self.run,
            until: self.now() + self.time_budget + GRACE,
        }
    }

    /// How single reads are made.
    pub fn access(&self) -> Access {
        match self.mode {
            Mode::Apply => Access::ReadWrite,
            Mode::Preview => Access::ReadOnly,
        }
    }

    /// What keeps this run from starting anything more: a signal, or a time budget that is used up.
    pub fn over(&self) -> Option<StoppedBy> {
        let is_late = self.clock.elapsed() >= self.time_budget;
        self.signals
            .caught()
            .map(StoppedBy::Signal)
            .or_else(|| is_late.then_some(StoppedBy::TimeBudget))
    }

    /// Reads the pause anew: another run may have met a limit since.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn read_pause(&mut self) -> Result<(), Stop> {
        self.pause = self.db.pause(self.access(), GITHUB)?;
        Ok(())
    }

    /// Whether GitHub may be asked now.
    ///
    /// # Errors
    /// While a pause lasts, and after a signal.
    pub fn may_ask_github(&self) -> Result<(), Stop> {
        if let Some(signal) = self.signals.caught() {
            return Err(stopped(signal));
        }
        match &self.pause {
            Some(pause) if pause.until > self.now() => Err(Stop::Later(
                StoppedBy::RateLimit,
                format!(
                    "GitHub is not asked before {}: {}",
                    crate::core::plan::time(pause.until),
                    pause.reason
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What GitHub's failure means for the run; a rate limit is stored, so that it outlives this process.
    pub fn github_failed(&mut self, error: ServiceError) -> Stop {
        match error {
            ServiceError::RateLimited { wait, reason } => {
                let in_a_row = self.pause.as_ref().map_or(0, |pause| pause.count);
                let unnamed = || UNNAMED_PAUSE * 2_u32.pow(in_a_row.clamp(0, 10).unsigned_abs());
                let delay = wait.unwrap_or_else(|| unnamed().min(LONGEST_PAUSE));
                let count = if wait.is_some() { 0 } else { in_a_row + 1 };
                let pause = Pause {
                    scope: GITHUB.to_owned(),
                    until: self.now() + delay,
                    reason,
                    count,
                };
                let said = format!(
                    "GitHub's rate limit is reached; no run asks GitHub before {}: {}",
                    crate::core::plan::time(pause.until),
                    pause.reason
                );
                let stored = if self.mode == Mode::Apply {
                    self.db.store_pause(&pause)
                } else {
                    Ok(())
                };
                self.pause = Some(pause);
                match stored {
                    Ok(()) => Stop::Later(StoppedBy::RateLimit, said),
                    Err(error) => Stop::from(error.context(said)),
                }
            }
            ServiceError::Interrupted(signal) => stopped(signal),
            ServiceError::Refused(reason) => {
                let (refused, check) = self.github.login();
                Stop::Fatal(anyhow::anyhow!("{refused} ({reason}); check {check}"))
            }
            ServiceError::Rejected { .. } => {
                Stop::Fatal(anyhow::anyhow!("GitHub: {error}; check GITHUB_API_URL"))
            }
            error => Stop::Later(StoppedBy::Github, format!("GitHub: {error}")),
        }
    }

    /// GitHub has answered: a pause that is over is forgotten.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn github_answered(&mut self) -> Result<(), Stop> {
        if self.pause.take().is_some() && self.mode == Mode::Apply {
            self.db.end_pause(GITHUB, self.clock.now())?;
        }
        Ok(())
    }

    /// Weaviate's failure stops nothing but Weaviate: the rest goes on, and what waits is delivered later.
    pub fn weaviate_failed(&mut self, error: &ServiceError) {
        self.weaviate_state = WeaviateState::Down;
        match error {
            ServiceError::Refused(_) | ServiceError::Rejected { .. } => {
                let error = format!(
                    "Weaviate: {error}; check WEAVIATE_URL, WEAVIATE_API_KEY and what the key may do"
                );
                log::error!("{error}; objects wait in the outboxes");
                self.report.fatal(error);
            }
            ServiceError::Interrupted(signal) => self
                .report
                .stopped(StoppedBy::Signal(*signal), error.to_string()),
            error => {
                let error = format!("Weaviate: {error}");
                log::warn!("{error}; objects wait in the outboxes");
                self.report.stopped(StoppedBy::Weaviate, error);
            }
        }
    }
}

fn stopped(signal: Signal) -> Stop {
    Stop::Later(
        StoppedBy::Signal(signal),
        ServiceError::Interrupted(signal).to_string(),
    )
}
