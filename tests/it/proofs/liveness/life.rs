//! A world larger than the limit, and what happens in it: changes on GitHub, new issues, sicknesses, and runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agira_worker::core::agira_object::ObjectType;
use chrono::{DateTime, Utc};
use fastrand::Rng;
use kit::agira;
use kit::github::Closer;
use postgres::Client;

use super::invariants::Waiting;
use super::sickness::Sickness;
use crate::harness::uuid;
use crate::proofs::histories::invariants::Disturbed;
use crate::proofs::histories::world::{HistoryWorld, statuses};

const REPOSITORIES: [&str; 5] = [
    "acme/large",
    "acme/shop",
    "acme/docs",
    "zoo/keeper",
    "zoo/lion",
];

/// Time budget of the runs.
pub const BUDGET: Duration = Duration::from_secs(60);

/// Longest time between two rechecks, in seconds.
const LONGEST_RECHECK: i64 = 36 * 60 * 60;

/// An issue, its mapping and its item.
pub struct Issue {
    pub key: String,
    pub repository: usize,
    pub mapping: i64,
    pub item: i64,
    /// Time of its last change on GitHub.
    pub changed_at: DateTime<Utc>,
    pub is_closed: bool,
}

/// A world with everything that lives in it.
pub struct Life<'s, 'd> {
    pub world: &'s mut HistoryWorld<'d>,
    pub issues: Vec<Issue>,
    pub sick: Sickness,
    /// Limit of a run.
    pub limit: usize,
    /// Healthy due mappings that no run has looked at yet.
    pub waiting: BTreeMap<i64, Waiting>,
    projects: Vec<i64>,
    person: Client,
    random: Rng,
}

impl<'s, 'd> Life<'s, 'd> {
    /// Plays all steps, and both ends.
    pub fn play(world: &'s mut HistoryWorld<'d>, seed: u64, steps: &[u64]) {
        let mut life = Self::begin(world, seed);
        for step in steps {
            life.random = Rng::with_seed(*step);
            life.step();
        }
        life.serve_others();
        life.come_level();
    }

    /// Creates a world in step, in which one thing of each kind gets sick.
    fn begin(world: &'s mut HistoryWorld<'d>, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let person = world.databases.real.database().client();
        let mut life = Self {
            world,
            issues: Vec::new(),
            sick: Sickness::default(),
            limit: random.usize(3..=8),
            waiting: BTreeMap::new(),
            projects: Vec::new(),
            person,
            random: random.fork(),
        };
        for (index, name) in REPOSITORIES.iter().enumerate() {
            let (owner, repository) = name.split_once('/').expect("owner/name");
            let project = agira::project(&mut life.person, repository, owner, repository);
            life.projects.push(project);
            let count = match index {
                0 => 3 * life.limit + random.usize(1..6),
                _ => random.usize(3..9),
            };
            for _ in 0..count {
                life.new_issue(index);
            }
        }
        let all = &["sync", "--limit", "1000", "--output", "json"];
        // A change just before a check is looked at twice.
        life.world.pass_time(60);
        life.world.tell("all are in step".to_owned());
        life.world.run(all, None, Disturbed::ByOthers);
        life.check_level("the first run", |_, _| true);
        if random.bool() {
            // More mappings than the limit are due when their repository is hidden.
            for index in 0..life.issues.len() {
                if life.issues[index].repository == 0 {
                    life.toggle(index);
                }
            }
            life.run();
        }
        life.sick.begin(life.world, &life.issues, &mut random);
        // All rechecks come at once, those of the hidden repository among them.
        life.world.pass_time(LONGEST_RECHECK);
        life
    }

    fn new_issue(&mut self, repository: usize) -> String {
        let (name, number) = (REPOSITORIES[repository], self.issues.len() as i32 + 1);
        let key = format!("{name}#{number}");
        let (at, changed_at) = self.later();
        let github_id = self.world.github.issue(&key, |issue| issue.updated_at = at);
        let person = &mut self.person;
        let item = agira::item(person, self.projects[repository], "Working");
        let mapping = agira::issue(person, item, github_id, name, number, "open");
        let what = format!("mapping {mapping} of {key} is new");
        self.issues.push(Issue {
            key,
            repository,
            mapping,
            item,
            changed_at,
            is_closed: false,
        });
        what
    }

    /// Lets some seconds pass; returns GitHub's time in its form, and as a time.
    fn later(&mut self) -> (String, DateTime<Utc>) {
        let seconds = self.random.i64(1..5);
        self.world.pass_time(seconds);
        let at = self.world.at();
        let time = at.parse().expect("a time");
        (at, time)
    }

    /// Closes an issue, or opens it again.
    fn toggle(&mut self, index: usize) -> String {
        let (at, changed_at) = self.later();
        let issue = &mut self.issues[index];
        issue.changed_at = changed_at;
        issue.is_closed = !issue.is_closed;
        let github = &self.world.github;
        match issue.is_closed {
            true => github.close_by(&issue.key, &at, "COMPLETED", Closer::Nobody),
            false => github.reopen(&issue.key, &at),
        }
        format!("closed: {}, {} at {at}", issue.is_closed, issue.key)
    }

    fn step(&mut self) {
        for _ in 0..self.random.usize(1..=3) {
            let what = match self.random.u32(0..100) {
                0..45 => {
                    let index = self.random.usize(0..self.issues.len());
                    self.toggle(index)
                }
                45..55 => {
                    let repository = self.random.usize(0..REPOSITORIES.len());
                    self.new_issue(repository)
                }
                55..75 => {
                    let poisons = self.limit - 2;
                    let (world, issues) = (&mut *self.world, &self.issues);
                    self.sick.change(world, issues, &mut self.random, poisons)
                }
                75..85 => {
                    let (world, issues) = (&*self.world, &self.issues);
                    self.sick.break_service(world, issues, &mut self.random)
                }
                _ => {
                    let most = [600, 4000, 30_000, 110_000][self.random.usize(0..4)];
                    let seconds = self.random.i64(60..most);
                    self.world.pass_time(seconds);
                    format!("{seconds} s pass")
                }
            };
            self.world.tell(what);
        }
        for _ in 0..self.random.usize(1..=3) {
            self.run();
        }
    }

    /// Makes one run, and checks all invariants that hold for each run.
    fn run(&mut self) {
        self.world.pass_time(60);
        let before = self.before();
        let (limit, budget) = (self.limit.to_string(), format!("{}s", BUDGET.as_secs()));
        let mut args = vec![
            "sync",
            "--output",
            "json",
            "--limit",
            &limit,
            "--time-budget",
            &budget,
        ];
        if self.sick.is_silent(self.world) {
            // A busy machine may be as slow, so that a healthy service gets more time.
            args.extend(["--request-timeout", "1s"]);
        }
        let started = Instant::now();
        let (code, report) = self.world.run(&args, None, Disturbed::ByOthers);
        let took = started.elapsed();
        self.world.tell(format!("    after {took:.1?}"));
        self.check_l2(took);
        self.world.check();
        self.check_l1(&before, &report);
        self.check_l3(code, &report);
        self.check_l4(&before);
        self.sick.pass_run(self.world, &self.issues);
    }

    /// Makes at most so many runs; ends when nothing is left to do.
    fn runs(&mut self, most: usize) {
        let busy =
            "SELECT EXISTS (SELECT FROM core_externalissuemapping WHERE worker_claim IS NOT NULL
            OR worker_due_at <= $1 OR worker_recheck_at <= $1 OR worker_outbox IS NOT NULL)";
        for index in 0..most {
            self.run();
            let now = self.world.now();
            let rows = self.world.databases.real.query(busy, &[&now]);
            if index > 0 && !rows[0].get::<_, bool>(0) {
                return;
            }
        }
    }

    /// Lets the longest pause of a service end.
    fn end_pauses(&mut self) {
        let now = self.world.now();
        let left =
            "SELECT coalesce(max(extract(epoch FROM until - $1)), 0)::bigint FROM worker_pause";
        let left: i64 = self.world.databases.real.query(left, &[&now])[0].get(0);
        self.world.pass_time(left.max(0) + 1);
    }

    /// Heals the services, but nothing else, and closes issues: everybody who is healthy must be served within the
    /// bound.
    fn serve_others(&mut self) {
        self.sick.heal_services(self.world, &self.issues);
        self.end_pauses();
        self.world
            .tell("the services are well; the rest stays sick".to_owned());
        self.toggle_some();
        if self.random.bool() {
            // Healthy objects wait beside more rejected ones than the limit.
            for index in (0..self.issues.len()).rev().step_by(2).take(self.limit + 2) {
                let issue = &self.issues[index];
                let what = self.sick.reject_issue(issue, &mut self.random);
                self.world.tell(what);
                let what = self.toggle(index);
                self.world.tell(what);
            }
            self.sick.heal_services(self.world, &self.issues);
            for _ in 0..4 {
                self.run();
            }
            self.toggle_some();
            self.sick.weaviate = 1;
            self.world.weaviate.settings().down = true;
            self.world.tell("Weaviate is down for a run".to_owned());
            self.run();
        }
        let before = self.before();
        let count = self.due(&before).len();
        let after_pushes = 1;
        for _ in 0..count.div_ceil(self.limit) + 1 + after_pushes {
            self.run();
        }
        self.check_level("with the sick among them", |life, issue| {
            life.is_served(&before, issue)
        });
    }

    /// Closes some issues, or opens them again.
    fn toggle_some(&mut self) {
        // A run waits for a held row that changed, so that not every world has one here.
        let left = self.sick.held().filter(|_| self.random.u32(0..4) > 0);
        for index in 0..self.issues.len() {
            if self.random.u32(0..3) == 0 && left != Some(index) {
                let what = self.toggle(index);
                self.world.tell(what);
            }
        }
    }

    /// Heals everything: whatever was sick must come level at the latest when its backoff ends (L5).
    fn come_level(&mut self) {
        self.sick.heal(self.world, &self.issues);
        self.end_pauses();
        self.world.tell("all are well".to_owned());
        let enough = self.issues.len().div_ceil(self.limit) + 2;
        let hour = 60 * 60;
        self.world.pass_time(hour);
        self.runs(enough);
        self.check_l5_repositories();
        // Each backoff varies by a quarter, and an hour has passed.
        let (look, delivery) = (6 * hour + 6 * hour / 4, 24 * hour + 24 * hour / 4);
        self.world.pass_time(look - hour);
        self.runs(enough);
        self.check_l5_looks();
        self.world.pass_time(delivery - look);
        self.runs(2 * enough);
        self.check_l5_deliveries();
    }

    /// Checks that mapping, item and objects of the chosen issues are as GitHub has them.
    pub fn check_level(&mut self, when: &str, chosen: impl Fn(&Self, &Issue) -> bool) {
        let rows = "SELECT m.id, m.state, i.status, coalesce(m.worker_delivery_at > $1, false)
            FROM core_externalissuemapping m JOIN core_item i ON i.id = m.item_id";
        let now = self.world.now();
        let rows = self.world.databases.real.query(rows, &[&now]);
        let rows = rows
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3))));
        let rows: BTreeMap<i64, (String, String, bool)> = rows.collect();
        let objects = statuses(&self.world.weaviate.objects());
        for issue in self.issues.iter().filter(|issue| chosen(self, issue)) {
            let (state, status, is_delivered_later) = &rows[&issue.mapping];
            let name = format!("{when}: mapping {} of {}", issue.mapping, issue.key);
            let expected = if issue.is_closed { "closed" } else { "open" };
            assert_eq!(state, expected, "{name} is behind GitHub");
            assert!(
                !issue.is_closed || status == "Testing",
                "{name} was closed, and its item is still {status}"
            );
            for (object_type, id, expected) in [
                (ObjectType::GithubIssue, issue.mapping, state),
                (ObjectType::Item, issue.item, status),
            ] {
                let id = uuid(object_type, id);
                if !self.sick.rejected.contains_key(&id) && !is_delivered_later {
                    let found = objects.get(&id).and_then(|status| status.as_str());
                    assert_eq!(found, Some(&**expected), "{name}: object {id}");
                }
            }
        }
    }
}
