//! Our identity at GitHub: the user of a token, or a GitHub App with its installations.

use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::app::App;
use super::client::Github;
use super::queries;
use crate::core::failure::{FailureKind, ServiceError};
use crate::http::{Http, Response};

/// Facts that GitHub tells about our credentials; `None` is a fact that it does not tell.
#[derive(Debug, Default, Serialize)]
pub struct Identity {
    /// Login of the token's user, or name of the GitHub App.
    pub login: Option<String>,
    /// Accounts for which the GitHub App is installed.
    pub installations: Option<Vec<String>>,
    /// Scopes of a classic token.
    pub scopes: Option<String>,
    /// End of the token, in GitHub's words.
    pub expires_at: Option<String>,
    /// Version of GitHub Enterprise Server.
    pub server_version: Option<String>,
}

impl Github {
    /// Asks who we are, with two requests.
    ///
    /// # Errors
    /// Fails if GitHub does not answer or refuses the credentials.
    pub fn identity(&mut self) -> Result<Identity, ServiceError> {
        if let Some(app) = &mut self.app {
            return app.identity(&mut self.http);
        }
        // Only GraphQL tells the points that are left for it.
        self.query(queries::ALIVE, &json!({}))?;
        let mut url = self.rest_url("/user");
        match self.get(&mut url) {
            Ok(response) => {
                let user: Value = response.json().unwrap_or_default();
                Ok(Identity {
                    login: user["login"].as_str().map(str::to_owned),
                    scopes: header(&response, "x-oauth-scopes"),
                    expires_at: header(&response, "github-authentication-token-expiration"),
                    server_version: header(&response, VERSION),
                    ..Identity::default()
                })
            }
            // A token of an installation has no user.
            Err(error) if error.kind == FailureKind::Refused && error.status == Some(403) => {
                Ok(Identity::default())
            }
            Err(error) => Err(error),
        }
    }
}

impl App {
    fn identity(&mut self, http: &mut Http) -> Result<Identity, ServiceError> {
        let ours = self.send(http, Method::GET, "/app")?;
        if !ours.status.is_success() {
            return Err(ours.error(FailureKind::Refused, ours.reason()));
        }
        let listed = self.send(http, Method::GET, "/app/installations?per_page=100")?;
        let (app, listed_ones): (Value, Value) = (
            ours.json().unwrap_or_default(),
            listed.json().unwrap_or_default(),
        );
        let installations = listed_ones.as_array().map(|all| {
            let account = |one: &Value| {
                let name = one["account"]["login"].as_str()?;
                Some(match one["suspended_at"].is_null() {
                    true => name.to_owned(),
                    false => format!("{name} (suspended)"),
                })
            };
            all.iter().filter_map(account).collect()
        });
        Ok(Identity {
            login: app["slug"].as_str().map(str::to_owned),
            installations,
            server_version: header(&ours, VERSION),
            ..Identity::default()
        })
    }
}

/// Header that only GitHub Enterprise Server sends.
const VERSION: &str = "x-github-enterprise-version";

fn header(response: &Response, name: &str) -> Option<String> {
    response.header(name).map(str::to_owned)
}
