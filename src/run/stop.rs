//! The end of a run: its clock, its time budget, signals, and errors after which it cannot go on.

use std::time::{Duration, Instant};
use std::{fmt, io};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{Db, Lease, advice, is_transient};
use crate::report::StoppedBy;
use crate::signal::Signals;

/// Time by which a lease outlasts the time budget.
const LEASE_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The claims of a run, which are renewed as long as it lives.
pub struct Claims {
    run: Uuid,
    budget: Budget,
    /// No claim was made or renewed before this time (UTC).
    renewed_at: DateTime<Utc>,
}

impl Claims {
    /// Returns the claims of a run that has none yet.
    pub fn new(run: Uuid, budget: Budget) -> Self {
        let renewed_at = budget.now();
        Self {
            run,
            budget,
            renewed_at,
        }
    }

    /// Returns the lease of claims that are made now.
    pub fn lease(&self) -> Lease {
        Lease {
            run: self.run,
            until: self.budget.lease_end(),
        }
    }

    /// Renews all claims if one of them may have less than half of its time left.
    pub fn renew(&mut self, db: &mut Db) -> anyhow::Result<()> {
        let now = self.budget.now();
        if !self.must_renew(now) {
            return Ok(());
        }
        self.renewed_at = now;
        db.renew(self.lease(), now)
    }

    fn must_renew(&self, now: DateTime<Utc>) -> bool {
        now >= self.renewed_at + self.budget.lease_time() / 2
    }
}

/// Reason why a run goes no further.
#[derive(Debug)]
pub enum Stop {
    /// A later run can succeed: exit code 75, or the signal's.
    Later(StoppedBy, String),
    /// A person has to act first: exit code 1.
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
        // A server that accepts a connection and then stays silent has no error of PostgreSQL.
        let is_silent = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
        if is_silent || cause.is_some_and(is_transient) {
            Self::Later(
                StoppedBy::Database,
                advice.unwrap_or_else(|| format!("{error:#}")),
            )
        } else {
            Self::Fatal(advice.map_or(error, anyhow::Error::msg))
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

/// The clock, the time budget and the signals of one run. The clock is PostgreSQL's time at the
/// start plus the elapsed time.
#[derive(Debug, Clone)]
pub struct Budget {
    started_at: DateTime<Utc>,
    started: Instant,
    time_budget: Duration,
    signals: Signals,
}

impl Budget {
    /// Starts the clock at `started_at` (UTC).
    pub fn start(started_at: DateTime<Utc>, time_budget: Duration, signals: Signals) -> Self {
        Self {
            started_at,
            started: Instant::now(),
            time_budget,
            signals,
        }
    }

    /// Returns the signals of this run.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Returns a budget that ends when half of the time that is left is used up: work that comes
    /// first must leave the rest to what follows.
    pub fn half(&self) -> Self {
        Self {
            time_budget: (self.started.elapsed() + self.time_budget) / 2,
            ..self.clone()
        }
    }

    /// Returns the time now (UTC).
    pub fn now(&self) -> DateTime<Utc> {
        self.started_at + self.started.elapsed()
    }

    /// Returns the end of a lease that begins now (UTC).
    pub fn lease_end(&self) -> DateTime<Utc> {
        self.now() + self.lease_time()
    }

    fn lease_time(&self) -> Duration {
        self.time_budget + LEASE_MARGIN
    }

    /// Returns the time after which no request may begin.
    pub fn deadline(&self) -> Instant {
        self.started + self.time_budget
    }

    /// Returns the reason why the run must not start further work: a signal, or a time budget that
    /// is used up.
    pub fn exhausted(&self) -> Option<StoppedBy> {
        let is_late = self.started.elapsed() >= self.time_budget;
        let signal = self.signals.caught().map(StoppedBy::Signal);
        signal.or_else(|| is_late.then_some(StoppedBy::TimeBudget))
    }

    /// Returns the stop that a caught signal demands.
    pub fn interrupted(&self) -> Option<Stop> {
        let signal = self.signals.caught()?;
        let reason = format!("stopped by {}", signal.as_str());
        Some(Stop::Later(StoppedBy::Signal(signal), reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_renewed_when_half_of_their_time_has_passed() {
        let budget = Budget::start(
            DateTime::UNIX_EPOCH,
            Duration::from_secs(100),
            Signals::default(),
        );
        let mut claims = Claims::new(Uuid::nil(), budget);
        let half = Duration::from_secs(200);
        assert!(!claims.must_renew(claims.renewed_at));
        assert!(!claims.must_renew(claims.renewed_at + half - Duration::from_secs(1)));
        assert!(claims.must_renew(claims.renewed_at + half));
        claims.renewed_at += half;
        assert!(!claims.must_renew(claims.renewed_at + half / 2));
    }
}
