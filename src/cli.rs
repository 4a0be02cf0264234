//! The command line. Doc comments here are the help text.

use clap::{Parser, Subcommand};

use crate::commands::{EXIT_CODES, Output, PushArgs, RetryArgs, StatusArgs, SyncArgs};

/// Keeps Agira's items, their GitHub issues and pull requests, and the Weaviate index in step.
///
/// One invocation is one bounded batch; start it from cron. Settings come from the environment: DATABASE_URL, GITHUB_TOKEN
/// (or, for a GitHub App, GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_FILE), GITHUB_API_URL, WEAVIATE_URL, WEAVIATE_API_KEY;
/// each secret also from a file named by ..._FILE.
#[derive(Debug, Parser)]
#[command(name = "agira-worker", version = env!("AGIRA_WORKER_VERSION"), max_term_width = 120, after_long_help = exit_codes())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Send text and secrets unencrypted to hosts other than this machine, as inside a cluster.
    #[arg(long, global = true, value_parser = clap::builder::BoolishValueParser::new(), env = "AGIRA_WORKER_ALLOW_HTTP")]
    pub allow_http: bool,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at due mappings: move items, link pull requests, fill Weaviate.
    Sync(SyncArgs),
    /// Deliver what waits for Weaviate, and fill in what was never pushed.
    ///
    /// Items, links and retries are left to `sync`.
    PushWeaviate(PushArgs),
    /// Show totals, failures and the last run. Only reads.
    Status(StatusArgs),
    /// `sync` for mappings that failed, whether their retry is due or not, parked ones included.
    RetryFailed(RetryArgs),
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
