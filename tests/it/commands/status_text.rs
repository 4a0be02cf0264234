//! `status` for people and for monitors: its text at several widths, the text about one mapping, and `--check`.

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World};

use super::terminal;

/// Returns a world with wide characters in a repository, a run and a failure.
fn world() -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = '2100-01-01T00:00:00Z';
         UPDATE core_externalissuemapping SET worker_recheck_at = NULL, worker_attempts = 10, worker_error = '壊れた 壊れた 壊れた',
            worker_error_at = '2026-03-03T08:00:00Z' WHERE id = 2;
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since) VALUES
            ('acme/shop', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', '2026-03-03T00:00:00Z', NULL, NULL, NULL),
            ('acme/x', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', NULL, '見えない 見えない 見えない 見えない', '2026-03-03T00:00:00Z', '2026-03-02T12:00:00Z');
         INSERT INTO worker_run (run, command, started_at, finished_at, exit_code, stopped_by, counts) VALUES
            (gen_random_uuid(), 'sync', '2026-03-03T00:00:00Z', '2026-03-03T00:01:00Z', 75, 'github', '{\"synced\": 7, \"failed\": 0}')",
    );
    world
}

fn at(world: &World, columns: &str, args: &[&str]) -> Run {
    Run::of(
        world
            .command(&[&["status"], args].concat())
            .env("COLUMNS", columns),
    )
}

#[test]
fn every_row_is_one_line_at_200_columns() {
    let expected = "\
Needs a look: no sync has done its work so far, 1 mapping parked, acme/x cannot be read since 2026-03-02; the last one ended with exit code 75 (github)
mappings                2
  due                   0
  in work               0
  backing off           0
  parked                1
  waiting               1
never synced            2
to recheck              0
Weaviate pending        0
last runs:
  command  ended                 code  synced  failed  stopped by
  sync     2026-03-03 00:01Z       75       7       0  github
repositories:
  repository  polled         issues             pull requests      due
  acme/shop   on 2026-03-03  2026-03-01 00:00Z  2026-03-02 00:00Z    0
  acme/x      never          2026-03-01 00:00Z  2026-03-02 00:00Z    0
  acme/x, since 2026-03-02: 見えない 見えない 見えない 見えない
failures: 1
  mapping 2 (item 2, issue acme/shop#2): attempt 10 at 2026-03-03T08:00:00Z, parked: 壊れた 壊れた 壊れた
";
    let world = world();
    assert_eq!(at(&world, "200", &[]).exits(0).stdout, expected);
    assert_eq!(
        world.run(&["status"]).exits(0).stdout,
        expected,
        "so it is where nobody says how wide it is"
    );
}

/// Returns the width of a line in columns. The non-ASCII letters of these tests take two columns.
fn width(line: &str) -> usize {
    line.chars()
        .map(|letter| if letter.is_ascii() { 1 } else { 2 })
        .sum()
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let world = world();
    for columns in [40, 59, 60, 80] {
        for args in [&[][..], &["--mapping", "2"], &["--failed"], &["--check"]] {
            let run = at(&world, &columns.to_string(), args);
            let widest = run.stdout.lines().map(width).max().unwrap();
            assert!(widest <= columns, "{widest} at {columns}\n{}", run.all());
            assert!(run.stderr.is_empty(), "{}", run.all());
        }
    }
}

#[test]
fn an_invalid_width_is_ignored() {
    let world = world();
    let wide = at(&world, "200", &[]).stdout;
    for columns in ["", "0", "-1", "many", "99999999"] {
        assert_eq!(at(&world, columns, &[]).exits(0).stdout, wide, "{columns}");
    }
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff8\xff");
    let run = Run::of(
        world
            .command(&["status"])
            .env("COLUMNS", odd)
            .env("LANG", odd)
            .env("NO_COLOR", odd),
    );
    assert_eq!(run.exits(0).stdout, wide);
}

/// Runs `status` on a terminal with that many columns.
fn on_terminal(world: &World, columns: u16, environment: &[(&str, &str)]) -> String {
    terminal::run(world, columns, environment, &["status"])
}

#[test]
fn colors_depend_on_the_terminal_and_on_no_color() {
    let world = world();
    let red = "\u{1b}[31m  parked                1\u{1b}[0m\n";
    assert!(on_terminal(&world, 80, &[("TERM", "xterm")]).contains(red));
    for environment in [
        &[("TERM", "xterm"), ("NO_COLOR", "1")][..],
        &[("TERM", "dumb")],
        &[],
    ] {
        let text = on_terminal(&world, 80, environment);
        assert!(
            text.contains("  parked                1\n") && !text.contains('\u{1b}'),
            "{environment:?}: {text}"
        );
        assert_eq!(text, at(&world, "80", &[]).stdout);
    }
    assert_eq!(on_terminal(&world, 20, &[]), at(&world, "20", &[]).stdout);
    let run = Run::of(world.command(&["status"]).env("TERM", "xterm"));
    assert!(!run.stdout.contains('\u{1b}'), "{}", run.all());
}

#[test]
fn the_history_of_a_mapping_is_shown() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    world.github.pull_request("acme/shop#2", |_| {});
    world.github.close("acme/shop#1", CLOSED_AT);
    let twin = world.issue("acme/shop#3", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/Acme/Shop/issues/1' WHERE number = 3",
    );
    let mapping = linked.mapping.to_string();
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    let run = run
        .prints("  it was never checked on GitHub")
        .prints("  no close event was handled so far");
    run.prints("  it was never pushed to Weaviate; nothing waits")
        .prints("sync --mapping 1 --dry-run");
    world.weaviate.settings().down = true;
    world.run(&["sync", "--mapping", &mapping]).exits(75);
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    let run = run
        .prints("  it was last checked on GitHub at ")
        .prints("; its last change was ");
    let run = run.prints("  the close event of 2026-03-01T10:00:00Z was handled");
    let run = run.prints("  objects wait for Weaviate since ");
    let run = run
        .prints(": item:1, github_issue:1")
        .prints("  it is linked with mapping 3");
    run.prints(&format!(
        "  mapping {} (item {}) has the same address",
        twin.mapping, twin.item
    ));
    world.execute("UPDATE core_externalissuemapping SET worker_error = 'it broke', worker_error_at = '2026-03-03T08:00:00Z' WHERE id = 1");
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    run.prints("  it last failed at 2026-03-03T08:00:00Z (attempt 0): it broke")
        .prints("retry-failed --mapping 1");
}

#[test]
fn status_is_not_blocked_by_locks() {
    let world = world();
    let mut other = world.database.client();
    other
        .batch_execute(
            "BEGIN; LOCK TABLE core_externalissuemapping, core_item, core_project, core_activity, django_content_type, worker_run,
                worker_repository, worker_pause, worker_pull_request_link IN EXCLUSIVE MODE",
        )
        .unwrap();
    for args in [
        &["status"][..],
        &["status", "--mapping", "2"],
        &["status", "--project", "1", "--check"],
    ] {
        let run = world.run(args);
        assert!(run.code == 0 || run.code == 4, "{}", run.all());
    }
}

/// Returns the exit code and the reasons in JSON, and checks that the text has the same reasons.
fn check(world: &World, args: &[&str]) -> (i32, String) {
    let json = world.run(&[&["status", "--check", "--output", "json"], args].concat());
    let text = world.run(&[&["status", "--check"], args].concat());
    assert_eq!(
        (json.code, json.json()["exit_code"].as_i64()),
        (text.code, Some(text.code.into()))
    );
    let reasons = json.json()["unhealthy"].as_array().unwrap().clone();
    for reason in &reasons {
        assert!(
            text.stdout
                .contains(&format!("Unhealthy: {}\n", reason.as_str().unwrap())),
            "{}",
            text.all()
        );
    }
    assert_eq!(
        text.stdout.starts_with("Healthy: last sync "),
        reasons.is_empty(),
        "{}",
        text.all()
    );
    (json.code, serde_json::Value::from(reasons).to_string())
}

#[test]
fn the_exit_code_of_check_reports_problems() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let (code, why) = check(&world, &[]);
    assert!(
        code == 4 && why.contains("no sync has done its work so far"),
        "{why}"
    );
    world.sync();
    assert_eq!(check(&world, &[]).0, 0);
    world.run(&["status"]).exits(0);
    world.execute("UPDATE worker_run SET finished_at = now() - interval '2 hours'");
    let (code, why) = check(&world, &[]);
    assert!(
        code == 4 && why.contains("no sync did its work within 1h, the last one ended "),
        "{why}"
    );
    assert_eq!(check(&world, &["--max-age", "3h"]).0, 0);
    // Only `sync` counts, and only if it did its work. A wait for GitHub is an excuse for three hours. The last
    // number is the minutes since the success before it.
    for (end, expected, minutes) in [
        ("'push-weaviate', 0, NULL", 4, 70),
        ("'sync', 1, NULL", 4, 70),
        ("'sync', 75, 'github'", 4, 70),
        ("'sync', 75, 'rate_limit'", 0, 70),
        ("'sync', 75, 'rate_limit'", 0, 179),
        ("'sync', 75, 'rate_limit'", 4, 181),
        ("'sync', 3, NULL", 0, 181),
    ] {
        world.execute(&format!(
            "DELETE FROM worker_run; INSERT INTO worker_run (run, started_at, finished_at, counts, command, exit_code, stopped_by)
             SELECT gen_random_uuid(), ended_at, ended_at, '{{}}', command, exit_code, stopped_by
             FROM (VALUES (now() - interval '{minutes} min', 'sync', 0, NULL), (now(), {end}))
                AS ends(ended_at, command, exit_code, stopped_by)"
        ));
        assert_eq!(check(&world, &[]).0, expected, "{end} {minutes}");
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = NULL, worker_error = 'it broke', worker_error_at = now()",
    );
    let (code, why) = check(&world, &[]);
    assert!(
        code == 4 && why.contains("1 mapping is parked, more than 0"),
        "{why}"
    );
    assert_eq!(check(&world, &["--max-parked", "1"]).0, 0);
    world.run(&["status"]).exits(0);
    world.run(&["status", "--max-parked", "1"]).exits(2);
    // A failure that is tried again is no alarm, unless the monitor says how many are too many.
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now() + interval '1 hour'");
    assert_eq!(check(&world, &[]).0, 0);
    assert_eq!(check(&world, &["--max-failing", "1"]).0, 0);
    let (code, why) = check(&world, &["--max-failing", "0"]);
    assert!(
        code == 4 && why.contains("1 mapping is failing, more than 0"),
        "{why}"
    );
}

/// A sync of one mapping says nothing about the others.
#[test]
fn a_sync_of_named_mappings_is_no_success_for_check() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.sync();
    world.execute("UPDATE worker_run SET finished_at = now() - interval '2 hours'");
    world.run(&["sync", "--mapping", "1"]).exits(0);
    assert_eq!(check(&world, &[]).0, 4);
    world.sync();
    assert_eq!(check(&world, &[]).0, 0);
}

/// 3,000 mappings of one cause take one line, and 30 others take the rest of 20 lines.
#[test]
fn failures_with_one_cause_are_one_line_and_the_list_is_bounded() {
    let mut world = World::new();
    let project = world.project("acme/shop");
    let item = kit::agira::item(&mut world.client, project, "Working");
    world.execute(&format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, worker_due_at, worker_recheck_at, worker_error, worker_error_at)
         SELECT n, n, 'Issue', 'open', 'https://github.com/acme/shop/issues/' || n, now(), {item}, '', '', NULL,
            CASE WHEN n <= 3000 THEN timestamptz '2100-01-01' END, CASE WHEN n <= 3000 THEN 'hidden' ELSE 'broken ' || n END,
            timestamptz '2026-03-03T08:00:00Z' - n * interval '1 second' FROM generate_series(1, 3030) n"
    ));
    let run = world.run(&["status"]).exits(0).prints("failures: 3,030");
    let run = run
        .prints("  3,000 mappings (1, 2, 3, 4, 5, ...), the last at 2026-03-03T07:59:59Z: hidden");
    let lines: Vec<&str> = run
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("failures"))
        .collect();
    assert_eq!(lines.len(), 1 + 20 + 1, "{}", run.all());
    assert_eq!(lines[21], "  ... and 11 more: --failed");
    let all = world.run(&["status", "--failed"]).exits(0);
    assert_eq!(all.stdout.lines().count(), 1 + 31, "{}", all.all());
    all.prints("  mapping 3030 (item 1, issue acme/shop#3030): attempt 0 at 2026-03-03T07:09:30Z, parked: broken 3030");
    let json = world.run(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(json["failures"].as_array().map(Vec::len), Some(3030));
    world
        .run(&["status", "--mapping", "7"])
        .exits(0)
        .prints("waiting until its repository can be read: hidden");
}
