//! The kit's services, filled with mappings, and the cost of runs on them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use kit::agira::{self, MANY};
use kit::github::{Event, Github, TOKEN};
use kit::postgres_server::Database;
use kit::weaviate::Weaviate;
use serde_json::Value;

use crate::delay;
use crate::program::{self, Finished};
use crate::table::Cost;

/// Delay of every answer of GitHub and Weaviate in the scenarios that measure time.
pub const LATENCY: Duration = Duration::from_millis(80);
const CLOSED_AT: &str = "2026-03-01T10:00:00Z";

/// A database, a GitHub and a Weaviate.
pub struct Services {
    pub database: Database,
    /// GitHub without a limit of points.
    pub github: Github,
    /// Weaviate with Agira's class.
    pub weaviate: Weaviate,
    repositories: i32,
    /// Address of the database for the worker.
    url: String,
}

impl Services {
    /// Creates new mappings in some repositories. GitHub has one issue in each repository, so that the repository exists.
    pub fn with(repositories: i32, mappings: i32) -> Self {
        let database = Database::create();
        let mut client = database.client();
        agira::many_issues(&mut client, repositories, mappings);
        client.batch_execute("VACUUM ANALYZE").expect("statistics");
        let (github, weaviate) = (Github::start(), Weaviate::start());
        weaviate.create_agira_class();
        github.settings().points = 1_000_000_000;
        let services = Self {
            url: database.worker_url(),
            database,
            github,
            weaviate,
            repositories,
        };
        services.at_github(1..=repositories.min(mappings));
        services
    }

    /// Returns `owner/name#number` of a mapping.
    pub fn key(&self, number: i32) -> String {
        format!("acme/repo-{}#{number}", number % self.repositories)
    }

    /// Returns `owner/name#number` of the pull request that closes the issue of a mapping.
    pub fn pull_request_key(&self, number: i32) -> String {
        format!(
            "acme/repo-{}#{}",
            number % self.repositories,
            1_000_000 + number
        )
    }

    /// Creates the issues of these mappings on GitHub.
    pub fn at_github(&self, numbers: impl IntoIterator<Item = i32>) {
        for number in numbers {
            self.github.issue(&self.key(number), |issue| {
                issue.github_id = MANY + i64::from(number);
                issue.body = "A line of text.\n".repeat(60);
            });
        }
    }

    /// Creates an open pull request, with `at` as its `updatedAt`, that will close the issue of a mapping.
    pub fn pull_request(&self, number: i32, at: &str) {
        let source = self.pull_request_key(number);
        self.github
            .pull_request(&source, |found| found.updated_at = at.to_owned());
        self.github.issue(&self.key(number), |issue| {
            issue.references.push(source.clone());
            issue.timeline.push(Event::CrossReferenced {
                source,
                will_close: true,
            });
        });
    }

    /// Closes issues with a `closedAt` in the past.
    pub fn close(&self, numbers: impl IntoIterator<Item = i32>) {
        for number in numbers {
            self.github.close(&self.key(number), CLOSED_AT);
        }
    }

    /// Delays every later answer.
    pub fn latency(&self, latency: Duration) {
        self.github.settings().latency = latency;
        self.weaviate.settings().latency = latency;
    }

    /// Delays everything that later runs send to PostgreSQL.
    pub fn far_database(&mut self, delay: Duration) {
        let (user, rest) = self.url.split_once('@').expect("a user");
        let (server, name) = rest.split_once('/').expect("a server");
        let server = server.parse().expect("address and port");
        self.url = format!("{user}@{}/{name}", delay::in_front_of(server, delay));
    }

    /// Checks every mapping once, without latency.
    pub fn settle(&self) {
        self.latency(Duration::ZERO);
        self.run(&["sync", "--limit", "100000", "--time-budget", "1h"]);
        self.execute("VACUUM ANALYZE");
        self.latency(LATENCY);
    }

    /// Changes all rows as if each had been checked an hour ago without a change. It asks neither GitHub nor Weaviate.
    pub fn pretend_settled(&self) {
        self.execute(
            "UPDATE core_externalissuemapping SET worker_due_at = NULL, worker_checked_at = now() - interval '1 hour',
                worker_recheck_at = now() + interval '1 day' + id * interval '1 second',
                worker_external_updated_at = '2026-01-01T00:00:00Z', worker_pushed_at = now() - interval '1 hour'",
        );
        // Dead rows would double the number of pages in the statistics.
        self.execute("VACUUM (FULL, ANALYZE) core_externalissuemapping");
        self.settle();
    }

    /// Changes the database as if Agira were some years old: every item changed ten times, every close event was handled, and
    /// some mappings failed.
    pub fn grow(&self) {
        self.execute(
            "INSERT INTO core_activity (target_object_id, verb, summary, created_at, actor_id, target_content_type_id)
             SELECT (1 + n % 100000)::text, 'item.status_changed', 'Status: Working → Testing',
                now() - interval '2 days' + n * interval '0.1 seconds', NULL,
                (SELECT id FROM django_content_type WHERE app_label = 'core' AND model = 'item')
             FROM generate_series(1, 1000000) n;
             UPDATE core_externalissuemapping SET worker_closed_at = now() - interval '2 days';
             UPDATE core_externalissuemapping SET worker_attempts = 10, worker_error = 'it broke', worker_error_at = now(),
                worker_recheck_at = NULL WHERE id % 1000 = 7",
        );
        self.execute("VACUUM (FULL, ANALYZE) core_externalissuemapping");
        self.execute("VACUUM ANALYZE");
    }

    /// Returns the command of a run of the worker.
    pub fn run(&self, args: &[&str]) -> Finished {
        program::run(
            self.command(&program::worker())
                .args(args)
                .args(["--quiet", "--output", "json"]),
        )
    }

    /// Returns the command of a program with the worker's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("DATABASE_URL", &self.url)
            .env("GITHUB_API_URL", self.github.url());
        command
            .env("GITHUB_TOKEN", TOKEN)
            .env("WEAVIATE_URL", self.weaviate.url());
        command
    }

    /// Runs one `sync`; returns its cost and its result.
    pub fn measure(&self, args: &[&str]) -> (Cost, Finished) {
        let mut finished = None;
        let cost = self.cost(|services| {
            let run = services.run(&[&["sync"], args].concat());
            finished = Some(run.clone());
            vec![run]
        });
        (cost, finished.expect("it ran"))
    }

    /// Calls `runs`; returns the cost of its runs together, from the start of the first to the end of the last.
    pub fn cost(&self, runs: impl FnOnce(&Self) -> Vec<Finished>) -> Cost {
        self.github.clear_log();
        self.weaviate.clear_log();
        self.database.reset_statements();
        let (spent, start) = (self.github.spent(), Instant::now());
        let finished = runs(self);
        let elapsed = match finished.as_slice() {
            [one] => one.elapsed,
            _ => start.elapsed(),
        };
        let exchanges = [self.github.requests(), self.weaviate.requests()];
        Cost {
            github: exchanges[0].len(),
            points: self.github.spent() - spent,
            looks: 0,
            weaviate: exchanges[1].len(),
            statements: self
                .database
                .statements()
                .iter()
                .map(|(_, calls)| calls)
                .sum(),
            bytes: exchanges
                .iter()
                .flatten()
                .map(|one| one.request.body.len() + one.sent_bytes)
                .sum(),
            elapsed,
            peak: finished.iter().filter_map(|run| run.peak).max(),
        }
    }

    /// Returns how many sequential scans of the mapping table PostgreSQL made, and how many of its rows it wrote.
    pub fn touched(&self) -> (i64, i64) {
        // PostgreSQL publishes the counts of a connection when its server process ends, which is after the client ends.
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        while self.one::<i64>(others) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sql = "SELECT seq_scan, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
            WHERE relname = 'core_externalissuemapping'";
        let row = self
            .database
            .client()
            .query_one(sql, &[])
            .expect("the mapping table");
        (row.get(0), row.get(1))
    }

    /// Returns the single value of a query.
    pub fn one<T: postgres::types::FromSqlOwned>(&self, sql: &str) -> T {
        self.database
            .client()
            .query_one(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }

    /// Executes one statement.
    pub fn execute(&self, sql: &str) {
        self.database
            .client()
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// Returns a count of a report.
pub fn count(report: &Value, name: &str) -> i64 {
    report[name]
        .as_i64()
        .unwrap_or_else(|| panic!("no count {name} in {report}"))
}

/// Returns the time that is this many seconds from now, in GitHub's form.
pub fn at(seconds: i64) -> String {
    (Utc::now() + chrono::Duration::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}
