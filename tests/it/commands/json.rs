//! The JSON output and the JSON log match the schemas in tests/schema, whatever ends a run.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use jsonschema::Validator;
use kit::fault_proxy::{FaultProxy, WireFault};
use kit::github::Closer;
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World, send_signal};

const RUN: &str = include_str!("../../schema/run.json");
const STATUS: &str = include_str!("../../schema/status.json");
const LOG: &str = include_str!("../../schema/log.json");

fn schema(text: &str) -> Validator {
    let schema = serde_json::from_str(text).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

#[track_caller]
fn check(schema: &Validator, value: &Value) {
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Runs the command, and checks the single object that it prints.
#[track_caller]
fn printed(text: &str, mut command: Command, code: i32) -> Value {
    let run = Run::of(command.args(["--output", "json"])).exits(code);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
    let value = run.json();
    assert_eq!(value["exit_code"], code);
    check(&schema(text), &value);
    value
}

/// Returns a world of two issues: 1 was closed by a pull request, and 2 has no readable address.
fn world_with_a_failure() -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    world.github.pull_request("acme/shop#3", |_| {});
    let closer = Closer::PullRequest("acme/shop#3".to_owned());
    world
        .github
        .close_by("acme/shop#1", CLOSED_AT, "COMPLETED", closer);
    world.execute("UPDATE core_externalissuemapping SET html_url = 'nonsense' WHERE number = 2");
    world
}

#[test]
fn the_json_of_every_command_matches_its_schema() {
    let mut world = world_with_a_failure();
    let planned = printed(RUN, world.command(&["sync", "--dry-run"]), 3);
    assert!(
        planned["mappings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|mapping| mapping["mapping_id"].is_null())
    );
    let explained = printed(
        RUN,
        world.command(&["sync", "--dry-run", "--mapping", "1", "--mapping", "2"]),
        3,
    );
    assert!(
        explained["mappings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|mapping| mapping["explanation"].is_object())
    );
    let synced = printed(RUN, world.command(&["sync"]), 3);
    let actions: BTreeSet<&str> = synced["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|mapping| mapping["actions"].as_array().unwrap())
        .map(|action| action["action"].as_str().unwrap())
        .collect();
    let expected = [
        "insert_pull_request",
        "link",
        "move_item",
        "record_state",
        "remember_close",
        "write",
    ];
    assert_eq!(actions, expected.into());
    printed(RUN, world.command(&["push-weaviate"]), 0);
    printed(RUN, world.command(&["retry-failed"]), 3);
    let status = printed(STATUS, world.command(&["status"]), 0);
    assert_eq!(
        (
            status["failures"].as_array().unwrap().len(),
            status["runs"].as_array().unwrap().len()
        ),
        (1, 3)
    );
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = NULL WHERE worker_error IS NOT NULL;
         UPDATE core_externalissuemapping SET html_url = (SELECT html_url FROM core_externalissuemapping WHERE number = 1) WHERE number = 2",
    );
    let status = printed(STATUS, world.command(&["status"]), 0);
    assert_eq!(status["shared"].as_array().unwrap().len(), 1);
    let status = printed(STATUS, world.command(&["status", "--check"]), 4);
    assert_eq!(
        (&status["shared"], &status["runs"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn failed_runs_print_json_too() {
    let mut world = world_with_a_failure();
    for subcommand in ["sync", "push-weaviate", "retry-failed"] {
        let mut command = world.command(&[subcommand]);
        command.env_remove("GITHUB_TOKEN");
        printed(RUN, command, 1);
        printed(RUN, world.command(&[subcommand, "--mapping", "99"]), 1);
    }
    printed(STATUS, world.command(&["status", "--mapping", "99"]), 1);
    world.execute(
        "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', date_trunc('second', now() + interval '1 h'), 'too many', 1)",
    );
    let paused = printed(RUN, world.command(&["sync"]), 75);
    assert_eq!(paused["stopped_by"], "rate_limit");
    let status = printed(STATUS, world.command(&["status"]), 0);
    assert_eq!(status["pause"]["until"], paused["pause"]["until"]);
}

/// Whatever ends a run, it prints an object that matches the schema and has the exit code.
#[test]
fn every_command_prints_json_with_every_exit_code() {
    for subcommand in ["sync", "push-weaviate", "retry-failed"] {
        let mut world = World::new();
        let dry = [subcommand, "--dry-run"];
        let named = [subcommand, "--mapping", "1", "--dry-run"];
        printed(RUN, world.command(&[subcommand]), 0);
        printed(RUN, world.command(&dry), 0);
        world.issue("acme/shop#1", "Working");
        world.issue("acme/shop#2", "Working");
        world.github.close("acme/shop#1", CLOSED_AT);
        world
            .execute("UPDATE core_externalissuemapping SET html_url = 'nonsense' WHERE number = 2");
        if subcommand == "retry-failed" {
            world.execute("UPDATE core_externalissuemapping SET worker_error = 'it broke', worker_error_at = now()");
        }
        for args in [&[subcommand][..], &dry, &named] {
            let mut command = world.command(args);
            command.env("WEAVIATE_URL", "nonsense");
            printed(RUN, command, 1);
        }
        let gone = |args: &[&str]| {
            let mut command = world.command(args);
            command.env("GITHUB_API_URL", "http://127.0.0.1:1");
            command
        };
        for args in [&[subcommand][..], &dry, &named] {
            let report = printed(RUN, gone(args), 75);
            assert_eq!(report["stopped_by"], "github", "{args:?}");
        }
        for (signal, code) in [("TERM", 143), ("INT", 130)] {
            for args in [&[subcommand][..], &dry] {
                let front = FaultProxy::before(&world.github.url());
                front.fail_from(0, WireFault::Hang);
                let mut command = world.command(args);
                command
                    .args(["--output", "json", "--request-timeout", "1s"])
                    .env("GITHUB_API_URL", front.url());
                let child = command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                front.wait_for(1);
                send_signal(child.id(), signal);
                let output = kit::wait::output_of(child);
                assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
                let report: Value = serde_json::from_slice(&output.stdout).unwrap();
                check(&schema(RUN), &report);
                assert_eq!(
                    (&report["exit_code"], &report["stopped_by"]),
                    (&json!(code), &json!("signal"))
                );
            }
        }
        printed(RUN, world.command(&dry), 3);
        printed(RUN, world.command(&[subcommand]), 3);
        misused(&world, subcommand);
    }
    let world = World::new();
    printed(STATUS, world.command(&["status"]), 0);
    printed(STATUS, world.command(&["status", "--check"]), 4);
    let mut command = world.command(&["status"]);
    command.env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none");
    printed(STATUS, command, 75);
    misused(&world, "status");
}

/// Checks exit code 2, which ends the program before it knows the output format: the usage is on stderr, and stdout is
/// empty.
#[track_caller]
fn misused(world: &World, subcommand: &str) {
    let run = world
        .run(&[subcommand, "--output", "json", "--nonsense"])
        .exits(2)
        .logs("--nonsense");
    assert_eq!(run.stdout, "");
}

/// A schema that accepts everything would be useless.
#[test]
fn the_schema_rejects_other_json() {
    let world = World::new();
    let mut status = printed(STATUS, world.command(&["status"]), 0);
    let schema = schema(STATUS);
    status["more"] = json!(1);
    assert!(!schema.is_valid(&status), "an unknown field");
    status.as_object_mut().unwrap().remove("more");
    assert!(schema.is_valid(&status));
    status["synced_at"] = json!("yesterday");
    assert!(!schema.is_valid(&status), "no time");
    status.as_object_mut().unwrap().remove("synced_at");
    assert!(!schema.is_valid(&status), "a missing field");
}

/// Checks that each log line of a run matches the schema and has the id of this run.
#[track_caller]
fn lines(run: &Run) -> Vec<Value> {
    let schema = schema(LOG);
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    lines.iter().for_each(|line| check(&schema, line));
    assert!(
        lines.iter().all(|line| line["run"] == lines[0]["run"]),
        "one run, one id"
    );
    lines
}

#[test]
fn every_json_log_line_has_the_run_id_and_its_mapping() {
    let mut world = world_with_a_failure();
    let run = world.run(&["sync", "-vv", "--log-format", "json"]).exits(3);
    let told = lines(&run);
    let id: String = world.one("SELECT run::text FROM worker_run");
    assert_eq!(told[0]["run"], json!(id), "as in the database");
    let about = |mapping: i64, level: &str, part: &str| {
        let found = told.iter().find(|line| {
            line["mapping"] == mapping
                && line["level"] == level
                && line["message"].as_str().unwrap().contains(part)
        });
        assert_eq!(
            found.unwrap_or_else(|| panic!("no {part}\n{}", run.all()))["item"],
            mapping
        );
    };
    about(1, "info", "item status: Working => Testing");
    about(1, "info", "insert row for pull request acme/shop#3");
    about(1, "info", "Weaviate github_issue:1: create");
    about(2, "error", "failed");
    for line in &told {
        let named = line["message"].as_str().unwrap().strip_prefix("mapping=");
        let named = named.map(|rest| rest.split(' ').next().unwrap().parse::<i64>().unwrap());
        assert_eq!(
            line["mapping"],
            json!(named),
            "key and text say the same: {line}"
        );
    }
    let next = lines(&world.run(&["sync", "-v", "--log-format", "json"]).exits(0));
    assert!(
        next.iter().all(|line| line["run"] != json!(id)),
        "each run has an id of its own"
    );
}

#[test]
fn a_run_that_cannot_start_has_an_id() {
    let world = World::new();
    for subcommand in ["sync", "status"] {
        let run = world
            .run(&[subcommand, "--log-format", "json", "--mapping", "99"])
            .exits(1);
        assert!(
            lines(&run).iter().any(|line| line["level"] == "error"),
            "{}",
            run.all()
        );
    }
}
