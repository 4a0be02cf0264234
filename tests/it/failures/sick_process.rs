//! A process that does not end by itself: something blocks it, or a bug makes it panic (design.md, "Failure model").

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agira_worker::cli::Cli;
use clap::Parser;
use kit::boundaries::{Boundaries, Side, Then};
use kit::postgres_proxy::PostgresProxy;
use kit::wait;
use serde_json::Value;

use crate::harness::{Run, World, check_silent, send_signal};
use crate::parallel;

/// Starts a run whose PostgreSQL says nothing from a statement on, as a frozen pooler does, and waits for this silence.
/// The later connections are silent, too.
struct Silenced {
    world: World,
    child: Child,
    _proxy: PostgresProxy,
    started: Instant,
}

fn silenced(args: &[&str], from: &'static str) -> Silenced {
    let mut world = World::new();
    for number in 1..=3 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    let boundaries = Boundaries::new();
    let proxy = PostgresProxy::start(&world.database.url(), boundaries.clone());
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut is_silent = false;
    boundaries.watch(move |place| {
        if place.side == Side::Before && place.what.contains(from) {
            is_silent = true;
            let _ = sender.send(());
        }
        match is_silent {
            true => Then::Silence,
            false => Then::Pass,
        }
    });
    let mut command = world.command(args);
    let started = Instant::now();
    let child = command
        .env("DATABASE_URL", proxy.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    receiver.recv_timeout(wait::SOON).expect("the statement");
    Silenced {
        world,
        child,
        _proxy: proxy,
        started,
    }
}

/// Checks the only object on stdout and the log, and returns the object.
#[track_caller]
fn ended(child: Child, code: i32, log: &str) -> Value {
    let output = wait::output_of(child);
    check_silent(&[&output.stdout, &output.stderr]);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    let object: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    assert_eq!(object["exit_code"], code, "{stderr}");
    let lines = stderr.lines().filter(|line| line.contains(log)).count();
    assert_eq!(lines, 1, "{stderr}");
    object
}

const RUN: [&str; 3] = ["sync", "--output", "json"];

#[test]
fn a_run_ends_within_20_s_of_a_signal_whatever_postgresql_does_not_answer() {
    // The number of claimed and of synced mappings is that of the finished slices.
    let statements = [
        ("check_schema", 0),
        ("/* claim ", 0),
        ("apply_lock", 0),
        ("record_run", 3),
    ];
    parallel::check_each(&statements, |(from, finished)| {
        let silenced = silenced(&RUN, from);
        let signaled = Instant::now();
        send_signal(silenced.child.id(), "TERM");
        let object = ended(silenced.child, 143, "stopped 18 s after SIGTERM");
        let passed = signaled.elapsed();
        assert!(passed < Duration::from_secs(20), "{from}: {passed:?}");
        assert_eq!(object["stopped_by"], "signal", "{from}");
        assert!(object["error"].as_str().unwrap().contains("blocks it"));
        for count in ["claimed", "synced"] {
            assert_eq!(object[count], *finished, "{from}: {count}");
        }
        Ok(())
    });
}

#[test]
fn a_command_ends_within_its_time_budget_and_60_s_whatever_postgresql_does_not_answer() {
    let file = tempfile::tempdir().unwrap();
    let metrics = file.path().join("metrics.prom");
    let path = metrics.to_str().unwrap();
    let run = [
        "sync",
        "--output",
        "json",
        "--time-budget",
        "2s",
        "--metrics-file",
        path,
    ];
    let cases: [(&[&str], &'static str, u64); 3] = [
        (&run, "/* claim ", 62),
        (
            &[
                "sync",
                "--output",
                "json",
                "--dry-run",
                "--time-budget",
                "1s",
            ],
            "/* select ",
            61,
        ),
        (&["status", "--output", "json"], "count_all", 60),
    ];
    parallel::check_each(&cases, |(args, from, limit)| {
        let silenced = silenced(args, from);
        ended(silenced.child, 75, "because something blocks it");
        let passed = silenced.started.elapsed();
        assert!(passed < Duration::from_secs(*limit), "{from}: {passed:?}");
        drop(silenced.world);
        Ok(())
    });
    let metrics = std::fs::read_to_string(metrics).unwrap();
    assert!(
        metrics.contains("agira_worker_run_exit_code{command=\"sync\"} 75"),
        "{metrics}"
    );
}

#[test]
fn a_signal_ends_the_waiting_for_a_lock_in_order() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    let mut person = world.database.client();
    let mut held = person.transaction().unwrap();
    held.batch_execute("LOCK TABLE core_externalissuemapping")
        .unwrap();
    let child = world
        .command(&RUN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'agira-worker' AND wait_event_type = 'Lock'";
    wait::until("a run that waits for a lock", wait::SOON, || {
        world.one::<i64>(waiting) > 0
    });
    let signaled = Instant::now();
    send_signal(child.id(), "TERM");
    let object = ended(child, 143, "WARN ] correcting");
    assert!(signaled.elapsed() < Duration::from_secs(17));
    assert_eq!(object["stopped_by"], "signal");
    held.rollback().unwrap();
    assert_eq!(world.one::<i32>("SELECT exit_code FROM worker_run"), 143);
    world.sync().prints("1 item moved");
}

/// Returns one end of a stream that takes nothing more, and its other end, which nobody reads.
fn full() -> (UnixStream, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    for length in [4096, 1] {
        while writer.write(&vec![b'x'; length]).is_ok() {}
    }
    writer.set_nonblocking(false).unwrap();
    (writer, reader)
}

/// The line for the log came before the result in one thread, so that a full stderr kept the result back.
#[test]
fn a_run_that_its_own_log_blocks_prints_its_result() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    let (writer, _reader) = full();
    let child = world
        .command(&RUN)
        .stdout(Stdio::piped())
        .stderr(Stdio::from(OwnedFd::from(writer)))
        .spawn()
        .expect("the program starts");
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'agira-worker'";
    wait::until("a connection", wait::SOON, || {
        world.one::<i64>(connected) > 0
    });
    send_signal(child.id(), "TERM");
    let output = wait::output_of(child);
    assert_eq!(output.status.code(), Some(143));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["stopped_by"], "signal");
}

/// Is started by the test below in a process of its own.
#[test]
#[ignore = "ends the process"]
fn a_bug() {
    let args: Vec<String> = std::env::var("BUG")
        .unwrap()
        .split(' ')
        .map(str::to_owned)
        .collect();
    let cli = Cli::parse_from(args);
    agira_worker::testing::main(&cli, &|name| panic!("no {name}"));
}

#[test]
fn a_bug_is_one_line_in_the_log_and_one_result_and_exit_code_70() {
    for args in [
        "sync",
        "sync --dry-run",
        "push-weaviate",
        "retry-failed",
        "status",
    ] {
        let this = std::env::current_exe().unwrap();
        let mut command = Command::new(this);
        command.args([
            "--exact",
            "failures::sick_process::a_bug",
            "--ignored",
            "--nocapture",
        ]);
        command.env("BUG", format!("agira-worker {args} --output json"));
        let run = Run::of(&mut command).exits(70);
        let lines = run
            .stderr
            .lines()
            .filter(|line| line.contains("a bug stopped it at"))
            .count();
        assert_eq!((lines, run.stderr.lines().count()), (1, 1), "{}", run.all());
        let objects: Vec<&str> = run
            .stdout
            .lines()
            .filter(|line| line.starts_with('{'))
            .collect();
        let [object] = *objects else {
            panic!("{}", run.all());
        };
        let object: Value = serde_json::from_str(object).unwrap();
        assert_eq!(object["exit_code"], 70);
        let error = object["error"].as_str().unwrap();
        assert!(
            error.contains("sick_process.rs") && error.contains(": no "),
            "{error}"
        );
    }
}
