//! Credentials of a GitHub App: a signed JSON Web Token (JWT) is exchanged for a token of each
//! owner's installation, which lasts an hour. Sources: GitHub's pages "Generating a JSON Web Token
//! (JWT) for a GitHub App" and "REST API endpoints for GitHub Apps".

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use reqwest::Method;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::response::{self, GithubError};
use crate::core::failure::{FailureKind, MappingError, ServiceError};
use crate::http::{Http, Response, bearer};

/// Time before the expiry of a token at which it is replaced.
const TOKEN_MARGIN: TimeDelta = TimeDelta::minutes(5);
/// Time by which a JWT is dated back, which GitHub recommends in case our clock is ahead.
const JWT_DATED_BACK: TimeDelta = TimeDelta::seconds(60);
/// Lifetime of a JWT. GitHub accepts at most ten minutes; the rest allows for a clock that is
/// ahead.
const JWT_LIFETIME: TimeDelta = TimeDelta::minutes(9);
/// Smallest difference of the clocks that can be the reason why GitHub refuses a JWT.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// The name that PKCS#8 has for RSA keys (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The permissions that an installation must have, at least for reading.
const PERMISSIONS: [&str; 3] = ["contents", "issues", "pull_requests"];

/// A GitHub App with the installations that this run has used.
pub struct App {
    id: String,
    /// The only installation to use; `None` if each owner has its own.
    installation: Option<u64>,
    key: EncodingKey,
    /// Time by which GitHub's clock is ahead of ours; zero until GitHub refuses a JWT for it.
    clock_ahead: TimeDelta,
    /// Installations by [`App::batch_key`]; the error explains why an owner has no usable one.
    installations: HashMap<String, Result<Installation, MappingError>>,
    /// Key of the installation whose token `http` sends.
    current: String,
}

impl fmt::Debug for App {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "App {}", self.id)
    }
}

struct Installation {
    id: u64,
    token: SecretString,
    /// Time at which GitHub created the token.
    created_at: Instant,
    /// GitHub has accepted the token.
    was_accepted: bool,
    /// Time from which on the token is replaced.
    renew_at: Instant,
    /// The run has already replaced a token that GitHub refused before its expiry.
    was_renewed: bool,
}

#[derive(Deserialize)]
struct AccessToken {
    token: String,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

/// Reads an RSA private key; `None` if the text holds none in PEM form.
fn rsa_key(pem: &str) -> Option<EncodingKey> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs1(key) => Some(EncodingKey::from_rsa_der(key.secret_pkcs1_der())),
        PrivateKeyDer::Pkcs8(key) => {
            let info = PrivateKeyInfoRef::try_from(key.secret_pkcs8_der()).ok()?;
            let is_rsa = info.algorithm.oid == RSA;
            is_rsa.then(|| EncodingKey::from_rsa_der(info.private_key.as_bytes()))
        }
        _ => None,
    }
}

impl App {
    /// Returns the App with this id (or client id) and private key: RSA in PEM form, PKCS#1 as
    /// GitHub issues it or PKCS#8. `installation` is the only one to use; without it each owner's
    /// own is used.
    pub fn new(id: &str, installation: Option<u64>, private_key: &str) -> anyhow::Result<Self> {
        let key = rsa_key(private_key).context("it holds no RSA private key in PEM form")?;
        let app = Self {
            id: id.to_owned(),
            installation,
            key,
            clock_ahead: TimeDelta::zero(),
            installations: HashMap::new(),
            current: String::new(),
        };
        app.jwt()
            .context("it holds an RSA private key that cannot sign")?;
        Ok(app)
    }

    /// Returns a key that is the same for owners whose repositories can share a request.
    pub(super) fn batch_key(&self, owner: &str) -> String {
        match self.installation {
            Some(_) => String::new(),
            None => owner.to_lowercase(),
        }
    }

    /// Returns the name of the current credentials for messages.
    pub(super) fn label(&self) -> String {
        match self.installations.get(&self.current) {
            Some(Ok(Installation { id, .. })) => format!("installation {id} of the GitHub App"),
            _ => "the GitHub App".to_owned(),
        }
    }

    fn jwt(&self) -> Option<SecretString> {
        let now = Utc::now() + self.clock_ahead;
        let (iat, exp) = (now - JWT_DATED_BACK, now + JWT_LIFETIME);
        let claims = json!({ "iat": iat.timestamp(), "exp": exp.timestamp(), "iss": self.id });
        let jwt = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key);
        jwt.ok().map(SecretString::from)
    }

    /// Sends one request with a JWT. Also returns a response that refuses or rejects a single
    /// installation.
    pub(super) fn send(
        &mut self,
        http: &mut Http,
        method: Method,
        path: &str,
    ) -> Result<Response, ServiceError> {
        let mut response = self.send_jwt(http, &method, path)?;
        if response.status == 401 && self.adopt_clock(&response) {
            response = self.send_jwt(http, &method, path)?;
        }
        let is_unknown =
            response.status == 404 && response.reason().contains("Integration not found");
        if response.status == 401 || is_unknown {
            let reason = response.reason();
            return Err(response.error(
                FailureKind::Refused,
                format!("{reason}; do id and private key belong to the same App?"),
            ));
        }
        Ok(response)
    }

    fn send_jwt(
        &self,
        http: &mut Http,
        method: &Method,
        path: &str,
    ) -> Result<Response, ServiceError> {
        let header = self.jwt().and_then(|jwt| bearer(jwt.expose_secret()));
        http.authorize(header.ok_or_else(|| {
            ServiceError::new(FailureKind::Refused, "its private key cannot sign")
        })?);
        let url = format!("{}{path}", http.root);
        http.send(
            |client| client.request(method.clone(), &url),
            |response| match response::check(&response) {
                Err(error)
                    if !matches!(error.kind, FailureKind::Refused | FailureKind::Rejected) =>
                {
                    Err(error)
                }
                _ => Ok(response),
            },
        )
    }

    /// Adopts GitHub's clock from a response that refuses a JWT; returns true if the clocks differ
    /// enough to be the reason.
    fn adopt_clock(&mut self, response: &Response) -> bool {
        let ahead = response
            .date()
            .map_or(TimeDelta::zero(), |date| date - Utc::now());
        let is_wrong = (ahead - self.clock_ahead).abs() > CLOCK_TOLERANCE;
        if is_wrong {
            let seconds = ahead.num_seconds();
            log::warn!("this machine's clock differs from GitHub's by {seconds} s; correct it");
            self.clock_ahead = ahead;
        }
        is_wrong
    }

    /// Creates a token for the repositories of `owner`.
    fn create_token(&mut self, http: &mut Http, owner: &str) -> Result<Installation, GithubError> {
        let id = match self.installation {
            Some(id) => id,
            None => self.find_installation(http, owner)?,
        };
        let path = format!("/app/installations/{id}/access_tokens");
        let mut response = self.send(http, Method::POST, &path)?;
        if !response.status.is_success() {
            return Err(MappingError::hidden(format!(
                "installation {id} of the GitHub App gets no token: {}",
                response.reason()
            ))
            .into());
        }
        let body = Zeroizing::new(std::mem::take(&mut response.body));
        let no_token = || {
            ServiceError::unavailable(
                "GitHub's answer to a request for a token has no usable token",
            )
        };
        let AccessToken {
            token,
            expires_at,
            permissions,
        } = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let token = SecretString::from(token);
        bearer(token.expose_secret()).ok_or_else(no_token)?;
        let mut missing = PERMISSIONS.to_vec();
        missing.retain(|name| !permissions.contains_key(*name));
        if !missing.is_empty() {
            return Err(MappingError::hidden(format!(
                "installation {id} of the GitHub App may not read {}; add it to the App's permissions, then let the owner accept",
                missing.join(" and ")
            ))
            .into());
        }
        // Both times are GitHub's, so that our clock does not matter.
        let now = response
            .date()
            .unwrap_or_else(|| Utc::now() + self.clock_ahead);
        let lifetime = (expires_at - now - TOKEN_MARGIN).to_std();
        let now = Instant::now();
        Ok(Installation {
            id,
            token,
            created_at: now,
            was_accepted: false,
            renew_at: now
                .checked_add(lifetime.unwrap_or(Duration::ZERO))
                .unwrap_or(now),
            was_renewed: false,
        })
    }

    /// Finds the installation of an owner, which is an organisation or a user.
    fn find_installation(&mut self, http: &mut Http, owner: &str) -> Result<u64, GithubError> {
        for kind in ["orgs", "users"] {
            let path = format!("/{kind}/{owner}/installation");
            let response = self.send(http, Method::GET, &path)?;
            if response.status.is_success() {
                let body: Value = response.json().unwrap_or_default();
                return body["id"].as_u64().ok_or_else(|| {
                    let message = format!("the GitHub App's installation for {owner} has no id");
                    ServiceError::unavailable(message).into()
                });
            }
            if response.status != 404 {
                return Err(MappingError::hidden(format!(
                    "the GitHub App's installation for {owner} cannot be read: {}",
                    response.reason()
                ))
                .into());
            }
        }
        Err(MappingError::hidden(format!(
            "the GitHub App is not installed for {owner}; install it for that owner"
        ))
        .into())
    }

    /// Authorizes `http` with a token for the repositories of `owner`. If the owner has no usable
    /// installation, only its targets fail, unless one installation serves all owners.
    pub(super) fn authorize_for(
        &mut self,
        http: &mut Http,
        owner: &str,
    ) -> Result<(), GithubError> {
        let key = self.batch_key(owner);
        let cached = self.installations.remove(&key);
        let was_renewed = matches!(&cached, Some(Ok(installation)) if installation.was_renewed);
        let installation = match cached {
            Some(Ok(installation)) if installation.renew_at > Instant::now() => Ok(installation),
            Some(Err(error)) => Err(error),
            _ => GithubError::split(self.create_token(http, owner))?,
        };
        let installation = installation.map(|installation| Installation {
            was_renewed,
            ..installation
        });
        if let Ok(installation) = &installation {
            let token = bearer(installation.token.expose_secret());
            token.into_iter().for_each(|token| http.authorize(token));
        }
        let error = installation.as_ref().err().cloned();
        self.current.clone_from(&key);
        self.installations.insert(key, installation);
        match error {
            None => Ok(()),
            Some(error) if self.installation.is_some() => Err(ServiceError::new(
                FailureKind::Refused,
                format!("{}; check GITHUB_APP_INSTALLATION_ID", error.message),
            )
            .into()),
            Some(error) => Err(error.into()),
        }
    }

    /// Returns true if a refused token may be replaced, which each installation may do once per
    /// run. A token that GitHub, which takes `spread` for that, may not know everywhere would not
    /// be better than the next one.
    pub(super) fn may_renew(&self, spread: Duration) -> bool {
        let current = self.installations.get(&self.current);
        let may_renew = |installation: &Installation| {
            let is_known = installation.was_accepted || !self.is_fresh(spread);
            is_known && !installation.was_renewed
        };
        matches!(current, Some(Ok(installation)) if may_renew(installation))
    }

    /// Returns true if the current token is younger than `age`.
    pub(super) fn is_fresh(&self, age: Duration) -> bool {
        let current = self.installations.get(&self.current);
        matches!(current, Some(Ok(installation)) if installation.created_at.elapsed() < age)
    }

    /// Remembers that GitHub has accepted the current token.
    pub(super) fn accepted(&mut self) {
        if let Some(Ok(installation)) = self.installations.get_mut(&self.current) {
            installation.was_accepted = true;
        }
    }

    /// Replaces the token that `http` sends, after GitHub has refused it.
    pub(super) fn renew(&mut self, http: &mut Http) -> Result<(), ServiceError> {
        log::info!(
            "GitHub refuses a token of {} before it expires; requesting another one",
            self.label()
        );
        let owner = self.current.clone();
        if let Some(Ok(installation)) = self.installations.get_mut(&owner) {
            installation.was_renewed = true;
            installation.renew_at = Instant::now();
        }
        GithubError::split(self.authorize_for(http, &owner))?
            .map_err(|error| ServiceError::new(FailureKind::Refused, error.message))
    }
}
