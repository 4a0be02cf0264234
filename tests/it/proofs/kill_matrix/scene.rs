//! Worlds in which a run has to do everything that a run can do. Tests can create each as often as they need it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use kit::agira;
use kit::boundaries::Boundaries;
use kit::github::{Event, Github};
use kit::postgres_proxy::PostgresProxy;
use kit::postgres_server::Database;
use kit::wait;
use kit::weaviate::Weaviate;
use serde_json::Value;

use crate::fixtures::{CLOSED_AT, LONG_AGO};
use crate::harness::{Run, World};

const LAST_LOOK: &str = "2026-02-01T10:00:00Z";
const SINCE_THEN: &str = CLOSED_AT;

/// State of a world before the disturbed run.
pub struct Scene {
    database: Database,
    github: Github,
    has_class: bool,
    objects: BTreeMap<String, Value>,
}

/// The harness's [`World`] with a scene in it. The program reaches the services through proxies that can be observed.
pub struct Stage {
    pub world: World,
    pub boundaries: Arc<Boundaries>,
    proxy: PostgresProxy,
}

impl Scene {
    /// Returns an Agira that was in step for a while; then much happened.
    pub fn grown() -> Self {
        let mut world = World::new();
        for (number, status) in [
            (1, "Working"),
            (2, "Inbox"),
            (3, "Working"),
            (4, "Closed"),
            (5, "Review"),
        ] {
            world.issue(&format!("acme/shop#{number}"), status);
        }
        for number in 6..=9 {
            world.issue(&format!("acme/shop#{number}"), "Working");
        }
        let elsewhere = world.issue("acme/shop#10", "Working");
        refers(&world, 1, 11);
        connects(&world, 9, 19);
        let project = world.project("acme/shop");
        let own = agira::item(&mut world.client, project, "Review");
        let github_id = world.github.pull_request("acme/shop#13", |_| {});
        agira::pull_request(&mut world.client, own, github_id, "acme/shop", 13, "open");
        world.github.close("acme/shop#3", LONG_AGO);
        world.github.close("acme/shop#5", LONG_AGO);
        world.sync();
        world.sync();
        world.execute(&format!(
            "UPDATE core_externalissuemapping SET worker_checked_at = '{LAST_LOOK}';
             UPDATE worker_repository SET issues_cursor = '{LAST_LOOK}', pull_requests_cursor = '{LAST_LOOK}',
                polled_at = polled_at - interval '1 day';
             UPDATE worker_run SET started_at = started_at - interval '1 day';
             INSERT INTO worker_pause (scope, until, reason) VALUES ('github', now() - interval '1 hour', 'a limit')"
        ));
        // Weaviate was down while one issue was checked.
        world.github.close("acme/shop#8", SINCE_THEN);
        world.weaviate.settings().down = true;
        world.run(&["sync", "--mapping", "8"]).exits(75);
        world.weaviate.settings().down = false;
        // Issues are closed and reopened, by hand and by a new pull request.
        world.github.merge("acme/shop#11", SINCE_THEN);
        world.github.pull_request("acme/shop#12", |found| {
            found.files = vec!["src/cart.rs".to_owned()]
        });
        refers(&world, 2, 12);
        world.github.merge("acme/shop#12", SINCE_THEN);
        world.github.close("acme/shop#4", SINCE_THEN);
        world.github.reopen("acme/shop#5", SINCE_THEN);
        world.github.merge("acme/shop#13", SINCE_THEN);
        world.github.issue("acme/shop#9", |issue| {
            issue
                .timeline
                .push(Event::Disconnected("acme/shop#19".to_owned()));
            SINCE_THEN.clone_into(&mut issue.updated_at);
        });
        // A person set another status, an issue was deleted, a run died, and an address was changed to one that GitHub
        // does not have.
        agira::person_sets_status(&mut world.client, 3, "Working");
        world.github.delete("acme/shop#6");
        world.execute(&format!(
            "UPDATE core_item SET updated_at = '{SINCE_THEN}' WHERE id = 3;
             UPDATE core_externalissuemapping SET worker_due_at = '{SINCE_THEN}' WHERE id IN (3, 6, {0});
             UPDATE core_externalissuemapping SET html_url = 'https://ghe.example/acme/shop/issues/10' WHERE id = {0};
             UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = '{SINCE_THEN}'
                WHERE id = 7",
            elsewhere.mapping
        ));
        // A person links more issues: one in a repository of a new project, and one with a wrong id in a repository of
        // no project.
        world.issue("acme/other#1", "Working");
        world.github.close("acme/other#1", SINCE_THEN);
        let item = agira::item(&mut world.client, project, "Working");
        world.github.issue("acme/elsewhere#1", |_| {});
        agira::issue(&mut world.client, item, 99, "acme/elsewhere", 1, "open");
        // One mapping failed before.
        let failed = world.issue("acme/shop#20", "Working");
        world.execute(&format!(
            "UPDATE core_externalissuemapping SET worker_attempts = 2, worker_error = 'no luck', worker_error_at = '{LAST_LOOK}',
                worker_due_at = '{SINCE_THEN}' WHERE id = {}",
            failed.mapping
        ));
        Self::of(world, true)
    }

    /// Returns an Agira before its first run, and a Weaviate without a class.
    pub fn first_run() -> Self {
        let mut world = World::new();
        for number in 1..=3 {
            let key = format!("acme/shop#{number}");
            world.issue(&key, "Working");
            world
                .github
                .pull_request(&format!("acme/shop#{}", 10 + number), |_| {});
            refers(&world, number, 10 + number);
            world.github.close(&key, LONG_AGO);
        }
        world.execute(
            "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_recheck_at = now() + interval '1 hour'",
        );
        Self::of(world, false)
    }

    fn of(mut world: World, has_class: bool) -> Self {
        let objects = if has_class {
            world.weaviate.objects()
        } else {
            BTreeMap::new()
        };
        let database = std::mem::replace(&mut world.database, Database::empty());
        let github = std::mem::replace(&mut world.github, Github::start());
        Self {
            database,
            github,
            has_class,
            objects,
        }
    }

    /// Returns a copy of the scene for one run.
    pub fn stage(&self) -> Stage {
        let database = self.database.duplicate();
        let (github, weaviate) = (self.github.copy(), Weaviate::start());
        if self.has_class {
            weaviate.create_agira_class();
        }
        for object in self.objects.values() {
            weaviate.put_whole_object(object.clone());
        }
        let boundaries = Boundaries::new();
        github.observe(&boundaries);
        weaviate.observe(&boundaries);
        let proxy = PostgresProxy::start(&database.url(), boundaries.clone());
        let client = database.client();
        Stage {
            world: World {
                database,
                github,
                weaviate,
                client,
            },
            boundaries,
            proxy,
        }
    }
}

impl Stage {
    /// Returns the command of a run that has not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(args);
        command.env("DATABASE_URL", self.proxy.url());
        command
    }

    /// Makes a run to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Makes the next runs: the same command again, and then `sync` until nothing is left. They are not disturbed, and
    /// the claims of dead runs have expired.
    ///
    /// # Errors
    /// If a run ends with an unexpected exit code, or ten runs are not enough.
    pub fn settle(&mut self, args: &[&str]) -> Result<(), String> {
        self.boundaries.clear();
        self.left();
        let sync: &[&str] = &["sync"];
        for args in std::iter::once(args).chain(std::iter::repeat_n(sync, 10)) {
            self.world.expire_claims();
            let run = self.world.run(&[args, &["--output", "json"]].concat());
            if ![0, 3].contains(&run.code) {
                return Err(run.all());
            }
            let report = run.json();
            let rest = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NOT NULL OR worker_outbox IS NOT NULL";
            if args == sync
                && report["claimed"] == 0
                && report["discovered"] == 0
                && self.world.one::<i64>(rest) == 0
            {
                return Ok(());
            }
        }
        Err("ten runs have not done what was left".to_owned())
    }

    /// Waits until PostgreSQL has closed all connections of runs.
    fn left(&mut self) {
        let sessions = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'agira-worker'";
        wait::until("the runs' sessions to end", wait::SOON, || {
            self.world.one::<i64>(sessions) == 0
        });
    }
}

/// Creates a pull request that will close an issue, both in `acme/shop`.
fn refers(world: &World, issue: i32, pull_request: i32) {
    let key = format!("acme/shop#{pull_request}");
    world.github.pull_request(&key, |_| {});
    world.github.issue(&format!("acme/shop#{issue}"), |issue| {
        issue.references.push(key)
    });
}

/// Creates a pull request that a person connected to an issue, both in `acme/shop`.
fn connects(world: &World, issue: i32, pull_request: i32) {
    let key = format!("acme/shop#{pull_request}");
    world.github.pull_request(&key, |_| {});
    world.github.issue(&format!("acme/shop#{issue}"), |issue| {
        issue.timeline.push(Event::Connected(key))
    });
}
