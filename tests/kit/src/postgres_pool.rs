//! A pool in session mode before PostgreSQL: who connects gets a session that somebody has left, as good as new. For tests
//! that connect many thousand times: a new session costs PostgreSQL more than all statements of a short run.

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::http::lock;
use crate::postgres_messages::{Message, batch, body, bytes, message};

/// A running pool; dropping it ends the sessions that nobody uses.
pub struct PostgresPool {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    idle: Mutex<HashMap<Whose, Vec<Session>>>,
    is_over: AtomicBool,
}

/// A user, and the database that sessions are for.
type Whose = (String, String);

/// A session of PostgreSQL.
struct Session {
    stream: BufReader<TcpStream>,
    /// What PostgreSQL said when it began.
    greeting: Vec<u8>,
}

impl PostgresPool {
    /// A pool before the server on this loopback port.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener");
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let shared = Arc::new(Shared { server, idle: Mutex::default(), is_over: AtomicBool::new(false) });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let serving = serving.clone();
                // Whatever ends a connection, the client sees that it has ended.
                std::thread::spawn(move || drop(serving.serve(client)));
            }
        });
        Self { address, shared }
    }

    /// The same address by way of this pool; `url` is one of [`crate::postgres_server::Database::url`], or has a `?` and
    /// more behind it. Without TLS.
    pub fn url(&self, url: &str) -> String {
        url.replacen(&self.shared.server.to_string(), &self.address.to_string(), 1)
    }
}

impl Drop for PostgresPool {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the thread that accepts
        lock(&self.shared.idle).clear();
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut client = BufReader::new(client);
        let wanted = wanted(&body(&mut client)?)?;
        let whose = (of(&wanted, "user"), of(&wanted, "database"));
        let mut session = self.session(&whose, &settings(&wanted)?)?;
        client.get_mut().write_all(&session.greeting)?;
        let mut state = b'I';
        while let Some(asked) = batch(&mut client)? {
            let mut answer = Vec::new();
            let answered = session.ask(&bytes(&asked), &mut answer);
            client.get_mut().write_all(&answer)?;
            state = answered?;
        }
        if state == b'I' {
            session.query("DISCARD ALL")?;
            lock(&self.idle).entry(whose).or_default().push(session);
        }
        Ok(())
    }

    /// A session with these settings: one that was left and still lives, or a new one.
    fn session(&self, whose: &Whose, settings: &str) -> io::Result<Session> {
        loop {
            let left = lock(&self.idle).get_mut(whose).and_then(Vec::pop);
            let is_new = left.is_none();
            let mut session = left.map_or_else(|| Session::begin(self.server, whose), Ok)?;
            match session.query(settings) {
                Ok(()) => return Ok(session),
                Err(error) if is_new => return Err(error),
                Err(_) => {}
            }
        }
    }
}

impl Session {
    fn begin(server: SocketAddr, (user, database): &Whose) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream: BufReader::new(stream), greeting: Vec::new() };
        let mut startup = 196_608_u32.to_be_bytes().to_vec(); // protocol 3.0
        for text in ["user", user, "database", database, "client_encoding", "UTF8", ""] {
            startup.extend(text.bytes().chain([0]));
        }
        let length = u32::try_from(startup.len() + 4).expect("a short message").to_be_bytes();
        let mut greeting = Vec::new();
        session.ask(&[&length, &startup[..]].concat(), &mut greeting)?;
        session.greeting = greeting;
        Ok(session)
    }

    /// Sends this, and gathers what PostgreSQL says until it is ready for more; whether it is in a transaction then.
    fn ask(&mut self, asked: &[u8], answer: &mut Vec<u8>) -> io::Result<u8> {
        self.stream.get_mut().write_all(asked)?;
        loop {
            let message = message(&mut self.stream)?;
            message.write_to(answer);
            if message.kind == b'Z' {
                return Ok(message.body[4]); // ReadyForQuery
            }
        }
    }

    fn query(&mut self, sql: &str) -> io::Result<()> {
        let mut answer = Vec::new();
        self.ask(&bytes(&[Message::query(sql)]), &mut answer)?;
        let failed = answer.first() == Some(&b'E'); // ErrorResponse
        if failed { Err(io::Error::other(String::from_utf8_lossy(&answer))) } else { Ok(()) }
    }
}

/// Names and values of a StartupMessage.
fn wanted(startup: &[u8]) -> io::Result<Vec<(String, String)>> {
    let parameters = startup.get(8..).ok_or(ErrorKind::InvalidData)?;
    let texts: Vec<String> =
        parameters.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let pairs = texts.chunks_exact(2).take_while(|pair| !pair[0].is_empty());
    Ok(pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

fn of(wanted: &[(String, String)], name: &str) -> String {
    wanted.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

/// What gives a session the settings that the client began with; `options` is read as far as `-cname=value` without blanks.
fn settings(wanted: &[(String, String)]) -> io::Result<String> {
    let mut sql = String::from("SELECT 1");
    let options = of(wanted, "options");
    let mut settings = vec![("application_name", of(wanted, "application_name"))];
    for option in options.split_whitespace() {
        let (name, value) =
            option.strip_prefix("-c").and_then(|option| option.split_once('=')).ok_or(ErrorKind::InvalidData)?;
        settings.push((name, value.to_owned()));
    }
    for (name, value) in settings {
        sql.push_str(&format!(", set_config('{name}', '{}', false)", value.replace('\'', "''")));
    }
    Ok(sql)
}

#[cfg(test)]
mod tests {
    use postgres::{Client, NoTls};

    use super::*;
    use crate::postgres_server::{Cluster, Database};

    fn one(client: &mut Client, sql: &str) -> String {
        client.query_one(sql, &[]).unwrap().get(0)
    }

    #[test]
    fn a_session_that_was_left_is_used_again_and_knows_nothing_of_who_left_it() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared().port());
        let url = |more: &str| format!("{}?sslmode=disable{more}", pool.url(&database.url()));
        let (pid, name) = ("SELECT pg_backend_pid()::text", "SHOW application_name");
        let told = "SELECT concat(current_setting('kit.told', true), current_setting('lock_timeout'))";
        let mut first = Client::connect(&url("&application_name=first&options=-ckit.told=it"), NoTls).unwrap();
        let mut second = Client::connect(&url(""), NoTls).unwrap();
        assert_eq!((one(&mut first, name), one(&mut first, told)), ("first".to_owned(), "it0".to_owned()));
        first.batch_execute("SET lock_timeout = '7s'; CREATE TEMPORARY TABLE left_over ()").unwrap();
        let (left, other) = (one(&mut first, pid), one(&mut second, pid));
        assert_ne!(left, other);
        drop(first);
        let is_idle = || lock(&pool.shared.idle).values().any(|sessions| !sessions.is_empty());
        while !is_idle() {
            std::thread::yield_now();
        }
        let mut third = Client::connect(&url(""), NoTls).unwrap();
        assert_eq!(one(&mut third, pid), left);
        assert_eq!((one(&mut third, name), one(&mut third, told)), (String::new(), "0".to_owned()));
        let left_over = third.batch_execute("SELECT FROM left_over").unwrap_err();
        assert!(left_over.as_db_error().unwrap().message().contains("does not exist"), "{left_over:?}");
    }

    #[test]
    fn a_session_that_died_or_is_in_a_transaction_is_not_used_again() {
        let database = Database::create();
        let pool = PostgresPool::start(Cluster::shared().port());
        let url = format!("{}?sslmode=disable", pool.url(&database.url()));
        let mut first = Client::connect(&url, NoTls).unwrap();
        let pid: i32 = first.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        let cut = format!("SELECT pg_terminate_backend({pid}, 5000)");
        database.client().batch_execute(&cut).unwrap();
        let error = first.batch_execute("SELECT 1").unwrap_err();
        assert!(error.is_closed() || error.code().is_some(), "{error:?}");
        let mut second = Client::connect(&url, NoTls).unwrap();
        second.batch_execute("BEGIN; CREATE TABLE never ()").unwrap();
        drop(second);
        let open = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let mut watching = database.client();
        while !watching.query(open, &[]).unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert!(lock(&pool.shared.idle).values().all(Vec::is_empty));
        assert!(watching.batch_execute("SELECT FROM never").is_err());
    }
}
