//! SIGTERM and SIGINT: the run releases its claims and ends soon, even if a service does not answer.

use std::process::{Child, Command, Stdio};

use kit::fault_proxy::{FaultProxy, WireFault};
use kit::wait;
use kit::weaviate::Settings;
use serde_json::{Value, json};

use crate::fixtures::closed_issues;
use crate::harness::{World, await_handled, check_silent, send_signal};

const ISSUES: i32 = 3;

fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn ended(child: Child) -> (i32, String, String) {
    let output = wait::output_of(child);
    check_silent(&[&output.stdout, &output.stderr]);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("an exit code"),
        text(output.stdout),
        text(output.stderr),
    )
}

fn mappings(world: &mut World) -> Value {
    world.one("SELECT json_agg(to_jsonb(m) ORDER BY id) FROM core_externalissuemapping m")
}

fn moved(world: &mut World) -> i64 {
    world.one("SELECT count(*) FROM core_item WHERE status = 'Testing'")
}

/// Checks that the next run finishes all work, and that no attempt was counted.
#[track_caller]
fn comes_level(world: &mut World) {
    world.sync();
    assert_eq!(moved(world), i64::from(ISSUES));
    assert_eq!(world.weaviate.objects().len(), 2 * ISSUES as usize);
    let unsettled =
        "SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts > 0 OR worker_error IS NOT NULL
        OR worker_claim IS NOT NULL OR worker_outbox IS NOT NULL OR worker_due_at IS NOT NULL";
    assert_eq!(world.one::<i64>(unsettled), 0);
}

#[test]
fn a_signal_while_github_does_not_answer_releases_everything() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        // The poll, and the first fetch.
        for hanging in [0, 1] {
            let mut world = closed_issues(Settings::default(), ISSUES);
            // The repository is polled from the second run on.
            world.execute("INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES ('acme/shop', now(), now())");
            let before = mappings(&mut world);
            let front = FaultProxy::before(&world.github.url());
            front.fail_from(hanging, WireFault::Hang);
            let mut command =
                world.command(&["sync", "--output", "json", "--request-timeout", "2s"]);
            let child = start(command.env("GITHUB_API_URL", front.url()));
            front.wait_for(hanging + 1);
            send_signal(child.id(), signal);
            let (ended_with, stdout, stderr) = ended(child);
            let report: Value = serde_json::from_str(&stdout)
                .unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
            assert_eq!(
                (ended_with, &report["exit_code"]),
                (code, &json!(code)),
                "{stderr}"
            );
            assert_eq!(
                (&report["stopped_by"], &report["failed"]),
                (&json!("signal"), &json!(0)),
                "{report}"
            );
            assert_eq!(
                front.requests(),
                hanging + 1,
                "nothing is asked after the signal"
            );
            assert_eq!(mappings(&mut world), before);
            let recorded: i32 = world.one("SELECT exit_code FROM worker_run");
            assert_eq!(recorded, code);
            comes_level(&mut world);
        }
    }
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    for (first, second, code) in [
        ("TERM", "TERM", 143),
        ("INT", "TERM", 143),
        ("TERM", "INT", 130),
    ] {
        let mut world = closed_issues(Settings::default(), ISSUES);
        let front = FaultProxy::before(&world.github.url());
        front.fail_from(0, WireFault::Hang);
        // This is longer than the test may last, so only the second signal can end the run.
        let mut command = world.command(&["sync", "--request-timeout", "60s"]);
        let mut child = start(command.env("GITHUB_API_URL", front.url()));
        front.wait_for(1);
        send_signal(child.id(), first);
        // Two signals that are pending at once would count as one.
        await_handled(&child);
        assert!(
            child.try_wait().unwrap().is_none(),
            "the first one does not end it at once"
        );
        send_signal(child.id(), second);
        let (ended_with, stdout, _) = ended(child);
        assert_eq!((ended_with, stdout.as_str()), (code, ""));
        front.heal();
        world.execute(
            "UPDATE core_externalissuemapping SET worker_claimed_until = now() WHERE worker_claim IS NOT NULL",
        );
        world.run(&["sync"]).exits(0);
        comes_level(&mut world);
    }
}

/// A person locks the first item during apply. The run applies the others, and finishes its transaction once the person
/// releases the lock.
#[test]
fn a_signal_during_apply_finishes_the_current_transaction() {
    let mut world = closed_issues(Settings::default(), ISSUES);
    let mut person = world.database.client();
    let mut held = person.transaction().unwrap();
    held.execute(
        "SELECT FROM core_item WHERE id = (SELECT min(id) FROM core_item) FOR UPDATE",
        &[],
    )
    .unwrap();
    let child = start(&mut world.command(&["sync", "--output", "json"]));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'agira-worker' AND wait_event_type = 'Lock'";
    wait::until("a run that waits for a lock", wait::SOON, || {
        world.one::<i64>(waiting) > 0
    });
    send_signal(child.id(), "TERM");
    await_handled(&child);
    held.rollback().unwrap();
    let (code, stdout, stderr) = ended(child);
    let report: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    assert_eq!(
        (code, &report["stopped_by"]),
        (143, &json!("signal")),
        "{stderr}"
    );
    assert_eq!(
        (&report["synced"], &report["given_back"]),
        (&json!(ISSUES), &json!(0)),
        "{report}"
    );
    assert_eq!(moved(&mut world), i64::from(ISSUES));
    let held = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NOT NULL";
    assert_eq!(world.one::<i64>(held), 0);
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL"
        ),
        i64::from(ISSUES)
    );
    comes_level(&mut world);
}

#[test]
fn a_signal_while_weaviate_does_not_answer_keeps_the_objects() {
    let mut world = closed_issues(Settings::default(), ISSUES);
    let front = FaultProxy::before(&world.weaviate.url());
    front.fail_from(2, WireFault::Hang);
    let mut command = world.command(&["sync", "--output", "json", "--request-timeout", "2s"]);
    let child = start(command.env("WEAVIATE_URL", front.url()));
    front.wait_for(3);
    send_signal(child.id(), "TERM");
    let (code, stdout, stderr) = ended(child);
    let report: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    assert_eq!(
        (code, &report["stopped_by"]),
        (143, &json!("signal")),
        "{stderr}"
    );
    assert_eq!(
        moved(&mut world),
        i64::from(ISSUES),
        "what was begun is finished"
    );
    comes_level(&mut world);
}
