//! Living beside Agira: its migrations, stale forms of its users, backups, upgrades and removal (examples/README.md,
//! "Living beside Agira"). `schema/django.rs` tests the effect of Django's own statements on our columns.

use std::path::Path;
use std::process::Command;

use agira_worker::core::agira_object::ObjectType::GithubPr;
use kit::agira;
use kit::postgres_server::{Database, Dump, role_sql};
use postgres::error::SqlState;

use super::schema::catalog;
use crate::fixtures::CLOSED_AT;
use crate::harness::{Linked, World};

const CLOSED: &str = "acme/shop#12";
const OPEN: &str = "acme/shop#13";
const PULL_REQUEST: &str = "acme/shop#15";

struct Life {
    world: World,
    closed: Linked,
    open: Linked,
}

/// Returns an Agira with an issue that a merged pull request closed, an open issue, and one that was deleted on GitHub.
fn agira() -> Life {
    let mut world = World::new();
    let closed = world.issue(CLOSED, "Working");
    let open = world.issue(OPEN, "Working");
    world.issue("acme/shop#14", "Working");
    world.github.delete("acme/shop#14");
    world.github.pull_request(PULL_REQUEST, |pull_request| {
        pull_request.body = "Fixes #12".to_owned()
    });
    world.github.issue(CLOSED, |issue| {
        issue.references = vec![PULL_REQUEST.to_owned()]
    });
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    Life {
        world,
        closed,
        open,
    }
}

/// Returns the same after a run, which moved one row, linked one, left one waiting and parked one.
fn after_a_run() -> Life {
    let mut life = agira();
    life.world.run(&["sync"]).exits(3);
    assert_eq!(life.statuses(), ["Testing", "Working"]);
    life
}

impl Life {
    fn statuses(&mut self) -> [String; 2] {
        [self.closed.item, self.open.item].map(|item| self.world.item_status(item))
    }

    /// Returns the rows of Agira and of the worker, without the list of runs and the time of the last poll.
    fn rows(&self) -> Dump {
        let mut rows = self.world.database.dump("");
        rows.remove("worker_run");
        rows.remove("worker_repository");
        rows
    }

    /// Checks that a run sends one request to GitHub and none to Weaviate, and writes no row.
    #[track_caller]
    fn has_nothing_to_do(&self) {
        let before = self.rows();
        self.world.github.clear_log();
        self.world.weaviate.clear_log();
        self.world.sync().prints("Nothing to do");
        assert_eq!(self.rows(), before);
        assert_eq!(
            (
                self.world.github.requests().len(),
                self.world.weaviate.requests().len()
            ),
            (1, 0)
        );
    }

    /// Closes the open issue on GitHub, and checks that the next run moves its item and writes the new status.
    #[track_caller]
    fn still_works(&mut self) {
        self.world
            .github
            .close(OPEN, &chrono::Utc::now().to_rfc3339());
        self.world.sync().prints("1 item moved");
        let statuses = self.statuses();
        // PostgreSQL pads a character(n) with spaces.
        assert_eq!(
            statuses.each_ref().map(|status| status.trim_end()),
            ["Testing", "Testing"]
        );
    }

    /// Executes a migration as the owner of the tables.
    fn migrate(&mut self, sql: &str) {
        self.world.execute(&format!("BEGIN; {sql}; COMMIT"));
    }

    /// Makes the program use this database from now on.
    fn move_to(&mut self, database: Database) {
        self.world.client = database.client();
        self.world.database = database;
    }
}

/// Returns a copy of the database as a backup of its files would restore it, which each version of the server can make.
fn copied(life: &mut Life) -> Database {
    // A database with sessions cannot be copied.
    let elsewhere = Database::empty();
    life.world.client = elsewhere.client();
    let copy = life.world.database.duplicate();
    life.world.client = life.world.database.client();
    copy
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns true if the installed pg_dump knows the version of the server. It refuses a newer one.
fn can_dump(world: &mut World) -> bool {
    let version = Command::new("pg_dump").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let number = version.split_whitespace().nth(2);
    let major = number.and_then(|number| number.split('.').next()?.parse::<i32>().ok());
    let server: i32 = world.one("SELECT current_setting('server_version_num')::int / 10000");
    major.expect(&version) >= server
}

fn back_up(database: &Database, file: &Path) {
    run(Command::new("pg_dump")
        .args(["--format=custom", "--file"])
        .arg(file)
        .arg("-d")
        .arg(database.url()));
}

fn restored(file: &Path) -> Database {
    let database = Database::empty();
    run(Command::new("pg_restore")
        .args(["--exit-on-error", "-d"])
        .arg(database.url())
        .arg(file));
    database
}

#[test]
fn the_next_run_works_after_agiras_migrations() {
    for migration in [
        // Django adds a column with a default and then drops the default.
        "ALTER TABLE core_item ADD COLUMN severity varchar(20) DEFAULT '' NOT NULL;
         ALTER TABLE core_item ALTER COLUMN severity DROP DEFAULT",
        "ALTER TABLE core_externalissuemapping ADD COLUMN labels jsonb NULL",
        "ALTER TABLE core_externalissuemapping ALTER COLUMN html_url TYPE varchar(500)",
        "ALTER TABLE core_externalissuemapping ALTER COLUMN number TYPE bigint USING number::bigint;
         ALTER TABLE core_externalissuemapping ALTER COLUMN number TYPE integer USING number::integer",
        "ALTER TABLE core_externalissuemapping ALTER COLUMN number TYPE bigint",
        "ALTER TABLE core_externalissuemapping ALTER COLUMN number TYPE smallint, ALTER COLUMN id TYPE integer,
             ALTER COLUMN item_id TYPE integer;
         ALTER TABLE core_item ALTER COLUMN id TYPE integer, ALTER COLUMN project_id TYPE integer,
             ALTER COLUMN organisation_id TYPE integer;
         ALTER TABLE core_project ALTER COLUMN id TYPE integer",
        "ALTER TABLE core_item ALTER COLUMN status TYPE text, ALTER COLUMN title TYPE varchar(500);
         CREATE DOMAIN kind AS varchar(20);
         ALTER TABLE core_externalissuemapping ALTER COLUMN kind TYPE kind, ALTER COLUMN html_url DROP NOT NULL",
        "ALTER TABLE core_item ALTER COLUMN status TYPE char(20);
         ALTER TABLE core_externalissuemapping ALTER COLUMN state TYPE char(20), ALTER COLUMN kind TYPE char(20)",
        "ALTER TABLE core_item DROP COLUMN epic_order CASCADE",
        "ALTER TABLE core_item RENAME COLUMN user_input TO original_text",
        "CREATE INDEX core_mapping_state ON core_externalissuemapping (state);
         ALTER TABLE core_externalissuemapping ADD CONSTRAINT one_row UNIQUE (item_id, kind, number)",
    ] {
        let mut life = after_a_run();
        life.migrate(migration);
        life.has_nothing_to_do();
        life.still_works();
    }
}

/// A run holds no lock between its statements, and uses no plan that PostgreSQL made for the old table.
#[test]
fn a_migration_or_an_upgrade_during_a_run_succeeds_and_so_does_the_run() {
    let worker_sql = std::fs::read_to_string(kit::postgres_server::sql("worker.sql")).unwrap();
    for change in [
        "ALTER TABLE core_externalissuemapping ADD COLUMN labels jsonb NULL",
        &worker_sql,
    ] {
        let mut life = agira();
        let (mut client, change) = (life.world.database.client(), change.to_owned());
        life.world
            .github
            .meanwhile(move || client.batch_execute(&change).unwrap());
        life.world.run(&["sync"]).exits(3).prints("1 item moved");
        assert_eq!(life.statuses(), ["Testing", "Working"]);
    }
}

#[test]
fn inserts_fail_while_a_new_required_column_has_no_default() {
    for table in ["core_externalissuemapping", "core_activity"] {
        let mut life = agira();
        life.migrate(&format!(
            "ALTER TABLE {table} ADD COLUMN source varchar(20) DEFAULT '' NOT NULL;
             ALTER TABLE {table} ALTER COLUMN source DROP DEFAULT"
        ));
        let said = life
            .world
            .run(&["sync"])
            .exits(3)
            .prints("1 mapping synced");
        said.logs("acme/shop#12: failed: the database refuses it: null value in column \"source\"");
        assert_eq!(life.statuses(), ["Working", "Working"]);
        life.migrate(&format!(
            "ALTER TABLE {table} ALTER COLUMN source SET DEFAULT ''"
        ));
        life.world
            .run(&[
                "retry-failed",
                "--mapping",
                &life.closed.mapping.to_string(),
            ])
            .exits(0);
        assert_eq!(life.statuses(), ["Testing", "Working"]);
    }
}

#[test]
fn a_needed_column_that_was_removed_is_named_before_any_request() {
    let mut life = after_a_run();
    life.migrate("ALTER TABLE core_item RENAME COLUMN solution_description TO solution");
    life.world.github.clear_log();
    life.world.weaviate.clear_log();
    life.world
        .run(&["sync"])
        .exits(1)
        .logs("lacks core_item.solution_description: run Agira");
    assert_eq!(
        (
            life.world.github.requests().len(),
            life.world.weaviate.requests().len()
        ),
        (0, 0)
    );
}

/// A form that was opened before the run and saved after it writes the old values of all columns.
#[test]
fn a_column_of_an_unknown_type_is_named_before_any_request() {
    for (table, column, kind, expected) in [
        (
            "core_externalissuemapping",
            "number",
            "text",
            "bigint or integer or smallint",
        ),
        (
            "core_item",
            "created_at",
            "timestamp without time zone",
            "timestamp with time zone",
        ),
        (
            "core_externalissuemapping",
            "worker_outbox",
            "text",
            "jsonb or json",
        ),
    ] {
        let mut life = after_a_run();
        life.migrate(&format!(
            "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}"
        ));
        life.world.github.clear_log();
        for command in ["sync", "status"] {
            life.world.run(&[command]).exits(1).logs(&format!(
                "column {column} of table {table} has type {kind}, expected {expected}: this version of agira-worker does not \
                 know that version of"
            ));
        }
        assert!(life.world.github.requests().is_empty());
    }
}

/// An upgrade may change only an index or a constraint, which no column shows.
#[test]
fn another_version_of_our_schema_is_named_before_any_request() {
    let mut life = after_a_run();
    life.world.github.clear_log();
    life.world.weaviate.clear_log();
    for (change, said) in [
        (
            "COMMENT ON TABLE worker_run IS 'agira-worker schema 0: runs'",
            "the database has version 0 of our tables, and this program needs version",
        ),
        (
            "COMMENT ON TABLE worker_run IS NULL",
            "the comment on the table worker_run names no version",
        ),
        (
            "COMMENT ON TABLE worker_run IS 'agira-worker schema 99'",
            "this program is older than the database: sql/worker.sql of version 99 was run",
        ),
        (
            "COMMENT ON TABLE worker_run IS 'agira-worker schema 99'; ALTER TABLE worker_run DROP COLUMN stopped_by",
            "this program is older than the database: sql/worker.sql of version 99 was run",
        ),
        (
            "COMMENT ON TABLE worker_run IS NULL",
            "the database lacks worker_run.stopped_by; run as the owner",
        ),
    ] {
        life.world.execute(change);
        for command in ["sync", "status"] {
            let run = life.world.run(&[command]).exits(1).logs(said);
            assert_eq!(
                run.all().contains("-f sql/worker.sql"),
                !said.contains("older"),
                "{}",
                run.all()
            );
        }
    }
    let requests = life.world.github.requests().len() + life.world.weaviate.requests().len();
    assert_eq!(requests, 0);
    life.world
        .execute("ALTER TABLE worker_run ADD COLUMN stopped_by text");
    life.world.database.install();
    life.still_works();
}

#[test]
fn an_upgrade_gives_times_without_end_an_end() {
    let mut life = after_a_run();
    life.migrate("ALTER TABLE core_externalissuemapping DROP CONSTRAINT worker_mapping_finite");
    life.world.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_due_at = '-infinity', worker_checked_at = 'infinity' WHERE id = {open};
         UPDATE core_externalissuemapping SET worker_recheck_at = 'infinity' WHERE id = {closed}",
        open = life.open.mapping,
        closed = life.closed.mapping
    ));
    life.world
        .run(&["status", "--mapping", &life.open.mapping.to_string()])
        .exits(0);
    life.world.run(&["sync", "--dry-run"]).exits(0);
    for _ in 0..2 {
        life.world.database.install();
        let repaired = "SELECT count(*) FROM core_externalissuemapping
            WHERE worker_due_at <= now() AND worker_checked_at IS NULL OR worker_recheck_at <= now() AND worker_due_at IS NULL";
        assert_eq!(life.world.one::<i64>(repaired), 2);
    }
    let endless = "UPDATE core_externalissuemapping SET worker_due_at = 'infinity'";
    let refused = life.world.client.batch_execute(endless).unwrap_err();
    let constraint = refused.as_db_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("worker_mapping_finite"));
    life.still_works();
}

#[test]
fn a_stale_form_counts_as_a_decision_for_an_item_and_is_corrected_for_a_mapping() {
    let mut life = after_a_run();
    life.world.execute(
        "UPDATE core_item SET status = 'Working' WHERE status = 'Testing';
         UPDATE core_externalissuemapping SET state = 'open', last_synced_at = '2026-01-01' WHERE state = 'closed'",
    );
    life.world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .logs("acme/shop#12: state: open => closed");
    assert_eq!(life.statuses(), ["Working", "Working"]);
}

/// Django first deletes the rows that refer to a row. It does not know the worker's links, which PostgreSQL deletes.
#[test]
fn the_next_run_ignores_rows_that_django_deleted() {
    let mut life = after_a_run();
    let item = life.closed.item;
    life.world.execute(&format!(
        "BEGIN; DELETE FROM core_externalissuemapping WHERE item_id = {item}; DELETE FROM core_item WHERE id = {item}; COMMIT"
    ));
    assert_eq!(
        life.world
            .one::<i64>("SELECT count(*) FROM worker_pull_request_link"),
        0
    );
    life.has_nothing_to_do();
    // The same issue is linked to another item; its row is like any new row.
    life.closed = life.world.issue(CLOSED, "Working");
    life.world
        .sync()
        .prints("1 item moved, 1 pull request linked");
    assert_eq!(life.statuses(), ["Testing", "Working"]);
}

/// `manage.py flush` truncates all of Django's tables in one statement, and no other tables.
#[test]
fn flush_is_refused_until_our_tables_are_removed() {
    let life = after_a_run();
    let flush =
        "TRUNCATE core_externalissuemapping, core_item, core_project, core_organisation, core_release, core_activity,
        core_itemtype, core_user, django_content_type";
    let refused = life
        .world
        .database
        .client()
        .batch_execute(flush)
        .unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    life.world.database.run_file("uninstall.sql");
    life.world.database.client().batch_execute(flush).unwrap();
}

#[test]
fn after_a_restore_into_a_new_database_no_work_is_repeated() {
    let mut life = after_a_run();
    let (schema, rows) = (
        catalog(&mut life.world.client),
        without_xmin(life.world.database.dump("")),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let mut backups = vec![copied(&mut life)];
    if can_dump(&mut life.world) {
        back_up(&life.world.database, &file);
        backups.push(restored(&file));
    }
    for database in backups {
        assert_eq!(catalog(&mut database.client()), schema);
        assert_eq!(without_xmin(database.dump("")), rows);
        life.move_to(database);
        life.has_nothing_to_do();
    }
    life.still_works();
}

/// The cursors are as old as the backup, so runs poll GitHub for all later changes.
#[test]
fn after_a_restore_of_an_older_backup_runs_catch_up() {
    let mut life = after_a_run();
    let backup = copied(&mut life);
    life.still_works();
    let (rows, objects) = (without_ours(&life), life.world.weaviate.objects());
    life.move_to(backup);
    assert_eq!(life.statuses(), ["Testing", "Working"]);
    life.world.sync().prints("1 item moved");
    assert_eq!(without_ours(&life), rows);
    assert_eq!(life.world.weaviate.objects(), objects);
}

/// Returns items and mappings as Agira has them, without their times.
fn without_ours(life: &Life) -> Vec<String> {
    let rows = life.world.database.client().query(
        "SELECT format('%s %s %s %s %s', i.id, i.status, m.id, m.kind, m.state) FROM core_item i
         JOIN core_externalissuemapping m ON m.item_id = i.id ORDER BY m.id",
        &[],
    );
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

fn without_xmin(mut dump: Dump) -> Dump {
    for rows in dump.values_mut() {
        for row in rows.iter_mut() {
            *row = row.split_once(' ').expect("xmin first").1.to_owned();
        }
        rows.sort();
    }
    dump
}

#[test]
fn repeated_upgrades_change_no_row() {
    let mut life = agira();
    // There are a moved, a linked, a waiting and a parked row, one with an outbox, and one that a dead run holds.
    life.world
        .weaviate
        .reject_object(&crate::harness::uuid(GithubPr, 4), "not now");
    life.world.run(&["sync"]).exits(3);
    life.world.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = '2026-01-01',
            worker_outbox = '{{}}' WHERE id = {}",
        life.open.mapping
    ));
    let before = (
        catalog(&mut life.world.client),
        life.world.database.dump(""),
    );
    for _ in 0..2 {
        life.world.database.install();
        assert_eq!(
            (
                catalog(&mut life.world.client),
                life.world.database.dump("")
            ),
            before
        );
    }
}

#[test]
fn uninstall_restores_agiras_schema_and_keeps_the_results() {
    let database = Database::agira_only();
    let before = catalog(&mut database.client());
    database.install();
    let mut world = World::on(database);
    world.weaviate.create_agira_class();
    let item = world.issue(CLOSED, "Working").item;
    world.github.close(CLOSED, CLOSED_AT);
    world.sync();
    let rows = world.database.dump("worker_");
    world.database.run_file("uninstall.sql");
    world.execute("DROP OWNED BY agira_worker");
    assert_eq!(catalog(&mut world.client), before);
    assert_eq!(world.database.dump("worker_"), rows);
    assert_eq!(agira::item_status(&mut world.client, item), "Testing");
    world.run(&["sync"]).exits(1).logs("lacks");
    // After another installation, every linked row waits for its first check, as after the first installation.
    world.execute(&std::fs::read_to_string(kit::postgres_server::sql("worker.sql")).unwrap());
    world.execute(&std::fs::read_to_string(role_sql()).unwrap());
    // Agira's item form leaves no activity with the status.
    world.execute(&format!(
        "UPDATE core_item SET status = 'Working' WHERE id = {item}"
    ));
    world.sync().logs("Working => Testing");
}
