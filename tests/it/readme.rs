//! That README, crontab and program say the same.

use std::collections::BTreeSet;

use agira_worker::EXIT_CODES;
use agira_worker::cli::Cli;
use clap::{Command, CommandFactory};

const README: &str = include_str!("../../README.md");
const CRONTAB: &str = include_str!("../../crontab.example");

fn subcommands() -> Vec<Command> {
    let mut cli = Cli::command();
    cli.build();
    cli.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
}

/// The cells of every row of the table below that heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = README.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_exit_codes_of_readme_and_program_are_the_same() {
    let expected: Vec<_> =
        EXIT_CODES.iter().map(|(code, meaning)| vec![code.to_string(), (*meaning).to_owned()]).collect();
    assert_eq!(table("Exit codes"), expected);
}

#[test]
fn the_commands_of_readme_and_program_are_the_same() {
    let names: Vec<String> =
        subcommands().iter().map(|command| format!("`agira-worker {}`", command.get_name())).collect();
    assert_eq!(table("Commands").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>(), names);
}

#[test]
fn every_variable_of_the_program_is_in_the_readme_and_no_other() {
    let commands = subcommands();
    let arguments = commands.iter().flat_map(Command::get_arguments);
    let mut ours: BTreeSet<String> =
        arguments.filter_map(|argument| argument.get_env()).map(|name| name.to_string_lossy().into_owned()).collect();
    let source = include_str!("../../src/config.rs");
    let name = regex::Regex::new(r#""([A-Z][A-Z_]+[A-Z])""#).unwrap();
    ours.extend(name.captures_iter(source).map(|found| found[1].to_owned()).filter(|name| !name.ends_with("_FILE")));
    ours.extend(["RUST_LOG", "NO_COLOR"].map(str::to_owned));
    let named = regex::Regex::new("`([A-Z_]+)`").unwrap();
    let rows = table("Environment");
    let told: BTreeSet<String> =
        rows.iter().flat_map(|row| named.captures_iter(&row[0])).map(|found| found[1].to_owned()).collect();
    assert_eq!(told, ours);
}

#[test]
fn every_flag_of_the_program_is_in_the_readme() {
    for command in subcommands() {
        for argument in command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| argument.get_long())
        {
            assert!(README.contains(&format!("--{argument}")), "{} --{argument}", command.get_name());
        }
    }
}

#[test]
fn every_command_line_that_is_shown_is_one() {
    let invocation = regex::Regex::new(r"agira-worker ((?:sync|push-weaviate|status|retry-failed)[^`#>|\n]*)").unwrap();
    let shown: Vec<&str> = [README, CRONTAB]
        .iter()
        .flat_map(|text| invocation.captures_iter(text))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(shown.len() > 8, "{shown:?}");
    for line in shown {
        let words = std::iter::once("agira-worker").chain(line.split_whitespace());
        if let Err(error) = Cli::command().try_get_matches_from(words) {
            panic!("agira-worker {line}: {error}");
        }
    }
}
