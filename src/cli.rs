//! The command line. Doc comments here are the help text.

use clap::{Parser, Subcommand};

use crate::commands::{Output, PushArgs, RetryArgs, StatusArgs, SyncArgs};
use crate::report::{EXIT_CODES, Format};
use crate::run::Job;

/// Keeps Agira's items, their GitHub issues and pull requests, and the Weaviate index in step.
///
/// One call makes one bounded run; start it from cron. Settings come from the environment:
/// DATABASE_URL, GITHUB_TOKEN (or, for a GitHub App, GITHUB_APP_ID and
/// GITHUB_APP_PRIVATE_KEY_FILE), GITHUB_API_URL, WEAVIATE_URL, WEAVIATE_API_KEY. Each secret can
/// also be in a file that the variable with the suffix _FILE names.
#[derive(Debug, Parser)]
#[command(name = "agira-worker", version = env!("AGIRA_WORKER_VERSION"), max_term_width = 120, after_long_help = exit_codes())]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
    /// Allow plain http to other machines, which sends text and secrets unencrypted; for private
    /// networks only.
    #[arg(long, global = true, value_parser = clap::builder::BoolishValueParser::new(), env = "AGIRA_WORKER_ALLOW_HTTP")]
    pub allow_http: bool,
    /// Options for the output.
    #[command(flatten)]
    pub output: Output,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check due mappings: move items, link pull requests, fill Weaviate.
    Sync(SyncArgs),
    /// Push objects that wait for Weaviate, and objects of mappings that were never pushed.
    ///
    /// It leaves items, links and retries to `sync`.
    PushWeaviate(PushArgs),
    /// Show totals, failures and the last runs. It changes nothing.
    Status(StatusArgs),
    /// Run `sync` for mappings that failed, parked ones included, whether their retry is due or
    /// not.
    RetryFailed(RetryArgs),
}

impl Command {
    /// Returns the job of the command, or the arguments of `status`, which makes no run.
    pub(crate) fn job(&self, format: Format) -> Result<Job, &StatusArgs> {
        match self {
            Self::Sync(args) => Ok(args.job(format)),
            Self::PushWeaviate(args) => Ok(args.job(format)),
            Self::RetryFailed(args) => Ok(args.job(format)),
            Self::Status(args) => Err(args),
        }
    }
}

fn exit_codes() -> String {
    let lines = EXIT_CODES
        .iter()
        .map(|(code, meaning)| format!("  {code:<3} {meaning}\n"));
    format!("Exit codes:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
