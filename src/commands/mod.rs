//! The subcommands, all made of the same steps (design, section 3).

mod apply;
mod args;
mod context;
mod deliver;
mod discover;
mod metrics;
mod observe;
mod preview;
mod push;
mod push_weaviate;
mod report;
mod retry_failed;
mod run;
mod screen;
mod settings;
mod slice;
mod status;
mod sync;

pub use args::{Format, Output};
pub use metrics::METRICS;
pub use push_weaviate::{PushArgs, push_weaviate};
pub use report::EXIT_CODES;
pub use retry_failed::{RetryArgs, retry_failed};
pub use settings::{GithubLogin, Settings};
pub use status::{StatusArgs, status};
pub use sync::{SyncArgs, sync};
