//! Adapter to GitHub: what an issue or a pull request looks like now. It reads, and knows nothing of plans.

mod answer;
mod app;
mod changes;
mod client;
mod look;
mod queries;
mod timeline;

pub use app::App;
pub use changes::{Changes, Poll};
pub use client::{Github, Limits};
pub use look::{LookError, Looks};
pub use queries::documents;
