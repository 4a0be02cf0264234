//! The promises of `sql/`: Agira's tables stay as they are, and ours never affect Agira (design.md, "Data").

mod agira_tables;
mod django;

use std::collections::BTreeSet;
use std::process::Command;

use agira_worker::db::{Access, Db, RunRecord};
use chrono::{DateTime, Utc};
use kit::agira;
use kit::postgres_server::{Database, sql};
use postgres::Client;
use postgres::error::SqlState;
use uuid::Uuid;

/// Returns all parts of a schema, one per line.
pub fn catalog(client: &mut Client) -> BTreeSet<String> {
    let parts = [
        "SELECT format('relation %s %s', relkind, relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT format('column %s.%s %s %s default %s identity %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END, pg_get_expr(d.adbin, d.adrelid), a.attidentity)
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
        "SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT format('index: %s', pg_get_indexdef(indexrelid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE c.relnamespace = 'public'::regnamespace",
        "SELECT format('comment on %s %s: %s', objoid::regclass, objsubid, description) FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
         WHERE d.classoid = 'pg_class'::regclass AND c.relnamespace = 'public'::regnamespace",
        "SELECT format('trigger %s on %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT format('function %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ];
    client
        .query(&parts.join(" UNION ALL "), &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Inserts two mappings of one item, as Django does.
fn two_mappings(client: &mut Client, first_github_id: i64) -> [i64; 2] {
    let project = agira::project(client, "shop", "acme", "shop");
    let item = agira::item(client, project, "Working");
    let number = i32::try_from(first_github_id).unwrap();
    [
        agira::issue(client, item, first_github_id, "acme/shop", number, "open"),
        agira::pull_request(
            client,
            item,
            first_github_id + 1,
            "acme/shop",
            number + 1,
            "open",
        ),
    ]
}

/// Runs a file of `sql/` with the command of the README.
fn psql(database: &Database, file: &str) -> std::process::Output {
    let mut command = Command::new("psql");
    command
        .args(["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-d"])
        .arg(database.url())
        .arg("-f")
        .arg(sql(file));
    command.output().expect("psql, which comes with PostgreSQL")
}

#[track_caller]
fn check_psql(database: &Database, file: &str) {
    let output = psql(database, file);
    assert!(
        output.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn now(client: &mut Client) -> DateTime<Utc> {
    client
        .query_one("SELECT clock_timestamp()", &[])
        .unwrap()
        .get(0)
}

/// Returns `worker_due_at` and `worker_recheck_at`.
fn times(client: &mut Client, id: i64) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let sql =
        "SELECT worker_due_at, worker_recheck_at FROM core_externalissuemapping WHERE id = $1";
    let row = client.query_one(sql, &[&id]).unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn a_second_worker_sql_changes_nothing() {
    let database = Database::agira_only();
    let mut client = database.client();
    let [early, _] = two_mappings(&mut client, 1);
    database.run_file("worker.sql");
    let [_, late] = two_mappings(&mut client, 3);
    let before = (catalog(&mut client), database.dump(""));
    database.run_file("worker.sql");
    assert_eq!((catalog(&mut client), database.dump("")), before);
    // A second installation does not change which rows are backlog.
    assert_eq!(
        (times(&mut client, early).0, times(&mut client, late).1),
        (None, None)
    );
}

#[test]
fn worker_sql_brings_an_older_installation_up_to_date() {
    let database = Database::create();
    let mut client = database.client();
    let expected = catalog(&mut client);
    two_mappings(&mut client, 1);
    let older = "ALTER TABLE worker_repository DROP COLUMN github_id, DROP COLUMN unreadable_since;
        ALTER TABLE core_externalissuemapping DROP CONSTRAINT worker_mapping_outbox;
        DROP INDEX worker_mapping_address_hash, worker_mapping_unpushed, worker_mapping_unsynced, worker_mapping_delivery_at;
        CREATE INDEX worker_mapping_page ON core_externalissuemapping (lower(html_url COLLATE \"C\")) INCLUDE (html_url);
        CREATE INDEX worker_mapping_never_pushed ON core_externalissuemapping (id) WHERE worker_pushed_at IS NULL;
        CREATE INDEX worker_mapping_never_synced ON core_externalissuemapping (id) WHERE worker_external_updated_at IS NULL;
        CREATE INDEX worker_mapping_delivery ON core_externalissuemapping (coalesce(worker_delivery_at, 'epoch'), id)
            WHERE worker_outbox IS NOT NULL;
        UPDATE core_externalissuemapping SET worker_outbox = '{}' WHERE kind = 'Issue';
        INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, polled_at, error, error_at) VALUES
            ('acme/hidden', now(), now(), '2026-03-01T00:00:00Z', 'hidden', '2026-03-02T00:00:00Z'),
            ('acme/shop', now(), now(), '2026-03-03T00:00:00Z', NULL, NULL),
            ('acme/silent', now(), now(), '2026-03-04T00:00:00Z', 'no answer', NULL)";
    client.batch_execute(older).unwrap();
    check_psql(&database, "worker.sql");
    assert_eq!(catalog(&mut client), expected);
    // The outbox that was not tried yet comes first, as before.
    let times = "SELECT string_agg(concat(kind, worker_delivery_at = 'epoch'), ' ' ORDER BY id) FROM core_externalissuemapping";
    let times: String = client.query_one(times, &[]).unwrap().get(0);
    assert_eq!(times, "Issuet PR");
    let since = "SELECT string_agg(coalesce(to_char(unreadable_since AT TIME ZONE 'UTC', 'MM-DD'), 'never'), ' ' ORDER BY name)
        FROM worker_repository";
    let since: String = client.query_one(since, &[]).unwrap().get(0);
    assert_eq!(since, "03-02 never 03-04");
}

#[test]
fn rows_that_exist_at_installation_wait_and_later_rows_are_due_at_once() {
    let database = Database::agira_only();
    let mut client = database.client();
    let existing = two_mappings(&mut client, 1);
    let before = now(&mut client);
    database.run_file("worker.sql");
    let installed = now(&mut client);
    let later = two_mappings(&mut client, 3);
    let after = now(&mut client);
    for id in existing {
        let (due, recheck) = times(&mut client, id);
        assert_eq!(due, None);
        assert!(
            recheck.is_some_and(|time| (before..installed).contains(&time)),
            "{recheck:?}"
        );
    }
    for id in later {
        let (due, recheck) = times(&mut client, id);
        assert!(
            due.is_some_and(|time| (installed..after).contains(&time)),
            "{due:?}"
        );
        assert_eq!(recheck, None);
    }
}

#[test]
fn worker_sql_only_adds_optional_parts_with_our_prefix() {
    let database = Database::agira_only();
    let mut client = database.client();
    let before = catalog(&mut client);
    database.run_file("worker.sql");
    let after = catalog(&mut client);
    assert_eq!(
        before.difference(&after).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    let added: Vec<&String> = after.difference(&before).collect();
    assert!(added.len() > 40, "{added:#?}");
    for line in added {
        assert!(
            line.contains("worker_") || line.contains(": agira-worker: "),
            "not ours: {line}"
        );
        if line.starts_with("column core_") {
            assert!(line.contains(".worker_"), "not ours: {line}");
            assert!(
                !line.contains("not null default  identity"),
                "Django's INSERT would have to name it: {line}"
            );
        }
        if line.contains("FOREIGN KEY") {
            assert!(
                line.ends_with("ON DELETE CASCADE"),
                "stands in the way of Django's deletes: {line}"
            );
        }
    }
}

/// A person who looks at Agira's table with psql sees what our columns are for.
#[test]
fn each_of_our_columns_in_agiras_table_has_a_comment_and_no_other_one() {
    let database = Database::create();
    let sql = "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute
        WHERE attrelid = 'core_externalissuemapping'::regclass AND attnum > 0 AND NOT attisdropped";
    let columns = database.client().query(sql, &[]).unwrap();
    for row in columns {
        let (name, comment): (String, Option<String>) = (row.get(0), row.get(1));
        let is_ours = comment.is_some_and(|comment| comment.starts_with("agira-worker: "));
        assert_eq!(is_ours, name.starts_with("worker_"), "{name}");
    }
}

#[test]
fn uninstall_sql_removes_exactly_what_worker_sql_added() {
    let database = Database::agira_only();
    let mut client = database.client();
    let [issue, pull_request] = two_mappings(&mut client, 1);
    let before = (catalog(&mut client), database.dump(""));
    database.run_file("uninstall.sql"); // before any installation
    assert_eq!((catalog(&mut client), database.dump("")), before);
    database.run_file("worker.sql");
    let link =
        "INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
        SELECT $1, github_id, item_id, item_id, 'closes' FROM core_externalissuemapping WHERE id = $2";
    assert_eq!(client.execute(link, &[&issue, &pull_request]).unwrap(), 1);
    for _ in 0..2 {
        database.run_file("uninstall.sql");
        assert_eq!((catalog(&mut client), database.dump("")), before);
    }
    database.run_file("worker.sql");
    assert_ne!(catalog(&mut client), before.0);
}

#[test]
fn psql_runs_all_three_files_twice() {
    let database = Database::empty();
    for file in ["agira.sql", "worker.sql"] {
        check_psql(&database, file);
        let before = catalog(&mut database.client());
        check_psql(&database, file);
        assert_eq!(catalog(&mut database.client()), before, "{file}");
    }
    assert_eq!(catalog(&mut database.client()), {
        let mut expected = catalog(&mut Database::create().client());
        expected.retain(|line| !line.contains("pg_stat_statements"));
        expected
    });
    check_psql(&database, "uninstall.sql");
    check_psql(&database, "uninstall.sql");
    check_psql(&database, "worker.sql");
}

#[test]
fn worker_sql_changes_nothing_in_a_database_without_agira() {
    let database = Database::empty();
    let output = psql(&database, "worker.sql");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("relation \"core_externalissuemapping\" does not exist"),
        "{said}"
    );
    assert_eq!(catalog(&mut database.client()), BTreeSet::new());
}

/// Invariant 15: every row has a class, so that a run or a person notices it. Checks all combinations of the columns
/// that decide the class.
#[test]
fn the_database_rejects_a_row_without_a_class() {
    let database = Database::create();
    let mut client = database.client();
    let [id, _] = two_mappings(&mut client, 1);
    let sql = "UPDATE core_externalissuemapping SET worker_claim = CASE WHEN $2 THEN gen_random_uuid() END,
        worker_claimed_until = CASE WHEN $3 THEN now() END, worker_due_at = CASE WHEN $4 THEN now() END,
        worker_recheck_at = CASE WHEN $5 THEN now() END, worker_error = CASE WHEN $6 THEN 'broken' END,
        worker_error_at = CASE WHEN $7 THEN now() END WHERE id = $1";
    for bits in 0..64 {
        let [claim, until, due, recheck, error, error_at] =
            std::array::from_fn(|bit| bits >> bit & 1 == 1);
        let has_class = claim || due || recheck || error;
        let legal = has_class && claim == until && error == error_at;
        match client.execute(
            sql,
            &[&id, &claim, &until, &due, &recheck, &error, &error_at],
        ) {
            Ok(updated) => assert!(legal && updated == 1, "{bits:06b} was accepted"),
            Err(refused) => {
                let constraint = refused.as_db_error().and_then(|error| error.constraint());
                assert!(
                    !legal && constraint == Some("worker_mapping_class"),
                    "{bits:06b}: {refused:?}"
                );
            }
        }
    }
    let refused = client
        .execute(
            "UPDATE core_externalissuemapping SET worker_attempts = -1",
            &[],
        )
        .unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::CHECK_VIOLATION));
}

/// An outbox is found by its delivery time alone. Only a run that holds the row may leave that for later.
#[test]
fn the_database_rejects_an_outbox_that_no_run_would_find() {
    let database = Database::create();
    let mut client = database.client();
    let [id, _] = two_mappings(&mut client, 1);
    let sql = "UPDATE core_externalissuemapping SET worker_claim = CASE WHEN $2 THEN gen_random_uuid() END,
        worker_claimed_until = CASE WHEN $2 THEN now() END, worker_outbox = CASE WHEN $3 THEN '{}'::jsonb END,
        worker_delivery_at = CASE WHEN $4 THEN now() END WHERE id = $1";
    for bits in 0..8 {
        let [claim, outbox, delivery] = std::array::from_fn(|bit| bits >> bit & 1 == 1);
        let result = client.execute(sql, &[&id, &claim, &outbox, &delivery]);
        assert_eq!(result.is_ok(), claim || outbox == delivery, "{bits:03b}");
    }
}

#[test]
fn the_workers_tables_reject_values_that_the_worker_could_not_read() {
    let database = Database::create();
    let mut client = database.client();
    let [issue, pull_request] = two_mappings(&mut client, 1);
    let repository = "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES ($1, now(), now())";
    for (name, accepted) in [
        ("acme/shop", true),
        ("Acme/shop", false),
        ("acme", false),
        ("/shop", false),
        ("acme/", false),
        ("", false),
    ] {
        assert_eq!(
            client.execute(repository, &[&name]).is_ok(),
            accepted,
            "{name:?}"
        );
    }
    let link =
        "INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
        SELECT $1, github_id, item_id, item_id, $3 FROM core_externalissuemapping WHERE id = $2";
    for (relation, accepted) in [("mentions", false), ("closes", true), ("closes", false)] {
        assert_eq!(
            client
                .execute(link, &[&issue, &pull_request, &relation])
                .is_ok(),
            accepted,
            "{relation:?}"
        );
    }
}

#[test]
fn the_last_thousand_runs_of_each_command_are_kept() {
    let database = Database::create();
    let mut client = database.client();
    let (mut db, now) = Db::connect(&database.worker_url(), Access::ReadWrite).unwrap();
    client
        .batch_execute(
            "INSERT INTO worker_run (run, command, started_at, finished_at, exit_code, counts)
             SELECT gen_random_uuid(), command, now(), now(), n, '{}'
             FROM generate_series(1, 1000) AS n, unnest(ARRAY['sync', 'retry-failed']) AS command ORDER BY n",
        )
        .unwrap();
    let counts = serde_json::json!({"claimed": 1});
    for exit_code in 1001..=1003 {
        let record = RunRecord {
            run: Uuid::new_v4(),
            command: "sync",
            started_at: now,
            finished_at: now,
            exit_code,
            stopped_by: Some("limit"),
            counts: &counts,
        };
        db.record_run(&record).unwrap();
    }
    let kept = "SELECT command, count(*), min(exit_code), max(exit_code) FROM worker_run GROUP BY command ORDER BY command";
    let kept = client.query(kept, &[]).unwrap();
    let kept: Vec<(String, i64, i32, i32)> = kept
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    assert_eq!(
        kept,
        [
            ("retry-failed".to_owned(), 1000, 1, 1000),
            ("sync".to_owned(), 1000, 4, 1003)
        ]
    );
    let last = db.overview(&[], &[], now).unwrap().last_run.unwrap();
    assert_eq!(
        (last.exit_code, last.stopped_by.as_deref(), last.counts),
        (1003, Some("limit"), counts)
    );
}
