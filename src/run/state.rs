//! The state of one run that all steps share: the handles that they may use, and the results so
//! far.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::hidden::Hidden;
use super::job::Scope;
use super::last_result::LastResult;
use super::pause::GithubPause;
use super::stop::{Budget, Claims, Stop};
use super::weaviate::Index;
use crate::core::model::MappingId;
use crate::core::plan::Policy;
use crate::core::text::timestamp;
use crate::db::{Access, Db, Lease, MappingFilter, Pause};
use crate::github::Github;
use crate::report::{Progress, Report, StoppedBy};

/// One run.
pub struct Run {
    /// Id of the run: its claims and its record carry it.
    pub id: Uuid,
    pub claims: Claims,
    pub db: Db,
    pub github: Github,
    pub index: Index,
    pub pause: GithubPause,
    pub budget: Budget,
    pub policy: Policy,
    pub scope: Scope,
    pub access: Access,
    pub report: Report,
    pub progress: Progress,
    pub last_result: LastResult,
    /// Rows that this run inserted: Weaviate cannot have objects for them.
    pub inserted: HashSet<MappingId>,
    /// Repositories that this run has read from or added to the database (`owner/name`, lower
    /// case).
    pub repositories: HashSet<String>,
    pub hidden: Hidden,
    /// A person named mappings that take up whatever id GitHub shows now.
    pub accepts_ids: bool,
}

impl Run {
    /// Returns the time now (UTC).
    pub fn now(&self) -> DateTime<Utc> {
        self.budget.now()
    }

    /// Lets the services be asked until `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.github.set_deadline(deadline);
        self.index.set_deadline(deadline);
    }

    /// Returns the lease of claims that are made now.
    pub fn lease(&self) -> Lease {
        self.claims.lease()
    }

    /// Renews the claims of this run in time.
    pub fn renew_claims(&mut self) -> Result<(), Stop> {
        Ok(self.claims.renew(&mut self.db)?)
    }

    /// Reads GitHub's pauses again and respects them: one of all credentials ends the run.
    pub fn refresh_pauses(&mut self) -> Result<(), Stop> {
        self.pause.refresh(&mut self.db)?;
        self.respect_pauses()
    }

    /// Respects the pauses and reports them, unless mappings are named: then their lines say it.
    pub fn announce_pauses(&mut self, filter: &MappingFilter) -> Result<(), Stop> {
        self.respect_pauses()?;
        let paused = self
            .pause
            .of_installations()
            .filter(|_| filter.mappings.is_empty());
        let reasons: Vec<String> = paused
            .map(|(key, Pause { until, reason, .. })| {
                let until = timestamp(*until);
                format!("GitHub is not asked about repositories of {key} before {until}: {reason}")
            })
            .collect();
        reasons
            .iter()
            .for_each(|reason| self.leave_to_later(reason));
        Ok(())
    }

    /// Leaves out the installations that GitHub must not be asked for. A pause of all credentials,
    /// or a signal, ends the run.
    pub fn respect_pauses(&mut self) -> Result<(), Stop> {
        self.pause.may_ask_github()?;
        for (key, _) in self.pause.of_installations() {
            self.github.leave_out(key);
        }
        Ok(())
    }

    /// Stores the limits of installations that GitHub reported since the last call.
    pub fn store_limits(&mut self) -> Result<(), Stop> {
        for (key, error) in self.github.take_limits() {
            let stop = self.pause.stop_installation(&mut self.db, &key, &error);
            let Stop::Later(StoppedBy::RateLimit, reason) = stop else {
                return Err(stop);
            };
            self.leave_to_later(&reason);
        }
        Ok(())
    }

    /// Reports that something is left to a run after a pause.
    pub fn leave_to_later(&mut self, reason: &str) {
        self.report.stop_and_warn(StoppedBy::RateLimit, reason);
    }

    /// Returns true if plans are printed and not applied.
    pub fn is_dry(&self) -> bool {
        self.access == Access::ReadOnly
    }
}
