//! Unusual surroundings: narrow terminals, closed pipes, an environment that is not UTF-8. None of them causes a panic,
//! and the run still does its work.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use agira_worker::cli::Cli;
use clap::CommandFactory;

use crate::fixtures::one_closed_issue;
use crate::harness::Run;

const COMMANDS: [&[&str]; 9] = [
    &["status"],
    &["status", "--mapping", "1"],
    &["status", "--output", "json"],
    &["sync", "--dry-run"],
    &["sync", "--dry-run", "--mapping", "1"],
    &["push-weaviate", "--dry-run"],
    &["retry-failed", "--dry-run"],
    &["sync"],
    &["sync", "--output", "json"],
];

/// Returns the text without its line breaks.
fn text_without_breaks(run: &Run) -> String {
    let text: String = run.stdout.split_whitespace().collect();
    // How long a run took is never the same.
    let took = regex::Regex::new(r"\d+\.\ds,").unwrap();
    took.replace_all(&text, "").into_owned()
}

#[test]
fn a_narrow_terminal_shows_the_whole_text() {
    let mut world = one_closed_issue();
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = '2026-03-03T08:00:00Z'");
    let at = |columns: &str, args: &[&str]| {
        Run::of(world.command(args).env("COLUMNS", columns)).exits(0)
    };
    for args in &COMMANDS[3..5] {
        let wide = at("0", args);
        for columns in ["1", "20", "40", "65535"] {
            assert_eq!(
                text_without_breaks(&at(columns, args)),
                text_without_breaks(&wide),
                "{columns}"
            );
        }
        let narrow = at("40", args);
        let text_is_raw = |line: &&str| !line.trim_start().starts_with(['+', '-', '@']);
        for line in narrow.stdout.lines().filter(text_is_raw) {
            assert!(line.chars().count() <= 40, "{line:?}\n{}", narrow.all());
        }
    }
    assert!(
        at("40", &["sync"])
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 40)
    );
}

/// Like `sync | head -1`, `sync 2>&1 | head -1`, `sync >&-`, and a log on a full disk.
#[test]
fn a_closed_pipe_does_not_end_the_run() {
    for redirected in ["| true", "2>&1 | true", "<&- >&- 2>&-", "2>/dev/full"] {
        let mut world = one_closed_issue();
        for args in COMMANDS {
            let program = world.command(args);
            let mut shell = Command::new("bash");
            let line = format!("set -o pipefail; \"$@\" -vv {redirected}");
            shell
                .args(["-c", &line, "bash"])
                .arg(program.get_program())
                .args(args)
                .env_clear();
            shell.envs(
                program
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            let output = kit::wait::output(&mut shell).expect("bash");
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{args:?} {redirected}\n{said}"
            );
            assert!(!said.contains("panicked"), "{args:?} {redirected}\n{said}");
        }
        assert_eq!(
            world.one::<String>("SELECT status FROM core_item"),
            "Testing",
            "{redirected}: the work is done"
        );
    }
}

#[test]
fn an_environment_variable_that_is_not_utf_8_is_ignored_or_named() {
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let mut world = one_closed_issue();
    let names = [
        "LANG",
        "LC_ALL",
        "TERM",
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "HOME",
        "TZ",
        "RUST_BACKTRACE",
        "UNRELATED",
    ];
    for args in COMMANDS {
        let mut command = world.command(args);
        command
            .envs(names.map(|name| (name, odd)))
            .env(OsStr::from_bytes(b"\xff"), odd);
        let run = Run::of(&mut command).exits(0);
        assert!(!run.stderr.contains("panicked"), "{}", run.all());
    }
    assert_eq!(
        world.one::<String>("SELECT status FROM core_item"),
        "Testing"
    );
    let mut command = world.command(&["status"]);
    let run = Run::of(command.env("RUST_LOG", odd)).exits(0);
    assert!(!run.stderr.contains("panicked"), "{}", run.all());
    // clap validates arguments; a path may have any bytes.
    let folder = tempfile::tempdir().unwrap();
    let mut command = world.command(&["sync", "--metrics-file"]);
    Run::of(command.arg(folder.path().join(odd))).exits(0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let mut command = world.command(&["sync", "--limit"]);
    Run::of(command.arg(odd)).exits(2);
}

#[test]
fn a_negative_number_is_a_value_and_not_an_unknown_option() {
    let world = one_closed_issue();
    for (command, option) in [
        ("sync", "--limit"),
        ("sync", "--max-attempts"),
        ("sync", "--mapping"),
        ("sync", "--project"),
        ("status", "--max-parked"),
        ("status", "--max-failing"),
    ] {
        let args = [command, option, "-1"];
        let run = world.run(&args).exits(2);
        run.logs(&format!("invalid value '-1' for '{option} <"));
    }
}

/// Runs with the progress bar, if the terminal supports one.
#[test]
fn a_terminal_of_unknown_kind_works() {
    for term in [None, Some("dumb"), Some("nonsense"), Some("")] {
        let mut world = one_closed_issue();
        let program = world.command(&[]);
        for args in ["sync --dry-run", "status", "sync"] {
            let mut command = Command::new("script");
            let line = format!(
                "stty rows 24 cols 20; {} {args}",
                program.get_program().to_str().unwrap()
            );
            command
                .args(["--quiet", "--return", "--command", &line, "/dev/null"])
                .env_clear();
            command.envs(
                program
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            command.env("PATH", std::env::var_os("PATH").unwrap());
            command.envs(term.map(|term| ("TERM", term)));
            let output = kit::wait::output(&mut command).expect("script runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && !said.contains("panicked"),
                "{term:?} {args}\n{said}"
            );
        }
        assert_eq!(
            world.one::<String>("SELECT status FROM core_item"),
            "Testing",
            "{term:?}"
        );
    }
}

#[test]
fn every_command_names_a_mapping_that_does_not_exist() {
    let world = one_closed_issue();
    for subcommand in ["sync", "push-weaviate", "retry-failed", "status"] {
        for id in ["99", "9223372036854775807"] {
            let run = world
                .run(&[subcommand, "--mapping", "1", "--mapping", id])
                .exits(1);
            run.logs(&format!("there is no mapping {id}"));
        }
        for id in ["0", "-1", "9223372036854775808", "x", ""] {
            world
                .run(&[subcommand, &format!("--mapping={id}")])
                .exits(2)
                .logs("--mapping");
        }
    }
    assert_eq!(world.github.requests().len(), 0);
}

/// Returns the help of the program and of each command, on a terminal with 80 columns.
fn help(flag: &str) -> Vec<(&'static str, String)> {
    let commands = ["", "sync", "push-weaviate", "status", "retry-failed"];
    let text = |command: &'static str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_agira-worker"));
        program.env_clear().env("COLUMNS", "80");
        program.args(command.split_whitespace()).arg(flag);
        (command, Run::of(&mut program).exits(0).stdout)
    };
    commands.map(text).into()
}

#[test]
fn the_short_help_fits_on_one_screen_and_has_examples_that_are_valid() {
    for (command, text) in help("-h") {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 24, "{command}: {}\n{text}", lines.len());
        // No description is wrapped.
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= 80 && !line.starts_with("        ")),
            "{text}"
        );
        let (_, examples) = text.split_once("\nExamples:\n").expect("examples");
        assert!(examples.lines().count() >= 2, "{text}");
        for example in examples.lines() {
            let (line, meaning) = example.trim().split_once("   ").expect("a meaning");
            assert!(!meaning.is_empty());
            let parsed = Cli::command().try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}");
        }
    }
}

#[test]
fn the_long_help_has_groups_and_no_list_of_values_twice() {
    for (command, text) in help("--help") {
        let has = |part: &str| text.lines().any(|line| line == part);
        assert!(has("Output:") && has("Time and network:"), "{text}");
        let is_run = !["", "status"].contains(&command);
        assert_eq!(has("Policy:"), is_run, "{text}");
        assert!(
            !text.contains("json: JSON") && !text.contains("values: text"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("\nExamples:\n"), "{text}");
    }
    let (_, text) = help("--help").remove(0);
    let (_, codes) = text.split_once("\nExit codes:\n").expect("exit codes");
    for line in codes.lines() {
        let hangs = line.starts_with("      ");
        let number = line.split_whitespace().next().unwrap().parse::<u8>();
        assert_ne!(hangs, number.is_ok(), "{line:?}");
    }
    assert!(
        codes.lines().count() > agira_worker::EXIT_CODES.len(),
        "{codes}"
    );
}
