//! The arguments and the result of `status`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::commands::args::{FilterArgs, duration, tolerated};
use crate::core::pause::Pause;
use crate::db::{Cause, Overview};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Show only the mappings that failed.
    #[arg(long)]
    pub(super) failed: bool,
    /// Ask all three services for login, rights and limits.
    ///
    /// It changes nothing, and shows the error of a service that does not answer. Run it first after you set the variables.
    #[arg(long, conflicts_with_all = ["mappings", "projects", "failed", "check"])]
    pub(super) services: bool,
    /// Exit with code 4 if a person should look.
    ///
    /// A person should if too many mappings are parked or fail, or if no sync did its work lately.
    #[arg(long)]
    pub(super) check: bool,
    /// With --check: require a sync that did its work within this time.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, requires = "check", hide_short_help = true)]
    pub(super) max_age: Duration,
    /// With --check: tolerate this many parked mappings.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = tolerated, requires = "check", hide_short_help = true)]
    pub(super) max_parked: i64,
    /// With --check: tolerate this many mappings that fail without being parked. Default: any
    /// number, because they are tried again.
    #[arg(long, value_name = "N", value_parser = tolerated, requires = "check", hide_short_help = true)]
    pub(super) max_failing: Option<i64>,
}

impl StatusArgs {
    /// Returns true if the services are asked instead of the tables.
    pub fn asks_services(&self) -> bool {
        self.services
    }
}

/// The result of `status`. Field names are stable: scripts depend on them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Status {
    pub schema_version: u32,
    pub command: &'static str,
    /// Time of the answer (UTC).
    #[serde(skip)]
    pub now: DateTime<Utc>,
    pub exit_code: u8,
    pub error: Option<String>,
    #[serde(flatten)]
    pub overview: Overview,
    /// Failures grouped by their cause, for a text.
    #[serde(skip)]
    pub causes: Option<Vec<Cause>>,
    /// The pause of GitHub that ends last.
    pub pause: Option<Pause>,
    /// All pauses of GitHub that are not over; a GitHub App has one for each installation.
    pub github_pauses: Vec<Pause>,
    /// Pause that Weaviate demanded and that is not over.
    pub weaviate_pause: Option<Pause>,
    /// Reasons of `--check` to raise an alarm; empty if all is well, null without `--check`.
    pub unhealthy: Option<Vec<String>>,
}

impl Status {
    /// Returns an empty status.
    pub(super) fn new() -> Self {
        Self {
            schema_version: 1,
            command: "status",
            ..Self::default()
        }
    }
}
