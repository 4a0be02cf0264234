//! `retry-failed`: `sync` for mappings that failed.

use clap::Args;

use super::args::{Batch, ClosingArgs};
use crate::db::Selection;
use crate::report::Format;
use crate::run::Job;

/// Arguments of `retry-failed`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    policy: ClosingArgs,
}

impl RetryArgs {
    pub fn job(&self, format: Format) -> Job {
        self.batch.job(
            "retry-failed",
            Selection::Failed,
            self.policy.policy(),
            format,
        )
    }
}
