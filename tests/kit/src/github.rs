//! A strict GitHub: it rejects what the real service rejects, and tells what it was told.
//!
//! Follows GitHub's published GraphQL schema and its pages "Rate limits and query limits for the GraphQL API",
//! "Troubleshooting the REST API", "Get an issue", "List timeline events for an issue" and "Get a pull request". Issues and pull requests are named `owner/name#number`.

pub mod app;
mod graphql;
mod published;
mod rest;
mod rest_threads;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use crate::boundaries::Boundaries;
use crate::http::{Exchange, Response, Server, lock};
pub use graphql::sdl;
pub use published::differences;
use world::World;
pub use world::{Closer, Event, Issue, PullRequest};

/// Settings of the service, changeable while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The token that requests must carry.
    pub token: String,
    /// How far GitHub's clock is ahead of ours, in seconds.
    pub clock_ahead: i64,
    /// GraphQL points that are left; at 0 or below every request is refused.
    pub points: i64,
    /// Repositories in one query that GitHub can answer in its ten seconds; more end in a 502.
    pub most_aliases: usize,
    /// How long every answer takes.
    pub latency: Duration,
}

/// The token of a new simulator.
pub const TOKEN: &str = "github_pat_simulated";

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            clock_ahead: 0,
            points: 5000,
            most_aliases: 1000,
            latency: Duration::ZERO,
        }
    }
}

/// A failure on the way to or from the service.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, and nothing done.
    Answer(Response),
    /// The named aliases of a GraphQL query get this error instead of data.
    Alias {
        /// The alias.
        alias: String,
        /// `type` of the error.
        kind: String,
        /// Its message.
        message: String,
    },
}

/// A running simulator; dropping it stops it.
pub struct Github {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// Everything that requests and tests change.
struct State {
    settings: Settings,
    world: World,
    faults: Vec<Fault>,
    /// What GitHub answers to requests that ask what changed in these repositories, lower case.
    failing_polls: HashMap<String, Response>,
    /// An App that may ask beside the token.
    app: Option<app::App>,
    /// Points spent.
    spent: i64,
    meanwhile: Vec<Box<dyn FnOnce() + Send>>,
    /// Issues that are closed, and when, once the next poll has been answered.
    closed_after_poll: Vec<(String, String)>,
}

impl Github {
    /// A GitHub without repositories.
    pub fn start() -> Self {
        Self::serve(Settings::default(), World::default())
    }

    /// Another GitHub with the same repositories, issues and pull requests, and the same ids.
    pub fn copy(&self) -> Self {
        let state = lock(&self.state);
        Self::serve(state.settings.clone(), state.world.clone())
    }

    fn serve(settings: Settings, world: World) -> Self {
        let state = State {
            settings,
            world,
            faults: Vec::new(),
            failing_polls: HashMap::new(),
            app: None,
            spent: 0,
            meanwhile: Vec::new(),
            closed_after_poll: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let server = Server::start(move |request| {
            if String::from_utf8_lossy(&request.body).contains("query Look(") {
                let meanwhile = std::mem::take(&mut lock(&shared).meanwhile);
                meanwhile.into_iter().for_each(|act| act());
            }
            let (latency, response) = {
                let mut state = lock(&shared);
                let response = rest::answer(&mut state, request);
                if String::from_utf8_lossy(&request.body).contains("query Changes(") {
                    for (key, at) in std::mem::take(&mut state.closed_after_poll) {
                        state
                            .world
                            .issue(&key, |issue| issue.close(&at, "COMPLETED", Closer::Nobody));
                    }
                }
                (state.settings.latency, response)
            };
            std::thread::sleep(latency);
            response
        });
        Self { server, state }
    }

    /// The REST root, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The settings, to be changed.
    pub fn settings(&self) -> impl std::ops::DerefMut<Target = Settings> + '_ {
        SettingsGuard(lock(&self.state))
    }

    /// Somebody registers a GitHub App.
    pub fn register(&self, app: app::App) {
        lock(&self.state).app = Some(app);
    }

    /// The registered App.
    pub fn with_app<T>(&self, act: impl FnOnce(&mut app::App) -> T) -> T {
        act(lock(&self.state).app.as_mut().expect("a registered App"))
    }

    /// Creates or changes an issue; its repository is created with it. Returns GitHub's id of it.
    pub fn issue(&self, key: &str, change: impl FnOnce(&mut Issue)) -> i64 {
        lock(&self.state).world.issue(key, change)
    }

    /// Creates or changes a pull request; its repository is created with it. Returns GitHub's id of it.
    pub fn pull_request(&self, key: &str, change: impl FnOnce(&mut PullRequest)) -> i64 {
        lock(&self.state).world.pull_request(key, change)
    }

    /// Somebody closes an issue as completed.
    pub fn close(&self, key: &str, at: &str) {
        self.close_by(key, at, "COMPLETED", Closer::Nobody);
    }

    /// An issue is closed for a reason, by somebody or something.
    pub fn close_by(&self, key: &str, at: &str, reason: &str, closer: Closer) {
        self.issue(key, |issue| issue.close(at, reason, closer));
    }

    /// Somebody reopens an issue.
    pub fn reopen(&self, key: &str, at: &str) {
        self.issue(key, |issue| issue.reopen(at));
    }

    /// Somebody merges a pull request, which closes the issues that refer to it as closing them.
    pub fn merge(&self, key: &str, at: &str) {
        lock(&self.state).world.merge(key, at);
    }

    /// Somebody deletes an issue.
    pub fn delete(&self, key: &str) {
        lock(&self.state).world.delete(key);
    }

    /// Somebody transfers an issue to another repository, where it gets that name.
    pub fn transfer(&self, key: &str, new: &str) {
        lock(&self.state).world.transfer(key, new);
    }

    /// A repository is renamed; the old name leads to the new one.
    pub fn rename_repository(&self, name: &str, new: &str) {
        lock(&self.state).world.rename(name, new);
    }

    /// GitHub runs out of its limits whenever it is asked for this issue or pull request.
    pub fn make_too_heavy(&self, key: &str) {
        lock(&self.state).world.too_heavy.insert(key.to_lowercase());
    }

    /// GitHub gives that answer whenever it is asked what changed in this repository, alone or with others.
    pub fn fail_polls_of(&self, name: &str, answer: Response) {
        lock(&self.state)
            .failing_polls
            .insert(name.to_lowercase(), answer);
    }

    /// The token cannot see a repository any more.
    pub fn hide_repository(&self, name: &str) {
        lock(&self.state).world.set_hidden(name, true);
    }

    /// The token can see a repository again.
    pub fn show_repository(&self, name: &str) {
        lock(&self.state).world.set_hidden(name, false);
    }

    /// Asks `gate` before each request; see [`Server::gate`].
    pub fn gate(&self, gate: impl Fn() -> bool + Send + Sync + 'static) {
        self.server.gate(gate);
    }

    /// Nothing fails any more but what the settings let fail.
    pub fn forget_faults(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.failing_polls.clear();
    }

    /// Lets the next `count` requests fail.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        lock(&self.state)
            .faults
            .extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Somebody acts while issues or pull requests are looked at the next time.
    pub fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        lock(&self.state).meanwhile.push(Box::new(act));
    }

    /// Somebody closes an issue between this page of what changed and the next one.
    pub fn close_between_pages(&self, key: &str, at: &str) {
        lock(&self.state)
            .closed_after_poll
            .push((key.to_owned(), at.to_owned()));
    }

    /// Everything that was asked since the start or the last [`Self::clear_log`].
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.log()
    }

    /// The variables of every GraphQL query since then.
    pub fn variables(&self) -> Vec<Value> {
        let body =
            |exchange: &Exchange| serde_json::from_slice::<Value>(&exchange.request.body).ok();
        self.requests()
            .iter()
            .filter_map(body)
            .map(|body| body["variables"].clone())
            .collect()
    }

    /// GraphQL points that were spent since the start.
    pub fn spent(&self) -> i64 {
        lock(&self.state).spent
    }

    /// From now on requests are places of these boundaries.
    pub fn observe(&self, boundaries: &Arc<Boundaries>) {
        self.server.observe("GitHub", boundaries);
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.server.clear_log();
    }
}

struct SettingsGuard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for SettingsGuard<'_> {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.0.settings
    }
}

impl std::ops::DerefMut for SettingsGuard<'_> {
    fn deref_mut(&mut self) -> &mut Settings {
        &mut self.0.settings
    }
}

#[cfg(test)]
mod tests;
