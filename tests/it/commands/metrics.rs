//! `--metrics-file`: the metrics of a run, in the format of node_exporter's textfile collector.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use agira_worker::METRICS;
use kit::fault_proxy::{FaultProxy, WireFault};
use prometheus_parse::{Scrape, Value};

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World};

const DOCUMENT: &str = include_str!("../../../examples/monitoring/README.md");

fn read(path: &Path) -> Scrape {
    let text = std::fs::read_to_string(path).unwrap();
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let values = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(
        scrape.samples.len(),
        values,
        "every line is understood:\n{text}"
    );
    scrape
}

#[track_caller]
fn value(scrape: &Scrape, name: &str, label: Option<(&str, &str)>) -> f64 {
    let name = format!("agira_worker_{name}");
    let found: Vec<_> = scrape
        .samples
        .iter()
        .filter(|sample| {
            sample.metric == name
                && label.is_none_or(|(key, value)| sample.labels.get(key) == Some(value))
        })
        .collect();
    assert_eq!(found.len(), 1, "{name} {label:?}");
    match found[0].value {
        Value::Gauge(value) => value,
        ref other => panic!("{name}: {other:?} is no gauge"),
    }
}

#[test]
fn the_metrics_show_what_a_run_did() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    world.github.close("acme/shop#1", CLOSED_AT);
    world.execute("UPDATE core_externalissuemapping SET html_url = 'nonsense' WHERE number = 2");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.prom");
    let report = world
        .run(&[
            "sync",
            "--output",
            "json",
            "--metrics-file",
            path.to_str().unwrap(),
        ])
        .exits(3)
        .json();
    let scrape = read(&path);
    assert_eq!(value(&scrape, "run_exit_code", None), 3.0);
    for outcome in ["synced", "unchanged", "failed", "given_back"] {
        let written = value(&scrape, "run_mappings", Some(("outcome", outcome)));
        assert_eq!(written, report[outcome].as_f64().unwrap(), "{outcome}");
    }
    assert_eq!(value(&scrape, "run_items_moved", None), 1.0);
    for service in ["github", "weaviate"] {
        let written = value(&scrape, "run_requests", Some(("service", service)));
        assert_eq!(
            written,
            report[service]["requests"].as_f64().unwrap(),
            "{service}"
        );
    }
    assert_eq!(
        value(&scrape, "mappings", Some(("class", "backing_off"))),
        1.0
    );
    assert_eq!(value(&scrape, "mappings", Some(("class", "waiting"))), 1.0);
    assert_eq!(value(&scrape, "outbox_mappings", None), 0.0);
    let finished = value(&scrape, "run_finished_timestamp_seconds", None);
    assert_eq!(
        value(&scrape, "last_success_timestamp_seconds", None),
        finished
    );
    assert!(
        scrape
            .samples
            .iter()
            .all(|sample| sample.labels.get("command") == Some("sync"))
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_run_that_could_not_start_writes_metrics() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.prom");
    std::fs::write(&path, "old").unwrap();
    let mut command = world.command(&["sync", "--metrics-file", path.to_str().unwrap()]);
    command.env_remove("GITHUB_TOKEN");
    Run::of(&mut command).exits(1);
    assert_eq!(value(&read(&path), "run_exit_code", None), 1.0);
}

/// Otherwise an alert on the age of the last success could not fire.
#[test]
fn the_last_success_stays_in_the_file_of_a_run_that_has_no_postgresql() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.prom");
    let args = ["sync", "--metrics-file", path.to_str().unwrap()];
    let without = |args: &[&str], code| {
        let mut command = world.command(args);
        Run::of(command.env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")).exits(code);
        read(&path)
    };
    let known = |scrape: &Scrape| {
        scrape
            .samples
            .iter()
            .any(|one| one.metric.contains("last_success"))
    };
    assert!(!known(&without(&args, 75)), "there was none so far");
    world.run(&args).exits(0);
    let success = value(&read(&path), "last_success_timestamp_seconds", None);
    for _ in 0..2 {
        assert_eq!(
            value(&without(&args, 75), "last_success_timestamp_seconds", None),
            success
        );
    }
    assert!(
        !known(&without(&["push-weaviate", args[1], args[2]], 75)),
        "that of another command"
    );
    std::fs::write(
        &path,
        "agira_worker_last_success_timestamp_seconds{command=\"sync\"} soon\n\u{0}",
    )
    .unwrap();
    assert!(!known(&without(&args, 75)), "no time");
    // PostgreSQL stops during the run, so that the run loses the database.
    world.run(&args).exits(0);
    let success = value(&read(&path), "last_success_timestamp_seconds", None);
    world.issue("acme/shop#1", "Working");
    let front = FaultProxy::before(&world.github.url());
    front.fail_from(0, WireFault::Hang);
    let mut command = world.command(&[&args[..], &["--request-timeout", "2s"]].concat());
    let child = command
        .env("GITHUB_API_URL", front.url())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    front.wait_for(1);
    world.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'agira-worker'",
    );
    assert_eq!(kit::wait::output_of(child).status.code(), Some(75));
    let scrape = read(&path);
    assert_eq!(value(&scrape, "run_exit_code", None), 75.0);
    assert_eq!(
        value(&scrape, "last_success_timestamp_seconds", None),
        success
    );
    assert!(
        !scrape
            .samples
            .iter()
            .any(|one| one.metric == "agira_worker_mappings"),
        "nobody knows that now"
    );
}

#[test]
fn an_unwritable_metrics_file_causes_only_a_warning() {
    let mut world = World::new();
    let linked = world.closed_issue("acme/shop#1");
    let said = world
        .run(&["sync", "--metrics-file", "/nonexistent/folder/sync.prom"])
        .exits(0);
    said.logs("the metrics file /nonexistent/folder/sync.prom cannot be written")
        .prints("1 mapping synced");
    assert_eq!(world.item_status(linked.item), "Testing");
    // The exit code of the run stays the same.
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'nonsense', worker_due_at = now()",
    );
    world
        .run(&["sync", "--metrics-file", "/nonexistent/folder/sync.prom"])
        .exits(3)
        .logs("cannot be written");
    let mut command = world.command(&["sync", "--metrics-file", "/nonexistent/folder/sync.prom"]);
    Run::of(command.env_remove("GITHUB_TOKEN"))
        .exits(1)
        .logs("cannot be written");
    // A path that is not a regular file is not replaced.
    let folder = tempfile::tempdir().unwrap();
    let said = world
        .run(&["sync", "--metrics-file", folder.path().to_str().unwrap()])
        .exits(0);
    said.logs("the path is not a regular file; name another one");
    assert!(folder.path().is_dir());
}

#[test]
fn a_dry_run_writes_no_metrics() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.prom");
    world
        .run(&[
            "sync",
            "--dry-run",
            "--metrics-file",
            path.to_str().unwrap(),
        ])
        .exits(0);
    assert!(!path.exists());
}

#[test]
fn the_metrics_of_document_and_program_are_the_same() {
    let (_, section) = DOCUMENT.split_once("## Metrics\n").expect("a section");
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let ours: Vec<String> = METRICS
        .iter()
        .map(|(name, meaning)| format!("| `{name}` | {meaning} |"))
        .collect();
    assert_eq!(documented, ours);
}

/// The two metrics about GitHub's budget need special situations.
#[test]
fn every_metric_is_written_by_a_run() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync.prom");
    world
        .run(&["sync", "--metrics-file", path.to_str().unwrap()])
        .exits(0);
    let written: BTreeSet<String> = read(&path)
        .samples
        .into_iter()
        .map(|sample| sample.metric)
        .collect();
    let all: BTreeSet<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<&String> = all.difference(&written).collect();
    assert_eq!(missing, ["agira_worker_github_pause_end_timestamp_seconds"]);
    assert!(written.is_subset(&all), "{written:?}");
    world.execute(
        "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('github', date_trunc('second', now() + interval '1 h'), 'too many', 1)",
    );
    world
        .run(&["sync", "--metrics-file", path.to_str().unwrap()])
        .exits(75);
    let until: f64 = world.one("SELECT extract(epoch FROM until)::float8 FROM worker_pause");
    assert_eq!(
        value(&read(&path), "github_pause_end_timestamp_seconds", None),
        until
    );
}
