//! Each command by whole runs: what it does, prints and writes.

mod discovery;
mod dry_run;
mod json;
pub mod manual;
mod metrics;
mod push_weaviate;
mod retry_failed;
mod screens;
mod services;
mod status;
mod status_text;
mod sync;
mod terminal;
mod vectorizer;
