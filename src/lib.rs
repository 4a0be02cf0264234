//! Keeps Agira's items, their GitHub issues and pull requests, and the Weaviate index in step, one bounded batch per
//! invocation.
//!
//! # Layers
//!
//! Imports point down only; `tests/it/surroundings/hygiene.rs` checks it.
//!
//! ```text
//! edge         main  cli  config  logging  signal  secret
//! application  commands: the subcommands, made of shared steps
//! adapters     db   github   weaviate -> http
//! core         plan -> agira_object, backoff -> model     (pure: no I/O, no clock, no log)
//! ```
//!
//! # What flows in a run
//!
//! ```text
//!              PostgreSQL                      GitHub                     Weaviate
//! deliver      outboxes of earlier runs  --------------------------------> objects
//! discover     marks, cursors      <---------  what changed since
//! claim        mappings, items --.
//! observe                        |   <-------  snapshots of 25 or 50   <-- statuses of 200
//! plan                           '-> core::plan::plan: one plan for each mapping
//! apply        item, rows, links, outbox  (one short transaction for each mapping)
//! push                                     outboxes in batches  ---------> objects
//! finish       checked at, recheck at, or error and attempts
//! ```
//!
//! From claim to finish it goes in slices of at most 100 mappings. [`db`] has the claim and all other statements, [`github`]
//! what is asked there, [`weaviate`] what is read and written there; [`core::plan::plan`] is the pure function that decides,
//! from a mapping, its item, a snapshot and what else was read ([`core::records::Known`]). Its result, [`core::plan::Plan`], is
//! plain data: a dry run does the same reading and deciding, and prints it.
//!
//! # What holds it together
//!
//! All that is to be remembered stands in PostgreSQL, most of it in Agira's mapping table (`sql/worker.sql` has the columns), and
//! every write is guarded by the run's claim. So a run can be killed anywhere, and runs can overlap: what was not finished is
//! done by a later one, and what was done is seen by everybody. Weaviate gets what the outbox in a mapping's row holds; the
//! outbox is emptied only when Weaviate has answered for each object.
//!
//! A failure is a mapping's own, which counts an attempt and stops nobody else, or the environment's, which ends the run with
//! an exit code that says whether a person has to act ([`EXIT_CODES`]).

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
    let Cli {
        command,
        allow_http,
        output,
    } = cli;
    let run = Uuid::new_v4();
    let progress = logging::init(&output, run);
    secret::keep_memory_private();
    let start = || {
        let settings = config::settings(&config::environment, allow_http)?;
        Ok((settings, Signals::watch()?, run))
    };
    ExitCode::from(match command {
        Command::Sync(args) => commands::sync(&args, &output, start(), progress).print(),
        Command::PushWeaviate(args) => {
            commands::push_weaviate(&args, &output, start(), progress).print()
        }
        Command::Status(args) => {
            commands::status(&args, &output, config::database_url(&config::environment))
        }
        Command::RetryFailed(args) => {
            commands::retry_failed(&args, &output, start(), progress).print()
        }
    })
}

/// What writes the log lines of a run with this command line. For the property tests of this package.
#[doc(hidden)]
pub fn logger(cli: &Cli) -> env_logger::Builder {
    logging::logger(cli.output.log_format, false, Uuid::nil())
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
    let Cli {
        command,
        allow_http,
        output,
    } = cli;
    let start = config::settings(environment, allow_http).map(|settings| {
        (
            commands::Settings {
                retry: Some(retry),
                ..settings
            },
            Signals::default(),
            Uuid::new_v4(),
        )
    });
    let progress = indicatif::ProgressBar::hidden();
    let mut report = match command {
        Command::Sync(args) => commands::sync(&args, &output, start, progress),
        Command::PushWeaviate(args) => commands::push_weaviate(&args, &output, start, progress),
        Command::RetryFailed(args) => commands::retry_failed(&args, &output, start, progress),
        Command::Status(_) => anyhow::bail!("status makes no run"),
    };
    Ok((report.exit_code(), serde_json::to_string(&report)?))
}
