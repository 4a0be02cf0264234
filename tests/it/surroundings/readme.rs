//! Documents, crontab and program must agree.

mod blocks;
mod decisions;
mod links;
mod picture;

use std::collections::BTreeSet;
use std::path::Path;

use agira_worker::EXIT_CODES;
use agira_worker::cli::Cli;
use agira_worker::core::model::ItemStatus;
use clap::{Command, CommandFactory};

const README: &str = include_str!("../../../README.md");
const MANUAL: &str = include_str!("../../../examples/manual/README.md");
const MONITORING: &str = include_str!("../../../examples/monitoring/README.md");
const COSTS: &str = include_str!("../../../examples/benchmark/README.md");
const TESTS: &str = include_str!("../../../tests/README.md");
const DESIGN: &str = include_str!("../../../src/design.md");
const DEPLOYMENT: &str = include_str!("../../../examples/README.md");
/// All documents with their paths. Whoever carries out their commands in this order installs the program first and
/// removes it at the end.
const DOCUMENTS: [(&str, &str); 7] = [
    ("README.md", README),
    ("examples/manual/README.md", MANUAL),
    ("examples/monitoring/README.md", MONITORING),
    ("examples/benchmark/README.md", COSTS),
    ("tests/README.md", TESTS),
    ("src/design.md", DESIGN),
    ("examples/README.md", DEPLOYMENT),
];
const CRONTAB: &str = include_str!("../../../crontab.example");

fn subcommands() -> Vec<Command> {
    let mut cli = Cli::command();
    cli.build();
    cli.get_subcommands()
        .filter(|command| command.get_name() != "help")
        .cloned()
        .collect()
}

/// Returns the cells of every row of the first table below that heading.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = document
        .split_once(&format!("# {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// Returns the content of all fenced blocks in this language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    let fenced = document.split(&*fence).skip(1);
    fenced
        .map(|rest| rest.split_once("```").expect("an end of the block").0)
        .collect()
}

/// What is longer is read by nobody who only wants to start.
#[test]
fn the_readme_has_at_most_200_lines() {
    assert!(README.lines().count() <= 200);
}

#[test]
fn the_exit_codes_of_readme_and_program_are_the_same() {
    let expected: Vec<_> = EXIT_CODES
        .iter()
        .map(|(code, meaning)| vec![code.to_string(), (*meaning).to_owned()])
        .collect();
    assert_eq!(table(README, "Exit codes"), expected);
}

#[test]
fn the_commands_of_readme_and_program_are_the_same() {
    let names: Vec<String> = subcommands()
        .iter()
        .map(|command| format!("`agira-worker {}`", command.get_name()))
        .collect();
    assert_eq!(
        table(README, "Commands")
            .into_iter()
            .map(|row| row[0].clone())
            .collect::<Vec<_>>(),
        names
    );
}

#[test]
fn the_variables_of_readme_and_program_are_the_same() {
    let commands = subcommands();
    let arguments = commands.iter().flat_map(Command::get_arguments);
    let mut ours: BTreeSet<String> = arguments
        .filter_map(|argument| argument.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let source = include_str!("../../../src/config.rs");
    let name = regex::Regex::new(r#""([A-Z][A-Z_]+[A-Z])""#).unwrap();
    ours.extend(
        name.captures_iter(source)
            .map(|found| found[1].to_owned())
            .filter(|name| !name.ends_with("_FILE")),
    );
    ours.extend(["RUST_LOG", "NO_COLOR"].map(str::to_owned));
    let named = regex::Regex::new("`([A-Z_]+)`").unwrap();
    let rows = table(README, "Environment");
    let documented: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| named.captures_iter(&row[0]))
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(documented, ours);
}

#[test]
fn every_flag_of_the_program_is_in_the_readme() {
    for command in subcommands() {
        for argument in command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| argument.get_long())
        {
            assert!(
                README.contains(&format!("--{argument}")),
                "{} --{argument}",
                command.get_name()
            );
        }
    }
}

/// A value after a flag, as in `--recheck-after 24h`, must be the default of the flag. The table has the default of
/// `--limit` in parentheses.
#[test]
fn the_defaults_of_flags_are_those_of_the_program() {
    let sync = subcommands()
        .into_iter()
        .find(|command| command.get_name() == "sync")
        .unwrap();
    let default = |flag: &str| {
        let argument = sync
            .get_arguments()
            .find(|argument| argument.get_long() == Some(flag))
            .expect(flag);
        argument
            .get_default_values()
            .first()
            .map(|value| value.to_string_lossy().into_owned())
    };
    let shown = regex::Regex::new(r"`--(recheck-after|max-attempts|time-budget) (\w+)`").unwrap();
    for shown in shown.captures_iter(README) {
        assert_eq!(
            default(&shown[1]).as_deref(),
            Some(&shown[2]),
            "{}",
            &shown[0]
        );
    }
    let limit = README
        .lines()
        .find(|line| line.starts_with("| `--limit N` |"))
        .expect("a row of --limit");
    let default = default("limit").expect("a default");
    assert!(limit.contains(&format!("({default})")), "{limit}");
}

/// The table comes from the benchmark.
#[test]
fn every_cost_belongs_to_a_scenario_of_the_benchmark() {
    let (scenarios, rows) = (
        include_str!("../../../examples/benchmark/scenarios.rs"),
        table(COSTS, "What a run costs"),
    );
    assert!(rows.len() >= 10, "{rows:?}");
    let command = regex::Regex::new("status( --[a-z]+)?").unwrap();
    for row in rows {
        let any_size = row[0]
            .split_once(' ')
            .map(|(_, rest)| format!("{{shown}} {rest}"))
            .unwrap_or_default();
        let any_command = command.replace(&row[0], "{name}");
        let is_measured = [&row[0], &any_size, any_command.as_ref()]
            .iter()
            .any(|name| scenarios.contains(*name));
        assert!(is_measured, "no scenario measures {}", row[0]);
        assert!(!row.concat().contains("MISSED"), "{row:?}");
    }
}

#[test]
fn the_alerts_of_document_and_rules_are_the_same() {
    let rules = include_str!("../../../examples/monitoring/agira-worker.rules.yaml");
    let alert = regex::Regex::new("`(AgiraWorker[A-Za-z]+)`").unwrap();
    let explained: BTreeSet<String> = alert
        .captures_iter(MONITORING)
        .map(|found| found[1].to_owned())
        .collect();
    let written: BTreeSet<String> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, written);
}

#[test]
fn every_command_line_in_the_documents_is_valid() {
    let invocation =
        regex::Regex::new(r"agira-worker ((?:sync|push-weaviate|status|retry-failed)[^`#>|\n]*)")
            .unwrap();
    let documents = DOCUMENTS.map(|(_, text)| text);
    let texts = documents.iter().chain([&CRONTAB]);
    let shown: Vec<&str> = texts
        .filter(|text| **text != DESIGN)
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

/// Returns the source of the program, without unit tests, on one line.
fn source() -> String {
    let mut files = Vec::new();
    crate::surroundings::hygiene::files_below(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let own = texts.map(|text| {
        text.split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    // A string that continues on the next line of the source is one string.
    regex::Regex::new(r"\\\n\s*")
        .unwrap()
        .replace_all(&own.collect::<String>(), "")
        .into_owned()
}

#[test]
fn every_message_in_the_documents_is_in_the_program() {
    let mut rows = table(MANUAL, "Diagnostics");
    rows.extend(table(README, "When something is wrong"));
    let source = source();
    let quoted = regex::Regex::new("`([^`]+)`").unwrap();
    let messages = rows
        .iter()
        .flat_map(|row| quoted.captures_iter(&row[0]))
        .map(|found| found[1].to_owned());
    let messages: Vec<String> = messages.collect();
    assert!(messages.len() > 10, "{messages:?}");
    let missing: Vec<&String> = messages
        .iter()
        .filter(|message| !decisions::has_message(&source, message))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!decisions::has_message(&source, "the database misses ..."));
}

#[test]
fn the_statuses_that_a_closing_does_not_change_are_documented() {
    let row = table(DESIGN, "The decision table")
        .into_iter()
        .find(|row| row[0].starts_with("a closed issue whose item is in `"))
        .expect("a row");
    for status in ItemStatus::PROTECTED {
        assert!(row[0].contains(&format!("`{status}`")), "{status}");
    }
}
