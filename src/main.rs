//! `agira-worker`: see the library for how it is built, README.md for how it is used.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    agira_worker::run(agira_worker::cli::Cli::parse())
}
