//! One world for one history: the database that the runs work on, its twin that nothing disturbs, GitHub and Weaviate, and
//! one clock for all.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agira_worker::cli::Cli;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Parser;
use kit::github::{Github, TOKEN};
use kit::http::lock;
use kit::postgres_server::Database;
use kit::weaviate::{Settings, Weaviate};
use postgres::Client;
use serde_json::Value;

/// Weaviate's key.
pub const KEY: &str = "weaviate-key-of-the-histories";

/// The databases, which many histories use one after the other.
pub struct Databases {
    pub real: Database,
    pub twin: Database,
}

impl Databases {
    pub fn create() -> Self {
        let (real, twin) = (Database::create(), Database::create());
        for database in [&real, &twin] {
            database.client().batch_execute(include_str!("audit.sql")).expect("the audit");
        }
        Self { real, twin }
    }
}

/// What happens in the middle of a run; `false`: the run is dead from then on.
pub type Act = Box<dyn FnOnce() -> bool + Send>;

/// Before which request of a run something happens.
#[derive(Default)]
pub struct Moment {
    left: AtomicUsize,
    act: std::sync::Mutex<Option<Act>>,
    dead: AtomicBool,
}

impl Moment {
    pub fn set(&self, requests: usize, act: Act) {
        self.left.store(requests, Ordering::SeqCst);
        *lock(&self.act) = Some(act);
    }

    /// The run has ended; what was to happen and did not, happens now. Whether the run was dead.
    fn end(&self) -> bool {
        let late = lock(&self.act).take();
        let was_dead = self.dead.swap(false, Ordering::SeqCst);
        if let Some(act) = late {
            act();
        }
        was_dead
    }

    fn pass(&self) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return false;
        }
        let act = {
            let mut act = lock(&self.act);
            match act.is_some() && self.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
                true => act.take(),
                false => None,
            }
        };
        let lives = act.is_none_or(|act| act());
        self.dead.store(!lives, Ordering::SeqCst);
        lives
    }
}

/// Everything that a history is about.
pub struct Stage<'a> {
    pub databases: &'a Databases,
    pub client: Client,
    pub twin: Client,
    pub github: Arc<Github>,
    pub weaviate: Arc<Weaviate>,
    pub moment: Arc<Moment>,
    /// How far the simulated time is ahead, in seconds.
    pub ahead: i64,
    /// How far PostgreSQL's clock is ahead of GitHub's.
    pub skew: i64,
    /// What happened, for the message of a failed check.
    pub story: Vec<String>,
    /// Close events that were dealt with: mapping and time.
    dealt: HashSet<(i64, String)>,
    audited: i64,
}

/// Where a run of the program is to work.
#[derive(Clone)]
pub struct Surroundings {
    database: String,
    github: String,
    weaviate: String,
}

impl Surroundings {
    /// Runs a command in this process; its exit code and report.
    pub fn run(&self, args: &[&str]) -> (u8, Value) {
        let cli = Cli::try_parse_from([&["agira-worker"], args].concat()).expect("a command line");
        let get = |name: &str| -> Option<OsString> {
            Some(match name {
                "DATABASE_URL" => self.database.clone().into(),
                "GITHUB_API_URL" => self.github.clone().into(),
                "GITHUB_TOKEN" => TOKEN.into(),
                "WEAVIATE_URL" => self.weaviate.clone().into(),
                "WEAVIATE_API_KEY" => KEY.into(),
                _ => return None,
            })
        };
        let (code, report) =
            agira_worker::run_inside(cli, &get, Duration::from_millis(1)).expect("a command that runs");
        for secret in [TOKEN, KEY] {
            assert!(!report.contains(secret), "invariant 12: a secret in the report: {report}");
        }
        (code, serde_json::from_str(&report).expect("a report"))
    }
}

impl<'a> Stage<'a> {
    pub fn new(databases: &'a Databases) -> Self {
        let (mut client, mut twin) = (databases.real.client(), databases.twin.client());
        for client in [&mut client, &mut twin] {
            let reset =
                "TRUNCATE core_externalissuemapping, core_item, core_project, core_activity, worker_pull_request_link,
                worker_repository, worker_run, worker_pause, kit_audit RESTART IDENTITY CASCADE";
            client.batch_execute(reset).expect("an empty database");
        }
        let github = Arc::new(Github::start());
        let settings = Settings { api_key: Some(KEY.to_owned()), ..Settings::default() };
        let weaviate = Arc::new(Weaviate::start_with(settings));
        weaviate.create_agira_class();
        let moment = Arc::new(Moment::default());
        let (of_github, of_weaviate) = (moment.clone(), moment.clone());
        github.gate(move || of_github.pass());
        weaviate.gate(move || of_weaviate.pass());
        let mut stage = Self {
            databases,
            client,
            twin,
            github,
            weaviate,
            moment,
            ahead: 0,
            skew: 0,
            story: Vec::new(),
            dealt: HashSet::new(),
            audited: 0,
        };
        stage.pass_time(1000);
        stage
    }

    /// Time passes everywhere.
    pub fn pass_time(&mut self, seconds: i64) {
        self.ahead += seconds;
        self.github.settings().clock_ahead = self.ahead;
    }

    /// GitHub's time, as it writes it.
    pub fn at(&self) -> String {
        (Utc::now() + chrono::Duration::seconds(self.ahead)).to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// PostgreSQL's time.
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + chrono::Duration::seconds(self.ahead + self.skew)
    }

    /// People do something in Agira: in both worlds.
    pub fn people(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.twin.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The same while a run is at work.
    pub fn people_meanwhile(&self, sql: String) -> Act {
        let (real, twin) = (self.databases.real.url(), self.databases.twin.url());
        Box::new(move || {
            for url in [real, twin] {
                let mut client = Client::connect(&url, postgres::NoTls).expect("PostgreSQL answers");
                client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
            true
        })
    }

    /// Where a run works now. `dies_at`: before which of its writing statements it dies.
    pub fn surroundings(&self, dies_at: Option<usize>) -> Surroundings {
        let dies = dies_at.map_or_else(String::new, |at| format!("%20-ckit.dies_at={at}"));
        self.surroundings_of(&self.databases.real, &self.weaviate, &dies)
    }

    fn surroundings_of(&self, database: &Database, weaviate: &Weaviate, more: &str) -> Surroundings {
        let options = format!("-csearch_path=clock,pg_catalog,public%20-ckit.ahead={}s{more}", self.ahead + self.skew);
        Surroundings {
            database: format!("{}?sslmode=disable&options={options}", database.worker_url()),
            github: self.github.url(),
            weaviate: weaviate.url(),
        }
    }

    /// Makes a run, whatever the moment and the services do to it. `is_calm`: they do nothing.
    pub fn run(&mut self, args: &[&str], dies_at: Option<usize>, is_calm: bool) -> u8 {
        let before = self.weaviate.objects();
        let paused_until: Option<DateTime<Utc>> =
            self.client.query_opt("SELECT until FROM worker_pause", &[]).unwrap().map(|row| row.get(0));
        // A run's clock is that of its start; a busy machine may take its time until then.
        let is_paused = paused_until.is_some_and(|until| until > self.now() + chrono::Duration::seconds(60));
        self.github.clear_log();
        self.weaviate.clear_log();
        let (code, report) = self.surroundings(dies_at).run(args);
        let was_killed = self.moment.end() || dies_at.is_some();
        self.story.push(format!("    -> {code}, {report}"));
        if is_paused {
            assert_eq!(self.github.requests().len(), 0, "invariant 11: GitHub was asked before {paused_until:?}");
        }
        if is_calm {
            self.check_writes(&before);
        }
        if !was_killed {
            let run: Option<String> = self
                .client
                .query_opt("SELECT run::text FROM worker_run ORDER BY id DESC LIMIT 1", &[])
                .unwrap()
                .map(|row| row.get(0));
            let held: i64 = self
                .client
                .query_one(
                    "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim::text = $1
                     AND worker_error IS NULL",
                    &[&run.unwrap_or_default()],
                )
                .unwrap()
                .get(0);
            assert_eq!(held, 0, "a run that ended by itself holds nothing");
        }
        code
    }

    /// Invariant 7: what was written had another status before, or was missing.
    fn check_writes(&self, before: &std::collections::BTreeMap<String, Value>) {
        let mut known: std::collections::BTreeMap<String, Value> =
            before.iter().map(|(id, object)| (id.clone(), object["properties"]["status"].clone())).collect();
        for exchange in self.weaviate.requests() {
            if exchange.request.path != "/v1/batch/objects" {
                continue;
            }
            let body: Value = serde_json::from_slice(&exchange.request.body).unwrap();
            for object in body["objects"].as_array().unwrap() {
                let (id, status) = (object["id"].as_str().unwrap().to_owned(), object["properties"]["status"].clone());
                assert_ne!(known.get(&id), Some(&status), "invariant 7: {object} had that status");
                known.insert(id, status);
            }
        }
    }

    /// What must be true at every moment: invariants 4, 5, 6, 9, 12 and 15 of the design's section 8.
    pub fn check(&mut self) {
        assert!(!super::logger::leaked(), "invariant 12: a secret in the log");
        let forgotten = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NULL
            AND worker_due_at IS NULL AND worker_recheck_at IS NULL AND worker_error IS NULL";
        assert_eq!(self.client.query_one(forgotten, &[]).unwrap().get::<_, i64>(0), 0, "invariant 15");
        let rows = self
            .client
            .query(
                "SELECT seq, what, id, old, new, item, status, by_worker, xid FROM kit_audit WHERE seq > $1 ORDER BY seq",
                &[&self.audited],
            )
            .unwrap();
        let is_protected = |status: &str| ["Testing", "ReadyForRelease", "Closed"].contains(&status);
        let mut by_people: BTreeSet<i64> = BTreeSet::new();
        let mut moves: Vec<(i64, String)> = Vec::new();
        for row in &rows {
            self.audited = row.get("seq");
            let (id, xid, by_worker): (i64, String, bool) = (row.get("id"), row.get("xid"), row.get("by_worker"));
            let (old, new): (Option<&str>, Option<&str>) = (row.get("old"), row.get("new"));
            match row.get("what") {
                "status" if !by_worker => drop(by_people.insert(id)),
                "status" => {
                    assert_eq!(new, Some("Testing"), "item {id}");
                    assert!(!is_protected(old.unwrap_or_default()), "item {id} was {old:?}");
                    moves.push((id, xid));
                }
                "dealt" => {
                    assert!(by_worker);
                    let event = (id, new.expect("a time").to_owned());
                    assert!(self.dealt.insert(event), "invariant 4: {new:?} of mapping {id} was dealt with before");
                    let (item, status): (i64, &str) = (row.get("item"), row.get("status"));
                    moves.retain(|moved| *moved != (item, xid.clone()));
                    let stays = is_protected(status) || by_people.contains(&item);
                    assert!(stays, "mapping {id} was closed, and item {item} is still {status}");
                }
                "moved" => assert!(!by_worker, "invariant 5: mapping {id} moved from item {old:?} to {new:?}"),
                "stolen" => panic!("invariant 9: mapping {id} was taken from run {old:?} by {new:?}"),
                what => panic!("{what}"),
            }
        }
        assert!(moves.is_empty(), "invariant 4: items were moved without a close event: {moves:?}");
        for (id, object) in self.weaviate.objects() {
            let properties = &object["properties"];
            let key = format!("{}:{}", properties["type"].as_str().unwrap(), properties["object_id"].as_str().unwrap());
            let expected =
                uuid::Uuid::new_v5(&uuid::Uuid::from_u128(0xa9c5_e8d0_1234_5678_9abc_def0_1234_5678), key.as_bytes());
            assert_eq!(id, expected.to_string(), "invariant 6: {key}");
        }
    }

    /// All services are well, time passes, and runs are made until there is nothing to do; then everything is compared with
    /// a twin that only saw how it all ended.
    pub fn end(&mut self) {
        self.github.forget_faults();
        self.github.settings().points = 5000;
        self.weaviate.recover();
        self.skew = 0;
        self.pass_time(60 * 24 * 60 * 60);
        self.until_idle();
        self.run(&["retry-failed", "--limit", "1000"], None, true);
        self.check();
        self.until_idle();
        self.check_secrets();
        let twins_index = Weaviate::start_with(Settings { api_key: Some(KEY.to_owned()), ..Settings::default() });
        let twin = self.surroundings_of(&self.databases.twin, &twins_index, "");
        for _ in 0..3 {
            twin.run(&["sync", "--limit", "1000"]);
        }
        self.compare();
    }

    fn until_idle(&mut self) {
        for _ in 0..12 {
            self.run(&["sync", "--limit", "1000"], None, true);
            self.check();
            let busy = format!(
                "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NOT NULL OR worker_due_at IS NOT NULL
                 OR worker_outbox IS NOT NULL OR worker_recheck_at <= now() + '{}s'::interval",
                self.ahead
            );
            if self.client.query_one(&busy, &[]).unwrap().get::<_, i64>(0) == 0 {
                let rows = self.databases.real.dump("worker_");
                self.run(&["sync", "--limit", "1000"], None, true);
                assert_eq!(self.databases.real.dump("worker_"), rows, "invariant 3: nothing is left to do");
                assert_eq!(self.weaviate.writes(), 0, "invariant 3: nothing is left to do");
                return;
            }
            self.pass_time(8 * 60 * 60);
        }
        panic!("the runs do not come to an end");
    }

    fn check_secrets(&self) {
        for (table, rows) in self.databases.real.dump("") {
            for row in rows {
                assert!(!row.contains(TOKEN) && !row.contains(KEY), "invariant 12: a secret in {table}: {row}");
            }
        }
    }

    fn compare(&mut self) {
        // A parked row's error may tell of an earlier look than the twin's; that both are parked is what counts.
        let rows = "SELECT m.id, m.item_id, m.github_id, m.state, m.worker_error IS NULL, m.worker_closed_at
            FROM core_externalissuemapping m WHERE m.kind = 'Issue' ORDER BY m.id";
        type Row = (i64, i64, i64, String, bool, Option<DateTime<Utc>>);
        let read = |client: &mut Client| -> Vec<Row> {
            let rows = client.query(rows, &[]).unwrap();
            rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4), r.get(5))).collect()
        };
        let (mut real, mut twin) = (read(&mut self.client), read(&mut self.twin));
        for (one, other) in real.iter_mut().zip(&mut twin) {
            // The twin never saw what was closed and open again, nor what has gone.
            if other.5.is_none() {
                one.5 = None;
            }
            // Of what has gone, the last known state stays.
            if !other.4 {
                (one.2, other.2) = (0, 0);
                (one.3, other.3) = (String::new(), String::new());
            }
        }
        assert_eq!(real, twin, "mapping, item, id, state, healthy, close event (left: disturbed, right: twin)");
        let links = "SELECT l.issue_mapping_id, p.github_id, l.item_id, l.relation FROM worker_pull_request_link l
            JOIN core_externalissuemapping p ON p.id = l.mapping_id
            JOIN core_externalissuemapping m ON m.id = l.issue_mapping_id WHERE m.worker_error IS NULL ORDER BY 1, 2";
        let read = |client: &mut Client| -> Vec<(i64, i64, i64, String)> {
            client.query(links, &[]).unwrap().iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect()
        };
        assert_eq!(read(&mut self.client), read(&mut self.twin), "links (left: disturbed, right: twin)");
        let pulls = "SELECT github_id, number, state, html_url, merge_commit_sha, merged_at, worker_error
            FROM core_externalissuemapping WHERE kind = 'PR'";
        type Pull = (i32, String, String, String, Option<DateTime<Utc>>, Option<String>);
        let read = |client: &mut Client| -> std::collections::BTreeMap<i64, Pull> {
            let rows = client.query(pulls, &[]).unwrap();
            let pull = |r: &postgres::Row| (r.get(1), r.get(2), r.get(3), r.get(4), r.get(5), r.get(6));
            rows.iter().map(|r| (r.get(0), pull(r))).collect()
        };
        let (real, twin) = (read(&mut self.client), read(&mut self.twin));
        for (id, pull) in &twin {
            // The address is the one at which it was met; a repository may have another name since.
            let known = |pull: &Pull| (pull.0, pull.1.clone(), pull.3.clone(), pull.4, pull.5.clone());
            assert_eq!(real.get(id).map(known), Some(known(pull)), "pull request {id} (left: disturbed, right: twin)");
        }
        for (id, pull) in &real {
            assert_eq!(pull.5, None, "pull request {id} is not healthy: {pull:?}");
        }
        self.compare_index();
    }

    fn compare_index(&mut self) {
        let expected = "SELECT CASE m.kind WHEN 'PR' THEN 'github_pr:' ELSE 'github_issue:' END || m.id, m.state
            FROM core_externalissuemapping m WHERE m.worker_error IS NULL
            UNION SELECT 'item:' || i.id, i.status FROM core_item i WHERE EXISTS (
                SELECT FROM core_externalissuemapping m WHERE m.item_id = i.id AND m.kind = 'Issue' AND m.worker_error IS NULL)";
        let objects = self.weaviate.objects();
        for row in self.client.query(expected, &[]).unwrap() {
            let (key, status): (String, String) = (row.get(0), row.get(1));
            let there = objects.values().find(|object| {
                let properties = &object["properties"];
                let of = |name: &str| properties[name].as_str().unwrap_or_default();
                format!("{}:{}", of("type"), of("object_id")) == key
            });
            assert_eq!(there.map(|object| &object["properties"]["status"]), Some(&Value::from(status)), "{key}");
        }
    }
}
