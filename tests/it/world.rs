//! One world for one test: a database of its own, a GitHub and a Weaviate, and the program run against them.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use agira_worker::core::agira_object::{ObjectKey, ObjectType};
use kit::agira;
use kit::github::{Github, TOKEN};
use kit::postgres_server::Database;
use kit::weaviate::{Settings, Weaviate};
use postgres::Client;
use serde_json::Value;

/// PostgreSQL lets everybody in and asks for no password: it stands in DATABASE_URL to be searched for.
const DATABASE_PASSWORD: &str = "SENTINEL-database-password";

/// A database of its own, a GitHub and a Weaviate.
pub struct World {
    pub database: Database,
    pub github: Github,
    pub weaviate: Weaviate,
    /// A connection for looking and for what people do.
    pub client: Client,
}

/// An item with the mapping that links it to an issue or a pull request.
#[derive(Debug, Clone)]
pub struct Linked {
    pub item: i64,
    pub mapping: i64,
}

impl World {
    /// Agira with the worker's columns, and Weaviate with Agira's class.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// The same with a Weaviate that has these settings.
    pub fn with(settings: Settings) -> Self {
        let world = Self::of(Database::create(), settings);
        world.weaviate.create_agira_class();
        world
    }

    /// Some other database, and an empty Weaviate.
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

    /// The project that names a repository.
    pub fn project(&mut self, repository: &str) -> i64 {
        let (owner, name) = repository.split_once('/').expect("owner/name");
        let found = "SELECT id FROM core_project WHERE github_owner = $1 AND github_repo = $2";
        match self.client.query_opt(found, &[&owner, &name]).unwrap() {
            Some(row) => row.get(0),
            None => agira::project(&mut self.client, name, owner, name),
        }
    }

    /// An open issue at GitHub, linked to a new item with that status, as Agira would have stored it.
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

    /// A program run that is still to be started, with the environment that this world needs and no other.
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

    /// `sync` that has to succeed.
    #[track_caller]
    pub fn sync(&self) -> Run {
        self.run(&["sync"]).exits(0)
    }

    /// Everything that GitHub was sent to be believed, but for ordinary words.
    pub fn github_credentials(&self) -> BTreeSet<String> {
        let sent = self.github.requests();
        let sent = sent
            .iter()
            .filter_map(|exchange| exchange.request.header("authorization"));
        sent.map(|header| header.trim_start_matches("Bearer ").to_owned())
            .filter(|sent| sent.len() > 8)
            .collect()
    }

    /// One value of one row.
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

    /// The properties of an object in Weaviate; null when it is missing.
    pub fn properties(&self, object_type: ObjectType, id: i64) -> Value {
        self.weaviate
            .object(&uuid(object_type, id))
            .map_or(Value::Null, |object| object["properties"].clone())
    }
}

/// Invariant 12: no table holds a secret, whatever the test did.
impl Drop for World {
    fn drop(&mut self) {
        let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        // A test that failed has said why; one may have broken its database, or hold its locks, on purpose.
        let _ = self.client.batch_execute("SET lock_timeout = '1s'");
        let (false, Ok(tables)) = (std::thread::panicking(), self.client.query(tables, &[])) else {
            return;
        };
        let mut secrets = self.github_credentials();
        // Every other secret of the tests begins so.
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

/// The values in a run's environment that nothing may show, with the names of their variables; those that some tests choose
/// to be an ordinary word are theirs to judge.
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

/// Invariant 12 for a run that a test starts and waits for on its own: its output shows none of the secrets that every
/// world has.
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

/// The one file that a run writes: its metrics, where they are asked for and can be written.
fn written_by(command: &Command) -> Vec<u8> {
    let place = command.get_args().position(|arg| arg == "--metrics-file");
    let path = place.and_then(|place| command.get_args().nth(place + 1));
    path.and_then(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// The UUID of an object.
pub fn uuid(object_type: ObjectType, id: i64) -> String {
    ObjectKey {
        object_type,
        object_id: id.to_string(),
    }
    .uuid()
    .to_string()
}

/// `owner/name#number`.
pub fn split(key: &str) -> (&str, i32) {
    let (name, number) = key.split_once('#').expect("owner/name#number");
    (name, number.parse().expect("a number"))
}

/// How a run of the program ended.
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
        } = command.output().expect("the program starts");
        let file = written_by(command);
        for (name, secret) in secrets_of(command) {
            let shown = [&stdout, &stderr, &file]
                .into_iter()
                .any(|output| output.windows(secret.len()).any(|part| part == secret));
            // The message must not show what is searched for: it is read in a log, too.
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

    /// Everything that the run said, for the message of a failed check.
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

    /// Some line of stdout contains this.
    #[track_caller]
    pub fn prints(self, part: &str) -> Self {
        assert!(
            self.stdout.lines().any(|line| line.contains(part)),
            "no line with {part:?} on stdout\n{}",
            self.all()
        );
        self
    }

    /// Some line of stderr contains this.
    #[track_caller]
    pub fn logs(self, part: &str) -> Self {
        assert!(
            self.stderr.lines().any(|line| line.contains(part)),
            "no line with {part:?} on stderr\n{}",
            self.all()
        );
        self
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}", self.all()))
    }
}
