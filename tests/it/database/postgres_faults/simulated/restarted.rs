//! The server restarts while a run waits for the response of another service, between two statements.

use std::sync::{Arc, LazyLock};

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use kit::agira;
use kit::boundaries::{Boundaries, Side, Then};
use kit::postgres_server::{Cluster, TEMPLATE};
use postgres::{Client, NoTls};
use serde_json::{Value, json};

use crate::harness::{Run, World};

/// A separate server. It syncs commits to disk, because these tests depend on that.
static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::of(&[("postgresql.conf", "synchronous_commit = on\n")]));

const ISSUES: i32 = 3;

/// A database on that server, and the services of a world.
struct Restarted {
    world: World,
    name: String,
    client: Client,
}

impl Restarted {
    /// Creates closed issues.
    fn new(name: &str) -> Self {
        let connect =
            |name: &str| Client::connect(&CLUSTER.url(name), NoTls).expect("the server answers");
        connect("postgres")
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
            .expect("a new database");
        let (world, mut client) = (World::new(), connect(name));
        let project = agira::project(&mut client, "shop", "acme", "shop");
        for number in 1..=ISSUES {
            let key = format!("acme/shop#{number}");
            let github_id = world.github.issue(&key, |_| {});
            world.github.close(&key, "2026-03-01T10:00:00Z");
            let item = agira::item(&mut client, project, "Working");
            agira::issue(&mut client, item, github_id, "acme/shop", number, "open");
        }
        Self {
            world,
            name: name.to_owned(),
            client,
        }
    }

    fn sync(&self) -> Run {
        let url = CLUSTER
            .url(&self.name)
            .replacen("postgres@", "agira_worker@", 1);
        Run::of(
            self.world
                .command(&["sync", "--output", "json"])
                .env("DATABASE_URL", url),
        )
    }

    /// Ends the claims of dead runs; then checks that the next run finishes all work exactly once.
    #[track_caller]
    fn comes_level(mut self) {
        self.client =
            Client::connect(&CLUSTER.url(&self.name), NoTls).expect("the server answers again");
        let over = "UPDATE core_externalissuemapping SET worker_claimed_until = now() - interval '1 second'
            WHERE worker_claim IS NOT NULL";
        self.client.batch_execute(over).unwrap();
        let runs = [(); 2].map(|()| self.sync().exits(0));
        let sql = "SELECT (SELECT count(*) FROM core_item WHERE status = 'Testing'),
            (SELECT count(*) FROM core_activity WHERE verb = 'item.status_changed'),
            (SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts = 0 AND worker_error IS NULL
                AND worker_claim IS NULL AND worker_outbox IS NULL AND worker_due_at IS NULL)";
        let row = self.client.query_one(sql, &[]).unwrap();
        let counts: Vec<i64> = (0..3).map(|index| row.get(index)).collect();
        assert_eq!(
            counts,
            [i64::from(ISSUES); 3],
            "{}\n{}",
            runs[0].all(),
            runs[1].all()
        );
        for id in 1..=i64::from(ISSUES) {
            assert_eq!(self.world.properties(Item, id)["status"], "Testing");
            assert_eq!(self.world.properties(GithubIssue, id)["status"], "closed");
        }
        assert_eq!(self.world.weaviate.objects().len(), 2 * ISSUES as usize);
    }
}

/// Calls `act` once, after a service has handled a request that contains `part` and before the run gets the response.
fn while_asked(
    restarted: &Restarted,
    part: &'static str,
    act: impl Fn() + Send + 'static,
) -> Arc<Boundaries> {
    let boundaries = Boundaries::new();
    restarted.world.github.observe(&boundaries);
    restarted.world.weaviate.observe(&boundaries);
    let mut is_done = false;
    boundaries.watch(move |place| {
        if place.side == Side::After
            && place.what.contains(part)
            && !std::mem::replace(&mut is_done, true)
        {
            act();
        }
        Then::Pass
    });
    boundaries
}

/// The poll, the fetches, and the writing of objects: before the marks, between claim and apply, and between commit and
/// finish.
const REQUESTS: [&str; 3] = ["query Poll", "query Fetch", "/v1/batch/objects"];

#[test]
fn a_server_restart_during_a_run_loses_nothing() {
    for (number, part) in REQUESTS.into_iter().enumerate() {
        for mode in ["fast", "immediate"] {
            let restarted = Restarted::new(&format!("restarted_{number}_{mode}"));
            let boundaries = while_asked(&restarted, part, move || {
                CLUSTER.stop(mode);
                CLUSTER.start_again();
            });
            let run = restarted.sync();
            boundaries.clear();
            assert_eq!(
                (run.code, &run.json()["stopped_by"]),
                (75, &json!("database")),
                "{mode} {part}\n{}",
                run.all()
            );
            restarted.comes_level();
        }
    }
    // If the server stays down for a while, the next run cannot begin and sends no request.
    let restarted = Restarted::new("stopped");
    let boundaries = while_asked(&restarted, "query Fetch", || CLUSTER.stop("fast"));
    let run = restarted.sync().exits(75);
    boundaries.clear();
    assert_ne!(run.json()["error"], Value::Null);
    restarted.world.github.clear_log();
    restarted
        .sync()
        .exits(75)
        .logs("cannot connect to PostgreSQL");
    assert_eq!(restarted.world.github.requests().len(), 0);
    CLUSTER.start_again();
    restarted.comes_level();
}
