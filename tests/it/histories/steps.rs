//! What can happen in a history.

use fastrand::Rng;
use kit::github::{Closer, Event, Fault, Github};
use kit::http::Response;
use kit::weaviate;
use postgres::Client;

use super::stage::{Act, Stage};

/// An issue at GitHub.
struct Issue {
    key: String,
    /// Its mapping in Agira, and the item that belongs to.
    mapping: Option<i64>,
    item: i64,
    is_deleted: bool,
}

/// A history while it happens.
pub struct History<'s, 'd> {
    stage: &'s mut Stage<'d>,
    random: Rng,
    issues: Vec<Issue>,
    pulls: Vec<String>,
    repositories: Vec<String>,
    last: i64,
    /// Services and runs as they should be in this step.
    is_weaviate_well: bool,
    is_calm: bool,
}

/// Something that happens at GitHub.
type Happening = (String, Box<dyn FnOnce(&Github) + Send>);

const STATUSES: [&str; 6] = ["Inbox", "Backlog", "Working", "Testing", "ReadyForRelease", "Closed"];

impl<'s, 'd> History<'s, 'd> {
    /// Plays all steps and ends.
    pub fn play(stage: &'s mut Stage<'d>, steps: &[u64]) {
        let mut history = Self {
            stage,
            random: Rng::with_seed(0),
            issues: Vec::new(),
            pulls: Vec::new(),
            repositories: ["acme/shop", "acme/docs"].map(str::to_owned).to_vec(),
            last: 0,
            is_weaviate_well: true,
            is_calm: true,
        };
        history.begin();
        for step in steps {
            history.random = Rng::with_seed(*step);
            history.step();
            history.stage.check();
        }
        for name in history.repositories.clone() {
            history.stage.github.show_repository(&name);
        }
        history.tell("the end".to_owned());
        history.stage.end();
    }

    fn tell(&mut self, what: String) {
        if super::is_told() {
            eprintln!("{what}");
        }
        self.stage.story.push(what);
    }

    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn begin(&mut self) {
        for (id, name) in [(1, "shop"), (2, "docs")] {
            self.stage.people(&format!(
                "INSERT INTO core_project (id, name, description, github_owner, github_repo, status, sentry_dsn,
                    sentry_project_slug, sentry_auth_token, sentry_enable_auto_fetch)
                 VALUES ({id}, '{name}', '', 'acme', '{name}', 'Working', '', '', '', false);
                 INSERT INTO core_itemtype (key, name, is_active, description) VALUES ('bug', 'Bug', true, '')
                 ON CONFLICT (key) DO NOTHING"
            ));
        }
        for (item, repository) in [(1, "acme/shop"), (2, "acme/shop"), (3, "acme/docs")] {
            let project = if repository == "acme/shop" { 1 } else { 2 };
            self.stage.people(&format!(
                "INSERT INTO core_item (id, created_at, updated_at, title, description, solution_description, status,
                    type_id, project_id, user_input, intern, short_description, suggested_model, pr_description,
                    epic_order, claude_auth_mode)
                 SELECT {item}, now(), now(), 'Item {item}', '', '', 'Working', id, {project}, '', false, '', 'sonnet',
                    '', 0, 'oauth' FROM core_itemtype WHERE key = 'bug'"
            ));
            let number = self.next();
            self.new_issue(format!("{repository}#{number}"), item);
        }
        // A second issue of the first item.
        let number = self.next();
        self.new_issue(format!("acme/docs#{number}"), 1);
        for repository in ["acme/shop", "acme/docs"] {
            let number = 100 + self.next();
            self.pulls.push(format!("{repository}#{number}"));
            self.stage.github.pull_request(&format!("{repository}#{number}"), |_| {});
        }
    }

    fn new_issue(&mut self, key: String, item: i64) {
        let at = self.stage.at();
        self.stage.github.issue(&key, |issue| issue.updated_at = at);
        self.issues.push(Issue { key, mapping: None, item, is_deleted: false });
        let sql = self.link(self.issues.len() - 1);
        self.stage.people(&sql);
    }

    /// A person links an issue to its item.
    fn link(&mut self, index: usize) -> String {
        let id = 1_000_000 + self.next();
        let issue = &mut self.issues[index];
        issue.mapping = Some(id);
        let github_id = self.stage.github.issue(&issue.key, |_| {});
        let (repository, number) = crate::world::split(&issue.key);
        let item = issue.item;
        format!(
            "INSERT INTO core_externalissuemapping (id, github_id, number, kind, state, html_url, last_synced_at, item_id,
                pr_body, merge_commit_sha, merged_at)
             VALUES ({id}, {github_id}, {number}, 'Issue', 'open', 'https://github.com/{repository}/issues/{number}', now(),
                {item}, '', '', NULL)"
        )
    }

    fn step(&mut self) {
        self.is_calm = true;
        match self.random.u32(0..100) {
            0..30 => {
                let (what, act) = self.github();
                self.tell(format!("GitHub: {what}"));
                act(&self.stage.github);
            }
            30..45 => {
                let sql = self.people();
                self.tell(format!("people: {sql}"));
                self.stage.people(&sql);
            }
            45..55 => self.time(),
            55..65 => {
                self.services();
                self.run();
            }
            _ => self.run(),
        }
    }

    fn time(&mut self) {
        let seconds = match self.random.u32(0..4) {
            0 => self.random.i64(1..120),
            1 => self.random.i64(120..7200),
            2 => self.random.i64(7200..90_000),
            _ => self.random.i64(90_000..300_000),
        };
        self.stage.pass_time(seconds);
        self.stage.skew = if self.random.u32(0..3) == 0 { self.random.i64(-600..600) } else { 0 };
        self.tell(format!("{seconds} s pass; PostgreSQL's clock is {} s ahead of GitHub's", self.stage.skew));
    }

    /// Something at GitHub, later than all before.
    fn github(&mut self) -> Happening {
        let seconds = self.random.i64(1..60);
        self.stage.pass_time(seconds);
        let at = self.stage.at();
        let here: Vec<usize> = (0..self.issues.len()).filter(|index| !self.issues[*index].is_deleted).collect();
        let index = here.get(self.random.usize(0..here.len().max(1))).copied();
        let pull = self.pulls[self.random.usize(0..self.pulls.len())].clone();
        let Some(index) = index else { return ("nothing".to_owned(), Box::new(|_| {})) };
        let key = self.issues[index].key.clone();
        match self.random.u32(0..16) {
            0..4 => {
                (format!("{key} is closed or open again at {at}"), Box::new(move |github| toggle(github, &key, &at)))
            }
            4 | 5 => (format!("{pull} is merged at {at}"), Box::new(move |github| github.merge(&pull, &at))),
            6 => (
                format!("{pull} is closed at {at}"),
                Box::new(move |github| {
                    github.pull_request(&pull, |one| {
                        if one.state != "MERGED" {
                            one.state = if one.state == "OPEN" { "CLOSED" } else { "OPEN" };
                            one.updated_at = at;
                        }
                    });
                }),
            ),
            7..9 => (
                format!("{pull} is to close {key}, or is not any more"),
                Box::new(move |github| {
                    github.issue(&key, |issue| match issue.references.iter().position(|other| *other == pull) {
                        Some(position) => drop(issue.references.remove(position)),
                        None => issue.references.push(pull.clone()),
                    });
                    github.pull_request(&pull, |one| one.updated_at = at);
                }),
            ),
            9 => {
                let connects = self.random.bool();
                (
                    format!("{pull} is connected to {key}: {connects}"),
                    Box::new(move |github| {
                        github.issue(&key, |issue| {
                            issue.updated_at = at;
                            issue.timeline.push(if connects {
                                Event::Connected(pull)
                            } else {
                                Event::Disconnected(pull)
                            });
                        });
                    }),
                )
            }
            10 => {
                let says = self.random.bool();
                (
                    format!("{pull} names {key}; says that it closes it: {says}"),
                    Box::new(move |github| {
                        let body = if says { format!("Fixes {key}") } else { format!("See {key}") };
                        github.pull_request(&pull, |one| (one.body, one.updated_at) = (body, at.clone()));
                        github.issue(&key, |issue| {
                            issue.updated_at = at;
                            issue.timeline.push(Event::CrossReferenced { source: pull, will_close: false });
                        });
                    }),
                )
            }
            11 => (
                format!("{key} gets another title"),
                Box::new(move |github| {
                    github.issue(&key, |issue| (issue.title, issue.updated_at) = (format!("As of {at}"), at));
                }),
            ),
            12 => {
                let number = 100 + self.next();
                let home = self.repositories[self.random.usize(0..self.repositories.len())].clone();
                let new = format!("{home}#{number}");
                self.pulls.push(new.clone());
                (
                    format!("{new} is opened, and closes {key}"),
                    Box::new(move |github| {
                        github.pull_request(&new, |one| one.updated_at = at);
                        github.issue(&key, |issue| issue.references.push(new));
                    }),
                )
            }
            13 => {
                self.issues[index].is_deleted = true;
                (format!("{key} is deleted"), Box::new(move |github| github.delete(&key)))
            }
            14 => {
                let number = 500 + self.next();
                let home = self.repositories[self.random.usize(0..self.repositories.len())].clone();
                let new = format!("{home}#{number}");
                self.issues[index].key = new.clone();
                (
                    format!("{key} is transferred to {new}"),
                    Box::new(move |github| {
                        github.transfer(&key, &new);
                        github.issue(&new, |issue| issue.updated_at = at);
                    }),
                )
            }
            _ => {
                let (name, shows) =
                    (self.repositories[self.random.usize(0..self.repositories.len())].clone(), self.random.bool());
                (
                    format!("{name} can be seen: {shows}"),
                    Box::new(move |github| match shows {
                        true => github.show_repository(&name),
                        false => github.hide_repository(&name),
                    }),
                )
            }
        }
    }

    /// What people do in Agira, as SQL.
    fn people(&mut self) -> String {
        let index = self.random.usize(0..self.issues.len());
        let item = self.random.i64(1..=3);
        let Issue { key, mapping, is_deleted, .. } = &self.issues[index];
        let (repository, number) = crate::world::split(key);
        match (self.random.u32(0..8), *mapping) {
            (0, Some(mapping)) => {
                let state = if self.random.bool() { "open" } else { "closed" };
                format!("UPDATE core_externalissuemapping SET state = '{state}' WHERE id = {mapping}")
            }
            (1, Some(mapping)) => {
                self.issues[index].mapping = None;
                format!("DELETE FROM core_externalissuemapping WHERE id = {mapping}")
            }
            (1 | 2, None) if !is_deleted => self.link(index),
            (2, Some(mapping)) => format!(
                "UPDATE core_externalissuemapping SET number = {number},
                    html_url = 'https://github.com/{repository}/issues/{number}' WHERE id = {mapping}"
            ),
            (3, Some(mapping)) => {
                self.issues[index].item = item;
                format!("UPDATE core_externalissuemapping SET item_id = {item} WHERE id = {mapping}")
            }
            (4, _) => format!("UPDATE core_item SET title = 'Another', updated_at = now() WHERE id = {item}"),
            _ => {
                let status = STATUSES[self.random.usize(0..STATUSES.len())];
                format!("UPDATE core_item SET status = '{status}', updated_at = now() WHERE id = {item}")
            }
        }
    }

    /// Something breaks, or is repaired.
    fn services(&mut self) {
        self.is_calm = false;
        let count = self.random.usize(1..5);
        let html = Response { body: b"<html>a proxy</html>".to_vec(), ..Response::empty(200) };
        let limit = |status: u16| Response::json(status, &serde_json::json!({ "message": "secondary rate limit" }));
        let github = |response: Response| Fault::Answer(response);
        let (github, weaviate) = (
            [
                github(Response::empty(502)),
                github(html),
                github(limit(403)),
                github(limit(429).header("retry-after", "120")),
                github(Response::json(200, &serde_json::json!({ "data": null }))),
                github(Response::json(401, &serde_json::json!({ "message": "Bad credentials" }))),
            ],
            [
                weaviate::Fault::Status(500, "it broke".to_owned()),
                weaviate::Fault::Html,
                weaviate::Fault::LoseAnswer,
                weaviate::Fault::Status(429, "slow down".to_owned()),
            ],
        );
        match self.random.u32(0..8) {
            0..3 => {
                let fault = &github[self.random.usize(0..github.len())];
                self.tell(format!("the next {count} requests to GitHub fail: {fault:?}"));
                self.stage.github.fail_next(count, fault);
            }
            3 => {
                let points = self.random.i64(0..6);
                self.tell(format!("GitHub has {points} points left"));
                self.stage.github.settings().points = points;
            }
            4 => {
                self.tell("Weaviate's key or the service is broken for the time being".to_owned());
                self.is_weaviate_well = false;
                self.stage.weaviate.settings().down = true;
            }
            5 => {
                let ids: Vec<String> = self.stage.weaviate.objects().into_keys().collect();
                if let Some(id) = self.random.choice(ids) {
                    self.tell(format!("Weaviate loses {id}, and takes it no more"));
                    self.stage.weaviate.delete_object(&id);
                    self.stage.weaviate.reject_object(&id, "vectorizing failed");
                }
            }
            6 => {
                let fault = &weaviate[self.random.usize(0..weaviate.len())];
                self.tell(format!("the next {count} requests to Weaviate fail: {fault:?}"));
                self.stage.weaviate.fail_next(count, fault);
            }
            _ => {
                self.tell("all services are well again".to_owned());
                self.is_weaviate_well = true;
                self.stage.weaviate.recover();
                self.stage.github.forget_faults();
                self.stage.github.settings().points = 5000;
            }
        }
    }

    fn args(&mut self) -> Vec<String> {
        let limit = ["1", "2", "50"][self.random.usize(0..3)];
        let args: &[&str] = match self.random.u32(0..12) {
            0..7 => &["sync"],
            7 => &["push-weaviate"],
            8 => &["retry-failed"],
            9 => &["sync", "--recheck-now"],
            10 => &["sync", "--dry-run", "--output", "json"],
            _ => &["sync", "--output", "json"],
        };
        args.iter().copied().chain(["--limit", limit]).map(str::to_owned).collect()
    }

    fn run(&mut self) {
        let args = self.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let is_dry = args.contains(&"--dry-run");
        let mut dies_at = None;
        let requests = self.random.usize(1..9);
        match self.random.u32(0..10) {
            _ if is_dry => {}
            0 => {
                dies_at = Some(self.random.usize(1..25));
                self.tell(format!("{args:?} dies before its {dies_at:?}th writing statement"));
            }
            1 => {
                self.tell(format!("{args:?} dies before its {requests}th request"));
                let url = self.stage.databases.real.url();
                self.stage.moment.set(requests, dies(url));
            }
            2 | 3 => {
                let others = self.args();
                self.tell(format!("before the {requests}th request of {args:?} there is a whole {others:?}"));
                let surroundings = self.stage.surroundings(None);
                self.meanwhile(
                    requests,
                    Box::new(move || {
                        let others: Vec<&str> = others.iter().map(String::as_str).collect();
                        surroundings.run(&others);
                        true
                    }),
                );
            }
            4 => {
                let sql = self.people();
                self.tell(format!("before the {requests}th request of {args:?} people: {sql}"));
                let act = self.stage.people_meanwhile(sql);
                self.meanwhile(requests, act);
            }
            5 => {
                let (what, act) = self.github();
                self.tell(format!("before the {requests}th request of {args:?} at GitHub: {what}"));
                let github = self.stage.github.clone();
                self.meanwhile(
                    requests,
                    Box::new(move || {
                        act(&github);
                        true
                    }),
                );
            }
            _ => {}
        }
        self.tell(format!("run: {args:?}"));
        let is_calm = self.is_calm && self.is_weaviate_well;
        if is_dry {
            let before = self.stage.databases.real.dump("");
            self.stage.run(&args, None, is_calm);
            assert_eq!(self.stage.databases.real.dump(""), before, "invariant 2: a dry run changes nothing");
            assert_eq!(self.stage.weaviate.writes(), 0, "invariant 2: a dry run changes nothing");
            return;
        }
        self.stage.run(&args, dies_at, is_calm);
    }

    fn meanwhile(&mut self, requests: usize, act: Act) {
        self.is_calm = false;
        self.stage.moment.set(requests, act);
    }
}

fn toggle(github: &Github, key: &str, at: &str) {
    let mut is_open = true;
    github.issue(key, |issue| is_open = issue.state == "OPEN");
    match is_open {
        true => github.close_by(key, at, "COMPLETED", Closer::Nobody),
        false => github.reopen(key, at),
    }
}

/// The run dies: its connection is cut, and nothing that it sends is heard any more.
fn dies(url: String) -> Act {
    Box::new(move || {
        let mut client = Client::connect(&url, postgres::NoTls).expect("PostgreSQL answers");
        let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'agira-worker'";
        client.batch_execute(cut).expect("the connection is cut");
        false
    })
}
