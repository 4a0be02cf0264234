//! `status`: totals, failures, and the last runs. It only reads, and only from PostgreSQL.

mod command;
mod data;
mod details;
mod text;
mod verdict;

pub use command::status;
pub use data::StatusArgs;
