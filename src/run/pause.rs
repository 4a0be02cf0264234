//! GitHub's pauses: read before requests, stored when GitHub demands one, removed when they are
//! over. A GitHub App has one for each installation.

use std::collections::BTreeMap;

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

/// GitHub's pauses, as this run last read or stored them.
pub struct GithubPause {
    /// The last pause of each scope, which may be over.
    last: BTreeMap<String, Pause>,
    access: Access,
    budget: Budget,
}

impl GithubPause {
    /// Reads the stored pauses.
    pub fn read(db: &mut Db, access: Access, budget: Budget) -> anyhow::Result<Self> {
        let mut pause = Self {
            last: BTreeMap::new(),
            access,
            budget,
        };
        pause.load(db)?;
        Ok(pause)
    }

    /// Reads the pauses again, because another run may have reached a rate limit since.
    pub fn refresh(&mut self, db: &mut Db) -> Result<(), Stop> {
        Ok(self.load(db)?)
    }

    fn load(&mut self, db: &mut Db) -> anyhow::Result<()> {
        self.last.clear();
        for mut pause in db.pauses(GITHUB)? {
            if pause.shorten(self.budget.now()) && self.access == Access::ReadWrite {
                // Otherwise it would end two hours after every later run.
                db.shorten_pause(&pause)?;
            }
            self.last.insert(pause.scope.clone(), pause);
        }
        Ok(())
    }

    /// Returns the pauses that are not over.
    fn all_active(&self) -> impl Iterator<Item = &Pause> {
        let now = self.budget.now();
        self.last.values().filter(move |pause| pause.until > now)
    }

    /// Returns the pause that ends last, unless all are over.
    pub fn active(&self) -> Option<&Pause> {
        self.all_active().max_by_key(|pause| pause.until)
    }

    /// Returns the pauses of single installations that are not over, by their keys
    /// ([`Github::batch_key`]).
    pub fn of_installations(&self) -> impl Iterator<Item = (&str, &Pause)> {
        let pauses = self.all_active();
        pauses
            .filter_map(|pause| Some((pause.scope.strip_prefix(GITHUB)?.strip_prefix(':')?, pause)))
    }

    /// Stops the run during a pause and after a signal.
    pub fn may_ask_github(&self) -> Result<(), Stop> {
        if let Some(stop) = self.budget.interrupted() {
            return Err(stop);
        }
        match self.all_active().find(|pause| pause.scope == GITHUB) {
            Some(Pause { until, reason, .. }) => Err(Stop::Later(
                StoppedBy::RateLimit,
                format!("GitHub is not asked before {}: {reason}", timestamp(*until)),
            )),
            None => Ok(()),
        }
    }

    /// Removes the pauses of these keys that are over, because GitHub has answered.
    pub fn clear(
        &mut self,
        db: &mut Db,
        keys: impl IntoIterator<Item = String>,
    ) -> Result<(), Stop> {
        let scopes = keys.into_iter().flat_map(|key| [scope(&key), scope("")]);
        for scope in scopes {
            if self.last.remove(&scope).is_some() && self.access == Access::ReadWrite {
                db.end_pause(&scope, self.budget.now())?;
            }
        }
        Ok(())
    }

    /// Turns a failure of GitHub as a whole into the stop of the run. A rate limit is stored as a
    /// pause, so that later runs respect it.
    pub fn stop_for(&mut self, db: &mut Db, github: &Github, error: ServiceError) -> Stop {
        let message = &error.message;
        match error.kind {
            FailureKind::RateLimited(wait) => self.store(db, "", wait, message),
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
            FailureKind::Unknown => Stop::Fatal(anyhow!("GitHub: {error}")),
            FailureKind::Unavailable | FailureKind::TooHeavy => {
                Stop::Later(StoppedBy::Github, format!("GitHub: {error}"))
            }
        }
    }

    /// Stores the pause of one installation, so that later runs respect it.
    pub fn stop_installation(&mut self, db: &mut Db, key: &str, error: &ServiceError) -> Stop {
        let wait = match error.kind {
            FailureKind::RateLimited(wait) => wait,
            _ => None,
        };
        self.store(db, key, wait, &error.message)
    }

    fn store(&mut self, db: &mut Db, key: &str, wait: Option<u64>, message: &str) -> Stop {
        let (scope, now) = (scope(key), self.budget.now());
        let pause = Pause::after_limit(&scope, self.last.get(&scope), wait, message, now);
        let about = match key {
            "" => String::new(),
            key => format!(" about repositories of {key}"),
        };
        let reason = format!(
            "GitHub's rate limit is reached; no run asks GitHub{about} before {}: {message}",
            timestamp(pause.until)
        );
        let stored = match self.access {
            Access::ReadWrite => db.store_pause(&pause),
            Access::ReadOnly => Ok(()),
        };
        self.last.insert(scope, pause);
        match stored {
            Ok(()) => Stop::Later(StoppedBy::RateLimit, reason),
            Err(error) => Stop::from(error.context(reason)),
        }
    }
}

/// Returns the scope of a key ([`Github::batch_key`]), which is empty if one limit holds for all.
fn scope(key: &str) -> String {
    match key {
        "" => GITHUB.to_owned(),
        key => format!("{GITHUB}:{key}"),
    }
}
