//! Requests to a real Weaviate server.

use std::io::{Read, Write};

use serde_json::Value;

use crate::http::{Request, Response};

/// A server that answers requests.
pub trait Reached: Send + Sync {
    /// Sends one request to the server itself.
    ///
    /// # Errors
    /// If there is no response.
    fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response>;

    /// Returns the API key that requests must have.
    fn key(&self) -> Option<&str>;

    /// Returns true if passed requests lack the key, because their client does not have it.
    fn adds_key(&self) -> bool {
        false
    }

    /// Passes a request on, as a proxy would.
    fn forward(&self, request: &Request) -> Response {
        let target = match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        };
        // Headers about the connection are not for the server.
        let not_passed = [
            "host",
            "connection",
            "content-length",
            "transfer-encoding",
            "accept-encoding",
        ];
        let bearer = self
            .key()
            .filter(|_| self.adds_key())
            .map(|key| format!("Bearer {key}"));
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !not_passed.contains(name))
            .chain(bearer.as_deref().map(|bearer| ("authorization", bearer)))
            .collect();
        self.ask(&request.method, &target, &headers, &request.body)
            .unwrap_or_else(|_| {
                Response {
                    body: b"<html>nobody there</html>".to_vec(),
                    ..Response::empty(502)
                }
                .header("content-type", "text/html")
            })
    }

    /// Returns status and body of one request with the server's key; an empty body is null.
    ///
    /// # Panics
    /// If the server does not answer with JSON.
    fn json(&self, method: &str, target: &str, body: Option<&Value>) -> (u16, Value) {
        let bearer = self.key().map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self
            .ask(method, target, &headers, body.as_bytes())
            .expect("Weaviate answers");
        let json = match answer.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer.body).expect("Weaviate answers with JSON"),
        };
        (answer.status, json)
    }

    /// Removes all classes with their objects.
    fn wipe(&self) {
        for class in self.classes() {
            let (status, said) = self.json("DELETE", &format!("/v1/schema/{class}"), None);
            assert_eq!(status, 200, "{said}");
        }
    }

    /// Returns the names of its classes.
    fn classes(&self) -> Vec<String> {
        let (status, schema) = self.json("GET", "/v1/schema", None);
        assert_eq!(status, 200, "{schema}");
        let classes = schema["classes"].as_array().into_iter().flatten();
        classes
            .map(|class| class["class"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// Sends one request on a separate connection.
///
/// # Errors
/// If there is no complete response.
pub fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    // With HTTP/1.0, the response ends with the connection and has no chunks.
    let mut head = format!(
        "{method} {target} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // A server that rejects a request may answer and close the connection before it has read everything; its response
    // counts.
    let sent = stream
        .write_all(format!("{head}\r\n").as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let received = stream.read_to_end(&mut answer);
    parsed(&answer).ok_or_else(|| {
        sent.err()
            .or(received.err())
            .unwrap_or_else(|| std::io::Error::other("no whole HTTP answer"))
    })
}

fn parsed(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = answer[end + 4..].to_vec();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let is_whole = length.is_none_or(|(_, length)| length.parse() == Ok(body.len()));
    let is_passed = |(name, _): &(String, String)| {
        !["connection", "content-length", "date"].contains(&name.as_str())
    };
    is_whole.then(|| Response {
        status,
        headers: headers.into_iter().filter(is_passed).collect(),
        body,
    })
}
