//! `sync`: looks at what is due.

use clap::Args;
use indicatif::ProgressBar;

use super::args::{Batch, Output, PolicyArgs};
use super::report::Report;
use super::run::{Job, Start, carry_out};
use super::slice::Scope;
use crate::db::Selection;

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// How much.
    #[command(flatten)]
    pub batch: Batch,
    /// First make all waiting mappings (all of --project) due for a recheck, such as after Weaviate lost its index.
    #[arg(long, conflicts_with = "mappings")]
    pub recheck_now: bool,
    /// What the operator decides.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `sync`.
pub fn sync(
    args: &SyncArgs,
    output: &Output,
    start: anyhow::Result<Start>,
    progress: ProgressBar,
) -> Report {
    let named = !args.batch.narrowed.mappings.is_empty();
    let recheck_all = args.recheck_now && args.batch.dry_run;
    let job = Job {
        name: "sync",
        batch: &args.batch,
        policy: args.policy.policy(),
        selection: if named {
            Selection::Named
        } else {
            Selection::Due { recheck_all }
        },
        scope: Scope::Everything,
        discovers: !named,
        recheck_now: args.recheck_now,
    };
    carry_out(&job, output, start, progress)
}
