//! `push-weaviate`: the part of `sync` that concerns Weaviate.

use clap::Args;

use super::args::{Batch, PolicyArgs};
use crate::db::Selection;
use crate::report::Format;
use crate::run::{Job, Scope};

/// Arguments of `push-weaviate`.
#[derive(Debug, Args)]
pub struct PushArgs {
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    policy: PolicyArgs,
}

impl PushArgs {
    pub fn job(&self, format: Format) -> Job {
        let is_named = self.batch.is_named();
        let selection = if is_named {
            Selection::Named
        } else {
            Selection::NeverPushed
        };
        Job {
            scope: Scope::WeaviateOnly,
            ..self
                .batch
                .job("push-weaviate", selection, self.policy.policy(), format)
        }
    }
}
