//! A service that answers whatever the fuzzer wants, over real HTTP: the clients' own path from bytes to results.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agira_worker::http::Timeouts;

/// Long enough for any answer, and no time lost between tries.
pub const PATIENCE: Timeouts = Timeouts {
    answer: Duration::from_secs(5),
    retry: Duration::ZERO,
};

/// What the first byte of an answer stands for, beginning with `0`.
const STATUSES: [u16; 10] = [200, 301, 401, 403, 404, 410, 422, 429, 500, 502];
/// What the clients read; a fuzzer's `content-length` would only keep them waiting.
const HEADERS: [&str; 6] = [
    "date",
    "location",
    "retry-after",
    "x-accepted-github-permissions",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];
/// After the last answer, so that every case comes to an end, whatever it says of further pages.
const NOTHING: &[u8] = b"0\n{\"data\":{}}";
/// Stands for the service's own address, which changes.
const HERE: &str = "http://here";

/// A service that is told its answers.
pub struct Service {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    answers: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Service {
    /// Starts on a free loopback port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let shared = (url.clone(), answers.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (url, answers) = shared.clone();
                std::thread::spawn(move || serve(&stream, &url, &answers));
            }
        });
        Self { url, answers }
    }

    /// What is answered from now on, separated by NUL: a status, headers separated by `|`, a line break, the body.
    pub fn answer(&self, data: &[u8]) {
        *self.answers.lock().expect("no panic in between") = data
            .split(|byte| *byte == 0)
            .rev()
            .map(<[u8]>::to_vec)
            .collect();
    }
}

fn serve(stream: &TcpStream, url: &str, answers: &Mutex<Vec<Vec<u8>>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut reader, mut stream) = (BufReader::new(stream), stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let answer = answers
            .lock()
            .ok()?
            .pop()
            .unwrap_or_else(|| NOTHING.to_vec());
        stream.write_all(&encoded(&answer, url)).ok()?;
    }
}

fn encoded(answer: &[u8], url: &str) -> Vec<u8> {
    let (head, body) = answer.split_at(
        answer
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(answer.len()),
    );
    let (status, headers) = head.split_first().unwrap_or((&b'0', &[]));
    let status = STATUSES[usize::from(status.wrapping_sub(b'0')) % STATUSES.len()];
    let body = body.get(1..).unwrap_or_default();
    let mut encoded = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for header in String::from_utf8_lossy(headers)
        .replace(HERE, url)
        .split('|')
    {
        if header
            .split_once(':')
            .is_some_and(|(name, _)| HEADERS.contains(&name))
            && !header.contains('\r')
        {
            encoded.extend([header, "\r\n"]);
        }
    }
    encoded.push_str("\r\n");
    [encoded.as_bytes(), body].concat()
}
