//! The program `agira-worker`. README.md describes how to use it; the library's documentation
//! describes its design.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    without_empty_roots();
    agira_worker::main(agira_worker::cli::Cli::read())
}

/// Starts this program again, in its place, without `SSL_CERT_FILE` if that is empty: the TLS
/// library would take it for a file without certificates, and no process can safely change its own
/// environment.
fn without_empty_roots() {
    let name = "SSL_CERT_FILE";
    if std::env::var_os(name).is_some_and(|value| value.is_empty())
        && let Ok(program) = std::env::current_exe()
    {
        let arguments = std::env::args_os().skip(1);
        // If this fails, TLS reports that there are no certificates.
        let _ = Command::new(program)
            .args(arguments)
            .env_remove(name)
            .exec();
    }
}
