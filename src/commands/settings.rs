//! What a command has to be told about the world around it.

use std::time::Duration;

use crate::github::App;
use crate::secret::Secret;

/// What GitHub knows us by.
#[derive(Debug)]
pub enum GithubLogin {
    /// GITHUB_TOKEN.
    Token(Secret),
    /// GITHUB_APP_ID and what belongs to it.
    App(Box<App>),
}

/// Where the database and the services are, and who we are there.
#[derive(Debug)]
pub struct Settings {
    /// DATABASE_URL.
    pub database_url: Secret,
    /// GITHUB_API_URL.
    pub github_url: String,
    /// What GitHub knows us by.
    pub github_login: GithubLogin,
    /// WEAVIATE_URL.
    pub weaviate_url: String,
    /// WEAVIATE_API_KEY.
    pub weaviate_key: Option<Secret>,
    /// How long a service that failed is left alone before it is asked again for the first time; `None`: as long as usual.
    pub retry: Option<Duration>,
}
