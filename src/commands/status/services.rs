//! `status --services`: asks all three services whether they answer, as whom, and what is allowed.
//! It writes nothing, and asks no service before a time that the service named.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::{self, Lookup};
use crate::core::agira_object::CLASS;
use crate::core::failure::{FailureKind, ServiceError};
use crate::core::model::Repository;
use crate::core::text::{Printable, timestamp};
use crate::db::{Db, Pause, places};
use crate::github::{Github, Identity, Poll};
use crate::http::Timeouts;
use crate::report::{
    CANNOT_RUN, Ending, Format, LastWord, SOME_FAILED, Screen, TRY_LATER, Tone, is_result_lost,
    print_json,
};
use crate::run::{GITHUB, Stop, WEAVIATE, github_client, weaviate_client};
use crate::weaviate::{ClassState, NO_VECTORIZER, Weaviate};

/// Longest wait for one response, and the time after which a service gets no further request. For
/// all three services together, `status` has less than a minute (`src/watchdog.rs`).
const ANSWER: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_secs(12);

/// Largest number of repositories that are tried, four requests.
const REPOSITORIES: usize = 100;

/// Largest number of repositories whose reasons are shown.
const SHOWN: usize = 3;

/// The result. Field names are stable: scripts depend on them.
#[derive(Debug, Default, Serialize)]
struct Services {
    schema_version: u32,
    command: &'static str,
    exit_code: u8,
    /// Reason why the command itself ended early.
    error: Option<String>,
    postgresql: Option<Service>,
    github: Option<Service>,
    weaviate: Option<Service>,
}

/// The answer of one service.
#[derive(Debug, Default, Serialize)]
struct Service {
    ok: bool,
    /// Host and port, or the whole address.
    address: Option<String>,
    error: Option<String>,
    #[serde(flatten)]
    facts: Map<String, Value>,
    /// The facts in words.
    #[serde(skip)]
    words: Vec<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// A reason why a service is not ready for runs, with the exit code of such a run.
struct Failure(u8, String);

/// The facts that PostgreSQL has about the other two services.
#[derive(Debug, Default)]
struct Known {
    now: Option<DateTime<Utc>>,
    pauses: Vec<Pause>,
    repositories: Vec<Repository>,
}

/// Asks the services, prints a line about each, and returns the exit code.
pub fn services(format: Format, get: Lookup<'_>, allow_http: bool, last_word: &LastWord) -> u8 {
    last_word.prepare(false, move |ending| ended(ending, format));
    let mut known = Known::default();
    let all = [
        Service::asked(|service| postgresql(service, get, &mut known)),
        Service::asked(|service| github(service, get, allow_http, &known)),
        Service::asked(|service| weaviate(service, get, allow_http, &known)),
    ];
    last_word.take();
    let codes = [CANNOT_RUN, TRY_LATER, SOME_FAILED];
    let mut found = codes
        .into_iter()
        .filter(|code| all.iter().any(|one| one.exit_code == *code));
    let exit_code = found.next().unwrap_or_default();
    if format == Format::Text {
        let screen = Screen::of_stdout();
        let names = ["PostgreSQL", "GitHub", "Weaviate"];
        for (name, service) in names.iter().zip(&all) {
            let tone = (!service.ok).then_some(Tone::Alarm);
            screen.print_wrapped(tone, &service.line(name));
        }
    } else {
        let [postgresql, github, weaviate] = all.map(Some);
        print_json(&Services {
            exit_code,
            postgresql,
            github,
            weaviate,
            ..Services::new()
        });
    }
    match is_result_lost() {
        true => CANNOT_RUN,
        false => exit_code,
    }
}

/// Prints the result of a command that another thread ends.
fn ended(ending: &Ending, format: Format) -> u8 {
    let exit_code = ending.exit_code();
    if format == Format::Json {
        print_json(&Services {
            exit_code,
            error: Some(Printable(ending.reason()).to_string()),
            ..Services::new()
        });
    }
    exit_code
}

impl Services {
    fn new() -> Self {
        Self {
            schema_version: 1,
            command: "status",
            ..Self::default()
        }
    }
}

impl Service {
    /// Returns what `ask` has found out.
    fn asked(ask: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Self {
        let mut service = Self::default();
        match ask(&mut service) {
            Ok(()) => service.ok = true,
            Err(Failure(code, reason)) => {
                service.exit_code = code;
                service.error = Some(Printable(&reason).to_string());
            }
        }
        service
    }

    /// Adds facts by their names, and the same in words.
    fn add(&mut self, facts: Value, words: impl IntoIterator<Item = String>) {
        if let Value::Object(facts) = facts {
            self.facts.extend(facts);
        }
        self.words.extend(words);
    }

    fn line(&self, name: &str) -> String {
        let state = if self.ok { "ok" } else { "failed" };
        let address = self.address.iter().cloned();
        let parts: Vec<String> = address
            .chain(self.words.iter().cloned())
            .chain(self.error.clone())
            .collect();
        format!("{name:<10}  {state:<6}  {}", parts.join("; "))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match Stop::from(error) {
            Stop::Later(_, reason) => Self(TRY_LATER, reason),
            Stop::Fatal(error) => Self(CANNOT_RUN, format!("{error:#}")),
        }
    }
}

impl Known {
    /// Fails during a pause of the service.
    fn may_ask(&self, service: &str, scope: &str) -> Result<(), Failure> {
        match self.pauses().find(|pause| pause.scope == scope) {
            None => Ok(()),
            Some(pause) => {
                let (until, reason) = (timestamp(pause.until), &pause.reason);
                let reason = format!("{service} is not asked before {until}: {reason}");
                Err(Failure(TRY_LATER, reason))
            }
        }
    }

    fn pauses(&self) -> impl Iterator<Item = &Pause> {
        let now = self.now.unwrap_or_default();
        self.pauses.iter().filter(move |pause| pause.holds(now))
    }
}

fn postgresql(service: &mut Service, get: Lookup<'_>, known: &mut Known) -> Result<(), Failure> {
    let url = config::database_url(get)?;
    let url = url.expose_secret();
    service.address = Some(places(url)?);
    let (mut db, now, facts) = Db::connect_for_facts(url)?;
    let encrypted = if facts.is_encrypted {
        "with TLS"
    } else {
        "without TLS"
    };
    let words = format!(
        "PostgreSQL {} {encrypted}, database {}, role {}",
        facts.version, facts.database, facts.role
    );
    service.add(json!(facts), [words]);
    if facts.is_superuser {
        let words = "a superuser, although the role of examples/sql/role.sql is enough";
        service.add(Value::Null, [words.to_owned()]);
    }
    db.check_for_runs(&facts)?;
    service.add(
        Value::Null,
        ["schema and privileges are complete".to_owned()],
    );
    known.now = Some(now);
    known.pauses = db.pauses(GITHUB)?;
    known.pauses.extend(db.pause(WEAVIATE)?);
    let repositories = db.repositories_to_poll(now)?;
    let names = repositories.iter();
    known.repositories = names
        .filter_map(|one| Repository::parse(&one.name))
        .collect();
    Ok(())
}

fn timeouts() -> Timeouts {
    Timeouts {
        answer: ANSWER,
        ..Timeouts::default()
    }
}

fn github(
    service: &mut Service,
    get: Lookup<'_>,
    allow_http: bool,
    known: &Known,
) -> Result<(), Failure> {
    let settings = config::github(get, allow_http)?;
    service.address = Some(settings.url.clone());
    let mut github = github_client(settings)?.with_timeouts(timeouts());
    known.may_ask("GitHub", GITHUB)?;
    github.set_deadline(Instant::now() + DEADLINE);
    let identity = github.identity();
    let identity = identity.map_err(|error| github_failure(&github, &error))?;
    service.add(json!(identity), who(&identity));
    let read = repositories(service, &mut github, known);
    let limits = github.limits();
    let left = limits.remaining.zip(limits.reset_at);
    let words =
        left.map(|(points, at)| format!("{points} points are left until {}", timestamp(at)));
    service.add(
        json!({ "points_remaining": limits.remaining, "points_reset_at": limits.reset_at.map(timestamp) }),
        words,
    );
    read
}

/// Returns who we are for GitHub, in words.
fn who(identity: &Identity) -> Vec<String> {
    let login = identity.login.as_deref();
    let mut words = vec![match (&identity.installations, login) {
        (Some(accounts), login) => {
            let accounts = match accounts.as_slice() {
                [] => "nobody".to_owned(),
                accounts => accounts.join(", "),
            };
            format!(
                "the GitHub App {}, installed for {accounts}",
                login.unwrap_or("without a name")
            )
        }
        (None, Some(login)) => format!("user {login}"),
        (None, None) => "a token without a user".to_owned(),
    }];
    let scopes = identity
        .scopes
        .as_deref()
        .filter(|scopes| !scopes.is_empty());
    words.extend(scopes.map(|scopes| format!("scopes {scopes}")));
    let end = identity.expires_at.as_deref();
    words.extend(end.map(|end| format!("the token ends {end}")));
    let version = identity.server_version.as_deref();
    words.extend(version.map(|version| format!("GitHub Enterprise Server {version}")));
    words
}

/// Tries to read the repositories that a run would poll.
fn repositories(service: &mut Service, github: &mut Github, known: &Known) -> Result<(), Failure> {
    let Some(now) = known.now else {
        return Ok(());
    };
    let installations = known
        .pauses()
        .filter_map(|pause| pause.scope.split_once(':'));
    installations.for_each(|(_, key)| github.leave_out(key));
    let polls = known
        .repositories
        .iter()
        .take(REPOSITORIES)
        .map(|repository| Poll {
            repository: repository.clone(),
            issues_since: now,
            pull_requests_since: now,
            closing_after: now,
        });
    let polls: Vec<Poll> = polls.collect();
    let polled = github.poll(&polls);
    if let Some(error) = polled.ended_by {
        return Err(github_failure(github, &error));
    }
    let (mut readable, mut unreadable, mut reasons) = (0, Vec::new(), Vec::new());
    for (poll, answer) in polls.iter().zip(polled.answers) {
        match answer {
            Some(Ok(_)) => readable += 1,
            Some(Err(error)) => {
                unreadable.push(poll.repository.as_str());
                reasons.push(error.message);
            }
            // Its installation must not be asked now.
            None => {}
        }
    }
    let words = match (readable, polls.len()) {
        (_, 0) => "Agira names no repository so far".to_owned(),
        (1, 1) => "the only repository can be read".to_owned(),
        (readable, all) => format!("{readable} of {all} repositories can be read"),
    };
    let facts = json!({ "repositories_readable": readable, "repositories_unreadable": unreadable });
    service.add(facts, [words]);
    if reasons.is_empty() {
        return Ok(());
    }
    let more = reasons.len().saturating_sub(SHOWN);
    reasons.truncate(SHOWN);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    let code = if readable > 0 {
        SOME_FAILED
    } else {
        CANNOT_RUN
    };
    Err(Failure(code, reasons.join("; ")))
}

fn github_failure(github: &Github, error: &ServiceError) -> Failure {
    let (refused, check) = github.refusal();
    let (code, reason) = match error.kind {
        FailureKind::Refused => (
            CANNOT_RUN,
            format!("{refused} ({}); check {check}", error.message),
        ),
        FailureKind::Rejected => (CANNOT_RUN, format!("{error}; check GITHUB_API_URL")),
        FailureKind::Unknown => (CANNOT_RUN, error.to_string()),
        _ => (TRY_LATER, error.to_string()),
    };
    Failure(code, reason)
}

fn weaviate(
    service: &mut Service,
    get: Lookup<'_>,
    allow_http: bool,
    known: &Known,
) -> Result<(), Failure> {
    let settings = config::weaviate(get, allow_http)?;
    service.address = Some(settings.url.clone());
    let mut weaviate = weaviate_client(&settings)?.with_timeouts(timeouts());
    known.may_ask("Weaviate", WEAVIATE)?;
    weaviate.set_deadline(Instant::now() + DEADLINE);
    ask_weaviate(service, &mut weaviate)
}

fn ask_weaviate(service: &mut Service, weaviate: &mut Weaviate) -> Result<(), Failure> {
    let facts = weaviate.facts().map_err(|error| weaviate_failure(&error))?;
    let version = facts.version.as_ref();
    let version = version.map(|version| format!("Weaviate {version}"));
    let user = facts.user.as_ref().map(|user| format!("user {user}"));
    service.add(json!(facts), version.into_iter().chain(user));
    let class = weaviate.class().map_err(|error| weaviate_failure(&error))?;
    let vectorizer = weaviate.vectorizer();
    let (name, words) = match (&class, vectorizer) {
        (ClassState::Missing, _) => (
            "missing",
            format!("class {CLASS} is missing, and the first run creates it without a vectorizer"),
        ),
        (ClassState::Unfit(_), _) => ("unfit", String::new()),
        (ClassState::Fits, None | Some(NO_VECTORIZER)) => (
            "fits",
            format!("class {CLASS} has no vectorizer, so that only keyword searches work"),
        ),
        (ClassState::Fits, Some(vectorizer)) => (
            "fits",
            format!("class {CLASS} with the vectorizer {vectorizer}"),
        ),
    };
    let words = Some(words).filter(|words| !words.is_empty());
    service.add(json!({ "class": name, "vectorizer": vectorizer }), words);
    if let ClassState::Unfit(problems) = class {
        return Err(Failure(CANNOT_RUN, problems));
    }
    match facts.may_write {
        Some(false) => Err(Failure(
            CANNOT_RUN,
            format!(
                "the key may not write objects of {CLASS}: its user needs create_data and update_data"
            ),
        )),
        Some(true) => {
            service.add(Value::Null, ["the key may write".to_owned()]);
            Ok(())
        }
        None => {
            let words = "the server does not say whether writing is allowed".to_owned();
            service.add(Value::Null, [words]);
            Ok(())
        }
    }
}

fn weaviate_failure(error: &ServiceError) -> Failure {
    match error.kind {
        FailureKind::Refused | FailureKind::Rejected => Failure(
            CANNOT_RUN,
            format!("{error}; check WEAVIATE_URL, WEAVIATE_API_KEY and the key's permissions"),
        ),
        _ => Failure(TRY_LATER, error.to_string()),
    }
}
