//! Sessions that are sick: a silent server, settings that do not fit, a server that ends the session,
//! rows that another session holds, and a table that is too large for one statement.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kit::boundaries::{Boundaries, Side, Then};
use kit::postgres_proxy::PostgresProxy;
use serde_json::json;

use crate::fixtures::MOVED;
use crate::harness::{Run, World};

/// The messages that a server sends before it falls silent.
type Says = fn(&mut TcpStream) -> std::io::Result<()>;

/// Reads a message that begins with its length, such as the startup message.
fn read(client: &mut TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut rest = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut rest)
}

/// Starts a server that accepts connections and keeps them, and returns its address.
fn silent(says: Says) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut client in listener.incoming().flatten() {
            let _ = says(&mut client);
            kept.push(client);
        }
    });
    address
}

const FROM_THE_FIRST_BYTE: Says = |_| Ok(());
const IN_THE_TLS_HANDSHAKE: Says = |client| {
    read(client)?;
    client.write_all(b"S")
};
const AFTER_REFUSING_TLS: Says = |client| {
    read(client)?;
    client.write_all(b"N")
};
const AFTER_THE_START: Says = |client| {
    read(client)?;
    client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
};

#[test]
fn connecting_to_a_silent_server_ends_after_connect_timeout() {
    let world = World::new();
    for (place, mode, says) in [
        ("first byte", "disable", FROM_THE_FIRST_BYTE),
        ("first byte, TLS", "require", FROM_THE_FIRST_BYTE),
        ("TLS handshake", "require", IN_THE_TLS_HANDSHAKE),
        ("after refusing TLS", "prefer", AFTER_REFUSING_TLS),
        ("after the start", "disable", AFTER_THE_START),
    ] {
        let address = silent(says);
        for command in ["sync", "status"] {
            let url = format!("postgresql://me@{address}/agira?sslmode={mode}&connect_timeout=1");
            let (began, run) = (
                Instant::now(),
                Run::of(
                    world
                        .command(&[command, "--output", "json"])
                        .env("DATABASE_URL", url),
                ),
            );
            let passed = began.elapsed();
            assert!(
                passed < Duration::from_secs(4),
                "{place}: {passed:?}\n{}",
                run.all()
            );
            assert_eq!(run.code, 75, "{place}: {}", run.all());
            assert_eq!(run.json()["exit_code"], 75, "{place}");
            run.logs("cannot connect to PostgreSQL")
                .logs("no session began within 1s");
        }
    }
}

#[test]
fn a_silent_host_does_not_block_the_next_host() {
    let world = World::new();
    let url = world.database.worker_url();
    let (user, rest) = url.split_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let first = silent(FROM_THE_FIRST_BYTE);
    let url = format!("{user}@{first},{server}/{name}?connect_timeout=1");
    Run::of(world.command(&["sync"]).env("DATABASE_URL", url)).exits(0);
}

/// The name of a setting, its value for the role and the database, and its value in a run.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("lock_timeout", "1h", "5s"),
    ("statement_timeout", "1h", "1min"),
    ("idle_in_transaction_session_timeout", "0", "1min"),
    (
        "default_transaction_isolation",
        "serializable",
        "read committed",
    ),
    ("idle_session_timeout", "1s", "0"),
    ("transaction_timeout", "1h", "0"),
];

/// Returns the settings that this version of PostgreSQL has.
fn settings(world: &mut World) -> Vec<(&'static str, &'static str, &'static str)> {
    let has = |world: &mut World, name: &str| {
        world.one::<bool>(&format!(
            "SELECT current_setting('{name}', true) IS NOT NULL"
        ))
    };
    SETTINGS
        .into_iter()
        .filter(|(name, ..)| has(world, name))
        .collect()
}

#[test]
fn a_session_has_the_settings_of_the_program_and_not_those_of_the_role() {
    let mut world = World::new();
    let settings = settings(&mut world);
    let database: String = world.one("SELECT current_database()::text");
    for (name, value, _) in &settings {
        // These defaults win over all others. Even a second between two statements would be too long.
        world.execute(&format!(
            "ALTER ROLE agira_worker IN DATABASE {database} SET {name} = '{value}'"
        ));
    }
    world.execute(
        "CREATE TABLE kit_seen (name text, value text);
         CREATE FUNCTION kit_see() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO kit_seen SELECT name, current_setting(name) FROM pg_settings; RETURN NEW; END $$;
         CREATE TRIGGER kit_see BEFORE INSERT ON worker_run FOR EACH ROW EXECUTE FUNCTION kit_see()",
    );
    world.issue("acme/shop#1", "Working");
    let boundaries = Boundaries::new();
    world.github.observe(&boundaries);
    boundaries.watch(|place| {
        if place.side == Side::Before {
            std::thread::sleep(Duration::from_millis(1500));
        }
        Then::Pass
    });
    world.sync();
    for (name, _, ours) in settings {
        let seen: String = world.one(&format!("SELECT value FROM kit_seen WHERE name = '{name}'"));
        assert_eq!(seen, ours, "{name}");
    }
}

#[test]
fn the_role_has_the_settings_too() {
    let mut world = World::new();
    let mut session =
        postgres::Client::connect(&world.database.worker_url(), postgres::NoTls).unwrap();
    for (name, _, ours) in settings(&mut world) {
        let sql = format!("SHOW {name}");
        let has: String = session.query_one(&sql, &[]).unwrap().get(0);
        assert_eq!(has, ours, "{name}");
    }
}

/// Runs a command, and returns also what it sent to PostgreSQL. Since version 18, pg_stat_statements leaves out the
/// tag at the start of a statement.
fn watched(world: &World, args: &[&str]) -> (Run, Vec<String>) {
    let boundaries = Boundaries::new();
    let proxy = PostgresProxy::start(&world.database.url(), boundaries.clone());
    let run = Run::of(world.command(args).env("DATABASE_URL", proxy.url()));
    (run, boundaries.passed())
}

#[test]
fn a_recheck_of_everything_takes_short_transactions_and_skips_locked_rows() {
    let mut world = World::new();
    let mapping = world.issue("acme/shop#1", "Working").mapping;
    world.sync();
    world.execute(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, worker_due_at, worker_recheck_at, worker_checked_at)
         SELECT github_id + n, number + n, kind, state, '', now(), item_id, '', '', NULL, now() + interval '1 day', now()
         FROM core_externalissuemapping, generate_series(1, 12000) n",
    );
    let mut person = world.database.client();
    let mut transaction = person.transaction().unwrap();
    let held = "SELECT FROM core_externalissuemapping WHERE id = ANY($1) FOR UPDATE";
    transaction
        .execute(held, &[&vec![mapping, mapping + 7000]])
        .unwrap();
    let (run, sent) = watched(&world, &["sync", "--recheck-now", "--limit", "1", "-v"]);
    transaction.rollback().unwrap();
    run.logs("11999 waiting mappings will be rechecked now")
        .logs("2 more keep their recheck times");
    let batches = sent.iter().filter(|sql| sql.contains("/* recheck_now */"));
    assert_eq!(batches.count(), 4, "5,000, 5,000, 2,001, none");
    let late = "SELECT count(*) FROM core_externalissuemapping WHERE worker_recheck_at > now()";
    assert!(world.one::<i64>(late) <= 3);
}

#[test]
fn status_check_reads_only_what_it_needs() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.sync();
    for (args, reads) in [(&["status"][..], true), (&["status", "--check"], false)] {
        let (run, sent) = watched(&world, &[args, &["--output", "json"]].concat());
        let status = run.exits(0).json();
        for tag in ["shared_all", "failures", "repositories", "runs"] {
            let tag = format!("/* {tag} */");
            let is_read = sent.iter().any(|sql| sql.contains(&tag));
            assert_eq!(is_read, reads, "{args:?}: {tag}");
        }
        assert_eq!(status["mappings"]["total"], 1);
        let read = ["shared", "failures", "repositories", "runs", "last_run"]
            .map(|name| !status[name].is_null());
        assert_eq!(read, [reads; 5], "{args:?}");
    }
    let text = world.run(&["status", "--check"]).exits(0);
    assert!(text.stdout.starts_with("Healthy: "), "{}", text.all());
    assert!(!text.stdout.contains("last runs"), "{}", text.all());
    let failed = world.run(&["status", "--check", "--failed", "--output", "json"]);
    assert_eq!(failed.exits(0).json()["failures"], json!([]));
}

/// A person corrected a mistyped repository of a project. The mistyped one no longer rests, so that it
/// would be polled again.
#[test]
fn an_unreferenced_repository_is_deleted_before_the_first_poll_of_a_day() {
    for (polled, left, code) in [("0 days", 2, 3), ("1 day", 1, 0)] {
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        world.sync();
        world.execute(&format!(
            "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, error, error_at)
             VALUES ('acme/shpo', now(), now(), 'there is none', now() - interval '2 hours');
             UPDATE worker_repository SET polled_at = now() - interval '{polled}'"
        ));
        let run = world.run(&["sync", "--output", "json"]).exits(code);
        let count = "SELECT count(*) FROM worker_repository";
        assert_eq!(world.one::<i64>(count), left, "{polled}: {}", run.all());
    }
}

/// The request during which the server ends the session: the poll, a fetch, the writing of objects.
#[test]
fn a_session_that_the_server_ends_costs_no_attempt() {
    for part in ["query Poll", "query Fetch", "/v1/batch/objects"] {
        let mut world = World::new();
        for number in 1..=3 {
            world.closed_issue(&format!("acme/shop#{number}"));
        }
        // A suspect, whose attempt is taken back.
        let suspect = world.closed_issue("acme/shop#4").mapping;
        world.execute(&format!(
            "UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(),
                worker_claimed_until = now() - interval '1 minute' WHERE id = {suspect}"
        ));
        let boundaries = Boundaries::new();
        world.github.observe(&boundaries);
        world.weaviate.observe(&boundaries);
        let mut person = world.database.client();
        let mut is_done = false;
        boundaries.watch(move |place| {
            if place.side == Side::After && place.what.contains(part) && !is_done {
                is_done = true;
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'agira-worker' AND datname = current_database()";
                assert_eq!(person.query(sql, &[]).unwrap().len(), 1);
            }
            Then::Pass
        });
        let run = world.run(&["sync", "--output", "json"]).exits(75);
        boundaries.clear();
        assert_eq!(run.json()["stopped_by"], "database", "{part}");
        let runs: i64 = world.one("SELECT count(*) FROM worker_run");
        assert_eq!(runs, 1, "{part}: {}", run.all());
        let recorded: (i32, String) = (
            world.one("SELECT exit_code FROM worker_run"),
            world.one("SELECT stopped_by FROM worker_run"),
        );
        assert_eq!(recorded, (75, "database".to_owned()), "{part}");
        let left = format!(
            "SELECT count(*) FROM core_externalissuemapping
             WHERE worker_claim IS NOT NULL AND id <> {suspect} OR worker_attempts > 0 OR worker_error IS NOT NULL"
        );
        assert_eq!(world.one::<i64>(&left), 0, "{part}: {}", run.all());
        world.sync();
        assert_eq!(world.one::<i64>(MOVED), 4, "{part}");
    }
}

/// The claim commits, and its confirmation does not arrive.
#[test]
fn a_claim_whose_confirmation_is_lost_is_released() {
    let mut world = World::new();
    world.closed_issue("acme/shop#1");
    let boundaries = Boundaries::new();
    let proxy = PostgresProxy::start(&world.database.url(), boundaries.clone());
    let mut is_lost = false;
    boundaries.watch(move |place| {
        let is_claim = place.side == Side::After && place.what.contains("/* claim */");
        match is_claim && !is_lost {
            true => {
                is_lost = true;
                Then::Lose
            }
            false => Then::Pass,
        }
    });
    let mut command = world.command(&["sync"]);
    Run::of(command.env("DATABASE_URL", proxy.url())).exits(75);
    let held = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NOT NULL";
    assert_eq!(world.one::<i64>(held), 0);
    world.sync().prints("1 item moved");
}

/// PostgreSQL's clock is a day ahead for some runs, and then it is corrected.
#[test]
fn what_a_clock_that_was_ahead_has_stored_is_healed_by_the_next_run() {
    let mut world = World::new();
    world.execute(
        "CREATE SCHEMA clock; GRANT USAGE ON SCHEMA clock TO agira_worker;
         CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql AS
            $$ SELECT pg_catalog.now() + interval '1 day' $$",
    );
    let ahead = format!(
        "{}?options=-csearch_path=clock,pg_catalog,public",
        world.database.worker_url()
    );
    world.sync();
    let [failing, healthy] =
        [1, 2].map(|number| world.closed_issue(&format!("acme/shop#{number}")));
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET html_url = 'https://elsewhere.example/acme/shop/issues/1' WHERE id = {}",
        failing.mapping
    ));
    Run::of(world.command(&["sync"]).env("DATABASE_URL", &ahead)).exits(3);
    let [marked, held] = [3, 4].map(|number| world.closed_issue(&format!("acme/shop#{number}")));
    // Django inserts a row, and a run dies.
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_due_at = clock.now() WHERE id = {};
         UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(),
            worker_claimed_until = clock.now() + interval '10 minutes' WHERE id = {};
         UPDATE core_externalissuemapping SET html_url = replace(html_url, 'elsewhere.example', 'github.com');
         UPDATE worker_repository SET error = 'hidden', error_at = clock.now()",
        marked.mapping, held.mapping
    ));
    let check = world.run(&["status", "--check"]).exits(4);
    check.prints("which is in the future: PostgreSQL's clock was ahead");
    world.sync().logs("PostgreSQL's clock was ahead");
    for one in [failing, healthy, marked, held] {
        assert_eq!(world.item_status(one.item), "Testing");
    }
    let resting = "SELECT count(*) FROM worker_repository WHERE error IS NOT NULL";
    assert_eq!(world.one::<i64>(resting), 0);
    world.run(&["status", "--check"]).exits(0);
    let again = world.sync();
    assert!(!again.stderr.contains("clock"), "{}", again.all());
}

/// Weaviate was down while the clock was a day ahead, and one repository was polled then.
#[test]
fn an_outbox_and_a_repository_wait_for_no_time_that_a_clock_ahead_has_stored() {
    let mut world = World::new();
    let one = world.closed_issue("acme/shop#1");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nowhere = format!("http://{}", closed.unwrap());
    Run::of(world.command(&["sync"]).env("WEAVIATE_URL", nowhere)).exits(75);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_delivery_at = now() + interval '1 day';
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, polled_at)
            SELECT name, now(), now(), now() + at FROM (VALUES ('acme/past', interval '-1 minute'),
                ('acme/future', interval '1 day')) t(name, at);
         UPDATE worker_repository SET polled_at = now() WHERE name = 'acme/shop'",
    );
    let (mut db, now) = agira_worker::db::Db::connect(
        &world.database.worker_url(),
        agira_worker::db::Access::ReadOnly,
    )
    .unwrap();
    let order = db.repositories_to_poll(now).unwrap();
    let order: Vec<&str> = order.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(order, ["acme/future", "acme/past", "acme/shop"]);
    world.run(&["sync"]).logs("PostgreSQL's clock was ahead");
    let pushed =
        "SELECT worker_outbox IS NULL AND worker_due_at IS NULL FROM core_externalissuemapping";
    assert!(world.one::<bool>(pushed), "{}", one.mapping);
}
