//! A proxy between the program and PostgreSQL. It parses just enough of the protocol to know where a statement begins
//! and where its response ends.
//!
//! One statement is one round trip: a Query, or all messages up to a Sync if they execute something. Preparing a
//! statement changes nothing and does not count.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::boundaries::{Boundaries, Then};
use crate::http::lock;
use crate::postgres_messages::{Message, batch, body, bytes, message};

/// A running proxy in front of one server; dropping it closes its connections.
pub struct PostgresProxy {
    address: SocketAddr,
    database: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    boundaries: Arc<Boundaries>,
    is_over: AtomicBool,
    connections: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

/// First message of a client that prefers TLS, after its length.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

impl PostgresProxy {
    /// Starts a proxy in front of the database with this address (`postgresql://postgres@127.0.0.1:PORT/NAME`).
    ///
    /// # Panics
    /// If the address is not from [`crate::postgres_server::Database::url`].
    pub fn start(url: &str, boundaries: Arc<Boundaries>) -> Self {
        let (server, database) = url
            .strip_prefix("postgresql://postgres@")
            .and_then(|rest| rest.split_once('/'))
            .expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared {
            server: server.parse().expect("address and port"),
            boundaries,
            is_over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepted = shared.clone();
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepted.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(handle), serving) = (client.try_clone(), accepted.clone()) else {
                    continue;
                };
                // If one side closes the connection, the other side is closed, too.
                let thread = std::thread::spawn(move || drop(serve(client, &serving)));
                lock(&accepted.connections).push((handle, thread));
            }
        });
        Self {
            address,
            database: database.to_owned(),
            shared,
            accepting: Some(accepting),
        }
    }

    /// Returns the address for the program, without TLS, which would hide the messages.
    pub fn url(&self) -> String {
        format!(
            "postgresql://agira_worker@{}/{}?sslmode=disable",
            self.address, self.database
        )
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the thread that accepts
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        for (client, thread) in lock(&self.shared.connections).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(crate::wait::RUN))?;
    }
    let result = converse(&mut client, &mut server, &shared.boundaries);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    result
}

fn converse(
    client: &mut TcpStream,
    server: &mut TcpStream,
    boundaries: &Boundaries,
) -> io::Result<()> {
    let connect = "PostgreSQL: connect";
    let (index, then) = boundaries.before(connect);
    if then == Then::Silence {
        return silence(client);
    }
    if then != Then::Pass {
        return Ok(());
    }
    let mut startup = body(client)?;
    if startup[4..] == SSL_REQUEST {
        client.write_all(b"N")?; // a server without TLS
        startup = body(client)?;
    }
    server.write_all(&startup)?;
    let answer = answer(server)?;
    match boundaries.after(index, connect) {
        Then::Pass => {}
        Then::Silence => return silence(client),
        Then::Lose | Then::Raise(_) => return Ok(()),
    }
    client.write_all(&answer)?;
    let mut prepared = HashMap::new();
    loop {
        let Some(asked) = batch(client)? else {
            return Ok(());
        };
        let executed = executed(&asked, &mut prepared);
        let (index, then) = match &executed {
            Some(what) => boundaries.before(what),
            None => (0, Then::Pass),
        };
        match then {
            Then::Pass => server.write_all(&bytes(&asked))?,
            Then::Lose => return Ok(()),
            Then::Silence => return silence(client),
            Then::Raise(state) => server.write_all(&raising(
                state,
                executed.as_deref() == Some("PostgreSQL: COMMIT"),
            ))?,
        }
        let answer = self::answer(server)?;
        if let Some(what) = &executed {
            match boundaries.after(index, what) {
                Then::Pass => {}
                Then::Silence => return silence(client),
                Then::Lose | Then::Raise(_) => return Ok(()),
            }
        }
        client.write_all(&answer)?;
    }
}

/// Keeps the connection until the client or the test ends it.
fn silence(client: &mut TcpStream) -> io::Result<()> {
    io::copy(client, &mut io::sink()).map(drop)
}

/// Returns the server's messages up to ReadyForQuery.
fn answer(server: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let message = message(server)?;
        message.write_to(&mut bytes);
        if message.kind == b'Z' {
            return Ok(bytes); // ReadyForQuery
        }
    }
}

/// Returns the executed statement on one line, and remembers prepared statements.
fn executed(messages: &[Message], prepared: &mut HashMap<String, String>) -> Option<String> {
    let mut executed = None;
    for message in messages {
        let mut texts = message.texts();
        match message.kind {
            b'P' => drop(prepared.insert(texts.next()?, texts.next()?)), // Parse: name, statement
            b'B' => executed = prepared.get(&texts.nth(1)?).cloned(),    // Bind: portal, name
            b'Q' => executed = texts.next(),
            _ => {}
        }
    }
    let line = executed?.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(format!("PostgreSQL: {line}"))
}

/// Returns a query that makes the server raise an error, so that its transaction fails as with a real one. A COMMIT
/// that fails has ended the transaction.
fn raising(state: &str, is_commit: bool) -> Vec<u8> {
    let end = if is_commit { "ROLLBACK; " } else { "" };
    let sql =
        format!("{end}DO $$ BEGIN RAISE 'raised by a test' USING ERRCODE = '{state}'; END $$");
    bytes(&[Message::query(&sql)])
}
