//! `examples/sql/role.sql` grants what the program needs and nothing else. All other tests run the
//! program as that role, too.

use std::collections::BTreeSet;
use std::path::Path;

use agira_worker::db::{Privilege, privileges};
use kit::postgres_server::role_sql;
use postgres::error::SqlState;
use postgres::{Client, Transaction};

use crate::fixtures::CLOSED_AT;
use crate::harness::World;

/// Returns the needed privileges, such as `SELECT core_item.id` or `DELETE worker_run`.
fn needed() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for Privilege {
        table,
        verb,
        columns,
    } in privileges()
    {
        if columns.is_empty() {
            all.insert(format!("{verb} {table}"));
        }
        let named = columns.iter();
        all.extend(named.map(|column| format!("{verb} {table}.{column}")));
    }
    all
}

/// Returns all privileges of the role in this database.
fn granted(client: &mut Client) -> BTreeSet<String> {
    let sql = "SELECT a.privilege_type || ' ' || c.relname FROM pg_class c, aclexplode(c.relacl) a
            WHERE a.grantee = 'agira_worker'::regrole
        UNION ALL SELECT a.privilege_type || ' ' || c.relname || '.' || t.attname
            FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
            WHERE a.grantee = 'agira_worker'::regrole";
    client
        .query(sql, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

fn revoke(privilege: &str) -> String {
    let (verb, what) = privilege.split_once(' ').unwrap();
    match what.split_once('.') {
        Some((table, column)) => format!("REVOKE {verb} ({column}) ON {table} FROM agira_worker"),
        None => format!("REVOKE {verb} ON {what} FROM agira_worker"),
    }
}

#[test]
fn the_role_is_granted_what_the_program_checks_for_and_nothing_else() {
    let mut world = World::new();
    assert_eq!(granted(&mut world.client), needed());
    // A new run of the file revokes privileges that an earlier version granted.
    world.execute(
        "GRANT DELETE, SELECT ON core_item TO agira_worker; GRANT UPDATE (title) ON core_item TO agira_worker",
    );
    assert_ne!(granted(&mut world.client), needed());
    world.execute(&std::fs::read_to_string(role_sql()).unwrap());
    assert_eq!(granted(&mut world.client), needed());
}

#[test]
fn the_role_can_only_log_in() {
    let mut world = World::new();
    let is_more = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR NOT rolcanlogin
        OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) FROM pg_roles r WHERE rolname = 'agira_worker'";
    assert!(!world.one::<bool>(is_more));
}

/// Returns every statement that the program sends in an eventful history: an id is corrected,
/// closings, a pull request that is linked and unlinked, a pause that begins and ends, a failure,
/// and a run that dies.
fn statements_of_a_life(world: &mut World) -> BTreeSet<String> {
    let log = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = ''all''', current_database()); END $$";
    world.execute(log);
    world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#3", "Working");
    world.execute("UPDATE core_externalissuemapping SET github_id = 77 WHERE id = 2");
    world.github.pull_request("acme/shop#2", |pull_request| {
        pull_request.body = "Fixes #1".to_owned()
    });
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    world.github.merge("acme/shop#2", CLOSED_AT);
    world.sync();
    world
        .github
        .issue("acme/shop#1", |issue| issue.references.clear());
    world.execute("INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
         SELECT 2, github_id, 1, item_id, 'closes' FROM core_externalissuemapping WHERE id = 3");
    world.execute("UPDATE worker_repository SET polled_at = now() - interval '2 days'; UPDATE worker_run SET started_at = now() - interval '2 days'");
    world.run(&["sync", "--recheck-now"]).exits(0);
    world.github.delete("acme/shop#3");
    world.run(&["sync", "--recheck-now"]).exits(3);
    world.github.settings().points = 0;
    world.run(&["sync", "--mapping", "1"]).exits(75);
    world.github.settings().points = 5000;
    world.execute(
        "UPDATE worker_pause SET until = now() - interval '1 s'; UPDATE core_externalissuemapping
         SET worker_claim = gen_random_uuid(), worker_claimed_until = now() - interval '1 s' WHERE id = 1",
    );
    world.sync();
    world.run(&["push-weaviate", "--mapping", "1"]).exits(0);
    world.run(&["retry-failed"]).exits(3);
    world.run(&["status"]).exits(0);
    world.run(&["status", "--mapping", "1"]).exits(0);
    let data: String = world.one("SELECT current_setting('data_directory')");
    let text = std::fs::read_to_string(Path::new(&data).join("../log")).expect("the server's log");
    let entry =
        regex::Regex::new(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+ \[\d+\] ").unwrap();
    let prepared = regex::Regex::new(r"^LOG:  execute \w+: ").unwrap();
    let statements = entry
        .split(&text)
        .filter_map(|entry| Some(entry.trim_end()[prepared.find(entry)?.end()..].to_owned()));
    let ours = statements.filter(|sql| {
        ["core_", "worker_", "django_"]
            .iter()
            .any(|part| sql.contains(part))
    });
    ours.filter(|sql| {
        !sql.starts_with("/* check_privileges */") && !sql.starts_with("/* check_schema */")
    })
    .collect()
}

/// Prepares the statement, and returns one that explains it without values. PostgreSQL checks
/// privileges before it executes anything.
fn explained(client: &mut Client, name: &str, sql: &str) -> String {
    client
        .batch_execute(&format!("PREPARE {name} AS {sql}"))
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1";
    let parameters: i32 = client.query_one(count, &[&name]).unwrap().get(0);
    let nulls = vec!["NULL"; usize::try_from(parameters).unwrap()].join(", ");
    format!(
        "EXPLAIN EXECUTE {name}{}",
        if parameters == 0 {
            String::new()
        } else {
            format!(" ({nulls})")
        }
    )
}

fn is_refused(transaction: &mut Transaction<'_>, statement: &str) -> bool {
    let mut attempt = transaction.transaction().unwrap();
    match attempt.batch_execute(statement) {
        Ok(()) => false,
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => true,
        Err(error) => panic!("{statement}: {error:?}"),
    }
}

#[test]
fn each_privilege_is_needed_by_a_statement() {
    let mut world = World::new();
    let texts = statements_of_a_life(&mut world);
    assert!(texts.len() > 25, "{texts:#?}");
    let mut client = world.database.client();
    let statements: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(n, sql)| explained(&mut client, &format!("kit_{n}"), sql))
        .collect();
    let mut is_some_refused = |change: &str| {
        let mut transaction = client.transaction().unwrap();
        transaction
            .batch_execute(&format!("{change}; SET LOCAL ROLE agira_worker"))
            .unwrap();
        statements
            .iter()
            .any(|statement| is_refused(&mut transaction, statement))
    };
    assert!(!is_some_refused("SELECT"), "all of them are allowed");
    let needless: Vec<String> = needed()
        .into_iter()
        .filter(|privilege| !is_some_refused(&revoke(privilege)))
        .collect();
    assert_eq!(needless, Vec::<String>::new());
}

#[test]
fn a_missing_privilege_is_reported_before_any_request() {
    for (privilege, code_of_looking) in [
        ("UPDATE core_item.status", 0),
        ("DELETE worker_run", 0),
        ("SELECT core_project.id", 1),
    ] {
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        world.execute(&revoke(privilege));
        let (verb, what) = privilege.split_once(' ').unwrap();
        let says =
            format!("the database role agira_worker lacks {verb} on {what}; examples/sql/role.sql");
        for command in ["sync", "push-weaviate", "retry-failed"] {
            world.run(&[command]).exits(1).logs(&says);
        }
        world.run(&["status"]).exits(code_of_looking);
        assert_eq!(
            (
                world.github.requests().len(),
                world.weaviate.requests().len()
            ),
            (0, 0),
            "{privilege}"
        );
        world.run(&["sync", "--dry-run"]).exits(code_of_looking);
    }
}

#[test]
fn the_role_can_be_removed_completely() {
    let mut world = World::new();
    world.execute("DROP OWNED BY agira_worker");
    let left = "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'agira_worker'::regrole
        AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.one::<i64>(left), 0);
}

#[test]
fn row_level_security_without_a_policy_is_reported_before_any_request() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    world.execute("ALTER TABLE core_item ENABLE ROW LEVEL SECURITY");
    for args in [&["sync"][..], &["status"], &["sync", "--dry-run"]] {
        world.run(args).exits(1).logs(
            "row-level security hides the rows of core_item from the database role agira_worker, because no policy allows it \
             SELECT; as the owner of the table, run: CREATE POLICY agira_worker ON core_item TO agira_worker USING (true)",
        );
    }
    assert_eq!(world.github.requests().len(), 0);
    // A policy of another role or for another statement is not enough.
    world.execute("CREATE POLICY a ON core_item FOR SELECT TO agira_worker USING (true)");
    world
        .run(&["sync"])
        .exits(1)
        .logs("no policy allows it UPDATE");
    world.run(&["status"]).exits(0);
    world.execute("CREATE POLICY agira_worker ON core_item TO agira_worker USING (true)");
    world.run(&["sync"]).exits(0).prints("1 item moved");
}

#[test]
fn a_schema_that_the_role_may_not_use_is_named() {
    let mut world = World::new();
    let role = std::fs::read_to_string(role_sql()).unwrap();
    world.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC");
    world
        .run(&["sync"])
        .exits(1)
        .logs("the database role agira_worker lacks USAGE on schema public; examples/sql/role.sql, run as the owner of");
    world.execute(&role);
    world.run(&["sync"]).exits(0);
}
