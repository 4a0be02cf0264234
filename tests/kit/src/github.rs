//! A strict simulator of GitHub: it rejects what the real service rejects, and returns what tests store in it.
//!
//! It follows GitHub's published GraphQL schema and its pages "Rate limits and query limits for the GraphQL API",
//! "Troubleshooting the REST API", "Get an issue", "List timeline events for an issue" and "Get a pull request". Issues
//! and pull requests are named `owner/name#number`.

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
pub use world::{Closer, Event, Issue, PullRequest, Shown, Sickness};

/// Settings of the service, which tests can change while it runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Token that requests must have.
    pub token: String,
    /// GitHub's clock minus the local clock, in seconds.
    pub clock_ahead: i64,
    /// GraphQL points that are left; at 0 or below, every request is refused.
    pub points: i64,
    /// Number of repositories in one query that GitHub can answer within its ten seconds; more cause a 502.
    pub most_aliases: usize,
    /// Delay of every response.
    pub latency: Duration,
    /// Version of the GraphQL schema.
    pub version: Version,
    /// Scopes of the token, if it is a classic one.
    pub scopes: Option<String>,
}

/// Versions of GitHub whose GraphQL schemas differ in what the program asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// github.com today, and GitHub Enterprise Server since 3.17.
    Today,
    /// GitHub Enterprise Server 3.16, and github.com after the announced removal: `stateReason` has no
    /// `enableDuplicate`.
    WithoutEnableDuplicate,
    /// GitHub Enterprise Server 3.15: no `closedByPullRequestsReferences` either.
    Server3_15,
}

/// Token of a new simulator.
pub const TOKEN: &str = "github_pat_simulated";

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            clock_ahead: 0,
            points: 5000,
            most_aliases: 1000,
            latency: Duration::ZERO,
            version: Version::Today,
            scopes: None,
        }
    }
}

/// A failure between client and service.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The client gets this response, and the service does nothing.
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

/// An alias that is null, while GitHub answers for the others in the same query.
#[derive(Debug, Clone)]
pub struct NullAlias {
    /// Message of the error; `None`: there is no error.
    pub message: Option<String>,
    /// Type of the error, if it has one.
    pub kind: Option<String>,
    /// The error names the alias in its path.
    pub has_path: bool,
}

/// A running simulator; dropping it stops it.
pub struct Github {
    server: Server,
    state: Arc<Mutex<State>>,
}

/// State that requests and tests change.
struct State {
    settings: Settings,
    world: World,
    faults: Vec<Fault>,
    /// Response to polls of these repositories (lower case).
    failing_polls: HashMap<String, Response>,
    /// Repositories in polls and issues in fetches (lower case) that are null in so many more
    /// responses.
    null_aliases: HashMap<String, (usize, NullAlias)>,
    /// GitHub App, whose tokens are valid beside the plain one.
    app: Option<app::App>,
    /// Points spent.
    spent: i64,
    meanwhile: Vec<Box<dyn FnOnce() + Send>>,
    /// Issues that will be closed after the next poll, with their times.
    closed_after_poll: Vec<(String, String)>,
}

impl Github {
    /// Starts a GitHub without repositories.
    pub fn start() -> Self {
        Self::serve(Settings::default(), World::default())
    }

    /// Starts another GitHub with the same repositories, issues and pull requests, and the same ids.
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
            null_aliases: HashMap::new(),
            app: None,
            spent: 0,
            meanwhile: Vec::new(),
            closed_after_poll: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let server = Server::start(move |request| {
            if String::from_utf8_lossy(&request.body).contains("query Fetch(") {
                let meanwhile = std::mem::take(&mut lock(&shared).meanwhile);
                meanwhile.into_iter().for_each(|act| act());
            }
            let (latency, response) = {
                let mut state = lock(&shared);
                let response = rest::answer(&mut state, request);
                if String::from_utf8_lossy(&request.body).contains("query Poll(") {
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

    /// Returns the REST root, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the settings for changes.
    pub fn settings(&self) -> impl std::ops::DerefMut<Target = Settings> + '_ {
        SettingsGuard(lock(&self.state))
    }

    /// Registers a GitHub App.
    pub fn register(&self, app: app::App) {
        lock(&self.state).app = Some(app);
    }

    /// Returns the registered App.
    pub fn with_app<T>(&self, act: impl FnOnce(&mut app::App) -> T) -> T {
        act(lock(&self.state).app.as_mut().expect("a registered App"))
    }

    /// Creates or changes an issue, and creates its repository. Returns GitHub's id of the issue.
    pub fn issue(&self, key: &str, change: impl FnOnce(&mut Issue)) -> i64 {
        lock(&self.state).world.issue(key, change)
    }

    /// Creates or changes a pull request, and creates its repository. Returns GitHub's id of the pull request.
    pub fn pull_request(&self, key: &str, change: impl FnOnce(&mut PullRequest)) -> i64 {
        lock(&self.state).world.pull_request(key, change)
    }

    /// Returns true if this is a pull request that everybody can read.
    pub fn is_pull_request(&self, key: &str) -> bool {
        lock(&self.state).world.is_pull_request(key)
    }

    /// Closes an issue as completed.
    pub fn close(&self, key: &str, at: &str) {
        self.close_by(key, at, "COMPLETED", Closer::Nobody);
    }

    /// Closes an issue for this reason, by this closer.
    pub fn close_by(&self, key: &str, at: &str, reason: &str, closer: Closer) {
        self.issue(key, |issue| issue.close(at, reason, closer));
    }

    /// Reopens an issue.
    pub fn reopen(&self, key: &str, at: &str) {
        self.issue(key, |issue| issue.reopen(at));
    }

    /// Merges a pull request, and closes the issues that refer to it as closing them.
    pub fn merge(&self, key: &str, at: &str) {
        lock(&self.state).world.merge(key, at);
    }

    /// Deletes an issue.
    pub fn delete(&self, key: &str) {
        lock(&self.state).world.delete(key);
    }

    /// Transfers an issue to another repository, where it gets that name.
    pub fn transfer(&self, key: &str, new: &str) {
        lock(&self.state).world.transfer(key, new);
    }

    /// Renames a repository; the old name redirects to the new one.
    pub fn rename_repository(&self, name: &str, new: &str) {
        lock(&self.state).world.rename(name, new);
    }

    /// Ends the redirect from the old name of a renamed repository, so that another one can take the name.
    pub fn forget_redirect(&self, name: &str) {
        lock(&self.state).world.forget_redirect(name);
    }

    /// Makes GitHub exceed its limits whenever a request names this issue or pull request.
    pub fn make_too_heavy(&self, key: &str) {
        lock(&self.state).world.too_heavy.insert(key.to_lowercase());
    }

    /// Makes GitHub answer like this to every poll that includes this repository.
    pub fn fail_polls_of(&self, name: &str, answer: Response) {
        lock(&self.state)
            .failing_polls
            .insert(name.to_lowercase(), answer);
    }

    /// Makes the alias of this repository (`owner/name`) in the next `count` polls, or of this
    /// issue (`owner/name#number`) in the next `count` fetches, null.
    pub fn nullify(&self, key: &str, count: usize, alias: NullAlias) {
        lock(&self.state)
            .null_aliases
            .insert(key.to_lowercase(), (count, alias));
    }

    /// Makes GitHub fail at one field of an issue or pull request, from now on.
    pub fn make_sick(&self, key: &str, field: &str, sickness: Sickness) {
        lock(&self.state)
            .world
            .sick_fields
            .insert((key.to_lowercase(), field.to_owned()), sickness);
    }

    /// Makes GitHub answer for a field again that it failed at.
    pub fn heal(&self, key: &str, field: &str) {
        let field = (key.to_lowercase(), field.to_owned());
        lock(&self.state).world.sick_fields.remove(&field);
    }

    /// Makes a repository show a part of itself from now on.
    pub fn show(&self, name: &str, shown: Shown) {
        lock(&self.state).world.set_shown(name, shown);
    }

    /// Hides a repository from the token.
    pub fn hide_repository(&self, name: &str) {
        lock(&self.state).world.set_hidden(name, true);
    }

    /// Shows a repository to the token again.
    pub fn show_repository(&self, name: &str) {
        lock(&self.state).world.set_hidden(name, false);
    }

    /// Calls `gate` before each request; see [`Server::gate`].
    pub fn gate(&self, gate: impl Fn() -> bool + Send + Sync + 'static) {
        self.server.gate(gate);
    }

    /// Removes all failures, except those of the settings.
    pub fn forget_faults(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.failing_polls.clear();
        state.null_aliases.clear();
    }

    /// Makes the next `count` requests fail.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        lock(&self.state)
            .faults
            .extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Calls this during the next fetch of issues or pull requests.
    pub fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        lock(&self.state).meanwhile.push(Box::new(act));
    }

    /// Closes an issue between this page of a poll and the next one.
    pub fn close_between_pages(&self, key: &str, at: &str) {
        lock(&self.state)
            .closed_after_poll
            .push((key.to_owned(), at.to_owned()));
    }

    /// Returns all requests since the start or the last [`Self::clear_log`].
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.log()
    }

    /// Returns the variables of every GraphQL query since then.
    pub fn variables(&self) -> Vec<Value> {
        let body =
            |exchange: &Exchange| serde_json::from_slice::<Value>(&exchange.request.body).ok();
        self.requests()
            .iter()
            .filter_map(body)
            .map(|body| body["variables"].clone())
            .collect()
    }

    /// Returns the GraphQL points that were spent since the start.
    pub fn spent(&self) -> i64 {
        lock(&self.state).spent
    }

    /// Makes requests count as places of these boundaries from now on.
    pub fn observe(&self, boundaries: &Arc<Boundaries>) {
        self.server.observe("GitHub", boundaries);
    }

    /// Clears the log.
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
