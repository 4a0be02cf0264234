//! The world of one history: the Agira of the runs, its undisturbed twin, GitHub, Weaviate, and one clock for all.
//!
//! This is not the harness's `World`, because processes would be too slow for a thousand histories. The runs are calls
//! within this process, over pooled sessions whose clock the history moves.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agira_worker::cli::Cli;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Parser;
use kit::github::{Github, TOKEN};
use kit::weaviate::{Settings, Weaviate};
use postgres::Client;
use serde_json::Value;

use super::agira::{Agira, Databases};
use super::invariants::Disturbed;
use super::moment::{Act, Moment};

/// API key of Weaviate.
pub const KEY: &str = "weaviate-key-of-the-histories";

/// Databases, services and clock of a history.
pub struct HistoryWorld<'a> {
    pub databases: &'a mut Databases,
    pub github: Arc<Github>,
    pub weaviate: Arc<Weaviate>,
    pub moment: Arc<Moment>,
    /// Simulated time minus real time, in seconds.
    pub ahead: i64,
    /// PostgreSQL's clock minus GitHub's clock.
    pub skew: i64,
    /// Events so far, for the message of a failed check.
    pub story: Vec<String>,
    /// Handled close events: mapping and time.
    pub(super) dealt: HashSet<(i64, String)>,
    /// Last row of the audit that was checked.
    pub(super) audited: i64,
}

/// Addresses of the services for one run.
#[derive(Clone)]
pub struct Surroundings {
    environment: [(&'static str, String); 5],
}

impl Surroundings {
    /// Runs a command in this process; returns its exit code and report.
    pub fn run(&self, args: &[&str]) -> (u8, Value) {
        let cli = Cli::try_parse_from([&["agira-worker"], args].concat()).expect("a command line");
        let get = |wanted: &str| -> Option<OsString> {
            self.environment
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.into())
        };
        let (code, report) = agira_worker::testing::run(cli, &get, Duration::from_millis(1))
            .expect("a command that runs");
        for secret in [TOKEN, KEY] {
            assert!(
                !report.contains(secret),
                "invariant 12: a secret in the report: {report}"
            );
        }
        (code, serde_json::from_str(&report).expect("a report"))
    }

    /// Returns the command that starts the built program.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agira-worker"));
        command
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl<'a> HistoryWorld<'a> {
    pub fn new(databases: &'a mut Databases) -> Self {
        databases.reset();
        let github = Arc::new(Github::start());
        let settings = Settings {
            api_key: Some(KEY.to_owned()),
            ..Settings::default()
        };
        let weaviate = Arc::new(Weaviate::start_with(settings));
        weaviate.create_agira_class();
        let moment = Arc::new(Moment::default());
        let (of_github, of_weaviate) = (moment.clone(), moment.clone());
        github.gate(move || of_github.pass());
        weaviate.gate(move || of_weaviate.pass());
        let mut world = Self {
            databases,
            github,
            weaviate,
            moment,
            ahead: 0,
            skew: 0,
            story: Vec::new(),
            dealt: HashSet::new(),
            audited: 0,
        };
        world.pass_time(1000);
        world
    }

    /// Adds an event to the story.
    pub fn tell(&mut self, what: String) {
        if super::is_shown() {
            eprintln!("{what}");
        }
        self.story.push(what);
    }

    /// Moves the clocks of all services.
    pub fn pass_time(&mut self, seconds: i64) {
        self.ahead += seconds;
        self.github.settings().clock_ahead = self.ahead;
    }

    /// Returns GitHub's time in GitHub's form.
    pub fn at(&self) -> String {
        (Utc::now() + chrono::Duration::seconds(self.ahead))
            .to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Returns PostgreSQL's time.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + chrono::Duration::seconds(self.ahead + self.skew)
    }

    /// Executes an action of people in both Agiras.
    pub fn people(&mut self, sql: &str) {
        self.databases.real.execute(sql);
        self.databases.twin.execute(sql);
    }

    /// Executes the same during a run.
    pub fn people_meanwhile(&self, sql: String) -> Act {
        let urls = [&self.databases.real, &self.databases.twin].map(|agira| self.pooled(agira));
        Box::new(move || {
            for url in &urls {
                let mut client = Client::connect(url, postgres::NoTls).expect("PostgreSQL answers");
                client
                    .batch_execute(&sql)
                    .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
            true
        })
    }

    /// Returns the address of one database through the pool, for people.
    pub fn pooled(&self, agira: &Agira) -> String {
        format!(
            "{}?sslmode=disable",
            self.databases.pooled(&agira.database().url())
        )
    }

    /// Returns the addresses for a run. The run dies before its writing statement number `dies_at`.
    pub fn surroundings(&self, dies_at: Option<usize>) -> Surroundings {
        let more = dies_at.map_or_else(String::new, |at| format!("%20-ckit.dies_at={at}"));
        let database = self
            .databases
            .pooled(&self.databases.real.database().worker_url());
        self.surroundings_of(&database, &self.weaviate, &more)
    }

    /// Returns the same with separate connections.
    pub fn surroundings_without_pool(&self) -> Surroundings {
        self.surroundings_of(
            &self.databases.real.database().worker_url(),
            &self.weaviate,
            "",
        )
    }

    fn surroundings_of(&self, database: &str, weaviate: &Weaviate, more: &str) -> Surroundings {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let options = format!(
            "-csearch_path=clock,pg_catalog,public%20-ckit.ahead={}s%20-ckit.run={run}{more}",
            self.ahead + self.skew
        );
        Surroundings {
            environment: [
                (
                    "DATABASE_URL",
                    format!("{database}?sslmode=disable&options={options}"),
                ),
                ("GITHUB_API_URL", self.github.url()),
                ("GITHUB_TOKEN", TOKEN.to_owned()),
                ("WEAVIATE_URL", weaviate.url()),
                ("WEAVIATE_API_KEY", KEY.to_owned()),
            ],
        }
    }

    /// Makes a run under the current faults, and checks its effects.
    pub fn run(
        &mut self,
        args: &[&str],
        dies_at: Option<usize>,
        disturbed: Disturbed,
    ) -> (u8, Value) {
        let before = self.weaviate.objects();
        let paused_until = self.databases.real.query(
            "SELECT max(until) FROM worker_pause WHERE scope = 'github'",
            &[],
        );
        let paused_until: Option<DateTime<Utc>> = paused_until[0].get(0);
        // A run reads the clock at its start, which a busy machine may delay.
        let is_paused =
            paused_until.is_some_and(|until| until > self.now() + chrono::Duration::seconds(60));
        self.github.clear_log();
        self.weaviate.clear_log();
        let (code, report) = self.surroundings(dies_at).run(args);
        let was_killed = self.moment.end() || dies_at.is_some();
        self.tell(format!("    -> {code}, {report}"));
        if is_paused {
            assert_eq!(
                self.github.requests().len(),
                0,
                "invariant 11: GitHub was asked before {paused_until:?}"
            );
        }
        let disturbed = if was_killed {
            Disturbed::Killed
        } else {
            disturbed
        };
        self.check_run(args, &report, &before, disturbed);
        (code, report)
    }

    /// Makes a dry run; returns its plans.
    pub fn dry_run(&mut self, args: &[&str]) -> Value {
        let (rows, objects) = (self.databases.real.dump(""), self.weaviate.objects());
        let (_, report) = self.run(&[args, &["--dry-run"]].concat(), None, Disturbed::NotAtAll);
        assert_eq!(
            self.databases.real.dump(""),
            rows,
            "invariant 2: a dry run changes nothing"
        );
        assert_eq!(
            self.weaviate.objects(),
            objects,
            "invariant 2: a dry run changes nothing"
        );
        assert_eq!(
            self.weaviate.writes(),
            0,
            "invariant 2: a dry run changes nothing"
        );
        report
    }

    /// Repairs all services, moves the clock, and makes runs until nothing is left to do. Then compares everything with
    /// a twin that saw only the final state.
    pub fn end(&mut self) {
        self.recover();
        self.skew = 0;
        self.pass_time(60 * 24 * 60 * 60);
        self.until_idle();
        let parked =
            "SELECT EXISTS (SELECT FROM core_externalissuemapping WHERE worker_error IS NOT NULL)";
        if self.databases.real.query(parked, &[])[0].get(0) {
            self.run(
                &["retry-failed", "--limit", "1000", "--output", "json"],
                None,
                Disturbed::NotAtAll,
            );
            self.check();
            self.until_idle();
        }
        let twins_index = Weaviate::start_with(Settings {
            api_key: Some(KEY.to_owned()),
            ..Settings::default()
        });
        let database = self
            .databases
            .pooled(&self.databases.twin.database().worker_url());
        let twin = self.surroundings_of(&database, &twins_index, "");
        for _ in 0..3 {
            if twin.run(&["sync", "--limit", "1000"]).1["claimed"] == 0 {
                break;
            }
        }
        self.compare();
    }

    /// Repairs all services.
    pub fn recover(&mut self) {
        self.weaviate.recover();
        self.github.forget_faults();
        self.github.settings().points = 5000;
    }

    fn until_idle(&mut self) {
        let sync = &["sync", "--limit", "1000", "--output", "json"];
        for _ in 0..12 {
            self.run(sync, None, Disturbed::NotAtAll);
            self.check();
            let busy = "SELECT EXISTS (SELECT FROM core_externalissuemapping WHERE worker_claim IS NOT NULL
                OR worker_due_at IS NOT NULL OR worker_outbox IS NOT NULL OR worker_recheck_at <= $1)";
            let now = self.now();
            if !self.databases.real.query(busy, &[&now])[0].get::<_, bool>(0) {
                let rows = self.databases.real.dump("worker_");
                self.run(sync, None, Disturbed::NotAtAll);
                assert_eq!(
                    self.databases.real.dump("worker_"),
                    rows,
                    "invariant 3: nothing is left to do"
                );
                assert_eq!(
                    self.weaviate.writes(),
                    0,
                    "invariant 3: nothing is left to do"
                );
                return;
            }
            self.pass_time(8 * 60 * 60);
        }
        panic!("the runs do not come to an end");
    }
}

/// Returns the status of every object by its id.
pub fn statuses(objects: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    objects
        .iter()
        .map(|(id, object)| (id.clone(), object["properties"]["status"].clone()))
        .collect()
}
