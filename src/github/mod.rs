//! Adapter to GitHub: what an issue or a pull request looks like now. It reads, and knows nothing of plans.

mod answer;
mod app;
mod client;
mod fetch;
mod poll;
mod queries;
mod timeline;

pub use app::App;
pub use client::{Github, Limits};
pub use fetch::{Fetched, LookError};
pub use poll::{Poll, RepositoryChanges};
pub use queries::documents;
