//! A GitHub App in the place of a token: a signed statement of who we are is exchanged for a token of each owner's
//! installation, which lasts an hour. GitHub's pages "Generating a JSON Web Token (JWT) for a GitHub App" and "REST API
//! endpoints for GitHub Apps".

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::client::{date, failed};
use crate::http::{Answer, Http, ServiceError, bearer};
use crate::secret::Secret;

/// A token is renewed this long before it ends.
const MARGIN: TimeDelta = TimeDelta::minutes(5);
/// The statement is dated back, as GitHub recommends against clocks that are ahead.
const DATED_BACK: TimeDelta = TimeDelta::seconds(60);
/// GitHub takes at most ten minutes; this leaves room for a clock that is ahead.
const STATEMENT_LASTS: TimeDelta = TimeDelta::minutes(9);
/// Clocks that differ by less are not the reason why GitHub refuses a statement.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(30);

/// The permissions that an installation has to have, all of them for reading.
const NEEDED: [&str; 3] = ["contents", "issues", "pull_requests"];

/// An App, and its installations as far as this run has met them.
pub struct App {
    id: String,
    /// The one installation to use; `None`: each owner has its own.
    installation: Option<u64>,
    key: EncodingKey,
    /// How far GitHub's clock is ahead of ours, once it matters.
    clock_ahead: TimeDelta,
    /// By [`App::group`]; one that cannot be used, with the reason.
    installed: HashMap<String, Result<Installation, String>>,
    /// The group whose token requests carry.
    current: String,
}

impl fmt::Debug for App {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "App {}", self.id)
    }
}

/// An installation that can be used.
struct Installation {
    id: u64,
    token: Secret,
    /// When the next token is to be fetched.
    until: Instant,
    /// GitHub refused an earlier token of this run before its time.
    was_renewed: bool,
}

/// What the statement says (RFC 7519).
#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

#[derive(Deserialize)]
struct InstallationId {
    id: u64,
}

#[derive(Deserialize)]
struct AccessToken {
    token: String,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    permissions: HashMap<String, String>,
}

impl App {
    /// The App with this id (or client id) and private key: RSA in PEM form, PKCS#1 as GitHub gives it out or PKCS#8.
    /// `installation`: the only one to use; without it each owner's own is looked for.
    ///
    /// # Errors
    /// When the key is no such key.
    pub fn new(id: &str, installation: Option<u64>, private_key: &str) -> anyhow::Result<Self> {
        let key = EncodingKey::from_rsa_pem(private_key.as_bytes())
            .ok()
            .context("it holds no RSA private key in PEM form")?;
        let (installed, current) = (HashMap::new(), String::new());
        let app = Self {
            id: id.to_owned(),
            installation,
            key,
            clock_ahead: TimeDelta::zero(),
            installed,
            current,
        };
        app.statement()
            .context("it holds an RSA private key that cannot sign")?;
        Ok(app)
    }

    /// What belongs to owners with the same group can be asked about in one request.
    pub(super) fn group(&self, owner: &str) -> String {
        if self.installation.is_some() {
            String::new()
        } else {
            owner.to_lowercase()
        }
    }

    /// What requests are made with now, for messages.
    pub(super) fn words(&self) -> String {
        match self.installed.get(&self.current) {
            Some(Ok(Installation { id, .. })) => format!("installation {id} of the GitHub App"),
            _ => "the GitHub App".to_owned(),
        }
    }

    fn statement(&self) -> Option<Secret> {
        let now = Utc::now() + self.clock_ahead;
        let (iat, exp) = (
            (now - DATED_BACK).timestamp(),
            (now + STATEMENT_LASTS).timestamp(),
        );
        let signed = jsonwebtoken::encode(
            &Header::new(Algorithm::RS256),
            &Claims {
                iat,
                exp,
                iss: &self.id,
            },
            &self.key,
        );
        signed.ok().map(Secret::new)
    }

    /// One request in the App's own name. Answers that concern a single installation come back.
    fn ask(&mut self, http: &mut Http, url: &str, is_post: bool) -> Result<Answer, ServiceError> {
        let mut is_first = true;
        loop {
            let statement = self
                .statement()
                .as_ref()
                .and_then(|statement| bearer(statement.expose()));
            http.authorize(
                statement.ok_or_else(|| {
                    ServiceError::Refused("its private key cannot sign".to_owned())
                })?,
            );
            let answer = http.send(
                |client| {
                    if is_post {
                        client.post(url)
                    } else {
                        client.get(url)
                    }
                },
                |answer| match failed(&answer) {
                    Ok(()) | Err(ServiceError::Refused(_) | ServiceError::Rejected { .. }) => {
                        Ok(answer)
                    }
                    Err(error) => Err(error),
                },
            )?;
            let is_unknown =
                answer.status == 404 && answer.reason().contains("Integration not found");
            if answer.status != 401 && !is_unknown {
                return Ok(answer);
            }
            let ahead = date(&answer)
                .map(|date| date - Utc::now())
                .unwrap_or_default();
            if is_first && !is_unknown && (ahead - self.clock_ahead).abs() > CLOCKS_DIFFER {
                log::warn!(
                    "this machine's clock differs from GitHub's by {} s; set it right",
                    ahead.num_seconds()
                );
                self.clock_ahead = ahead;
                is_first = false;
                continue;
            }
            return Err(ServiceError::Refused(format!(
                "{}; do id and private key belong to the same App?",
                answer.reason()
            )));
        }
    }

    /// A fresh token for an owner; the inner error says why there is none.
    fn install(
        &mut self,
        http: &mut Http,
        rest: &str,
        owner: &str,
    ) -> Result<Result<Installation, String>, ServiceError> {
        let id = match self.installation {
            Some(id) => id,
            None => match self.find(http, rest, owner)? {
                Ok(id) => id,
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let mut answer = self.ask(
            http,
            &format!("{rest}/app/installations/{id}/access_tokens"),
            true,
        )?;
        if !answer.status.is_success() {
            return Ok(Err(format!(
                "installation {id} of the GitHub App gets no token: {}",
                answer.reason()
            )));
        }
        let body = Zeroizing::new(std::mem::take(&mut answer.body));
        let no_token = || {
            ServiceError::Unavailable(
                "GitHub's answer to a request for a token names none".to_owned(),
            )
        };
        let AccessToken {
            token,
            expires_at,
            permissions,
        } = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let token = Secret::new(token);
        bearer(token.expose()).ok_or_else(no_token)?;
        let missing: Vec<&str> = NEEDED
            .into_iter()
            .filter(|name| !permissions.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Ok(Err(format!(
                "installation {id} of the GitHub App may not read {}; add it to the App's permissions, then let the owner accept",
                missing.join(" and ")
            )));
        }
        // Both times are GitHub's, so that our clock does not matter.
        let now = date(&answer).unwrap_or_else(|| Utc::now() + self.clock_ahead);
        let lasts = (expires_at - now - MARGIN)
            .to_std()
            .unwrap_or(Duration::ZERO);
        let until = Instant::now()
            .checked_add(lasts)
            .unwrap_or_else(Instant::now);
        Ok(Ok(Installation {
            id,
            token,
            until,
            was_renewed: false,
        }))
    }

    /// The installation of an owner, which is an organisation or a user.
    fn find(
        &mut self,
        http: &mut Http,
        rest: &str,
        owner: &str,
    ) -> Result<Result<u64, String>, ServiceError> {
        for kind in ["orgs", "users"] {
            let answer = self.ask(http, &format!("{rest}/{kind}/{owner}/installation"), false)?;
            if answer.status.is_success() {
                let found: Result<InstallationId, _> = answer.json();
                let no_id = |_| {
                    ServiceError::Unavailable(format!(
                        "the GitHub App's installation for {owner} has no id"
                    ))
                };
                return found.map(|found| Ok(found.id)).map_err(no_id);
            }
            if answer.status != 404 {
                let reason = answer.reason();
                return Ok(Err(format!(
                    "the GitHub App's installation for {owner} cannot be read: {reason}"
                )));
            }
        }
        Ok(Err(format!(
            "the GitHub App is not installed for {owner}; install it there"
        )))
    }

    /// Makes `http` carry a token that opens what belongs to `owner`; the inner error says why this owner has none.
    ///
    /// # Errors
    /// When GitHub as a whole cannot be asked; also when the only installation cannot be used.
    pub(super) fn admit(
        &mut self,
        http: &mut Http,
        rest: &str,
        owner: &str,
    ) -> Result<Result<(), String>, ServiceError> {
        let group = self.group(owner);
        let known = match self.installed.remove(&group) {
            Some(Ok(installed)) if installed.until > Instant::now() => Ok(installed),
            Some(Err(reason)) => Err(reason),
            Some(Ok(Installation { was_renewed, .. })) => {
                let fresh = self.install(http, rest, owner)?;
                fresh.map(|fresh| Installation {
                    was_renewed,
                    ..fresh
                })
            }
            None => self.install(http, rest, owner)?,
        };
        if let Some(token) = known
            .as_ref()
            .ok()
            .and_then(|installed| bearer(installed.token.expose()))
        {
            http.authorize(token);
        }
        let result = known.as_ref().map(|_| ()).map_err(Clone::clone);
        self.current.clone_from(&group);
        self.installed.insert(group, known);
        match result {
            Err(reason) if self.installation.is_some() => Err(ServiceError::Refused(format!(
                "{reason}; check GITHUB_APP_INSTALLATION_ID"
            ))),
            result => Ok(result),
        }
    }

    /// Whether a token that GitHub refuses can be replaced: once in a run for each installation.
    pub(super) fn may_renew(&self) -> bool {
        matches!(
            self.installed.get(&self.current),
            Some(Ok(Installation {
                was_renewed: false,
                ..
            }))
        )
    }

    /// GitHub refused the token that `http` carries: fetches another one.
    pub(super) fn renew(&mut self, http: &mut Http, rest: &str) -> Result<(), ServiceError> {
        log::info!(
            "GitHub refuses a token of {} before its end; fetching another one",
            self.words()
        );
        let owner = self.current.clone();
        if let Some(Ok(installed)) = self.installed.get_mut(&owner) {
            installed.was_renewed = true;
            installed.until = Instant::now();
        }
        self.admit(http, rest, &owner)?
            .map_err(ServiceError::Refused)
    }
}
