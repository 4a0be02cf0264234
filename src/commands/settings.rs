//! What a command has to be told about the world around it.

use crate::http::Patience;

/// Text that must not be shown.
pub struct Secret(pub String);

impl Secret {
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("(secret)")
    }
}

/// Where the database and the services are, and who we are there.
#[derive(Debug)]
pub struct Settings {
    /// DATABASE_URL.
    pub database_url: Secret,
    /// GITHUB_API_URL.
    pub github_url: String,
    /// GITHUB_TOKEN.
    pub github_token: Secret,
    /// WEAVIATE_URL.
    pub weaviate_url: String,
    /// WEAVIATE_API_KEY.
    pub weaviate_key: Option<Secret>,
    /// How long both services are waited for.
    pub patience: Patience,
}
