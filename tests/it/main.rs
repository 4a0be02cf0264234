//! Whole runs of the built program against a real PostgreSQL and strict simulators of GitHub and Weaviate, over HTTP.

mod adapters_github;
mod adapters_weaviate;
mod bad_input;
mod claims;
mod classification;
mod cost;
mod discovery;
mod dry_run;
mod https;
mod hygiene;
mod kill_matrix;
mod metrics;
mod postgres_faults;
mod postgres_tls;
mod push_weaviate;
mod readme;
mod redirects;
mod retry_failed;
mod schema;
mod secrets;
mod signals;
mod status;
mod status_text;
mod sync;
mod weaviate_runs;
mod world;
