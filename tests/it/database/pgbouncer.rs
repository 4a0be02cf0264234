//! A real PgBouncer between the program and PostgreSQL.

use std::process::Command;

use kit::postgres_bouncer::PgBouncer;

use crate::harness::{Run, World};

/// Runs `sync` through PgBouncer, each time after another issue was closed.
fn sync(world: &mut World, bouncer: &PgBouncer, number: u32) -> Run {
    world.closed_issue(&format!("acme/shop#{number}"));
    let url = bouncer.url(&world.database.worker_url());
    Run::of(world.command(&["sync"]).env("DATABASE_URL", url))
}

#[track_caller]
fn check_that_runs_work(settings: &str) {
    let (mut world, bouncer) = (World::new(), PgBouncer::start(settings));
    for number in 1..=3 {
        let run = sync(&mut world, &bouncer, number);
        run.exits(0).prints("1 item moved");
    }
}

/// Returns true if this PgBouncer can keep the prepared statements of clients apart.
fn can_keep_statements() -> bool {
    let said = Command::new("pgbouncer").arg("--version").output();
    let said = String::from_utf8(said.expect("pgbouncer").stdout).unwrap();
    let version = said.split_whitespace().nth(1).expect("PgBouncer 1.2.3");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (1, 21)
}

#[test]
#[ignore = "needs pgbouncer, which tests/run.sh provides"]
fn real_pool_in_session_mode_serves_every_run() {
    check_that_runs_work("pool_mode = session");
}

#[test]
#[ignore = "needs pgbouncer 1.21 or newer"]
fn kept_prepared_statements_make_a_pool_in_transaction_mode_serve_every_run() {
    check_that_runs_work("pool_mode = transaction\nmax_prepared_statements = 200");
}

#[test]
#[ignore = "needs pgbouncer, which tests/run.sh provides"]
fn real_pool_that_mixes_up_prepared_statements_is_named_and_counts_against_no_mapping() {
    let off = match can_keep_statements() {
        true => "pool_mode = transaction\nmax_prepared_statements = 0",
        false => "pool_mode = transaction",
    };
    let (mut world, bouncer) = (World::new(), PgBouncer::start(off));
    sync(&mut world, &bouncer, 1).exits(0);
    for number in 2..=3 {
        sync(&mut world, &bouncer, number)
            .exits(1)
            .logs("already exists; DATABASE_URL leads through a pool in transaction mode")
            .logs("use its session mode, or PgBouncer 1.21 or newer with max_prepared_statements");
    }
    let failed = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NOT NULL";
    assert_eq!(world.one::<i64>(failed), 0);
}
