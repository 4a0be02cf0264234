//! Writes man pages and shell completions. The definition of the command line gives the pages of the commands, and
//! documents give the other sections of the program's own page.
//!
//! Usage: `cargo run --example manual -- FOLDER`. The README.md beside this file shows where to install the files.

mod roff;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agira_worker::cli::Cli;
use chrono::Utc;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

const README: &str = include_str!("../../README.md");
const MANUAL: &str = include_str!("README.md");
const NAME: &str = "agira-worker";

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
    // `help` prints the same text as --help, so that it needs no page.
    let shown = |command: Command| command.mut_args(|arg| arg.hide_short_help(false));
    let program = Cli::command().disable_help_subcommand(true);
    let mut program = shown(program).mut_subcommands(shown);
    program.build();
    let more = roff::section(README, "Environment") + &roff::sections(MANUAL);
    page(&program, &more, &man)?;
    for command in program.get_subcommands() {
        page(command, "", &man)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let file = clap_complete::generate_to(shell, &mut Cli::command(), NAME, &completions)?;
        if shell == Shell::Bash {
            let script = std::fs::read_to_string(&file)?;
            std::fs::write(&file, with_labels(&script))?;
        }
    }
    Ok(())
}

/// Corrects the labels of the subcommands: clap_complete splits the hyphen of the program's name there, but not where
/// it chooses the label, so that bash would complete nothing behind a subcommand.
fn with_labels(script: &str) -> String {
    let wrong = NAME.replace('-', "__subcmd__");
    script.replace(&wrong, &NAME.replace('-', "__"))
}

/// Writes the page of a command, with more sections before its version.
fn page(command: &Command, more: &str, folder: &Path) -> std::io::Result<()> {
    let today = Utc::now().format("%Y-%m-%d").to_string();
    let source = concat!("agira-worker ", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone())
        .date(today)
        .source(source)
        .manual("Agira");
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8(text).map_err(std::io::Error::other)?;
    // mandoc warns about a blank line between two breaks, and readers expect these headings.
    let text = text
        .replace(".br\n\n.br\n", ".sp\n")
        .replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n")
        .replace("\n\nExit codes:\n", "\n.SH \"EXIT STATUS\"\n");
    let text = roff::with_tags(&text);
    let text = text.replace(".SH VERSION\n", &format!("{more}.SH VERSION\n"));
    std::fs::write(folder.join(page.get_filename()), text)
}
