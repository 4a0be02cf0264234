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
pub mod weaviate;

use std::process::ExitCode;

use uuid::Uuid;

use cli::Cli;
use signal::Signals;

pub use report::{EXIT_CODES, METRICS};

/// Runs one command and returns its exit code.
pub fn main(cli: Cli) -> ExitCode {
    let (format, allow_http) = (cli.output.output, cli.allow_http);
    let id = Uuid::new_v4();
    let progress = logging::init(&cli.output, id);
    secret::keep_memory_private();
    let job = match cli.command.job(format) {
        Ok(job) => job,
        Err(status) => {
            let database_url = config::database_url(&config::environment);
            return ExitCode::from(commands::status(status, format, database_url));
        }
    };
    let start = || {
        let settings = config::settings(&config::environment, allow_http)?;
        Ok((settings, Signals::watch()?, id))
    };
    ExitCode::from(run::execute(&job, start(), progress).print())
}

/// Access for the property tests of this package, which make thousands of runs in one process.
#[doc(hidden)]
pub mod testing {
    use std::ffi::OsString;
    use std::time::Duration;

    use indicatif::ProgressBar;
    use uuid::Uuid;

    use crate::cli::Cli;
    use crate::config;
    use crate::signal::Signals;

    /// Returns the logger of a run with this command line.
    pub fn logger(cli: &Cli) -> env_logger::Builder {
        crate::logging::logger(cli.output.log_format, false, Uuid::nil())
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
        let start = config::settings(environment, cli.allow_http)
            .map(|settings| (settings, Signals::default(), Uuid::new_v4()));
        let mut report = crate::run::execute(&job, start, ProgressBar::hidden());
        Ok((report.exit_code(), serde_json::to_string(&report)?))
    }
}
