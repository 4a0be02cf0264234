//! A proxy in front of a simulator that fails like networks and proxies do: from a given request on, until it is
//! healed. It uses raw TCP, with one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::lock;
use crate::wait;

/// Fault of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireFault {
    /// Nothing listens on the port.
    Refused,
    /// The connection is closed before the request is read.
    ClosedBefore,
    /// The request is served, and the connection is closed without a response.
    LostAnswer,
    /// The request is served, and its response breaks off half-way.
    Cut,
    /// The client gets this response, and the request is not served.
    Answer(Vec<u8>),
    /// The client gets a byte of the response now and then.
    Trickle,
    /// The client gets no response until the proxy is healed.
    Hang,
}

impl WireFault {
    /// Returns the fault of a response with that status, these headers and that body.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!(
            "HTTP/1.1 {status} As told\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::Answer([head.as_bytes(), b"\r\n", body].concat())
    }
}

#[derive(Default)]
struct State {
    /// Index of the first request with this fault, from 0.
    fault: Option<(usize, WireFault)>,
    requests: usize,
    is_over: bool,
}

/// A running proxy; dropping it stops it.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy in front of `http://HOST:PORT`.
    pub fn before(url: &str) -> Self {
        let upstream = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let state = shared.clone();
        let thread = std::thread::spawn(move || serve(listener, address, &upstream, &state));
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Returns `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects this fault into every request from index `first` on; counting starts now, at 0.
    pub fn fail_from(&self, first: usize, fault: WireFault) {
        let mut state = lock(&self.shared.0);
        state.fault = Some((state.requests + first, fault));
        drop(state);
        // A thread that waits for a connection checks the fault again.
        self.wake();
    }

    /// Heals the proxy.
    pub fn heal(&self) {
        lock(&self.shared.0).fault = None;
        self.shared.1.notify_all();
    }

    /// Returns the number of requests that were served or failed, without those that were refused.
    pub fn requests(&self) -> usize {
        lock(&self.shared.0).requests
    }

    /// Waits until that many requests came.
    pub fn wait_for(&self, requests: usize) {
        let wait = self
            .shared
            .1
            .wait_timeout_while(lock(&self.shared.0), wait::SOON, |state| {
                state.requests < requests
            });
        let (state, _) = wait.unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(
            state.requests >= requests,
            "only {} requests came",
            state.requests
        );
    }

    fn wake(&self) {
        let _ = TcpStream::connect(self.address);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        lock(&self.shared.0).is_over = true;
        self.heal();
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already printed why.
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstream: &str,
    shared: &(Mutex<State>, Condvar),
) {
    let mut listener = Some(listener);
    loop {
        let current = {
            let state = lock(&shared.0);
            if state.is_over {
                return;
            }
            state
                .fault
                .clone()
                .filter(|(first, _)| state.requests >= *first)
                .map(|(_, fault)| fault)
        };
        if current == Some(WireFault::Refused) {
            drop(listener.take());
            wait_until_healed(shared);
            continue;
        }
        let open = listener
            .get_or_insert_with(|| TcpListener::bind(address).expect("the port that was ours"));
        let Ok((client, _)) = open.accept() else {
            return;
        };
        // The fault is decided when the request arrives.
        let fault = {
            let state = lock(&shared.0);
            state
                .fault
                .clone()
                .filter(|(first, _)| state.requests >= *first)
                .map(|(_, fault)| fault)
        };
        if fault == Some(WireFault::Refused) {
            continue;
        }
        one(client, upstream, fault, shared);
    }
}

fn wait_until_healed(shared: &(Mutex<State>, Condvar)) {
    let waited = shared
        .1
        .wait_timeout_while(lock(&shared.0), wait::RUN, |state| {
            state.fault.is_some() && !state.is_over
        });
    let (state, waited) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
    drop(state);
    assert!(!waited.timed_out(), "waited in vain for the fault's end");
}

fn one(
    mut client: TcpStream,
    upstream: &str,
    fault: Option<WireFault>,
    shared: &(Mutex<State>, Condvar),
) {
    let count = || {
        lock(&shared.0).requests += 1;
        shared.1.notify_all();
    };
    if fault == Some(WireFault::ClosedBefore) {
        count();
        return;
    }
    let Some(request) = read_request(&client) else {
        return;
    };
    count();
    // The client may close the connection in each of these cases.
    match fault {
        None => {
            let _ = client.write_all(&forward(upstream, &request));
        }
        Some(WireFault::Answer(answer)) => {
            let _ = client.write_all(&answer);
        }
        Some(WireFault::Cut) => {
            let answer = forward(upstream, &request);
            let head = answer
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map_or(0, |at| at + 4);
            let _ = client.write_all(&answer[..head + (answer.len() - head) / 2]);
        }
        Some(WireFault::LostAnswer) => drop(forward(upstream, &request)),
        Some(WireFault::Trickle) => {
            let _ = client
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n");
            let what = "the client to give up, or the fault to end";
            wait::until(what, wait::RUN, || {
                std::thread::sleep(Duration::from_millis(50));
                client.write_all(b" ").is_err() || lock(&shared.0).fault.is_none()
            });
        }
        Some(WireFault::Hang) => wait_until_healed(shared),
        Some(WireFault::Refused | WireFault::ClosedBefore) => {}
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Returns a whole request, with a header that asks to close the connection afterwards.
fn read_request(stream: &TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(wait::RUN)).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(given) = lower.strip_prefix("content-length:") {
            length = given.trim().parse().ok()?;
        }
        if !lower.starts_with("connection:") {
            head.extend_from_slice(line.as_bytes());
        }
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    reader.take(length).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Returns the whole response, with a header that closes the connection.
fn forward(upstream: &str, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(upstream).expect("the simulator");
    stream
        .set_read_timeout(Some(wait::RUN))
        .expect("a duration above 0");
    stream.write_all(request).expect("the simulator reads");
    stream
        .read_to_end(&mut answer)
        .expect("the simulator answers");
    answer
}
