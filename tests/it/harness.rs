//! The harness. A [`World`] has a database, a GitHub and a Weaviate for one test. A [`Run`] is one run of the program
//! against them, to its end. `fixtures.rs` has ready-made worlds; tests/README.md says which test needs which harness.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use agira_worker::core::agira_object::{ObjectKey, ObjectType};
use kit::agira;
use kit::github::{Github, TOKEN};
use kit::postgres_server::Database;
use kit::weaviate::{Settings, Weaviate};
use postgres::Client;
use serde_json::Value;

use crate::fixtures::CLOSED_AT;

/// Password in DATABASE_URL. PostgreSQL does not ask for it; tests search outputs and tables for it.
const DATABASE_PASSWORD: &str = "SENTINEL-database-password";

/// Database, GitHub and Weaviate of one test.
pub struct World {
    pub database: Database,
    pub github: Github,
    pub weaviate: Weaviate,
    /// Connection as the owner, for checks and for changes by people.
    pub client: Client,
}

/// Ids of an item and of the mapping that links it to an issue or a pull request.
#[derive(Debug, Clone)]
pub struct Linked {
    pub item: i64,
    pub mapping: i64,
}

impl World {
    /// Creates an Agira with the worker's columns, and a Weaviate with Agira's class.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Creates the same with these settings of Weaviate.
    pub fn with(settings: Settings) -> Self {
        let world = Self::of(Database::create(), settings);
        world.weaviate.create_agira_class();
        world
    }

    /// Creates a world on this database, with an empty Weaviate.
    pub fn on(database: Database) -> Self {
        Self::of(database, Settings::default())
    }

    fn of(database: Database, settings: Settings) -> Self {
        let client = database.client();
        Self {
            database,
            github: Github::start(),
            weaviate: Weaviate::start_with(settings),
            client,
        }
    }

    /// Returns the project of a repository, and creates it if it is missing.
    pub fn project(&mut self, repository: &str) -> i64 {
        let (owner, name) = repository.split_once('/').expect("owner/name");
        let found = "SELECT id FROM core_project WHERE github_owner = $1 AND github_repo = $2";
        match self.client.query_opt(found, &[&owner, &name]).unwrap() {
            Some(row) => row.get(0),
            None => agira::project(&mut self.client, name, owner, name),
        }
    }

    /// Creates an open issue on GitHub, and a new item with that status that is linked to it, with the rows that Agira
    /// would store.
    pub fn issue(&mut self, key: &str, status: &str) -> Linked {
        let github_id = self.github.issue(key, |_| {});
        let (repository, number) = split(key);
        let project = self.project(repository);
        let item = agira::item(&mut self.client, project, status);
        let mapping = agira::issue(
            &mut self.client,
            item,
            github_id,
            repository,
            number,
            "open",
        );
        Linked { item, mapping }
    }

    /// Adds an issue as [`World::issue`] does, with an item in `Working`, and closes it on GitHub.
    pub fn closed_issue(&mut self, key: &str) -> Linked {
        let linked = self.issue(key, "Working");
        self.github.close(key, CLOSED_AT);
        linked
    }

    /// Adds a pull request on GitHub that closes an issue once it is merged.
    pub fn closing_pull_request(&self, issue: &str, pull_request: &str) {
        self.github.pull_request(pull_request, |_| {});
        self.github.issue(issue, |issue| {
            issue.references = vec![pull_request.to_owned()]
        });
    }

    /// Sets the end of all leases to the past, as if the run that holds them had died.
    pub fn expire_claims(&mut self) {
        self.execute(
            "UPDATE core_externalissuemapping SET worker_claimed_until = now() - interval '1 second'
             WHERE worker_claim IS NOT NULL",
        );
    }

    /// Returns the command of a run that has not started, with only the environment that this world needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agira-worker"));
        command.args(args).env_clear();
        let database = self.database.worker_url().replace(
            "agira_worker@",
            &format!("agira_worker:{DATABASE_PASSWORD}@"),
        );
        command
            .env("DATABASE_URL", database)
            .env("GITHUB_API_URL", self.github.url());
        command
            .env("GITHUB_TOKEN", TOKEN)
            .env("WEAVIATE_URL", self.weaviate.url());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Runs `sync`, which must succeed.
    #[track_caller]
    pub fn sync(&self) -> Run {
        self.run(&["sync"]).exits(0)
    }

    /// Returns every credential that GitHub received, without short words such as `Bearer`.
    pub fn github_credentials(&self) -> BTreeSet<String> {
        let sent = self.github.requests();
        let sent = sent
            .iter()
            .filter_map(|exchange| exchange.request.header("authorization"));
        sent.map(|header| header.trim_start_matches("Bearer ").to_owned())
            .filter(|sent| sent.len() > 8)
            .collect()
    }

    /// Returns the single value of a query.
    pub fn one<T: postgres::types::FromSqlOwned>(&mut self, sql: &str) -> T {
        self.client
            .query_one(sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }

    /// Runs statements as a person at psql would.
    pub fn execute(&mut self, sql: &str) {
        self.client
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub fn item_status(&mut self, item: i64) -> String {
        agira::item_status(&mut self.client, item)
    }

    /// Returns the properties of an object in Weaviate; null if it is missing.
    pub fn properties(&self, object_type: ObjectType, id: i64) -> Value {
        self.weaviate
            .object(&uuid(object_type, id))
            .map_or(Value::Null, |object| object["properties"].clone())
    }
}

/// Checks invariant 12 at the end of every test: no table holds a secret.
impl Drop for World {
    fn drop(&mut self) {
        let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        // A failed test has already printed its reason. Some tests break their database, or hold its locks, on purpose.
        let _ = self.client.batch_execute("SET lock_timeout = '1s'");
        let (false, Ok(tables)) = (std::thread::panicking(), self.client.query(tables, &[])) else {
            return;
        };
        let mut secrets = self.github_credentials();
        // Every other secret of the tests starts with this text.
        secrets.extend([TOKEN, "SENTINEL-"].map(str::to_owned));
        for table in tables.iter().map(|row| row.get::<_, String>(0)) {
            let holds =
                format!("SELECT EXISTS (SELECT FROM \"{table}\" t WHERE t::text LIKE ANY ($1))");
            let secrets: Vec<_> = secrets
                .iter()
                .map(|secret| format!("%{}%", secret.replace('_', "\\_")))
                .collect();
            if let Ok(row) = self.client.query_one(&holds, &[&secrets]) {
                assert!(
                    !row.get::<_, bool>(0),
                    "invariant 12: table {table} holds a secret"
                );
            }
        }
    }
}

/// Returns the secrets in the environment of a run, with the names of their variables. Values of at most eight
/// characters are skipped, because some tests set them to ordinary words.
fn secrets_of(command: &Command) -> Vec<(String, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt;
    let named = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.as_bytes().to_vec())));
    let mut secrets: Vec<_> = named
        .filter(|(name, value)| {
            ["GITHUB_TOKEN", "WEAVIATE_API_KEY"].contains(&&**name) && value.len() > 8
        })
        .collect();
    for (name, secret) in [("DATABASE_URL", DATABASE_PASSWORD), ("GITHUB_TOKEN", TOKEN)] {
        secrets.push((name.to_owned(), secret.as_bytes().to_vec()));
    }
    secrets
}

/// Checks invariant 12 for a run that a test starts itself: the outputs show none of the secrets that every world has.
#[track_caller]
pub fn check_silent(outputs: &[&[u8]]) {
    for (name, secret) in [("DATABASE_URL", DATABASE_PASSWORD), ("GITHUB_TOKEN", TOKEN)] {
        let shown = outputs.iter().any(|output| {
            output
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        });
        assert!(!shown, "invariant 12: an output shows {name}");
    }
}

/// Returns the content of the metrics file, the only file that a run writes; empty if there is none.
fn written_by(command: &Command) -> Vec<u8> {
    let place = command.get_args().position(|arg| arg == "--metrics-file");
    let path = place.and_then(|place| command.get_args().nth(place + 1));
    path.and_then(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// Sends a signal, such as `TERM`, to a process that must still exist.
#[track_caller]
pub fn send_signal(process: u32, signal: &str) {
    let is_there = kit::wait::signal(process, signal);
    assert!(is_there, "the process is not there");
}

/// Waits until the process has handled all signals, or has ended.
pub fn await_handled(child: &std::process::Child) {
    let path = format!("/proc/{}/status", child.id());
    kit::wait::until("a signal to be handled", kit::wait::SOON, || {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let mut pending = status
            .lines()
            .filter(|line| line.starts_with("SigPnd") || line.starts_with("ShdPnd"));
        pending.all(|line| line.ends_with("0000000000000000"))
    });
}

/// Returns the UUID of an object.
pub fn uuid(object_type: ObjectType, id: i64) -> String {
    ObjectKey {
        object_type,
        object_id: id.to_string(),
    }
    .uuid()
    .to_string()
}

/// Splits `owner/name#number`.
pub fn split(key: &str) -> (&str, i32) {
    let (name, number) = key.split_once('#').expect("owner/name#number");
    (name, number.parse().expect("a number"))
}

/// Exit code and outputs of one run of the program.
pub struct Run {
    command: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = kit::wait::output(command).expect("the program starts");
        let file = written_by(command);
        for (name, secret) in secrets_of(command) {
            let shown = [&stdout, &stderr, &file]
                .into_iter()
                .any(|output| output.windows(secret.len()).any(|part| part == secret));
            // The message must not contain the secret, because people read it in a log.
            assert!(
                !shown,
                "invariant 12: the output of {:?} shows {name}",
                command.get_args().collect::<Vec<_>>()
            );
        }
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        Self {
            command: format!("agira-worker {}", args.join(" ")),
            code: status.code().expect("an exit code"),
            stdout: String::from_utf8(stdout).expect("UTF-8 on stdout"),
            stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
        }
    }

    /// Returns both outputs, for the message of a failed check.
    pub fn all(&self) -> String {
        format!(
            "$ {} -> {}\n--- stdout\n{}--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }

    /// Checks that a line of stdout contains this text.
    #[track_caller]
    pub fn prints(self, part: &str) -> Self {
        assert!(
            self.stdout.lines().any(|line| line.contains(part)),
            "no line with {part:?} on stdout\n{}",
            self.all()
        );
        self
    }

    /// Checks that a line of stderr contains this text.
    #[track_caller]
    pub fn logs(self, part: &str) -> Self {
        assert!(
            self.stderr.lines().any(|line| line.contains(part)),
            "no line with {part:?} on stderr\n{}",
            self.all()
        );
        self
    }

    /// Parses the JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}", self.all()))
    }
}
