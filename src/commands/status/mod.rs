//! `status`: totals, failures, and the last runs. It only reads, and only from PostgreSQL, unless
//! `--services` asks all three services.

mod command;
mod data;
mod details;
mod services;
mod text;
mod verdict;

pub use command::status;
pub use data::StatusArgs;
pub use services::services;
