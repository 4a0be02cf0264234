//! Everything in a world that is sick now: repositories, rows, issues, objects and services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agira_worker::core::agira_object::ObjectType;
use fastrand::Rng;
use kit::github::Sickness::Timeout;
use kit::github::{Fault, NullAlias};
use kit::http::Response;
use kit::weaviate;
use postgres::Client;
use serde_json::json;

use super::life::Issue;
use crate::harness::uuid;
use crate::proofs::histories::world::HistoryWorld;

/// Answers that a sick alias does not get.
const FOREVER: usize = 1_000_000;

/// What is sick now.
#[derive(Default)]
pub struct Sickness {
    /// Repositories that the token cannot see.
    pub hidden: BTreeSet<usize>,
    /// Repositories that were hidden at some time.
    pub ever_hidden: BTreeSet<usize>,
    /// Repositories whose polls GitHub never answers.
    pub unpolled: BTreeSet<usize>,
    /// Issues for which GitHub can never answer.
    pub unanswered: BTreeSet<usize>,
    /// Objects that Weaviate rejects, with its words; without words, it breaks at every request that writes them.
    pub rejected: BTreeMap<String, Option<String>>,
    /// Weaviate rejects all of them for the same reason, as if the service were to blame.
    has_one_reason: bool,
    /// Rows that a session holds.
    held: Option<Held>,
    /// Number of further runs in which GitHub fails or is silent.
    pub github: u32,
    /// The same for Weaviate.
    pub weaviate: u32,
}

/// Rows that a session holds, by the numbers of their issues.
struct Held {
    mapping: Option<usize>,
    items: BTreeSet<usize>,
    session: Client,
}

impl Sickness {
    /// Returns the issue whose mapping is held.
    pub fn held(&self) -> Option<usize> {
        self.held.as_ref()?.mapping
    }

    /// Returns true if the item of this issue is held.
    pub fn holds_item(&self, index: usize) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.items.contains(&index))
    }

    /// Returns the number of items that are held.
    pub fn held_items(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.items.len())
    }

    /// Makes one thing of each kind sick; the first repository has many mappings.
    pub fn begin(&mut self, world: &mut HistoryWorld<'_>, issues: &[Issue], random: &mut Rng) {
        self.hide(0, world, issues);
        self.unpolled.insert(1);
        let others: Vec<usize> = (0..issues.len())
            .filter(|index| issues[*index].repository > 1)
            .collect();
        self.unanswered.extend(random.choice(others.iter()));
        self.has_one_reason = random.bool();
        for _ in 0..random.usize(1..issues.len() / 2) {
            self.reject(issues, random);
        }
        // A healthy issue with a sick timeline.
        let partly = random.choice(others.iter()).expect("issues");
        world
            .github
            .make_sick(&issues[*partly].key, "timelineItems", Timeout);
        match random.bool() {
            true => self.hold(others[0], world, issues),
            false => self.hold_items(random.usize(1..5), world, issues),
        };
        self.show(world, issues);
    }

    /// Makes something sick, or heals it; says what.
    pub fn change(
        &mut self,
        world: &mut HistoryWorld<'_>,
        issues: &[Issue],
        random: &mut Rng,
        poisons: usize,
    ) -> String {
        let (repository, index) = (random.usize(0..4), random.usize(0..issues.len()));
        let key = &issues[index].key;
        let what = match random.u32(0..10) {
            0 | 1 if self.hidden.remove(&repository) => {
                world.github.show_repository(name(issues, repository));
                format!("{} can be seen again", name(issues, repository))
            }
            0 | 1 => {
                self.hide(repository, world, issues);
                format!("{} is hidden", name(issues, repository))
            }
            2 | 3 if self.unpolled.remove(&repository) => {
                format!("polls of {} get answers again", name(issues, repository))
            }
            2 | 3 => {
                self.unpolled.insert(repository);
                format!("polls of {} get no answers", name(issues, repository))
            }
            4 | 5 if self.unanswered.len() < poisons => {
                self.unanswered.insert(index);
                format!("GitHub cannot answer for {key}")
            }
            4 | 5 => format!(
                "GitHub can answer again for {:?}",
                self.unanswered.pop_first()
            ),
            6 => format!("Weaviate takes {:?} again", self.rejected.pop_first()),
            7 => self.reject(issues, random),
            8 if self.held.take().is_some() => "nobody holds a row any more".to_owned(),
            8 => self.hold_items(random.usize(1..5), world, issues),
            _ => self.hold(index, world, issues),
        };
        self.show(world, issues);
        what
    }

    /// Lets GitHub or Weaviate fail, or be silent, as a whole for some runs; says how. An earlier failure ends: a
    /// program cannot respect a limit that a silent service names too late.
    pub fn break_service(
        &mut self,
        world: &HistoryWorld<'_>,
        issues: &[Issue],
        random: &mut Rng,
    ) -> String {
        let (runs, count) = (random.u32(1..=3), random.usize(1..8));
        let limit = json!({ "message": "secondary rate limit" });
        if random.bool() {
            self.github = 0;
            self.show(world, issues);
            self.github = runs;
            let answer = match random.u32(0..7) {
                0 => Response::empty(502),
                1 => Response::json(200, &json!({ "data": null })),
                2 => Response::json(429, &limit).header("retry-after", "120"),
                3 => Response::json(403, &limit),
                4 => {
                    world.github.settings().points = 1;
                    return "GitHub has one point left".to_owned();
                }
                5 => Response::json(401, &json!({ "message": "Bad credentials" })),
                _ => {
                    world.github.settings().latency = Duration::from_millis(1200);
                    return format!("GitHub is silent for {runs} runs");
                }
            };
            let fault = Fault::Answer(answer);
            world.github.fail_next(count, &fault);
            return format!("{count} requests to GitHub fail: {fault:?}");
        }
        self.weaviate = 0;
        self.show(world, issues);
        self.weaviate = runs;
        let fault = match random.u32(0..6) {
            0 => weaviate::Fault::Status(500, "it broke".to_owned()),
            1 => weaviate::Fault::Status(429, "slow down".to_owned()),
            2 => weaviate::Fault::LoseAnswer,
            3 => weaviate::Fault::Html,
            4 => {
                world.weaviate.settings().down = true;
                return format!("Weaviate is down for {runs} runs");
            }
            _ => {
                world.weaviate.settings().latency = Duration::from_millis(1200);
                return format!("Weaviate is silent for {runs} runs");
            }
        };
        world.weaviate.fail_next(count, &fault);
        format!("{count} requests to Weaviate fail: {fault:?}")
    }

    /// Returns true if a service answers too late.
    pub fn is_silent(&self, world: &HistoryWorld<'_>) -> bool {
        let github = world.github.settings().latency;
        let weaviate = world.weaviate.settings().latency;
        github + weaviate > Duration::ZERO
    }

    /// Counts a run; ends the failures of services whose time has come.
    pub fn pass_run(&mut self, world: &HistoryWorld<'_>, issues: &[Issue]) {
        let (github, weaviate) = (self.github, self.weaviate);
        self.github = github.saturating_sub(1);
        self.weaviate = weaviate.saturating_sub(1);
        if (github, weaviate) != (self.github, self.weaviate) {
            self.show(world, issues);
        }
    }

    /// Heals the services, not what else is sick.
    pub fn heal_services(&mut self, world: &HistoryWorld<'_>, issues: &[Issue]) {
        (self.github, self.weaviate) = (0, 0);
        self.show(world, issues);
    }

    /// Heals everything.
    pub fn heal(&mut self, world: &HistoryWorld<'_>, issues: &[Issue]) {
        for repository in &self.hidden {
            world.github.show_repository(name(issues, *repository));
        }
        let ever_hidden = std::mem::take(&mut self.ever_hidden);
        *self = Self {
            ever_hidden,
            ..Self::default()
        };
        self.show(world, issues);
    }

    /// Sets up both services so that exactly this is sick in them.
    fn show(&self, world: &HistoryWorld<'_>, issues: &[Issue]) {
        let wrong = NullAlias {
            message: Some("Something went wrong while executing your query.".to_owned()),
            kind: None,
            has_path: true,
        };
        if self.github == 0 {
            world.github.forget_faults();
            world.github.settings().latency = Duration::ZERO;
            world.github.settings().points = 5000;
        }
        let polls = self.unpolled.iter();
        let polls = polls.map(|index| name(issues, *index));
        let looks = self.unanswered.iter().map(|index| &*issues[*index].key);
        for key in polls.chain(looks) {
            world.github.nullify(key, FOREVER, wrong.clone());
        }
        if self.weaviate == 0 {
            world.weaviate.recover();
            world.weaviate.settings().latency = Duration::ZERO;
        }
        for (id, words) in &self.rejected {
            match words {
                Some(words) => world.weaviate.reject_object(id, words),
                None => world.weaviate.break_writes_of(id, 500),
            }
        }
    }

    fn hide(&mut self, repository: usize, world: &HistoryWorld<'_>, issues: &[Issue]) {
        world.github.hide_repository(name(issues, repository));
        self.hidden.insert(repository);
        self.ever_hidden.insert(repository);
    }

    fn reject(&mut self, issues: &[Issue], random: &mut Rng) -> String {
        let issue = &issues[random.usize(0..issues.len())];
        match random.bool() {
            true => self.reject_object(uuid(ObjectType::Item, issue.item), random),
            false => self.reject_issue(issue, random),
        }
    }

    /// Rejects the object of an issue, which is written whenever the issue is closed or open again.
    pub fn reject_issue(&mut self, issue: &Issue, random: &mut Rng) -> String {
        self.reject_object(uuid(ObjectType::GithubIssue, issue.mapping), random)
    }

    fn reject_object(&mut self, id: String, random: &mut Rng) -> String {
        let reasons = if self.has_one_reason { 1 } else { 3 };
        let property = ["title", "text", "status"][random.usize(0..reasons)];
        let words = format!("invalid text property '{property}' on class 'AgiraObject'");
        let words = (random.u32(0..6) > 0).then_some(words);
        let what = format!("Weaviate does not take {id}: {words:?}");
        self.rejected.insert(id, words);
        what
    }

    /// Lets a session hold the mapping of an issue.
    fn hold(&mut self, index: usize, world: &HistoryWorld<'_>, issues: &[Issue]) -> String {
        let mut held = self.new_session(world);
        let issue = &issues[index];
        let rows = "SELECT FROM core_externalissuemapping WHERE id = $1 FOR UPDATE";
        held.session
            .execute(rows, &[&issue.mapping])
            .expect("a free row");
        held.mapping = Some(index);
        self.held = Some(held);
        format!("a session holds the mapping of {}", issue.key)
    }

    /// Lets a session hold every `step`-th item, as a change of many items does.
    fn hold_items(&mut self, step: usize, world: &HistoryWorld<'_>, issues: &[Issue]) -> String {
        let mut held = self.new_session(world);
        held.items = (0..issues.len()).step_by(step).collect();
        let items: Vec<i64> = held.items.iter().map(|index| issues[*index].item).collect();
        let rows = "SELECT FROM core_item WHERE id = ANY($1) FOR UPDATE";
        held.session.execute(rows, &[&items]).expect("free rows");
        self.held = Some(held);
        format!("a session holds {} items", items.len())
    }

    /// Starts a session that holds nothing yet; the earlier one ends first.
    fn new_session(&mut self, world: &HistoryWorld<'_>) -> Held {
        self.held = None;
        let mut session = world.databases.real.database().client();
        session.batch_execute("BEGIN").expect("a transaction");
        Held {
            mapping: None,
            items: BTreeSet::new(),
            session,
        }
    }
}

/// Returns the name of a repository by its number.
fn name(issues: &[Issue], repository: usize) -> &str {
    let issue = issues.iter().find(|issue| issue.repository == repository);
    let (name, _) = crate::harness::split(&issue.expect("a repository with issues").key);
    name
}
