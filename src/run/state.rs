//! The state of one run that all steps share: the handles that they may use, and the results so
//! far.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use indicatif::ProgressBar;
use uuid::Uuid;

use super::hidden::Hidden;
use super::job::Scope;
use super::last_result::LastResult;
use super::pause::GithubPause;
use super::stop::{Budget, Claims, Stop};
use super::weaviate::Index;
use crate::core::model::MappingId;
use crate::core::plan::Policy;
use crate::db::{Access, Db, Lease};
use crate::github::Github;
use crate::report::Report;

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
    pub progress: ProgressBar,
    pub last_result: LastResult,
    /// Rows that this run inserted: Weaviate cannot have objects for them.
    pub inserted: HashSet<MappingId>,
    /// Repositories that this run has read from or added to the database (`owner/name`, lower
    /// case).
    pub repositories: HashSet<String>,
    pub hidden: Hidden,
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

    /// Returns true if plans are printed and not applied.
    pub fn is_dry(&self) -> bool {
        self.access == Access::ReadOnly
    }
}
