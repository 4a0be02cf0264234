//! Keeps Agira's items, their GitHub issues and pull requests, and the Weaviate index in step, one bounded batch per
//! invocation.
//!
//! Imports point down only:
//!
//! ```text
//! edge         main  cli  config  logging  signal
//! application  commands -> apply, report
//! adapters     db   github   weaviate -> http
//! core         plan -> agira_object, backoff -> model     (pure: no I/O, no clock, no log)
//! ```
//!
//! A run reads everything about a slice of at most 100 mappings in few requests ([`github`], [`weaviate`], [`db`]),
//! decides per mapping with a pure function ([`core::plan::plan`]), and carries the plan out: the database in one short
//! transaction per mapping, Weaviate in batches. A dry run does the same reading and deciding and prints the plan.
//!
//! What is to be remembered stands in the mapping table: [`db`] has the statements, `sql/worker.sql` the columns.

pub mod cli;
mod commands;
pub mod config;
pub mod core;
pub mod db;
pub mod github;
pub mod http;
mod logging;
mod secret;
pub mod signal;
pub mod weaviate;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Cli, Command};
use signal::Signals;
use uuid::Uuid;

pub use commands::{EXIT_CODES, METRICS};

/// Runs one command and turns its end into an exit code (design, section 6).
pub fn run(cli: Cli) -> ExitCode {
    let Cli { command, allow_http, output } = cli;
    let run = Uuid::new_v4();
    let progress = logging::init(&output, run);
    let start = || {
        let settings = config::settings(&config::environment, allow_http)?;
        Ok((settings, Signals::watch()?, run))
    };
    ExitCode::from(match command {
        Command::Sync(args) => commands::sync(&args, &output, start(), progress).print(),
        Command::PushWeaviate(args) => commands::push_weaviate(&args, &output, start(), progress).print(),
        Command::Status(args) => commands::status(&args, &output, config::database_url(&config::environment)),
        Command::RetryFailed(args) => commands::retry_failed(&args, &output, start(), progress).print(),
    })
}

/// One run inside a program that makes thousands of them, in surroundings of its own: what it would print is returned, as is
/// its exit code; logger and signals are the program's. `retry` is how long a service that failed is left alone. For the
/// property tests of this package.
///
/// # Errors
/// When the command makes no run, as `status` does not.
#[doc(hidden)]
pub fn run_inside(
    cli: Cli,
    environment: &dyn Fn(&str) -> Option<OsString>,
    retry: Duration,
) -> anyhow::Result<(u8, String)> {
    let Cli { command, allow_http, output } = cli;
    let start = config::settings(environment, allow_http)
        .map(|settings| (commands::Settings { retry: Some(retry), ..settings }, Signals::default(), Uuid::new_v4()));
    let progress = indicatif::ProgressBar::hidden();
    let mut report = match command {
        Command::Sync(args) => commands::sync(&args, &output, start, progress),
        Command::PushWeaviate(args) => commands::push_weaviate(&args, &output, start, progress),
        Command::RetryFailed(args) => commands::retry_failed(&args, &output, start, progress),
        Command::Status(_) => anyhow::bail!("status makes no run"),
    };
    Ok((report.exit_code(), serde_json::to_string(&report)?))
}
