//! `push-weaviate`: the part of `sync` that concerns Weaviate.

use clap::Args;
use indicatif::ProgressBar;

use super::args::{Batch, Output, PolicyArgs};
use super::report::Report;
use super::run::{Job, Start, carry_out};
use super::slice::Scope;
use crate::db::Selection;

/// Arguments of `push-weaviate`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// How much.
    #[command(flatten)]
    pub batch: Batch,
    /// What the operator decides.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// `push-weaviate`.
pub fn push_weaviate(
    args: &PushArgs,
    output: &Output,
    start: anyhow::Result<Start>,
    progress: ProgressBar,
) -> Report {
    let named = !args.batch.narrowed.mappings.is_empty();
    let job = Job {
        name: "push-weaviate",
        batch: &args.batch,
        policy: args.policy.policy(),
        selection: if named {
            Selection::Named
        } else {
            Selection::NeverPushed
        },
        scope: Scope::WeaviateOnly,
        discovers: false,
        recheck_now: false,
    };
    carry_out(&job, output, start, progress)
}
