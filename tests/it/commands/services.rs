//! `status --services`: one line about each service, whatever the others say, and no write.

use std::process::Command;

use kit::github::app::{App, Installation, Key};
use kit::github::{Github, Version};
use kit::postgres_server::Database;
use kit::weaviate::agira_class;
use serde_json::{Value, json};

use crate::fixtures::{one_closed_issue, one_closed_issue_with_key};
use crate::harness::{Run, World};

const SCHEMA: &str = include_str!("../../schema/services.json");
const ASK: [&str; 2] = ["status", "--services"];

/// Asks as text and as JSON; checks that nothing is written anywhere, and returns both.
#[track_caller]
fn asked(world: &World, change: &dyn Fn(&mut Command), code: i32) -> (Run, Value) {
    let before = (world.database.dump(""), world.weaviate.class());
    let run = |more: &[&str]| {
        let mut command = world.command(&[&ASK[..], more].concat());
        change(&mut command);
        Run::of(&mut command).exits(code)
    };
    let text = run(&[]);
    assert_eq!(text.stdout.lines().count(), 3, "{}", text.all());
    let json = run(&["--output", "json"]).json();
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let schema = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let errors: Vec<String> = schema
        .iter_errors(&json)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?} {json:#}");
    assert_eq!(json["exit_code"], code);
    assert_eq!((world.database.dump(""), world.weaviate.class()), before);
    assert_eq!(world.weaviate.writes(), 0);
    (text, json)
}

/// Returns the line about a service.
#[track_caller]
fn line<'a>(run: &'a Run, service: &str) -> &'a str {
    let found = run.stdout.lines().find(|line| line.starts_with(service));
    found.unwrap_or_else(|| panic!("{}", run.all()))
}

#[track_caller]
fn says(run: &Run, service: &str, parts: &[&str]) {
    let line = line(run, service);
    assert!(
        parts.iter().all(|part| line.contains(part)),
        "no {parts:?} in {line}\n{}",
        run.all()
    );
}

#[test]
fn each_service_says_as_whom_and_with_which_rights_and_limits() {
    let mut world = World::on(Database::create());
    world.closed_issue("acme/shop#12");
    world.github.settings().scopes = Some("repo, read:org".to_owned());
    let (run, json) = asked(&world, &|_| {}, 0);
    let database = world.database.url();
    let database = database.rsplit('/').next().unwrap();
    says(
        &run,
        "PostgreSQL  ok",
        &[
            "127.0.0.1:",
            "without TLS",
            &format!("database {database}"),
            "role agira_worker; schema and privileges are complete",
        ],
    );
    says(
        &run,
        "GitHub      ok",
        &[
            "user octo-bot; scopes repo, read:org",
            "the only repository can be read",
            "points are left until 2",
        ],
    );
    says(
        &run,
        "Weaviate    ok",
        &[
            "Weaviate 1.",
            "class AgiraObject is missing, and the first run creates it",
        ],
    );
    assert_eq!(run.stderr, "");
    assert_eq!(json["github"]["login"], "octo-bot");
    assert!(json["postgresql"]["version"].is_string());
    assert_eq!(json["weaviate"]["class"], "missing");
    assert_eq!(json["postgresql"]["is_superuser"], false);
    let (run, json) = asked(
        &world,
        &|command| {
            command.env("DATABASE_URL", world.database.url());
        },
        0,
    );
    says(
        &run,
        "PostgreSQL  ok",
        &["role postgres; a superuser, although the role of examples/sql/role.sql is enough"],
    );
    assert_eq!(json["postgresql"]["is_superuser"], true);
    // After the first run, the class is there.
    world.sync();
    let run = world.run(&ASK).exits(0);
    says(
        &run,
        "Weaviate    ok",
        &["class AgiraObject has no vectorizer"],
    );
}

#[test]
fn a_service_that_fails_shows_its_error_in_place_and_the_others_are_asked() {
    let world = one_closed_issue();
    let nowhere = "http://127.0.0.1:1";
    for (name, value, code, service, parts) in [
        (
            "DATABASE_URL",
            "postgresql://me@127.0.0.1:1/agira",
            75,
            "PostgreSQL",
            ["127.0.0.1:1", "nothing listens there"],
        ),
        (
            "DATABASE_URL",
            "",
            1,
            "PostgreSQL",
            ["DATABASE_URL is not set", "write it like"],
        ),
        (
            "GITHUB_API_URL",
            nowhere,
            75,
            "GitHub",
            [
                "no answer from 127.0.0.1:1",
                "nothing listens there; if this lasts, check GITHUB_API_URL",
            ],
        ),
        (
            "GITHUB_TOKEN",
            "hunter2-hunter2",
            1,
            "GitHub",
            [
                "GitHub refuses the token (Bad credentials)",
                "check GITHUB_TOKEN",
            ],
        ),
        (
            "GITHUB_TOKEN",
            "",
            1,
            "GitHub",
            ["GITHUB_TOKEN is not set", "needs to read issues"],
        ),
        (
            "WEAVIATE_URL",
            nowhere,
            75,
            "Weaviate",
            [
                "no answer from 127.0.0.1:1",
                "nothing listens there; if this lasts, check WEAVIATE_URL",
            ],
        ),
        (
            "WEAVIATE_URL",
            "",
            1,
            "Weaviate",
            ["WEAVIATE_URL is not set", "write it like"],
        ),
    ] {
        let change = |command: &mut Command| {
            command.env(name, value);
        };
        let (run, json) = asked(&world, &change, code);
        says(&run, &format!("{service:<10}  failed"), &parts);
        let ok = run
            .stdout
            .lines()
            .filter(|line| line.contains("  ok      "));
        assert_eq!(ok.count(), 2, "{}", run.all());
        assert!(
            json[service.to_lowercase()]["error"].is_string(),
            "{json:#}"
        );
    }
    // What a person has to change comes before what passes.
    let both = |command: &mut Command| {
        command
            .env("DATABASE_URL", "postgresql://me@127.0.0.1:1/agira")
            .env("GITHUB_TOKEN", "");
    };
    asked(&world, &both, 1);
}

#[test]
fn what_a_run_needs_of_the_database_is_checked() {
    let world = World::on(Database::agira_only());
    let run = world.run(&ASK).exits(1);
    says(
        &run,
        "PostgreSQL  failed",
        &[
            "role agira_worker",
            "the database lacks",
            "-f sql/worker.sql",
        ],
    );
    let mut world = one_closed_issue();
    world.execute("REVOKE UPDATE ON core_item FROM agira_worker; REVOKE UPDATE (status) ON core_item FROM agira_worker");
    // Reading is enough for everything else of `status`.
    world.run(&["status"]).exits(0);
    let (run, _) = asked(&world, &|_| {}, 1);
    says(
        &run,
        "PostgreSQL  failed",
        &["the database role agira_worker lacks UPDATE on core_item.status"],
    );
}

#[test]
fn repositories_that_the_token_cannot_read_are_named() {
    let mut world = one_closed_issue();
    world.issue("acme/open#1", "Working");
    world.sync();
    world.github.hide_repository("acme/shop");
    let run = world.run(&ASK).exits(3);
    says(
        &run,
        "GitHub      failed",
        &[
            "1 of 2 repositories can be read",
            "repository acme/shop cannot be read with this token",
        ],
    );
    world.github.hide_repository("acme/open");
    world.run(&ASK).exits(1);
}

#[test]
fn no_service_is_asked_before_the_time_that_it_named() {
    let mut world = one_closed_issue();
    for (scope, service) in [("github", "GitHub"), ("weaviate", "Weaviate")] {
        world.execute(&format!(
            "INSERT INTO worker_pause (scope, until, reason, count) VALUES ('{scope}', now() + interval '5 minutes', 'slow down', 0)"
        ));
        let run = world.run(&ASK).exits(75);
        says(
            &run,
            &format!("{service:<10}  failed"),
            &["is not asked before 2", "slow down"],
        );
    }
    let before = (
        world.github.requests().len(),
        world.weaviate.requests().len(),
    );
    world.run(&ASK).exits(75);
    assert_eq!(
        (
            world.github.requests().len(),
            world.weaviate.requests().len()
        ),
        before
    );
}

#[test]
fn a_github_app_names_its_installations() {
    let world = one_closed_issue();
    let key = Key::new();
    let suspended = Installation {
        is_suspended: true,
        ..Installation::new(12, "beta")
    };
    let installations = vec![Installation::new(11, "acme"), suspended];
    world.github.register(App::new("4711", &key, installations));
    let as_app = |command: &mut Command| {
        command
            .env_remove("GITHUB_TOKEN")
            .env("GITHUB_APP_ID", "4711")
            .env("GITHUB_APP_PRIVATE_KEY", key.pkcs1_pem());
    };
    let (run, json) = asked(&world, &as_app, 0);
    says(
        &run,
        "GitHub      ok",
        &[
            "the GitHub App agira-sync, installed for acme, beta (suspended)",
            "can be read",
            "points are left",
        ],
    );
    assert_eq!(
        json["github"]["installations"],
        json!(["acme", "beta (suspended)"])
    );
}

#[test]
fn the_version_of_a_github_enterprise_server_is_named() {
    let world = one_closed_issue();
    world.github.settings().version = Version::WithoutEnableDuplicate;
    let (run, _) = asked(&world, &|_| {}, 0);
    says(&run, "GitHub      ok", &["GitHub Enterprise Server 3.16.2"]);
}

#[test]
fn a_class_or_a_key_that_does_not_fit_is_named() {
    let world = one_closed_issue_with_key(Some("the-right-key"));
    let wrong = |command: &mut Command| {
        command.env("WEAVIATE_API_KEY", "hunter2-hunter2");
    };
    let (run, _) = asked(&world, &wrong, 1);
    says(
        &run,
        "Weaviate    failed",
        &[
            "credentials refused",
            "check WEAVIATE_URL, WEAVIATE_API_KEY",
        ],
    );
    let world = World::on(Database::create());
    let mut class = agira_class();
    class["multiTenancyConfig"] = json!({ "enabled": true });
    world.weaviate.create_class(class);
    let (run, json) = asked(&world, &|_| {}, 1);
    says(
        &run,
        "Weaviate    failed",
        &["class AgiraObject does not fit", "multi-tenancy is on"],
    );
    assert_eq!(json["weaviate"]["class"], "unfit");
}

/// A silent service must not keep the others from being asked, nor the command from ending.
#[test]
fn silent_services_end_the_command_within_a_minute() {
    let world = one_closed_issue();
    let silent = Github::start();
    silent.settings().latency = std::time::Duration::from_secs(120);
    let begin = std::time::Instant::now();
    let change = |command: &mut Command| {
        command.env("GITHUB_API_URL", silent.url());
    };
    let mut command = world.command(&ASK);
    change(&mut command);
    let run = Run::of(&mut command).exits(75);
    assert!(begin.elapsed().as_secs() < 40, "{}", run.all());
    says(&run, "GitHub      failed", &["no answer within 8s"]);
    says(&run, "Weaviate    ok", &[]);
}

#[test]
fn it_takes_no_other_selection() {
    let world = one_closed_issue();
    for other in [
        &["--failed"][..],
        &["--check"],
        &["--mapping", "1"],
        &["--project", "1"],
    ] {
        let run = world.run(&[&ASK[..], other].concat()).exits(2);
        run.logs("cannot be used with");
    }
}
