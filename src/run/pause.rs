//! GitHub's pause: read before requests, stored when GitHub demands one, removed when it is over.

use anyhow::anyhow;

use super::stop::{Budget, Stop};
use crate::core::failure::{FailureKind, ServiceError};
use crate::core::pause::Pause;
use crate::core::text::timestamp;
use crate::db::{Access, Db};
use crate::github::Github;
use crate::report::StoppedBy;

/// Scope of GitHub's pauses in `worker_pause`.
pub const GITHUB: &str = "github";

/// GitHub's pause, as this run last read or stored it.
pub struct GithubPause {
    /// The last pause, which may be over.
    last: Option<Pause>,
    access: Access,
    budget: Budget,
}

impl GithubPause {
    /// Reads the stored pause.
    pub fn read(db: &mut Db, access: Access, budget: Budget) -> anyhow::Result<Self> {
        let mut pause = Self {
            last: None,
            access,
            budget,
        };
        pause.load(db)?;
        Ok(pause)
    }

    /// Reads the pause again, because another run may have reached a rate limit since.
    pub fn refresh(&mut self, db: &mut Db) -> Result<(), Stop> {
        Ok(self.load(db)?)
    }

    fn load(&mut self, db: &mut Db) -> anyhow::Result<()> {
        self.last = db.pause(GITHUB)?;
        if let Some(pause) = &mut self.last
            && pause.shorten(self.budget.now())
            && self.access == Access::ReadWrite
        {
            // Otherwise it would end two hours after every later run.
            db.shorten_pause(pause)?;
        }
        Ok(())
    }

    /// Returns the pause unless it is over.
    pub fn active(&self) -> Option<&Pause> {
        self.last
            .as_ref()
            .filter(|pause| pause.until > self.budget.now())
    }

    /// Stops the run during a pause and after a signal.
    pub fn may_ask_github(&self) -> Result<(), Stop> {
        if let Some(stop) = self.budget.interrupted() {
            return Err(stop);
        }
        match self.active() {
            Some(Pause { until, reason, .. }) => Err(Stop::Later(
                StoppedBy::RateLimit,
                format!("GitHub is not asked before {}: {reason}", timestamp(*until)),
            )),
            None => Ok(()),
        }
    }

    /// Removes a pause that is over, because GitHub has answered.
    pub fn clear(&mut self, db: &mut Db) -> Result<(), Stop> {
        if self.last.take().is_some() && self.access == Access::ReadWrite {
            db.end_pause(GITHUB, self.budget.now())?;
        }
        Ok(())
    }

    /// Turns a failure of GitHub as a whole into the stop of the run. A rate limit is stored as a
    /// pause, so that later runs respect it.
    pub fn stop_for(&mut self, db: &mut Db, github: &Github, error: ServiceError) -> Stop {
        let message = &error.message;
        match error.kind {
            FailureKind::RateLimited(wait) => self.store(db, wait, message),
            FailureKind::Interrupted => self
                .budget
                .interrupted()
                .unwrap_or_else(|| Stop::Later(StoppedBy::Github, error.to_string())),
            FailureKind::OutOfTime => Stop::Later(StoppedBy::TimeBudget, error.to_string()),
            FailureKind::Refused => {
                let (refused, check) = github.refusal();
                Stop::Fatal(anyhow!("{refused} ({message}); check {check}"))
            }
            FailureKind::Rejected => Stop::Fatal(anyhow!("GitHub: {error}; check GITHUB_API_URL")),
            FailureKind::Unavailable | FailureKind::TooHeavy => {
                Stop::Later(StoppedBy::Github, format!("GitHub: {error}"))
            }
        }
    }

    fn store(&mut self, db: &mut Db, wait: Option<u64>, message: &str) -> Stop {
        let pause =
            Pause::after_limit(GITHUB, self.last.as_ref(), wait, message, self.budget.now());
        let reason = format!(
            "GitHub's rate limit is reached; no run asks GitHub before {}: {message}",
            timestamp(pause.until)
        );
        let stored = match self.access {
            Access::ReadWrite => db.store_pause(&pause),
            Access::ReadOnly => Ok(()),
        };
        self.last = Some(pause);
        match stored {
            Ok(()) => Stop::Later(StoppedBy::RateLimit, reason),
            Err(error) => Stop::from(error.context(reason)),
        }
    }
}
