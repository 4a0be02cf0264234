//! `sync`: checks mappings that are due.

use clap::Args;

use super::args::{Batch, ClosingArgs};
use crate::db::Selection;
use crate::report::Format;
use crate::run::Job;

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    batch: Batch,
    /// Check everything again, as after Weaviate lost its index.
    ///
    /// This first makes all waiting mappings (of --project) due for a recheck.
    #[arg(long, conflicts_with_all = ["mappings", "dry_run"])]
    recheck_now: bool,
    #[command(flatten)]
    policy: ClosingArgs,
}

impl SyncArgs {
    pub fn job(&self, format: Format) -> Job {
        let is_named = self.batch.is_named();
        let selection = if is_named {
            Selection::Named
        } else {
            Selection::Due
        };
        Job {
            discovers: !is_named,
            recheck_now: self.recheck_now,
            ..self
                .batch
                .job("sync", selection, self.policy.policy(), format)
        }
    }
}
