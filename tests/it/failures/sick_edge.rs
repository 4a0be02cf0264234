//! Sickness at the edge of a run: signals, PostgreSQL at the start, stdout, the time budget, and the
//! selection of `retry-failed`. Each table names the fault and its place, and compares the states
//! before and after.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use kit::boundaries::{Boundaries, Side, Then};
use kit::fault_proxy::{FaultProxy, WireFault};
use kit::postgres_proxy::PostgresProxy;
use kit::wait;
use kit::weaviate::Settings;
use serde_json::{Value, json};

use crate::fixtures::{closed_issues, one_closed_issue};
use crate::harness::{Run, World, await_handled, send_signal};

const ALL_COMMANDS: [&str; 4] = ["sync", "push-weaviate", "retry-failed", "status"];

/// Starts a `sync` under `shell`. GitHub does not answer its poll until the test heals the proxy.
fn hanging(world: &World, front: &FaultProxy, shell: &str) -> Child {
    front.fail_from(0, WireFault::Hang);
    let mut command = world.command(&["sync", "--output", "json", "--request-timeout", "2s"]);
    command.env("GITHUB_API_URL", front.url());
    let mut under = Command::new("bash");
    under
        .args(["-c", shell, "bash"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let child = under.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("bash");
    front.wait_for(1);
    child
}

/// A closed terminal ends a run as SIGTERM does. With `nohup`, the run goes on.
#[test]
fn a_hangup_ends_a_run_in_order_unless_it_is_ignored() {
    let mapping = "SELECT to_jsonb(m) FROM core_externalissuemapping m";
    // The command, the signals, the exit code, the reason, and whether it prints its result.
    for (shell, signals, code, stopped_by, prints) in [
        ("exec \"$@\"", &["HUP"][..], 129, json!("signal"), true),
        ("exec \"$@\"", &["HUP", "HUP"], 129, Value::Null, false),
        ("exec \"$@\"", &["HUP", "TERM"], 143, Value::Null, false),
        ("exec \"$@\"", &["TERM", "HUP"], 129, Value::Null, false),
        (
            "trap '' HUP; exec \"$@\"",
            &["HUP", "HUP"],
            0,
            Value::Null,
            true,
        ),
        (
            "trap '' HUP; exec \"$@\"",
            &["HUP", "TERM"],
            143,
            json!("signal"),
            true,
        ),
    ] {
        let mut world = one_closed_issue();
        // A repository is polled for changes only if it has cursors.
        world.execute("INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES ('acme/shop', now(), now())");
        let before: Value = world.one(mapping);
        let front = FaultProxy::before(&world.github.url());
        let child = hanging(&world, &front, shell);
        for signal in signals {
            send_signal(child.id(), signal);
            await_handled(&child);
        }
        if code == 0 {
            front.heal();
        }
        let output = wait::output_of(child);
        let case = format!("{shell} {signals:?}: {output:?}");
        assert_eq!(output.status.code(), Some(code), "{case}");
        assert_eq!(!output.stdout.is_empty(), prints, "{case}");
        if prints {
            let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(
                (&report["exit_code"], &report["stopped_by"]),
                (&json!(code), &stopped_by),
                "{case}"
            );
            let recorded = world.one::<i32>("SELECT exit_code FROM worker_run");
            assert_eq!(recorded, code, "{case}");
        }
        let after: Value = world.one(mapping);
        assert_eq!(after == before, code != 0, "{case}");
        front.heal();
        world.sync();
        assert_eq!(
            world.one::<String>("SELECT status FROM core_item"),
            "Testing",
            "{case}"
        );
    }
}

/// Starts a PostgreSQL that answers each connection with these messages and closes it. Returns its URL.
fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // The startup message is short.
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(&answer);
        }
    });
    format!("postgresql://me@127.0.0.1:{port}/agira?sslmode=disable")
}

fn error(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0MSENTINEL of {code}\0\0");
    let length = u32::try_from(fields.len() + 4).expect("a short message");
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

/// Checks that every command with this DATABASE_URL ends with `code` before it sends a request or
/// changes anything, and that the next run completes.
#[track_caller]
fn ends_at_the_start(case: &str, url: impl Fn(&World) -> String, code: i32, says: &str) {
    let world = one_closed_issue();
    let (url, before) = (url(&world), world.database.dump(""));
    for subcommand in ALL_COMMANDS {
        let mut command = world.command(&[subcommand, "--output", "json"]);
        let run = Run::of(command.env("DATABASE_URL", &url)).exits(code);
        let report = run.json();
        assert_eq!(report["exit_code"], code, "{case}\n{}", run.all());
        if subcommand != "status" {
            let stopped_by = (code == 75).then_some("database");
            assert_eq!(
                report["stopped_by"],
                json!(stopped_by),
                "{case}\n{}",
                run.all()
            );
        }
        assert!(
            report["error"]
                .as_str()
                .is_some_and(|error| error.contains(says)),
            "{case}\n{}",
            run.all()
        );
        run.logs(says);
    }
    let asked = world.github.requests().len() + world.weaviate.requests().len();
    assert_eq!(asked, 0, "{case}");
    assert_eq!(world.database.dump(""), before, "{case}");
    world.sync().prints("1 item moved");
}

#[test]
fn a_temporary_failure_at_the_start_ends_with_75_and_a_lasting_one_with_1() {
    for (code, exit_code) in [
        ("53300", 75), // too_many_connections
        ("53200", 75), // out_of_memory
        ("57P01", 75), // admin_shutdown
        ("57P02", 75), // crash_shutdown
        ("57P03", 75), // cannot_connect_now
        ("08006", 75), // connection_failure
        ("28000", 1),  // invalid_authorization_specification
        ("28P01", 1),  // invalid_password
        ("3D000", 1),  // invalid_catalog_name
        ("42501", 1),  // insufficient_privilege
    ] {
        let says = format!("SENTINEL of {code}");
        ends_at_the_start(code, |_| answering(error(code)), exit_code, &says);
    }
    ends_at_the_start("closed", |_| answering(Vec::new()), 75, "cannot connect");
    let nobody = |_: &World| "postgresql://me@127.0.0.1:1/agira".to_owned();
    ends_at_the_start("refused", nobody, 75, "refused");
    let no_socket = |_: &World| "postgresql://me@%2Fno%2Fsuch%2Ffolder/agira".to_owned();
    ends_at_the_start("no socket", no_socket, 75, "cannot connect");
}

/// The session ends at each statement before the run begins.
#[test]
fn a_session_that_ends_before_the_run_begins_ends_with_75() {
    for place in ["settings", "check_schema", "check_content_type"] {
        for (code, exit_code) in [("57P01", 75), ("53200", 75), ("57014", 75), ("42501", 1)] {
            let boundaries = Boundaries::new();
            let tag = format!("/* {place} */");
            boundaries.watch(
                move |at| match at.side == Side::Before && at.what.contains(&tag) {
                    true => Then::Raise(code),
                    false => Then::Pass,
                },
            );
            let url = |world: &World| {
                let proxy = PostgresProxy::start(&world.database.url(), boundaries.clone());
                let url = proxy.url();
                std::mem::forget(proxy);
                url
            };
            ends_at_the_start(&format!("{place} {code}"), url, exit_code, "");
        }
    }
}

/// On a full disk, the command reports the lost result, but the work of the run stays done. A closed
/// pipe is no error.
#[test]
fn a_result_that_stdout_does_not_take_is_an_error() {
    for (args, moves) in [
        (&["status"][..], false),
        (&["status", "--output", "json"], false),
        (&["status", "--mapping", "1"], false),
        (&["sync", "--dry-run"], false),
        (&["sync", "--dry-run", "--mapping", "1"], false),
        (&["sync", "--dry-run", "--output", "json"], false),
        (&["push-weaviate", "--dry-run"], false),
        (&["retry-failed", "--output", "json"], false),
        (&["sync", "--output", "json"], true),
        (&["sync", "--quiet"], true),
    ] {
        for is_full in [true, false] {
            let mut world = one_closed_issue();
            let mut command = world.command(args);
            command.stderr(Stdio::piped());
            if is_full {
                let full = File::options().write(true).open("/dev/full");
                command.stdout(full.expect("/dev/full"));
            } else {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                command.stdout(writer);
            }
            let child = command.spawn().expect("the program starts");
            drop(command);
            let output = wait::output_of(child);
            let said = String::from_utf8_lossy(&output.stderr);
            let case = format!("{args:?}, full: {is_full}\n{said}");
            assert_eq!(output.status.code(), Some(i32::from(is_full)), "{case}");
            let is_reported =
                said.contains("the result could not be written to stdout: No space left");
            assert_eq!(is_reported, is_full, "{case}");
            let status: String = world.one("SELECT status FROM core_item");
            assert_eq!(status == "Testing", moves, "{case}");
        }
    }
}

/// The claims of a run that died last as long as its time budget, and five minutes more.
#[test]
fn a_time_budget_is_an_hour_at_most() {
    let mut world = one_closed_issue();
    for (given, code) in [("1h", 0), ("3600s", 0), ("3601s", 2), ("365days", 2)] {
        for subcommand in &ALL_COMMANDS[..3] {
            let run = world.run(&[subcommand, "--time-budget", given]).exits(code);
            let mut command = world.command(&[subcommand]);
            command.env("AGIRA_WORKER_TIME_BUDGET", given);
            let by_variable = Run::of(&mut command).exits(code);
            if code == 2 {
                run.logs("it must be a time from 1s to 1h, such as 5m");
                by_variable.logs("it must be a time from 1s to 1h, such as 5m");
            }
        }
    }
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now()");
    let front = FaultProxy::before(&world.github.url());
    // The poll has an answer, and the fetch has none.
    front.fail_from(1, WireFault::Hang);
    let mut command = world.command(&["sync", "--time-budget", "1h"]);
    command.env("GITHUB_API_URL", front.url());
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    front.wait_for(2);
    child.kill().expect("a child");
    wait::end(&mut child, wait::SOON);
    let lease = "SELECT max(worker_claimed_until) BETWEEN now() + interval '60 min' AND now() + interval '65 min'
        FROM core_externalissuemapping";
    assert!(world.one::<bool>(lease));
}

/// The mapping with the highest id failed longest ago. The test compares the mappings that each run tries.
#[test]
fn retry_failed_tries_the_longest_untried_first_and_each_once() {
    // The number of failed mappings, the limit, and the ids that each of two runs tries.
    for (count, limit, tried) in [
        (
            60,
            50,
            [(11..=60).collect::<Vec<i64>>(), (1..=50).collect()],
        ),
        (120, 300, [(1..=120).collect(), (1..=120).collect()]),
        (120, 120, [(1..=120).collect(), (1..=120).collect()]),
    ] {
        let mut world = closed_issues(Settings::default(), count);
        world.execute(
            "UPDATE core_externalissuemapping SET worker_attempts = 10, worker_due_at = NULL, html_url = 'nonsense',
                worker_error = 'broken', worker_error_at = now() - interval '1 day' - id * interval '1 minute'",
        );
        for expected in &tried {
            let limit = limit.to_string();
            let run = world
                .run(&["retry-failed", "--limit", &limit, "--output", "json"])
                .exits(3);
            let report = run.json();
            let entries = report["mappings"].as_array().expect("a list");
            let ids: BTreeSet<i64> = entries
                .iter()
                .filter_map(|entry| entry["mapping_id"].as_i64())
                .collect();
            let case = format!("{count} with --limit {limit}");
            assert_eq!(ids, expected.iter().copied().collect(), "{case}");
            assert_eq!(
                (&report["claimed"], &report["failed"], entries.len()),
                (
                    &json!(expected.len()),
                    &json!(expected.len()),
                    expected.len()
                ),
                "{case}: each once"
            );
            let is_all = expected.len() == count as usize;
            let stopped_by = (!is_all).then_some("limit");
            assert_eq!(report["stopped_by"], json!(stopped_by), "{case}");
        }
        let left = "SELECT count(*) FROM core_externalissuemapping
            WHERE worker_claim IS NOT NULL OR worker_error = 'broken' OR worker_attempts <> 1";
        assert_eq!(world.one::<i64>(left), 0);
        // A corrected address heals a mapping.
        world.execute(
            "UPDATE core_externalissuemapping SET html_url = 'https://github.com/acme/shop/issues/' || number",
        );
        let run = world.run(&["retry-failed", "--limit", "300"]).exits(0);
        run.prints(&format!("{count} items moved"));
    }
}
