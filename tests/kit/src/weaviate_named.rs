//! A Weaviate server that a person names for tests. It may belong to anybody, so tests use it only if it has no class,
//! one test at a time, and each test removes its data.

use std::net::TcpStream;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::http::{Response, lock};
use crate::weaviate_reached::{Reached, exchange};

/// Environment variable with its address, `http://HOST:PORT`.
const URL: &str = "KIT_WEAVIATE_URL";
/// Environment variable with its key, if it needs one.
const KEY: &str = "KIT_WEAVIATE_API_KEY";
/// Limit for the wait, longer than any test; one test uses the server twice.
const MOST_WAIT: Duration = Duration::from_secs(600);

static IS_TAKEN: Mutex<bool> = Mutex::new(false);
static GIVEN_BACK: Condvar = Condvar::new();

/// The named server, for one test; dropping the value removes the data of the test.
pub struct Named {
    address: String,
    key: Option<String>,
}

impl Named {
    /// Waits until no other test uses it.
    ///
    /// # Errors
    /// If none is named, or it does not answer, refuses the key, or has a class.
    pub fn wait_for() -> anyhow::Result<Self> {
        let url = std::env::var(URL).with_context(|| format!("{URL} is not set"))?;
        let address = url
            .strip_prefix("http://")
            .map(|address| address.trim_end_matches('/'));
        let address =
            address.filter(|address| address.contains(':') && !address.contains(['/', '@']));
        let address = address
            .with_context(|| format!("{url} is not of the form http://HOST:PORT"))?
            .to_owned();
        let is_taken = lock(&IS_TAKEN);
        let (mut is_taken, waited) = GIVEN_BACK
            .wait_timeout_while(is_taken, MOST_WAIT, |is_taken| *is_taken)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure!(!waited.timed_out(), "another test keeps it");
        let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
        let answer = {
            let bearer = key.as_ref().map(|key| format!("Bearer {key}"));
            let headers: Vec<(&str, &str)> = bearer
                .iter()
                .map(|bearer| ("authorization", bearer.as_str()))
                .collect();
            let stream =
                TcpStream::connect(&address).with_context(|| format!("nobody answers at {url}"))?;
            exchange(stream, "GET", "/v1/schema", &headers, &[])
                .with_context(|| format!("asking {url}"))?
        };
        let schema: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (
            answer.status,
            schema
                .as_ref()
                .and_then(|schema| schema["classes"].as_array()),
        ) {
            (200, Some(classes)) => ensure!(
                classes.is_empty(),
                "{url} holds {} classes, and tests would remove them; name a server that holds none",
                classes.len()
            ),
            (401 | 403, _) => bail!(
                "{url} answers {}: give its key as WEAVIATE_API_KEY",
                answer.status
            ),
            (status, _) => bail!("{url} answers {status}, but not as a Weaviate does"),
        }
        *is_taken = true;
        Ok(Self { address, key })
    }
}

impl Reached for Named {
    fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        exchange(
            TcpStream::connect(&self.address)?,
            method,
            target,
            headers,
            body,
        )
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn adds_key(&self) -> bool {
        true
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // A failed test may leave any data, and a second panic would hide its reason.
        if std::thread::panicking() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.wipe()));
        } else {
            self.wipe();
        }
        *lock(&IS_TAKEN) = false;
        GIVEN_BACK.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs a server that somebody named for tests"]
    fn named_weaviate_can_be_used() {
        let named = Named::wait_for()
            .unwrap_or_else(|error| panic!("WEAVIATE_URL names no server for tests: {error:#}"));
        let (_, meta) = named.json("GET", "/v1/meta", None);
        println!(
            "Weaviate {} at {}",
            meta["version"].as_str().unwrap_or("?"),
            named.address
        );
    }
}
