//! Variables that stand for flags.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::untouched;
use crate::fixtures::one_closed_issue;
use crate::harness::Run;

#[test]
fn an_invalid_policy_variable_is_exit_code_2_and_is_named() {
    let world = one_closed_issue();
    let before = world.database.dump("");
    for (name, value, flag) in [
        ("AGIRA_WORKER_TIME_BUDGET", "soon", "--time-budget"),
        ("AGIRA_WORKER_RECHECK_AFTER", "1", "--recheck-after"),
        ("AGIRA_WORKER_MAX_ATTEMPTS", "0", "--max-attempts"),
        ("AGIRA_WORKER_KEEP_STATUS", "Review,Bogus", "--keep-status"),
        ("AGIRA_WORKER_CLOSE_REASON", "bogus", "--close-reason"),
        (
            "AGIRA_WORKER_IGNORE_CLOSED_BEFORE",
            "yesterday",
            "--ignore-closed-before",
        ),
    ] {
        let value: OsString = value.into();
        let run = Run::of(world.command(&["sync"]).env(name, value)).exits(2);
        let says = format!("'{name} ({flag}");
        assert!(run.stderr.contains(&says), "{says}: {}", run.all());
        // The flag itself is to blame if the command line has it.
        let mut command = world.command(&["sync", &format!("{flag}=\u{1}")]);
        let run = Run::of(command.env(name, "")).exits(2);
        assert!(!run.stderr.contains(name), "{}", run.all());
        let run = Run::of(
            world
                .command(&["sync"])
                .env(name, OsStr::from_bytes(b"\xff")),
        )
        .exits(2);
        let says = format!("{name} is not UTF-8 text; set it again");
        assert!(run.stderr.contains(&says), "{}", run.all());
    }
    untouched(&world, &before, "");
}

#[test]
fn a_boolean_policy_variable_accepts_the_usual_values() {
    let world = one_closed_issue();
    for value in ["1", "0", "true", "false", "yes", "no", "on", "off"] {
        Run::of(
            world
                .command(&["sync", "--dry-run"])
                .env("AGIRA_WORKER_REPLACE_FOREIGN", value),
        )
        .exits(0);
    }
    world
        .run(&["sync", "--dry-run", "--replace-foreign"])
        .exits(0);
}

#[test]
fn a_boolean_variable_with_another_value_is_named() {
    let world = one_closed_issue();
    for (name, flag) in [
        ("AGIRA_WORKER_REPLACE_FOREIGN", "--replace-foreign"),
        ("AGIRA_WORKER_ALLOW_HTTP", "--allow-http"),
    ] {
        let run = Run::of(world.command(&["sync"]).env(name, "perhaps")).exits(2);
        let says = format!("invalid value 'perhaps' for '{name} ({flag})'");
        assert!(run.stderr.contains(&says), "{}", run.all());
    }
}

/// As with Compose's `${NAME:-}`.
#[test]
fn an_empty_variable_of_a_flag_counts_as_unset() {
    let world = one_closed_issue();
    for args in [
        &["sync", "--dry-run"][..],
        &["push-weaviate", "--dry-run"],
        &["retry-failed", "--dry-run"],
        &["status"],
    ] {
        let mut command = world.command(args);
        for name in [
            "AGIRA_WORKER_TIME_BUDGET",
            "AGIRA_WORKER_RECHECK_AFTER",
            "AGIRA_WORKER_MAX_ATTEMPTS",
            "AGIRA_WORKER_KEEP_STATUS",
            "AGIRA_WORKER_CLOSE_REASON",
            "AGIRA_WORKER_IGNORE_CLOSED_BEFORE",
            "AGIRA_WORKER_REPLACE_FOREIGN",
            "AGIRA_WORKER_ALLOW_HTTP",
            "GITHUB_APP_ID",
            "GITHUB_APP_INSTALLATION_ID",
            "GITHUB_TOKEN_FILE",
            "WEAVIATE_API_KEY",
            "SSL_CERT_FILE",
            "RUST_LOG",
            "NO_COLOR",
        ] {
            command.env(name, "");
        }
        let run = Run::of(&mut command).exits(0);
        assert!(!run.stderr.contains("AGIRA_WORKER"), "{}", run.all());
    }
    // The TLS library takes an empty name for a file without certificates.
    let mut command = world.command(&["status", "--services"]);
    command
        .env("SSL_CERT_FILE", "")
        .env("GITHUB_API_URL", "https://127.0.0.1:1");
    Run::of(&mut command)
        .exits(75)
        .prints("nothing listens there");
}

#[test]
fn a_variable_that_means_nothing_is_warned_of_with_the_nearest_one() {
    let world = one_closed_issue();
    let run = |name: &str| {
        let mut command = world.command(&["status"]);
        Run::of(command.env(name, "hunter2")).exits(0)
    };
    run("AGIRA_WORKER_TIME_BUGDET")
        .logs("WARN ] AGIRA_WORKER_TIME_BUGDET has no effect")
        .logs("the nearest one that it knows is AGIRA_WORKER_TIME_BUDGET");
    run("AGIRA_WORKER_GITHUB_TOKEN_FILE").logs("is GITHUB_TOKEN_FILE");
    run("AGIRA_WORKER_METRICS_FILE").logs("there is only the flag --metrics-file");
    assert_eq!(run("AGIRA_OTHER").stderr, "");
}
