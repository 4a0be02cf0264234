//! The program `agira-worker`. README.md describes how to use it; the library's documentation
//! describes its design.

use std::process::ExitCode;

fn main() -> ExitCode {
    agira_worker::main(agira_worker::cli::Cli::read())
}
