//! `status` for a person and for monitors: how it looks at several widths, what it says about one mapping, `--check`.

use std::process::Command;

use crate::world::{Run, World};

/// A repository, a run and a failure with wide characters.
fn world() -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = '2100-01-01T00:00:00Z';
         UPDATE core_externalissuemapping SET worker_recheck_at = NULL, worker_attempts = 10, worker_error = '壊れた 壊れた 壊れた',
            worker_error_at = '2026-03-03T08:00:00Z' WHERE id = 2;
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at) VALUES
            ('acme/shop', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', '2026-03-03T00:00:00Z', NULL, NULL),
            ('acme/x', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', NULL, '見えない 見えない 見えない 見えない', now());
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
fn with_200_columns_every_row_is_one_line() {
    let expected = "\
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
  command  ended                 exit code  synced  failed  stopped by
  sync     2026-03-03T00:01:00Z         75       7       0  github
repositories:
  repository  polled                issues up to          pull requests up to   due  error
  acme/shop   2026-03-03T00:00:00Z  2026-03-01T00:00:00Z  2026-03-02T00:00:00Z    0
  acme/x      never                 2026-03-01T00:00:00Z  2026-03-02T00:00:00Z    0  見えない 見えない 見えない 見えない
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

/// How many columns a line takes: those letters that are in these tests and are not ASCII take two.
fn width(line: &str) -> usize {
    line.chars()
        .map(|letter| if letter.is_ascii() { 1 } else { 2 })
        .sum()
}

#[test]
fn no_line_is_wider_than_where_it_is_read() {
    let world = world();
    for columns in [20, 40, 59, 60, 80] {
        for args in [&[][..], &["--mapping", "2"], &["--failed"], &["--check"]] {
            let run = at(&world, &columns.to_string(), args);
            let widest = run.stdout.lines().map(width).max().unwrap();
            assert!(widest <= columns, "{widest} at {columns}\n{}", run.all());
            assert!(run.stderr.is_empty(), "{}", run.all());
        }
    }
}

#[test]
fn a_width_that_makes_no_sense_is_none() {
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

/// `status` on a terminal of that many columns, which util-linux' `script` makes.
fn on_terminal(world: &World, columns: u16, environment: &[(&str, &str)]) -> String {
    let program = world
        .command(&[])
        .get_program()
        .to_str()
        .unwrap()
        .to_owned();
    let mut command = Command::new("script");
    command.args([
        "--quiet",
        "--return",
        "--command",
        &format!("stty rows 24 cols {columns}; {program} status"),
        "/dev/null",
    ]);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("DATABASE_URL", world.database.url());
    command
        .envs(environment.iter().copied())
        .stdin(std::process::Stdio::null());
    let output = command.output().expect("script runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

#[test]
fn colours_are_for_terminals_that_have_them_and_for_people_who_want_them() {
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
fn a_mappings_story_is_told() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    world.github.pull_request("acme/shop#2", |_| {});
    world.github.close("acme/shop#1", "2026-03-01T10:00:00Z");
    let twin = world.issue("acme/shop#3", "Working");
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/Acme/Shop/issues/1' WHERE number = 3",
    );
    let mapping = linked.mapping.to_string();
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    let run = run
        .prints("  GitHub was never looked at for it")
        .prints("  no close event was dealt with so far");
    run.prints("  Weaviate was never brought level; nothing waits")
        .prints("sync --mapping 1 --dry-run");
    world.weaviate.settings().down = true;
    world.run(&["sync", "--mapping", &mapping]).exits(75);
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    let run = run
        .prints("  GitHub was last looked at ")
        .prints("; it had last changed there ");
    let run =
        run.prints("  the close event of 2026-03-01T10:00:00Z was dealt with; the item was moved ");
    let run = run
        .prints(": Status: Working → Testing")
        .prints("  objects wait for Weaviate since ");
    let run = run
        .prints(": item:1, github_issue:1")
        .prints("  it is linked with mapping 3");
    run.prints(&format!(
        "  mapping {} (item {}) means the same page",
        twin.mapping, twin.item
    ));
    world.execute("UPDATE core_externalissuemapping SET worker_error = 'it broke', worker_error_at = '2026-03-03T08:00:00Z' WHERE id = 1");
    let run = world.run(&["status", "--mapping", &mapping]).exits(0);
    run.prints("  it last failed at 2026-03-03T08:00:00Z (attempt 0): it broke")
        .prints("retry-failed --mapping 1");
}

/// Agira has no index that leads to the activities of one item: only the last ones are searched.
#[test]
fn a_close_event_before_the_last_activities_is_told_as_unknown() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.github.close("acme/shop#1", "2026-03-01T10:00:00Z");
    world.sync();
    let moved = "the close event of 2026-03-01T10:00:00Z was dealt with; the item was moved ";
    world
        .run(&["status", "--mapping", "1"])
        .exits(0)
        .prints(moved);
    let more = |world: &mut World, count: i64| {
        world.execute(&format!(
            "INSERT INTO core_activity (target_object_id, verb, summary, created_at, actor_id, target_content_type_id)
             SELECT '9', 'item.status_changed', '', now(), NULL, target_content_type_id
             FROM (SELECT target_content_type_id FROM core_activity LIMIT 1) a, generate_series(1, {count})"
        ));
    };
    more(&mut world, 99_998);
    world
        .run(&["status", "--mapping", "1"])
        .exits(0)
        .prints(moved);
    more(&mut world, 2);
    let unknown = "was dealt with; that is longer ago than Agira's last 100000 activities";
    world
        .run(&["status", "--mapping", "1"])
        .exits(0)
        .prints(unknown);
    world.execute("DELETE FROM core_activity WHERE target_object_id = '1'; DELETE FROM core_activity WHERE id % 2 = 0");
    world
        .run(&["status", "--mapping", "1"])
        .exits(0)
        .prints("was dealt with; the item was left where it was");
}

#[test]
fn a_status_comes_while_others_hold_what_they_want() {
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

/// Exit code, and the reasons in JSON, which are in the text, too.
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
                .contains(&format!("unhealthy: {}\n", reason.as_str().unwrap())),
            "{}",
            text.all()
        );
    }
    assert_eq!(
        text.stdout.starts_with("healthy\n"),
        reasons.is_empty(),
        "{}",
        text.all()
    );
    (json.code, serde_json::Value::from(reasons).to_string())
}

#[test]
fn a_monitor_is_told_by_the_exit_code() {
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
    // Only sync counts, and only when it did its work, or had to wait for GitHub.
    for (end, expected) in [
        ("'push-weaviate', 0, NULL", 4),
        ("'sync', 1, NULL", 4),
        ("'sync', 75, 'github'", 4),
        ("'sync', 75, 'rate_limit'", 0),
        ("'sync', 3, NULL", 0),
    ] {
        world.execute(&format!(
            "DELETE FROM worker_run; INSERT INTO worker_run (run, started_at, finished_at, counts, command, exit_code, stopped_by)
             SELECT gen_random_uuid(), now(), now(), '{{}}', {end}"
        ));
        assert_eq!(check(&world, &[]).0, expected, "{end}");
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = NULL, worker_error = 'it broke', worker_error_at = now()",
    );
    let (code, why) = check(&world, &[]);
    assert!(
        code == 4 && why.contains("1 mappings are parked, more than 0"),
        "{why}"
    );
    assert_eq!(check(&world, &["--max-parked", "1"]).0, 0);
    world.run(&["status"]).exits(0);
    world.run(&["status", "--max-parked", "1"]).exits(2);
}
