//! The description of a run: its mappings, their number, and the part of the plans to apply.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use crate::config::Settings;
use crate::core::plan::Policy;
use crate::db::{Access, MappingFilter, Selection};
use crate::http::Timeouts;
use crate::report::Format;
use crate::signal::Signals;

/// Environment of a run: the settings, the signals that may end it, and its id.
pub type Start = (Settings, Signals, Uuid);

/// Part of the plans that a command applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All actions.
    Everything,
    /// Writes to Weaviate only; `sync` owns items, links, due times and attempts.
    WeaviateOnly,
}

/// One run of `sync`, `push-weaviate` or `retry-failed`.
pub struct Job {
    pub command: &'static str,
    pub filter: MappingFilter,
    /// Maximum number of mappings.
    pub limit: usize,
    pub policy: Policy,
    pub scope: Scope,
    /// The run polls repositories for changes first.
    pub discovers: bool,
    /// The run first sets the recheck time of all waiting mappings to now.
    pub recheck_now: bool,
    /// The run prints its plans and changes nothing anywhere.
    pub dry_run: bool,
    pub time_budget: Duration,
    pub timeouts: Timeouts,
    pub metrics_file: Option<PathBuf>,
    pub format: Format,
}

impl Job {
    /// Returns true if a person named the mappings.
    pub fn is_named(&self) -> bool {
        !self.filter.mappings.is_empty()
    }

    /// Returns true if a person retries mappings by name, and so accepts what GitHub shows of them.
    pub fn accepts_ids(&self) -> bool {
        self.filter.selection == Selection::Failed && self.is_named()
    }

    /// Returns the access to PostgreSQL: a dry run must not write.
    pub fn access(&self) -> Access {
        if self.dry_run {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        }
    }
}
