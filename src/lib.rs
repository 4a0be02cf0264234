#![doc = include_str!("design.md")]

pub mod cli;
mod commands;
pub mod config;
pub mod core;
pub mod db;
pub mod github;
pub mod http;
mod logging;
mod report;
mod run;
mod secret;
pub mod signal;
mod watchdog;
pub mod weaviate;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use uuid::Uuid;

use cli::Cli;
use report::LastWord;
use signal::Signals;

pub use report::{EXIT_CODES, METRICS};

/// Runs one command and returns its exit code.
pub fn main(cli: Cli) -> ExitCode {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let warnings = cli::unknown_variables(names);
    ExitCode::from(command(&cli, &config::environment, &warnings))
}

/// Carries out a command; `warnings` about the environment come first in the log.
fn command(cli: &Cli, environment: &Environment<'_>, warnings: &[String]) -> u8 {
    let (format, allow_http) = (cli.output.output, cli.allow_http);
    let id = Uuid::new_v4();
    let progress = logging::init(&cli.output, id);
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    secret::keep_memory_private();
    let last_word = LastWord::default();
    watchdog::catch_panics(last_word.clone());
    let job = match cli.command.job(format) {
        Ok(job) => job,
        Err(status) => {
            watchdog::start(Duration::ZERO, Signals::default(), last_word.clone());
            if status.asks_services() {
                return commands::services(format, environment, allow_http, &last_word);
            }
            let database_url = || config::database_url(environment);
            return commands::status(status, format, database_url, &last_word);
        }
    };
    let start = || {
        let signals = Signals::watch()?;
        watchdog::start(job.time_budget, signals.clone(), last_word.clone());
        let settings = config::settings(environment, allow_http)?;
        Ok((settings, signals, id))
    };
    let mut report = run::execute(&job, start, progress.clone(), last_word.clone());
    last_word.take();
    progress.clear();
    report.print()
}

type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Access for the tests of this package, some of which make thousands of runs in one process.
#[doc(hidden)]
pub mod testing {
    use std::ffi::OsString;
    use std::time::Duration;

    use uuid::Uuid;

    use crate::cli::Cli;
    use crate::config;
    use crate::report::{LastWord, Progress};
    use crate::signal::Signals;

    /// Returns the logger of a run with this command line.
    pub fn logger(cli: &Cli) -> env_logger::Builder {
        crate::logging::logger(cli.output.log_format, false, Uuid::nil())
    }

    /// Carries out a command as the program does, with an environment of its own. A panic of
    /// `environment` stands for a bug: it ends the process.
    pub fn main(cli: &Cli, environment: &dyn Fn(&str) -> Option<OsString>) -> u8 {
        crate::command(cli, environment, &[])
    }

    /// Makes one run with an environment of its own; returns the exit code and the JSON report.
    /// `retry` is the delay before a failed request is repeated.
    ///
    /// # Errors
    /// `status` makes no run.
    pub fn run(
        cli: Cli,
        environment: &dyn Fn(&str) -> Option<OsString>,
        retry: Duration,
    ) -> anyhow::Result<(u8, String)> {
        let Ok(mut job) = cli.command.job(cli.output.output) else {
            anyhow::bail!("status makes no run");
        };
        job.timeouts.retry = retry;
        let start = || {
            let settings = config::settings(environment, cli.allow_http)?;
            Ok((settings, Signals::default(), Uuid::new_v4()))
        };
        let hidden = Progress::hidden();
        let mut report = crate::run::execute(&job, start, hidden, LastWord::default());
        Ok((report.exit_code(), serde_json::to_string(&report)?))
    }
}
