//! A pool in session mode in front of PostgreSQL: a client gets a session that another client has left. It is for tests
//! that connect many thousand times, because a new session costs PostgreSQL more than all statements of a short run,
//! and preparing them costs more than executing them.

mod session;

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::http::lock;
use tempfile::TempDir;

use crate::postgres_messages::{batch, body, bytes};
use crate::postgres_server::Cluster;
use crate::wait;
use session::Session;

/// Name that PostgreSQL gives to the socket of port 1.
const SOCKET: &str = ".s.PGSQL.1";

/// A running pool; dropping it ends the unused sessions.
pub struct PostgresPool {
    folder: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    /// PostgreSQL's socket.
    server: PathBuf,
    idle: Mutex<HashMap<Whose, Vec<Session>>>,
    clients: Mutex<Vec<Arc<Client>>>,
    /// Options of the clients that died. They get no further session.
    dead: Mutex<HashSet<String>>,
    is_over: AtomicBool,
}

/// A client that has a session.
struct Client {
    stream: UnixStream,
    database: String,
    /// Options of the client; the histories give each run its own ones.
    options: String,
    /// Application name of the client.
    application: String,
}

/// User and database of sessions.
type Whose = (String, String);

impl PostgresPool {
    /// Starts a pool in front of this server. Both use unix sockets, which cost less than TCP.
    pub fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("agira-worker-pool-")
            .tempdir()
            .expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a socket");
        let server = cluster.socket();
        let shared = Arc::new(Shared {
            server,
            idle: Mutex::default(),
            clients: Mutex::default(),
            dead: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let serving = serving.clone();
                // The client's connection is closed for any reason that ends the session.
                std::thread::spawn(move || drop(serving.serve(client)));
            }
        });
        Self { folder, shared }
    }

    /// Returns the same address through this pool; `url` is from [`crate::postgres_server::Database::url`].
    pub fn url(&self, url: &str) -> String {
        let (before, database) = url.rsplit_once('/').expect("a database");
        let (user, _) = before.rsplit_once('@').expect("a user");
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("{user}@{folder}:1/{database}")
    }

    /// Cuts the connections to a database (its [`crate::postgres_server::Database::url`]) of the client with this
    /// application name, as if its process had died: clients with the same options get no further session. Waits until
    /// PostgreSQL has rolled back its work.
    pub fn kill(&self, url: &str, application: &str) {
        self.end(url, application, true);
    }

    /// Cuts the same connections, as if PostgreSQL had ended the sessions.
    pub fn cut(&self, url: &str, application: &str) {
        self.end(url, application, false);
    }

    fn end(&self, url: &str, application: &str, dies: bool) {
        let database = url.rsplit('/').next().unwrap_or_default();
        let is_meant = |client: &&Arc<Client>| {
            client.database == database && client.application == application
        };
        let meant: Vec<Arc<Client>> = lock(&self.shared.clients)
            .iter()
            .filter(is_meant)
            .cloned()
            .collect();
        for client in meant {
            if dies {
                lock(&self.shared.dead).insert(client.options.clone());
            }
            let _ = client.stream.shutdown(Shutdown::Both);
            wait::until(
                "the pool to notice that a client is gone",
                wait::SOON,
                || {
                    !lock(&self.shared.clients)
                        .iter()
                        .any(|other| Arc::ptr_eq(other, &client))
                },
            );
        }
    }
}

impl Drop for PostgresPool {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(self.folder.path().join(SOCKET)); // wakes the thread that accepts
        lock(&self.shared.idle).clear();
    }
}

impl Shared {
    fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let wanted = wanted(&body(&mut reader)?)?;
        let whose = (of(&wanted, "user"), of(&wanted, "database"));
        let client = Arc::new(Client {
            stream,
            database: whose.1.clone(),
            options: of(&wanted, "options"),
            application: of(&wanted, "application_name"),
        });
        if lock(&self.dead).contains(&client.options) {
            return client.stream.shutdown(Shutdown::Both);
        }
        // Its session ends when it dies.
        if client.options.contains("kit.dies_at") {
            lock(&self.dead).insert(client.options.clone());
        }
        let mut session = self.session(&whose, &settings(&wanted)?)?;
        lock(&self.clients).push(client.clone());
        let served = exchange(&client.stream, &mut reader, &mut session);
        if session.leave().is_ok() {
            lock(&self.idle).entry(whose).or_default().push(session);
        }
        lock(&self.clients).retain(|other| !Arc::ptr_eq(other, &client));
        served
    }

    /// Returns a session with these settings: an unused one that is still alive, or a new one.
    fn session(&self, whose: &Whose, settings: &str) -> io::Result<Session> {
        loop {
            let left = lock(&self.idle).get_mut(whose).and_then(Vec::pop);
            let is_new = left.is_none();
            let mut session = left.map_or_else(|| Session::begin(&self.server, whose), Ok)?;
            match session.query(settings) {
                Ok(()) => return Ok(session),
                Err(error) if is_new => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Serves the client until it disconnects, or PostgreSQL ends the session.
fn exchange(
    mut stream: &UnixStream,
    reader: &mut impl Read,
    session: &mut Session,
) -> io::Result<()> {
    stream.write_all(&session.greeting)?;
    while let Some(asked) = batch(reader)? {
        let mut answer = Vec::new();
        let answered = session.answer(asked, &mut answer);
        stream.write_all(&bytes(&answer))?;
        answered?;
        if answer.iter().any(|message| message.is_error("57P01")) {
            break; // admin_shutdown
        }
    }
    stream.shutdown(Shutdown::Both)
}

/// Returns names and values of a StartupMessage.
fn wanted(startup: &[u8]) -> io::Result<Vec<(String, String)>> {
    let parameters = startup.get(8..).ok_or(ErrorKind::InvalidData)?;
    let texts: Vec<String> = parameters
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let pairs = texts.chunks_exact(2).take_while(|pair| !pair[0].is_empty());
    Ok(pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect())
}

fn of(wanted: &[(String, String)], name: &str) -> String {
    wanted
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

/// Returns the statements that set the client's settings in a session; `options` may only have `-cname=value` without
/// blanks.
fn settings(wanted: &[(String, String)]) -> io::Result<String> {
    let mut sql = String::from("SELECT 1");
    let options = of(wanted, "options");
    let mut settings = vec![("application_name", of(wanted, "application_name"))];
    for option in options.split_whitespace() {
        let (name, value) = option
            .strip_prefix("-c")
            .and_then(|option| option.split_once('='))
            .ok_or(ErrorKind::InvalidData)?;
        settings.push((name, value.to_owned()));
    }
    for (name, value) in settings {
        sql.push_str(&format!(
            ", set_config('{name}', '{}', false)",
            value.replace('\'', "''")
        ));
    }
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use postgres::{Client, NoTls};

    use super::*;
    use crate::postgres_server::Database;

    fn one(client: &mut Client, sql: &str) -> String {
        client.query_one(sql, &[]).unwrap().get(0)
    }

    #[test]
    fn a_session_is_reused_without_the_state_of_its_last_client() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared());
        let url = |more: &str| format!("{}?sslmode=disable{more}", pool.url(&database.url()));
        let (pid, name) = ("SELECT pg_backend_pid()::text", "SHOW application_name");
        let told =
            "SELECT concat(current_setting('kit.told', true), current_setting('lock_timeout'))";
        let mut first =
            Client::connect(&url("&application_name=first&options=-ckit.told=it"), NoTls).unwrap();
        let mut second = Client::connect(&url(""), NoTls).unwrap();
        assert_eq!(
            (one(&mut first, name), one(&mut first, told)),
            ("first".to_owned(), "it0".to_owned())
        );
        first
            .batch_execute("SET lock_timeout = '7s'; CREATE TEMPORARY TABLE left_over ()")
            .unwrap();
        let (left, other) = (one(&mut first, pid), one(&mut second, pid));
        assert_ne!(left, other);
        drop(first);
        let is_idle = || {
            lock(&pool.shared.idle)
                .values()
                .any(|sessions| !sessions.is_empty())
        };
        wait::until("an idle session", wait::SOON, is_idle);
        let mut third = Client::connect(&url(""), NoTls).unwrap();
        assert_eq!(one(&mut third, pid), left);
        assert_eq!(
            (one(&mut third, name), one(&mut third, told)),
            (String::new(), "0".to_owned())
        );
        let left_over = third.batch_execute("SELECT FROM left_over").unwrap_err();
        assert!(
            left_over
                .as_db_error()
                .unwrap()
                .message()
                .contains("does not exist"),
            "{left_over:?}"
        );
    }

    #[test]
    fn a_dead_session_is_not_reused() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared());
        let url = format!("{}?sslmode=disable", pool.url(&database.url()));
        let mut first = Client::connect(&url, NoTls).unwrap();
        let pid: i32 = first
            .query_one("SELECT pg_backend_pid()", &[])
            .unwrap()
            .get(0);
        let cut = format!("SELECT pg_terminate_backend({pid}, 5000)");
        database.client().batch_execute(&cut).unwrap();
        let error = first.batch_execute("SELECT 1").unwrap_err();
        assert!(error.is_closed() || error.code().is_some(), "{error:?}");
        let mut second = Client::connect(&url, NoTls).unwrap();
        assert_ne!(
            second
                .query_one("SELECT pg_backend_pid()", &[])
                .unwrap()
                .get::<_, i32>(0),
            pid
        );
    }

    #[test]
    fn uncommitted_work_of_a_disconnected_client_is_rolled_back() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared());
        let url = |name: &str| {
            format!(
                "{}?sslmode=disable&application_name={name}&options=-ckit.run={name}",
                pool.url(&database.url())
            )
        };
        let mut one = Client::connect(&url("one"), NoTls).unwrap();
        let mut other = Client::connect(&url("other"), NoTls).unwrap();
        one.batch_execute("BEGIN; CREATE TABLE never ()").unwrap();
        pool.kill(&database.url(), "one");
        assert!(one.batch_execute("SELECT 1").unwrap_err().is_closed());
        assert!(
            Client::connect(&url("one"), NoTls).is_err(),
            "the dead get no session"
        );
        let there = "SELECT to_regclass('never')::text, (SELECT count(*) FROM pg_locks WHERE relation > 16384)";
        let row = other.query_one(there, &[]).unwrap();
        assert_eq!(
            (row.get::<_, Option<&str>>(0), row.get::<_, i64>(1)),
            (None, 0)
        );
    }

    #[test]
    fn a_client_is_disconnected_when_its_session_is_terminated() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared());
        let mut client = Client::connect(
            &format!("{}?sslmode=disable", pool.url(&database.url())),
            NoTls,
        )
        .unwrap();
        let error = client
            .batch_execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$")
            .unwrap_err();
        // The client may see the end of the connection first.
        assert!(
            error.is_closed() || error.code().is_some_and(|code| code.code() == "57P01"),
            "{error:?}"
        );
        assert!(client.batch_execute("SELECT 1").unwrap_err().is_closed());
    }

    #[test]
    fn prepared_statements_are_shared_between_clients() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared());
        let url = format!(
            "{}?sslmode=disable&options=-csearch_path=",
            pool.url(&database.url())
        );
        database
            .client()
            .batch_execute("CREATE SCHEMA a CREATE VIEW here AS SELECT 'a' AS schema")
            .unwrap();
        database
            .client()
            .batch_execute("CREATE SCHEMA b CREATE VIEW here AS SELECT 'b' AS schema")
            .unwrap();
        let prepared = "SELECT concat(schema, count(*)) FROM here, pg_prepared_statements
            WHERE statement = 'SELECT $1::int8 + 1' GROUP BY schema";
        for schema in ["a", "b", "a"] {
            let mut client = Client::connect(&format!("{url}{schema}"), NoTls).unwrap();
            for number in [1_i64, 7] {
                let row = client.query_one("SELECT $1::int8 + 1", &[&number]).unwrap();
                assert_eq!(row.get::<_, i64>(0), number + 1);
            }
            let error = client.query("SELECT nothing", &[]).unwrap_err();
            assert!(
                error.as_db_error().unwrap().message().contains("nothing"),
                "{error:?}"
            );
            assert_eq!(one(&mut client, prepared), format!("{schema}1"));
            drop(client);
            wait::until("an idle session", wait::SOON, || {
                !lock(&pool.shared.idle).values().all(Vec::is_empty)
            });
        }
    }
}
