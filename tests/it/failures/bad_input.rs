//! Mistakes of operators. Each one gives one clear line that names the cause and the remedy, and the documented exit
//! code, and leaves nothing half-done.

mod rows;
mod services;
mod text;
mod variables;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use kit::github::TOKEN;
use kit::postgres_server::{Database, Dump};

use crate::fixtures::{one_closed_issue, one_closed_issue_with_key};
use crate::harness::{Run, World, check_silent};

/// Secret that some cases put into a wrong variable.
const PASSWORD: &str = "hunter2";
/// Fields of `sync --output json` (design.md, "Command line and output").
const FIELDS: &str = "schema_version command dry_run started_at finished_at exit_code stopped_by error pause discovered claimed synced \
    unchanged failed given_back remaining_due items_moved pull_requests_linked planned weaviate github \
    database mappings";

/// Runs the program twice with the same arguments and environment, as text and as JSON. Both runs must end with `code`
/// and a line on stderr with all `parts`. Returns the JSON.
#[track_caller]
fn ends(
    world: &World,
    args: &[&str],
    change: &dyn Fn(&mut Command),
    code: i32,
    parts: &[&str],
) -> serde_json::Value {
    let run = |more: &[&str]| {
        let mut command = world.command(&[args, more].concat());
        change(&mut command);
        let run = Run::of(&mut command).exits(code);
        assert!(
            !run.all().contains(TOKEN) && !run.all().contains(PASSWORD),
            "a secret is shown\n{}",
            run.all()
        );
        let tells = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(
            run.stderr.lines().any(tells),
            "no line with {parts:?} on stderr\n{}",
            run.all()
        );
        assert!(!run.stderr.contains("panicked"), "{}", run.all());
        run
    };
    run(&[]);
    let run = run(&["--output", "json"]);
    let json = run.json();
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
    let fields: BTreeSet<&str> = json
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(fields, FIELDS.split_whitespace().collect(), "{}", run.all());
    assert_eq!(json["exit_code"], code, "{}", run.all());
    json
}

/// Checks the same for a mistake that is detected before a run begins: it prints only this line, sends no request, and
/// changes nothing.
#[track_caller]
fn refused(world: &World, args: &[&str], change: &dyn Fn(&mut Command), parts: &[&str]) {
    ends_at_the_start(world, args, change, 1, parts);
}

#[track_caller]
fn ends_at_the_start(
    world: &World,
    args: &[&str],
    change: &dyn Fn(&mut Command),
    code: i32,
    parts: &[&str],
) {
    let before = world.database.dump("");
    let json = ends(world, args, change, code, parts);
    let error = json["error"].as_str().expect("an error");
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    let mut command = world.command(args);
    change(&mut command);
    let run = Run::of(&mut command);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.all());
    untouched(world, &before, &run.all());
}

/// Checks that GitHub and Weaviate got no request, and that the database is as before.
#[track_caller]
fn untouched(world: &World, before: &Dump, said: &str) {
    let requests = (
        world.github.requests().len(),
        world.weaviate.requests().len(),
    );
    assert_eq!(requests, (0, 0), "{said}");
    assert_eq!(world.database.dump(""), *before, "{said}");
}

#[test]
fn every_missing_or_malformed_variable_is_reported_with_a_remedy() {
    let world = one_closed_issue();
    let check = |name: &str, value: Option<&[u8]>, parts: &[&str]| {
        let change = |command: &mut Command| {
            match value {
                Some(value) => command.env(name, OsStr::from_bytes(value)),
                None => command.env_remove(name),
            };
        };
        refused(&world, &["sync"], &change, parts);
    };
    let write_it = "write it like";
    for missing in [None, Some(&b""[..])] {
        check(
            "DATABASE_URL",
            missing,
            &["DATABASE_URL is not set", write_it],
        );
        check(
            "GITHUB_TOKEN",
            missing,
            &["GITHUB_TOKEN is not set", "needs to read issues"],
        );
        check(
            "WEAVIATE_URL",
            missing,
            &["WEAVIATE_URL is not set", write_it],
        );
    }
    for bad in [
        "nonsense",
        "http://host/agira",
        "postgresql://me:hunter2@host:port/agira",
        "postgresql:/me:hunter2@host/agira?sslmode=disable",
        "host=host password='hunter2",
        "host=host password=my hunter2=1",
    ] {
        check(
            "DATABASE_URL",
            Some(bad.as_bytes()),
            &["DATABASE_URL is not a PostgreSQL address", write_it],
        );
    }
    let check_token = |bad: &str| {
        let says = "GITHUB_TOKEN holds a character that no GitHub token has";
        check(
            "GITHUB_TOKEN",
            Some(bad.as_bytes()),
            &[says, "set it again"],
        );
    };
    // Another secret in the place of the token is not sent to GitHub.
    check_token("postgresql://me:hunter2@host/agira");
    check_token("GITHUB_TOKEN=hunter2");
    for bad in ["two\nlines", "two words", "t\u{1}ken", "t\u{f6}ken"] {
        check_token(bad);
        check(
            "WEAVIATE_API_KEY",
            Some(bad.as_bytes()),
            &[
                "WEAVIATE_API_KEY holds a character that no key has",
                "set it again",
            ],
        );
    }
    for name in ["WEAVIATE_URL", "GITHUB_API_URL"] {
        let check = |value: &str, says: &str| check(name, Some(value.as_bytes()), &[name, says]);
        check(
            "localhost:8080",
            "does not start with http:// or https://; write it like",
        );
        check(
            "ftp://host",
            "does not start with http:// or https://; write it like",
        );
        check("host", "is not an address");
        check("http://host:99999", "is not an address");
        check("http://", "is not an address");
        check(
            "http://me:hunter2@host",
            "must not have credentials; put them into their own variable",
        );
        check(
            "http://hunter2@host",
            "must not have credentials; put them into their own variable",
        );
        check(
            "http://host/?key=hunter2",
            "must not have a query or a fragment",
        );
        check(
            "http://host/#hunter2",
            "must not have a query or a fragment",
        );
    }
    check(
        "WEAVIATE_URL",
        Some(b"http://host/v1"),
        &["WEAVIATE_URL has a path; it must have scheme, host and port only"],
    );
    for name in [
        "DATABASE_URL",
        "GITHUB_TOKEN",
        "WEAVIATE_URL",
        "GITHUB_API_URL",
        "WEAVIATE_API_KEY",
    ] {
        check(name, Some(b"http://hunter2\xff\xfe"), &[name, "UTF-8"]);
    }
}

#[test]
fn an_unusable_secret_file_is_named_with_the_reason() {
    let world = one_closed_issue();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        // Otherwise there would be a second line, the warning that everybody can read the file.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let empty = file("empty", b"\n");
    let binary = file("binary", b"hunter2\xff");
    let lines = file("lines", b"hunter2\nhunter2\n");
    let missing = folder
        .path()
        .join("missing")
        .into_os_string()
        .into_string()
        .unwrap();
    let is_folder = folder.path().to_str().unwrap().to_owned();
    for name in ["DATABASE_URL", "GITHUB_TOKEN", "WEAVIATE_API_KEY"] {
        let variable = format!("{name}_FILE");
        let check = |path: &str, parts: &[&str]| {
            let change = |command: &mut Command| {
                command.env_remove(name).env(&variable, path);
            };
            refused(&world, &["sync"], &change, parts);
        };
        for path in [&missing, &is_folder, &binary] {
            check(path, &[&format!("cannot read {path}"), &variable]);
        }
        check(&empty, &[&empty, &format!("{variable} names, is empty")]);
        match name {
            "DATABASE_URL" => check(&lines, &[&lines, "is not a PostgreSQL address"]),
            "GITHUB_TOKEN" => check(
                &lines,
                &[&lines, "holds a character that no GitHub token has"],
            ),
            _ => check(&lines, &[name, "holds a character"]),
        }
        let both = |command: &mut Command| {
            command.env(name, PASSWORD).env(&variable, &lines);
        };
        refused(
            &world,
            &["sync"],
            &both,
            &[&format!(
                "both {name} and {variable} are set; set only one of them"
            )],
        );
    }
}

#[test]
fn secrets_come_from_files_as_well_as_from_variables() {
    let mut world = one_closed_issue_with_key(Some(PASSWORD));
    let folder = tempfile::tempdir().unwrap();
    let mut command = world.command(&["sync"]);
    for (name, secret) in [
        ("DATABASE_URL", &*world.database.worker_url()),
        ("GITHUB_TOKEN", TOKEN),
        ("WEAVIATE_API_KEY", PASSWORD),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{secret}\r\n")).unwrap();
        command.env_remove(name).env(format!("{name}_FILE"), path);
    }
    let run = Run::of(&mut command).exits(0);
    assert!(
        !run.all().contains(TOKEN) && !run.all().contains(PASSWORD),
        "{}",
        run.all()
    );
    assert_eq!(
        world.one::<String>("SELECT status FROM core_item"),
        "Testing"
    );
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn an_invalid_command_line_is_exit_code_2_and_changes_nothing() {
    let world = one_closed_issue();
    let before = world.database.dump("");
    let check = |args: &[&str], parts: &[&str]| {
        let run = world.run(args).exits(2);
        assert_eq!(run.stdout, "", "{}", run.all());
        assert!(
            parts.iter().all(|part| run.stderr.contains(part)),
            "no {parts:?}\n{}",
            run.all()
        );
    };
    check(&[], &["Usage: agira-worker"]);
    check(&["synk"], &["'synk'", "'sync'"]);
    check(
        &["status", "--limit", "3"],
        &["unexpected argument '--limit'"],
    );
    for command in ["sync", "push-weaviate", "retry-failed"] {
        check(
            &[command, "--limlt", "3"],
            &["unexpected argument '--limlt'", "--limit"],
        );
        for bad in ["0", "-1", "100001", "99999999999999999999", "many", ""] {
            check(
                &[command, &format!("--limit={bad}")],
                &[&format!("'{bad}'"), "--limit"],
            );
        }
        check(&[command, "--limit"], &["--limit <N>", "required"]);
        // A negative value is no flag, also without the sign of equality.
        for (flag, bad, says) in [
            ("--limit", "-1", "a whole number from 1 to 100000"),
            ("--max-attempts", "-1", "a whole number from 1 to 1000"),
            ("--time-budget", "-5m", "a time from 1s to 1h, such as 5m"),
            ("--request-timeout", "-1", "a time from 1s to 60s"),
            ("--mapping", "-42", "is a whole number such as 42"),
        ] {
            let value = format!("'{bad}' for '{flag}");
            check(&[command, flag, bad], &[&value, says]);
        }
        for bad in ["nonsense", "5", "0s", "-5m", "61m", "3601s", "2years", ""] {
            check(
                &[command, &format!("--time-budget={bad}")],
                &[&format!("'{bad}'"), "--time-budget"],
            );
        }
    }
    for command in ["sync", "push-weaviate", "retry-failed", "status"] {
        for flag in ["--mapping", "--project"] {
            for bad in ["0", "-1", "99999999999999999999", "12a", ""] {
                check(
                    &[command, &format!("{flag}={bad}")],
                    &[&format!("'{bad}'"), flag, "is a whole number such as 42"],
                );
            }
        }
        check(&[command, "--output", "xml"], &["'xml'", "json"]);
    }
    for command in ["sync", "retry-failed"] {
        check(
            &[command, "--keep-status", "Bogus"],
            &["'Bogus'", "--keep-status", "ReadyForRelease"],
        );
        check(
            &[command, "--close-reason", "bogus"],
            &["'bogus'", "--close-reason", "not_planned"],
        );
        for bad in ["nonsense", "2026-13-01", "2026-01-01T00:00:00", ""] {
            let flag = "--ignore-closed-before";
            check(
                &[command, &format!("{flag}={bad}")],
                &[&format!("'{bad}'"), flag, "2026-01-31T12:00:00Z"],
            );
        }
        check(
            &[command, "--max-attempts", "0"],
            &["'0'", "--max-attempts"],
        );
    }
    // It moves no item and makes no recheck.
    for (flag, value) in [
        ("--close-reason", "completed"),
        ("--keep-status", "Review"),
        ("--ignore-closed-before", "2026-01-31"),
        ("--recheck-after", "1h"),
    ] {
        check(
            &["push-weaviate", flag, value],
            &[&format!("unexpected argument '{flag}'")],
        );
    }
    check(
        &["retry-failed", "--recheck-now"],
        &["unexpected argument '--recheck-now'"],
    );
    check(
        &["sync", "--recheck-now", "--dry-run"],
        &["'--recheck-now' cannot be used with '--dry-run'"],
    );
    check(&["sync", "-q", "-v"], &["cannot be used with"]);
    untouched(&world, &before, "");
}

#[test]
fn mappings_and_projects_that_do_not_exist_are_named() {
    let world = one_closed_issue();
    for command in ["sync", "push-weaviate", "retry-failed"] {
        let check = |args: &[&str], says: &str| {
            refused(
                &world,
                &[&[command], args].concat(),
                &|_| {},
                &[says, &format!("check {}", args[0])],
            )
        };
        check(&["--mapping", "99"], "there is no mapping 99");
        check(
            &["--mapping", "9223372036854775807"],
            "there is no mapping 9223372036854775807",
        );
        check(&["--project", "98"], "there is no project 98");
        check(
            &["--mapping", "1", "--mapping", "99", "--dry-run"],
            "there is no mapping 99",
        );
        check(
            &["--mapping", "99", "--project", "98"],
            "there is no project 98, no mapping 99",
        );
    }
    world
        .run(&["status", "--mapping", "99"])
        .exits(1)
        .logs("there is no mapping 99");
}

/// The number of an item is a likely mistake, because people see it in Agira.
#[test]
fn the_mappings_of_an_item_whose_id_was_given_are_named() {
    let mut world = World::new();
    for number in 1..=4 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    // Item 2 has two mappings, and item 4 has none.
    world.execute(
        "UPDATE core_externalissuemapping SET id = id + 100;
         UPDATE core_externalissuemapping SET item_id = 2 WHERE item_id = 4",
    );
    for (id, says) in [
        ("4", "there is no mapping 4; item 4 has no mapping;"),
        (
            "2",
            "there is no mapping 2; item 2 has mappings 102 and 104;",
        ),
        ("3", "there is no mapping 3; item 3 has mapping 103;"),
    ] {
        for command in ["sync", "status"] {
            world.run(&[command, "--mapping", id]).exits(1).logs(says);
        }
    }
}

#[test]
fn a_retry_of_a_mapping_that_did_not_fail_says_what_to_do_instead() {
    let mut world = one_closed_issue();
    let says = "mapping 1 did not fail, so that there is nothing to retry; to check it now, run: agira-worker sync --mapping 1";
    for args in [
        &["retry-failed", "--mapping", "1"][..],
        &["retry-failed", "--mapping", "1", "--dry-run"],
    ] {
        world.run(args).exits(0).logs(says);
    }
    assert_eq!(world.item_status(1), "Working");
    world.execute("UPDATE core_externalissuemapping SET worker_error = 'x', worker_error_at = now(), worker_attempts = 1");
    let run = world.run(&["retry-failed", "--mapping", "1"]).exits(0);
    assert!(!run.stderr.contains("did not fail"), "{}", run.all());
}

#[test]
fn an_unreachable_database_is_reported_before_any_request() {
    let world = one_closed_issue();
    let server = world.database.url();
    let (server, _) = server.rsplit_once('/').unwrap();
    for (url, code, parts) in [
        (
            "postgresql://postgres:hunter2@127.0.0.1:1/agira".to_owned(),
            75,
            [
                "cannot connect to PostgreSQL at 127.0.0.1:1;",
                "nothing listens there",
            ],
        ),
        (
            "postgresql://me:hunter2@no-such-host.invalid/agira".to_owned(),
            75,
            [
                "cannot connect to PostgreSQL at no-such-host.invalid:5432;",
                "this host name is not known",
            ],
        ),
        (
            format!("{server}/no_such_database"),
            1,
            [
                "cannot connect to PostgreSQL",
                "\"no_such_database\" does not exist",
            ],
        ),
        (
            server.replace("postgres@", "nobody:hunter2@") + "/agira",
            1,
            ["cannot connect to PostgreSQL", "\"nobody\""],
        ),
    ] {
        let change = |command: &mut Command| {
            command.env("DATABASE_URL", &url);
        };
        for command in ["sync", "push-weaviate", "retry-failed"] {
            ends_at_the_start(
                &world,
                &[command],
                &change,
                code,
                &[parts[0], parts[1], "check DATABASE_URL"],
            );
        }
    }
}

#[test]
fn missing_tables_are_reported_with_a_remedy() {
    for (database, parts) in [
        (
            Database::empty(),
            ["this is not Agira's database", "check DATABASE_URL"],
        ),
        (
            Database::agira_only(),
            [
                "the database lacks",
                "psql -q -v ON_ERROR_STOP=1 -d \"$OWNER_URL\" -f sql/worker.sql",
            ],
        ),
    ] {
        let world = World::on(database);
        for args in [
            &["sync"][..],
            &["sync", "--dry-run"],
            &["push-weaviate"],
            &["retry-failed"],
        ] {
            refused(&world, args, &|_| {}, &parts);
        }
        let run = world.run(&["status"]).exits(1);
        assert!(
            parts.iter().all(|part| run.stderr.contains(part)),
            "{}",
            run.all()
        );
    }
}

#[test]
fn missing_columns_of_the_worker_are_reported_with_a_remedy() {
    let mut world = one_closed_issue();
    world.execute("ALTER TABLE core_externalissuemapping DROP COLUMN worker_outbox");
    refused(
        &world,
        &["sync"],
        &|_| {},
        &[
            "lacks core_externalissuemapping.worker_outbox",
            "-f sql/worker.sql",
        ],
    );
    world.execute("ALTER TABLE core_item DROP COLUMN solution_description");
    refused(
        &world,
        &["sync"],
        &|_| {},
        &["Agira's database lacks core_item.solution_description: run Agira's"],
    );
}

/// As in `agira-worker status | head -1`.
#[test]
fn a_closed_stdout_is_not_a_failure() {
    let mut world = one_closed_issue();
    for args in [
        &["--help"][..],
        &["status"],
        &["sync", "--dry-run"],
        &["sync"],
        &["sync", "--output", "json"],
    ] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let mut command = world.command(args);
        let child = command
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(writer)))
            .stderr(Stdio::piped())
            .spawn();
        let output = kit::wait::output_of(child.unwrap());
        check_silent(&[&output.stderr]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
    assert_eq!(
        world.one::<String>("SELECT status FROM core_item"),
        "Testing",
        "the work was done all the same"
    );
}
