//! The subcommands. Each turns its arguments into a job; `status` makes no run and only reads.

mod args;
mod push_weaviate;
mod retry_failed;
mod status;
mod sync;

pub use args::Output;
pub use push_weaviate::PushArgs;
pub use retry_failed::RetryArgs;
pub use status::{StatusArgs, services, status};
pub use sync::SyncArgs;
