//! What a person sees on a terminal: nothing twice, no remains of the progress bar, and no control characters where the
//! terminal cannot take them.

use std::process::Command;

use crate::fixtures::CLOSED_AT;
use crate::harness::World;

/// Runs the program on a terminal with that many columns, which `script` of util-linux provides. Returns everything that
/// the terminal received.
pub fn run(world: &World, columns: u16, environment: &[(&str, &str)], args: &[&str]) -> String {
    let program = world.command(&[]);
    let name = program.get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("script");
    let script = format!("stty rows 24 cols {columns}; {name} {}", args.join(" "));
    command.args(["--quiet", "--command", &script, "/dev/null"]);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    command.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.envs(environment.iter().copied());
    let output = kit::wait::output(&mut command).expect("script runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .replace("\r\n", "\n")
}

/// Returns the lines that are left on a terminal which received this.
fn left(received: &str) -> String {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut rest = received.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\n' => {
                (row, column) = (row + 1, 0);
                lines.resize(lines.len().max(row + 1), Vec::new());
            }
            '\r' => column = 0,
            '\u{1b}' => {
                let mut number = String::new();
                let end = loop {
                    match rest.next() {
                        Some('[') => {}
                        Some(part) if part.is_ascii_digit() => number.push(part),
                        end => break end,
                    }
                };
                match end {
                    Some('A') => row = row.saturating_sub(number.parse().unwrap_or(1)),
                    Some('K') => lines[row].clear(),
                    _ => {}
                }
            }
            _ => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
    }
    let lines = lines
        .iter()
        .map(|line| line.iter().collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

fn world_with_a_failure() -> World {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    world.issue("acme/shop#2", "Working");
    world.github.delete("acme/shop#2");
    world
}

#[test]
fn a_terminal_shows_the_result_once_and_nothing_of_the_progress() {
    let world = world_with_a_failure();
    let received = run(&world, 80, &[("TERM", "xterm")], &["sync"]);
    assert!(
        received.contains("asking GitHub what changed"),
        "{received:?}"
    );
    assert!(received.contains("2/2 mappings"), "{received:?}");
    let shown = left(&received);
    for once in [
        "was deleted on GitHub",
        "Working → Testing",
        "1 mapping synced, 1 failed",
    ] {
        assert_eq!(shown.matches(once).count(), 1, "{once}\n{shown}");
    }
    for never in ["INFO", "ERROR", "asking GitHub", "mappings,", "█"] {
        assert!(!shown.contains(never), "{never}\n{shown}");
    }
}

#[test]
fn an_error_at_the_start_is_told_once_and_leaves_no_bar() {
    let world = World::new();
    let broken = [("TERM", "xterm"), ("GITHUB_API_URL", "nonsense")];
    let shown = left(&run(&world, 80, &broken, &["sync"]));
    assert_eq!(shown.matches("GITHUB_API_URL").count(), 1, "{shown}");
    assert!(shown.contains("exit code 1: "), "{shown}");
    let json = left(&run(&world, 200, &broken, &["sync", "--output", "json"]));
    for shown in [shown, json] {
        assert!(!shown.contains("0/0") && !shown.contains('█'), "{shown}");
    }
}

#[test]
fn a_run_that_another_thread_ends_leaves_no_bar() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    let silent = kit::fault_proxy::FaultProxy::before(&world.github.url());
    silent.fail_from(0, kit::fault_proxy::WireFault::Hang);
    let shown = left(&run(
        &world,
        80,
        &[("TERM", "xterm"), ("GITHUB_API_URL", &silent.url())],
        &["sync", "--request-timeout", "1s", "--time-budget", "2s"],
    ));
    assert!(shown.contains("exit code 75: "), "{shown}");
    assert!(!shown.contains("asking GitHub what changed,"), "{shown}");
}

#[test]
fn a_terminal_that_is_not_capable_gets_plain_lines() {
    let world = world_with_a_failure();
    for environment in [&[("TERM", "dumb")][..], &[]] {
        let received = run(&world, 80, environment, &["sync"]);
        assert!(
            !received.contains('\u{1b}') && !received.contains('\r'),
            "{received:?}"
        );
    }
    let received = run(
        &world,
        80,
        &[("TERM", "xterm"), ("NO_COLOR", "1")],
        &["sync", "--no-progress"],
    );
    assert!(!received.contains('\u{1b}'), "{received:?}");
}

/// The result of a person's terminal and the log of cron together lose nothing.
#[test]
fn the_log_has_a_line_for_each_change_unless_a_terminal_shows_the_result() {
    let world = world_with_a_failure();
    let logged = world.run(&["sync"]).exits(3).stderr;
    for line in [
        "INFO ] mapping=1 item=1 acme/shop#1: item status: Working => Testing",
        "ERROR] mapping=2 item=2 acme/shop#2: failed: acme/shop#2 was deleted on GitHub",
    ] {
        assert!(logged.contains(line), "{logged}");
    }
    let mut world = world_with_a_failure();
    world.execute("UPDATE core_item SET title = 'Cart'");
    let told = run(&world, 80, &[], &["sync", "--verbose"]);
    assert!(
        told.contains("remember close event of ") && told.contains(CLOSED_AT),
        "{told}"
    );
}
