//! `retry-failed`: `sync` over what failed.

use clap::Args;
use indicatif::ProgressBar;

use super::args::{Batch, Output, PolicyArgs};
use super::report::Report;
use super::run::{Job, Start, carry_out};
use super::slice::Scope;
use crate::db::Selection;

/// Arguments of `retry-failed`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// How much.
    #[command(flatten)]
    pub batch: Batch,
    /// What the operator decides.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `retry-failed`.
pub fn retry_failed(
    args: &RetryArgs,
    output: &Output,
    start: anyhow::Result<Start>,
    progress: ProgressBar,
) -> Report {
    let job = Job {
        name: "retry-failed",
        batch: &args.batch,
        policy: args.policy.policy(),
        selection: Selection::Failed,
        scope: Scope::Everything,
        discovers: false,
        recheck_now: false,
    };
    carry_out(&job, output, start, progress)
}
