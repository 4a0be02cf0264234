//! Whole runs of the built program against a real PostgreSQL and strict simulators of GitHub and Weaviate, over HTTP.

mod adapters_github;
mod adapters_weaviate;
mod bad_input;
mod claims;
mod cost;
mod discovery;
mod dry_run;
mod histories;
mod hygiene;
mod push_weaviate;
mod readme;
mod retry_failed;
mod schema;
mod status;
mod sync;
mod weaviate_runs;
mod world;
