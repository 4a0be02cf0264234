//! The steps of a history: runs, and events between and during them.

use fastrand::Rng;

use super::invariants::{Disturbed, check_empty, check_same};
use super::moment::{Act, dies, loses_its_session};
use super::world::HistoryWorld;

/// An issue on GitHub.
pub(super) struct Issue {
    pub(super) key: String,
    /// Its mapping in Agira, and the item of the mapping.
    pub(super) mapping: Option<i64>,
    pub(super) item: i64,
    pub(super) is_deleted: bool,
}

/// A history that is being played.
pub struct History<'s, 'd> {
    pub world: &'s mut HistoryWorld<'d>,
    pub(super) random: Rng,
    pub(super) issues: Vec<Issue>,
    pub(super) pulls: Vec<String>,
    pub(super) repositories: Vec<String>,
    last: i64,
    /// True if all services work.
    pub(super) is_well: bool,
    disturbed: Disturbed,
}

impl<'s, 'd> History<'s, 'd> {
    /// Plays all steps and the end.
    pub fn play(world: &'s mut HistoryWorld<'d>, steps: &[u64]) {
        let mut history = Self::begin(world);
        for step in steps {
            history.random = Rng::with_seed(*step);
            history.step();
            history.world.check();
        }
        history.end();
    }

    /// Creates some items with issues and pull requests.
    pub fn begin(world: &'s mut HistoryWorld<'d>) -> Self {
        let mut history = Self {
            world,
            random: Rng::with_seed(0),
            issues: Vec::new(),
            pulls: Vec::new(),
            repositories: ["acme/shop", "acme/docs"].map(str::to_owned).to_vec(),
            last: 0,
            is_well: true,
            disturbed: Disturbed::NotAtAll,
        };
        history.set_up();
        history
    }

    /// Makes everything visible again, and finishes the history.
    pub fn end(&mut self) {
        for name in &self.repositories {
            self.world.github.show_repository(name);
        }
        self.tell("the end".to_owned());
        self.world.end();
    }

    pub(super) fn tell(&mut self, what: String) {
        self.world.tell(what);
    }

    pub(super) fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn set_up(&mut self) {
        for (id, name) in [(1, "shop"), (2, "docs")] {
            self.world.people(&format!(
                "INSERT INTO core_project (id, name, description, github_owner, github_repo, status, sentry_dsn,
                    sentry_project_slug, sentry_auth_token, sentry_enable_auto_fetch)
                 VALUES ({id}, '{name}', '', 'acme', '{name}', 'Working', '', '', '', false);
                 INSERT INTO core_itemtype (key, name, is_active, description) VALUES ('bug', 'Bug', true, '')
                 ON CONFLICT (key) DO NOTHING"
            ));
        }
        for (item, repository) in [(1, "acme/shop"), (2, "acme/shop"), (3, "acme/docs")] {
            let project = if repository == "acme/shop" { 1 } else { 2 };
            self.world.people(&format!(
                "INSERT INTO core_item (id, created_at, updated_at, title, description, solution_description, status,
                    type_id, project_id, user_input, intern, short_description, suggested_model, pr_description,
                    epic_order, claude_auth_mode)
                 SELECT {item}, now(), now(), 'Item {item}', '', '', 'Working', id, {project}, '', false, '', 'sonnet',
                    '', 0, 'oauth' FROM core_itemtype WHERE key = 'bug'"
            ));
            let number = self.next();
            self.new_issue(format!("{repository}#{number}"), item);
        }
        // The first item gets a second issue.
        let number = self.next();
        self.new_issue(format!("acme/docs#{number}"), 1);
        for repository in ["acme/shop", "acme/docs"] {
            let number = self.next();
            self.pulls.push(format!("{repository}#{number}"));
            self.world
                .github
                .pull_request(&format!("{repository}#{number}"), |_| {});
        }
    }

    fn new_issue(&mut self, key: String, item: i64) {
        let at = self.world.at();
        self.world.github.issue(&key, |issue| issue.updated_at = at);
        self.issues.push(Issue {
            key,
            mapping: None,
            item,
            is_deleted: false,
        });
        let sql = self.link(self.issues.len() - 1);
        self.world.people(&sql);
    }

    /// Links an issue to its item, as a person would.
    pub(super) fn link(&mut self, index: usize) -> String {
        let id = 1_000_000 + self.next();
        let issue = &mut self.issues[index];
        issue.mapping = Some(id);
        let github_id = self.world.github.issue(&issue.key, |_| {});
        let (repository, number) = crate::harness::split(&issue.key);
        let item = issue.item;
        format!(
            "INSERT INTO core_externalissuemapping (id, github_id, number, kind, state, html_url, last_synced_at, item_id,
                pr_body, merge_commit_sha, merged_at)
             VALUES ({id}, {github_id}, {number}, 'Issue', 'open', 'https://github.com/{repository}/issues/{number}', now(),
                {item}, '', '', NULL)"
        )
    }

    fn step(&mut self) {
        self.disturbed = Disturbed::NotAtAll;
        match self.random.u32(0..100) {
            0..30 => self.at_github(),
            30..45 => self.among_people(),
            45..55 => self.time(),
            55..65 => {
                self.services();
                self.run();
            }
            _ => self.run(),
        }
    }

    /// Plays events while processes are running.
    pub fn happen(&mut self, seed: u64) {
        self.random = Rng::with_seed(seed);
        if self
            .issues
            .iter()
            .filter(|issue| !issue.is_deleted && issue.mapping.is_some())
            .count()
            < 4
        {
            let (number, item) = (self.next(), self.random.i64(1..=3));
            self.new_issue(format!("acme/shop#{number}"), item);
        }
        match self.random.u32(0..100) {
            0..35 => self.at_github(),
            35..55 => self.among_people(),
            55..65 => self.time(),
            65..72 => self.services(),
            72..85 if !self.is_well => self.recover(),
            _ => {}
        }
    }

    /// Repairs all services.
    pub(super) fn recover(&mut self) {
        self.tell("all services are well again".to_owned());
        self.is_well = true;
        self.world.recover();
    }

    /// Returns the current numbers of items, issues and pull requests.
    pub fn sum(&self) -> String {
        format!(
            "{} issues, {} pull requests, {} things happened",
            self.issues.len(),
            self.pulls.len(),
            self.world.story.len()
        )
    }

    fn at_github(&mut self) {
        let (what, act) = self.github();
        self.tell(format!("GitHub: {what}"));
        act(&self.world.github);
    }

    fn among_people(&mut self) {
        let sql = self.people();
        self.tell(format!("people: {sql}"));
        self.world.people(&sql);
    }

    fn time(&mut self) {
        let seconds = match self.random.u32(0..4) {
            0 => self.random.i64(1..120),
            1 => self.random.i64(120..7200),
            2 => self.random.i64(7200..90_000),
            _ => self.random.i64(90_000..300_000),
        };
        self.world.pass_time(seconds);
        self.world.skew = if self.random.u32(0..3) == 0 {
            self.random.i64(-600..600)
        } else {
            0
        };
        self.tell(format!(
            "{seconds} s pass; PostgreSQL's clock is {} s ahead of GitHub's",
            self.world.skew
        ));
    }

    /// Returns the command line of a run.
    pub fn args<'a>(&mut self) -> Vec<&'a str> {
        let limit = ["1", "2", "50"][self.random.usize(0..3)];
        let args: &[&str] = match self.random.u32(0..12) {
            0..8 => &["sync"],
            8 => &["push-weaviate"],
            9 => &["retry-failed"],
            _ => &["sync", "--recheck-now"],
        };
        [args, &["--output", "json", "--limit", limit]].concat()
    }

    fn run(&mut self) {
        let args = self.args();
        let mut dies_at = None;
        let requests = self.random.usize(1..9);
        match self.random.u32(0..10) {
            0 => {
                let statement = self.random.usize(1..25);
                self.tell(format!(
                    "{args:?} dies before its {statement}th writing statement"
                ));
                dies_at = Some(statement);
            }
            1 => {
                self.tell(format!("{args:?} dies before its {requests}th request"));
                let databases = &self.world.databases;
                let dies = dies(databases.pool.clone(), databases.real.database().url());
                self.meanwhile(requests, dies, Disturbed::Killed);
            }
            2 | 3 => {
                let others = self.args();
                self.tell(format!(
                    "before the {requests}th request of {args:?} there is a whole {others:?}"
                ));
                let surroundings = self.world.surroundings(None);
                let act = move || {
                    surroundings.run(&others);
                    true
                };
                self.meanwhile(requests, Box::new(act), Disturbed::ByARun);
            }
            4 => {
                let sql = self.people();
                self.tell(format!(
                    "before the {requests}th request of {args:?} people: {sql}"
                ));
                let act = self.world.people_meanwhile(sql);
                self.meanwhile(requests, act, Disturbed::ByOthers);
            }
            5 => {
                let (what, act) = self.github();
                self.tell(format!(
                    "before the {requests}th request of {args:?} on GitHub: {what}"
                ));
                let github = self.world.github.clone();
                let act = move || {
                    act(&github);
                    true
                };
                self.meanwhile(requests, Box::new(act), Disturbed::ByOthers);
            }
            7 => {
                self.tell(format!(
                    "PostgreSQL ends the session of {args:?} before its {requests}th request"
                ));
                let databases = &self.world.databases;
                let url = databases.real.database().url();
                let lost = loses_its_session(databases.pool.clone(), url);
                self.meanwhile(requests, lost, Disturbed::Cut);
            }
            6 if !args.contains(&"--recheck-now") => return self.run_twice(&args),
            _ => {}
        }
        self.tell(format!("run: {args:?}"));
        if !self.is_well && self.disturbed == Disturbed::NotAtAll {
            self.disturbed = Disturbed::ByOthers;
        }
        self.world.run(&args, dies_at, self.disturbed);
    }

    /// Makes a dry run, then the run that it previews, and then a dry run that must have nothing left to do.
    fn run_twice(&mut self, args: &[&str]) {
        self.tell(format!("dry run, then run: {args:?}"));
        let dry = self.world.dry_run(args);
        let outboxes =
            "SELECT EXISTS (SELECT FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL)";
        let has_outboxes = self.world.databases.real.query(outboxes, &[])[0].get(0);
        let disturbed = if self.is_well {
            Disturbed::NotAtAll
        } else {
            Disturbed::ByOthers
        };
        let (code, real) = self.world.run(args, None, disturbed);
        if !self.is_well {
            return;
        }
        check_same(&dry, &real, has_outboxes);
        let done = real["mappings"].as_array().expect("mappings").iter();
        let done = done.filter(|mapping| {
            ["synced", "unchanged"]
                .iter()
                .any(|outcome| mapping["outcome"] == *outcome)
        });
        let ids: Vec<String> = done
            .map(|mapping| format!("--mapping={}", mapping["mapping_id"]))
            .collect();
        if code == 0 && args[0] == "sync" && !ids.is_empty() {
            let again = ["sync", "--output", "json"]
                .into_iter()
                .chain(ids.iter().map(String::as_str));
            let again: Vec<&str> = again.collect();
            check_empty(&self.world.dry_run(&again));
        }
    }

    fn meanwhile(&mut self, requests: usize, act: Act, disturbed: Disturbed) {
        self.disturbed = disturbed;
        self.world.moment.set(requests, act);
    }
}
