//! Writes man pages and shell completions, made from the definition of the command line.
//!
//! Usage: `cargo run --example manual -- FOLDER`; see README.md for where its files belong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agira_worker::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the manual into {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    let (man, completions) = (folder.join("man1"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    // `help` repeats what --help says, and needs no page.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "agira-worker", &completions)?;
    }
    Ok(())
}
