//! The loopback HTTP server of both simulators: keep-alive, gzip, and a log of every request.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::boundaries::{Boundaries, Then};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// Upper-case method.
    pub method: String,
    /// Path without the query string, percent-encoding as sent.
    pub path: String,
    /// Query string without `?`, as sent; empty when there is none.
    pub query: String,
    /// Header names (lower case) and values in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Client address of the connection; requests on one connection have the same.
    pub connection: SocketAddr,
}

impl Request {
    /// Returns the first header with that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a query parameter, not decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| match pair.split_once('=') {
                Some((key, value)) => (key == name).then_some(value),
                None => (pair == name).then_some(""),
            })
    }
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// Body, not yet compressed.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns a response without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Returns a JSON response.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
        .header("content-type", "application/json; charset=utf-8")
    }

    /// Returns the same response with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A request with its response.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The response.
    pub response: Response,
    /// Bytes of the response's body on the wire, after compression.
    pub sent_bytes: usize,
}

/// Function that is called before each request; if it returns `false`, the request is dropped without a response.
type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// Boundaries that count the requests, and the service's name there.
type Observed = (String, Arc<Boundaries>);

/// A running server; dropping it stops it.
pub struct Server {
    address: SocketAddr,
    server: Arc<tiny_http::Server>,
    log: Arc<Mutex<Vec<Exchange>>>,
    gate: Arc<Mutex<Option<Gate>>>,
    boundaries: Arc<Mutex<Option<Observed>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free loopback port that answers every request with `service`.
    pub fn start(service: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let server =
            Arc::new(tiny_http::Server::http("127.0.0.1:0").expect("a free loopback port"));
        let address = server.server_addr().to_ip().expect("an IP listener");
        let log = Arc::new(Mutex::new(Vec::new()));
        let boundaries = Arc::new(Mutex::new(None));
        let service = Arc::new(service);
        let gate: Arc<Mutex<Option<Gate>>> = Arc::default();
        let threads = (0..4)
            .map(|_| {
                let (server, log, service, gate) =
                    (server.clone(), log.clone(), service.clone(), gate.clone());
                let boundaries = boundaries.clone();
                std::thread::spawn(move || {
                    while let Ok(incoming) = server.recv() {
                        let asked = lock(&gate).clone();
                        if asked.is_none_or(|gate| gate()) {
                            answer(incoming, service.as_ref(), &log, &boundaries);
                        }
                    }
                })
            })
            .collect();
        Self {
            address,
            server,
            log,
            gate,
            boundaries,
            threads,
        }
    }

    /// Returns `http://127.0.0.1:PORT`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls `gate` before each request from now on. It may take any time. If it returns `false`, the request is
    /// dropped: it is not executed, and it is not in the log.
    pub fn gate(&self, gate: impl Fn() -> bool + Send + Sync + 'static) {
        *lock(&self.gate) = Some(Arc::new(gate));
    }

    /// Returns all requests and responses since the start or the last [`Server::clear_log`].
    pub fn log(&self) -> Vec<Exchange> {
        lock(&self.log).clone()
    }

    /// Makes requests count as places of these boundaries from now on, under the service's name.
    pub fn observe(&self, name: &str, boundaries: &Arc<Boundaries>) {
        *lock(&self.boundaries) = Some((name.to_owned(), boundaries.clone()));
    }

    /// Clears the log.
    pub fn clear_log(&self) {
        lock(&self.log).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.server.unblock();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has already printed why.
            let _ = thread.join();
        }
    }
}

fn answer(
    mut incoming: tiny_http::Request,
    service: &(dyn Fn(&Request) -> Response + Send + Sync),
    log: &Mutex<Vec<Exchange>>,
    boundaries: &Mutex<Option<Observed>>,
) {
    let mut body = Vec::new();
    if incoming.as_reader().read_to_end(&mut body).is_err() {
        return; // the client went away in mid-request: there is nobody to answer
    }
    let (path, query) = match incoming.url().split_once('?') {
        Some((path, query)) => (path.to_owned(), query.to_owned()),
        None => (incoming.url().to_owned(), String::new()),
    };
    let request = Request {
        method: incoming.method().to_string().to_uppercase(),
        path,
        query,
        headers: incoming
            .headers()
            .iter()
            .map(|header| {
                (
                    header.field.to_string().to_lowercase(),
                    header.value.to_string(),
                )
            })
            .collect(),
        body,
        connection: *incoming.remote_addr().expect("a TCP peer"),
    };
    let observed = lock(boundaries).clone().map(|(name, boundaries)| {
        let beginning: String = String::from_utf8_lossy(&request.body)
            .chars()
            .take(60)
            .collect();
        (
            boundaries,
            format!("{name}: {} {} {beginning}", request.method, request.path),
        )
    });
    let before = observed
        .as_ref()
        .map(|(boundaries, what)| boundaries.before(what));
    if let (Some((boundaries, _)), Some((_, then))) = (&observed, before)
        && then != Then::Pass
    {
        return lose(incoming, boundaries, then);
    }
    let response = service(&request);
    if let (Some((boundaries, what)), Some((index, _))) = (&observed, before) {
        let then = boundaries.after(index, what);
        if then != Then::Pass {
            return lose(incoming, boundaries, then);
        }
    }
    let mut wire = response.body.clone();
    let mut headers = response.headers.clone();
    let accepts_gzip = request
        .header("accept-encoding")
        .is_some_and(|value| value.contains("gzip"));
    if accepts_gzip && wire.len() > 256 {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&wire).expect("writing to memory");
        wire = encoder.finish().expect("writing to memory");
        headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    }
    lock(log).push(Exchange {
        request,
        response: response.clone(),
        sent_bytes: wire.len(),
    });
    let headers = headers
        .iter()
        .map(|(name, value)| {
            tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes())
                .expect("a valid header")
        })
        .collect();
    let length = wire.len();
    let outgoing = tiny_http::Response::new(
        response.status.into(),
        headers,
        std::io::Cursor::new(wire),
        Some(length),
        None,
    );
    // The client may have closed the connection.
    let _ = incoming.respond(outgoing);
}

/// Gives no response to a request.
fn lose(incoming: tiny_http::Request, boundaries: &Boundaries, then: Then) {
    if then == Then::Silence {
        boundaries.silence(incoming);
    }
}

/// Locks a mutex. A poisoned lock only means that some test failed; the data is still whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
