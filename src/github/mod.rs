//! Adapter to GitHub: fetches issues and pull requests, and polls repositories. It knows no plans.

mod app;
mod batch;
mod below;
mod client;
mod extras;
mod fetch;
mod identity;
mod poll;
mod queries;
mod response;
mod schema;
mod sizes;
mod timeline;

pub use app::App;
pub use client::{Github, Limits};
pub use fetch::Fetched;
pub use identity::Identity;
pub use poll::{Poll, Polled, RepositoryChanges};
pub use queries::documents;
pub use response::OLDEST_SERVER;
