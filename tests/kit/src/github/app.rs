//! GitHub Apps, after GitHub's pages "Generating a JSON Web Token (JWT) for a GitHub App" and "REST API endpoints for
//! GitHub Apps". A token gives access to the account of its installation.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::rest::message;
use crate::http::{Request, Response};

/// An RSA key pair for one test.
pub struct Key {
    public: Vec<u8>,
    pkcs8: Vec<u8>,
}

impl Key {
    /// Generates a new key pair.
    pub fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        let pkcs8 = pair.as_der().expect("an encoding").as_ref().to_vec();
        Self {
            public: pair.public_key().as_ref().to_vec(),
            pkcs8,
        }
    }

    /// Returns the private key as GitHub issues it (PKCS#1).
    pub fn pkcs1_pem(&self) -> String {
        // PKCS#8 adds a prefix of 26 bytes to all keys of 2048 bits.
        pem::encode(&pem::Pem::new("RSA PRIVATE KEY", &self.pkcs8[26..]))
    }

    /// Returns the private key as other tools store it (PKCS#8).
    pub fn pkcs8_pem(&self) -> String {
        pem::encode(&pem::Pem::new("PRIVATE KEY", self.pkcs8.as_slice()))
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

/// Installation of an App.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Its id.
    pub id: u64,
    /// Organization or user whose repositories its tokens can read.
    pub account: String,
    /// True if the account is a user.
    pub is_user: bool,
    /// Permissions that the owner granted.
    pub permissions: Value,
    /// True if the owner suspended it.
    pub is_suspended: bool,
}

impl Installation {
    /// Returns an installation in an organization, with all needed permissions.
    pub fn new(id: u64, account: &str) -> Self {
        let permissions = json!({ "issues": "read", "pull_requests": "read", "contents": "read", "metadata": "read" });
        Self {
            id,
            account: account.to_owned(),
            is_user: false,
            permissions,
            is_suspended: false,
        }
    }
}

struct Token {
    account: String,
    ends: DateTime<Utc>,
    serves: usize,
}

/// A registered App.
pub struct App {
    /// Its id.
    pub id: String,
    public: Vec<u8>,
    /// Installations of the App.
    pub installations: Vec<Installation>,
    /// Lifetime of a token in seconds.
    pub token_lasts: i64,
    /// Number of requests for which a token is valid.
    pub token_serves: usize,
    /// Accounts whose installations reached their limits, with `Retry-After` if GitHub names one.
    pub limited: HashMap<String, Option<u64>>,
    /// Responses to the next requests with a token, because GitHub does not know it everywhere yet.
    pub refusals: VecDeque<Response>,
    tokens: HashMap<String, Token>,
    /// Number of issued tokens.
    pub tokens_made: usize,
}

impl App {
    /// Returns an App with that key and these installations.
    pub fn new(id: &str, key: &Key, installations: Vec<Installation>) -> Self {
        let public = key.public.clone();
        Self {
            id: id.to_owned(),
            public,
            installations,
            token_lasts: 3600,
            token_serves: usize::MAX,
            limited: HashMap::new(),
            refusals: VecDeque::new(),
            tokens: HashMap::new(),
            tokens_made: 0,
        }
    }

    /// Returns the account of a token, for one request.
    pub(super) fn account(&mut self, token: &str, now: DateTime<Utc>) -> Option<String> {
        let token = self
            .tokens
            .get_mut(token)
            .filter(|token| token.ends > now)?;
        token.serves = token.serves.checked_sub(1)?;
        Some(token.account.clone())
    }

    /// Answers requests of an App in its own name; `None` for other requests.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        path: &str,
        now: DateTime<Utc>,
    ) -> Option<Response> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if let ("GET", ["app"] | ["app", "installations"]) =
            (request.method.as_str(), parts.as_slice())
        {
            return Some(match self.check(request, now) {
                Err(refused) => refused,
                Ok(()) if parts.len() == 1 => {
                    Response::json(200, &json!({ "id": 1, "slug": "agira-sync" }))
                }
                Ok(()) => Response::json(200, &self.listed()),
            });
        }
        let found = match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["orgs", owner, "installation"]) => self.of_account(owner, false),
            ("GET", ["users", owner, "installation"]) => self.of_account(owner, true),
            ("POST", ["app", "installations", id, "access_tokens"]) => self
                .installations
                .iter()
                .find(|one| one.id.to_string() == *id),
            _ => return None,
        };
        let found = found.cloned();
        if let Err(refused) = self.check(request, now) {
            return Some(refused);
        }
        let Some(found) = found else {
            return Some(message(404, "Not Found"));
        };
        if request.method == "GET" {
            return Some(Response::json(
                200,
                &json!({ "id": found.id, "account": { "login": found.account } }),
            ));
        }
        if found.is_suspended {
            return Some(message(403, "This installation has been suspended"));
        }
        self.tokens_made += 1;
        let token = format!("ghs_simulated_{}_{}", found.id, self.tokens_made);
        let ends = now + Duration::seconds(self.token_lasts);
        self.tokens.insert(
            token.clone(),
            Token {
                account: found.account,
                ends,
                serves: self.token_serves,
            },
        );
        let ends = ends.to_rfc3339_opts(SecondsFormat::Secs, true);
        Some(Response::json(
            201,
            &json!({ "token": token, "expires_at": ends, "permissions": found.permissions }),
        ))
    }

    fn listed(&self) -> Value {
        let one = |one: &Installation| {
            let suspended = one.is_suspended.then_some("2026-01-01T00:00:00Z");
            json!({ "id": one.id, "account": { "login": one.account }, "suspended_at": suspended })
        };
        self.installations.iter().map(one).collect()
    }

    fn of_account(&self, owner: &str, is_user: bool) -> Option<&Installation> {
        self.installations
            .iter()
            .find(|one| one.is_user == is_user && one.account.eq_ignore_ascii_case(owner))
    }

    /// Verifies the JWT: RS256 with our key, `iss` is the App, `iat` is in the past, and `exp` is at most ten minutes
    /// ahead.
    fn check(&self, request: &Request, now: DateTime<Utc>) -> Result<(), Response> {
        let refused = |text: &str| message(401, text);
        let given = request
            .header("authorization")
            .and_then(|given| given.strip_prefix("Bearer "));
        let undecodable = || refused("A JSON web token could not be decoded");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let key = DecodingKey::from_rsa_der(&self.public);
        let claims =
            jsonwebtoken::decode::<Value>(given.ok_or_else(undecodable)?, &key, &validation);
        let claims = claims.map_err(|_| undecodable())?.claims;
        if claims["iss"] != json!(self.id) {
            return Err(message(404, "Integration not found"));
        }
        let now = now.timestamp();
        let Some(issued) = claims["iat"].as_i64().filter(|issued| *issued <= now) else {
            return Err(refused(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            ));
        };
        let Some(ends) = claims["exp"]
            .as_i64()
            .filter(|ends| *ends > now && *ends > issued)
        else {
            return Err(refused(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires",
            ));
        };
        if ends > now + 600 {
            return Err(refused(
                "'Expiration time' claim ('exp') is too far in the future",
            ));
        }
        Ok(())
    }
}
