//! A managed PostgreSQL, where nobody is a superuser: the owner of Agira's tables may create roles, and that is all.

use std::path::Path;
use std::process::Command;

use kit::agira;
use kit::postgres_server::{Cluster, TEMPLATE};
use postgres::{Client, NoTls};

use super::schema::catalog;
use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World};

/// The end of every installation, as people are told.
fn uninstallation() -> &'static str {
    let document = include_str!("../../../examples/README.md");
    let mut blocks = document.split("\n```sh\n").skip(1);
    let block = blocks.find_map(|rest| {
        let (block, _) = rest.split_once("```")?;
        block.contains("sql/uninstall.sql").then_some(block)
    });
    block.expect("a block of commands")
}

/// Runs commands in the checkout as a person at a shell, and returns everything that they print.
#[track_caller]
fn carry_out(commands: &str, url: &str) -> String {
    let (said, is_success) = attempt(commands, url);
    assert!(is_success, "{commands}\n{said}");
    said
}

/// Runs commands that may fail.
fn attempt(commands: &str, url: &str) -> (String, bool) {
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .env("OWNER_URL", url);
    let output = kit::wait::output(&mut shell).expect("bash");
    let said = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&said).into_owned(),
        output.status.success(),
    )
}

fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).expect("the server answers")
}

#[test]
fn an_owner_without_superuser_installs_runs_and_uninstalls() {
    let cluster = Cluster::of(&[]);
    // The role of the templates is everywhere on the server.
    connect(&cluster.url(TEMPLATE))
        .batch_execute("DROP OWNED BY agira_worker; DROP ROLE agira_worker; CREATE ROLE agira LOGIN NOSUPERUSER CREATEROLE")
        .unwrap();
    connect(&cluster.url("postgres"))
        .batch_execute("CREATE DATABASE agira OWNER agira TEMPLATE template0")
        .unwrap();
    let url = |role: &str| {
        let url = cluster.url("agira");
        url.replacen("postgres@", &format!("{role}@"), 1)
    };
    let mut owner = connect(&url("agira"));
    let psql = |file: &str| {
        let command = format!("psql -q -v ON_ERROR_STOP=1 -d \"$OWNER_URL\" -f {file}");
        attempt(&command, &url("agira"))
    };
    let succeeds = |file: &str| assert_eq!(psql(file), (String::new(), true), "{file}");
    let fails = |file: &str, reason: &str, next: &str| {
        let (said, is_success) = psql(file);
        assert!(
            !is_success && said.contains(reason) && said.contains(next),
            "{said}"
        );
    };
    succeeds("sql/agira.sql");
    let before = catalog(&mut owner);
    fails(
        "examples/sql/role.sql",
        "the tables of agira-worker are missing",
        "Run sql/worker.sql first.",
    );
    let mut administrator = connect(&cluster.url("agira"));
    for is_first in [true, false] {
        succeeds("sql/worker.sql");
        if is_first {
            administrator
                .batch_execute("ALTER ROLE agira NOCREATEROLE")
                .unwrap();
            fails(
                "examples/sql/role.sql",
                "agira may not create roles",
                "ALTER ROLE agira CREATEROLE",
            );
            administrator
                .batch_execute("ALTER ROLE agira CREATEROLE")
                .unwrap();
        }
        succeeds("examples/sql/role.sql");
    }
    let world = World::new();
    let github_id = world.github.issue("acme/shop#1", |_| {});
    world.github.close("acme/shop#1", CLOSED_AT);
    let project = agira::project(&mut owner, "Shop", "acme", "shop");
    let item = agira::item(&mut owner, project, "Working");
    agira::issue(&mut owner, item, github_id, "acme/shop", 1, "open");
    let run = |args: &[&str]| Run::of(world.command(args).env("DATABASE_URL", url("agira_worker")));
    run(&["sync"]).exits(0).prints("1 item moved");
    run(&["status"]).exits(0);
    assert_eq!(carry_out(uninstallation(), &url("agira")), "");
    assert_eq!(catalog(&mut owner), before);
    assert_eq!(agira::item_status(&mut owner, item), "Testing");
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'agira_worker'";
    assert_eq!(owner.query_one(roles, &[]).unwrap().get::<_, i64>(0), 0);
}
