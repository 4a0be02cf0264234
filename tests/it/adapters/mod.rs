//! The HTTP clients against the simulators and, for Weaviate, against a real server.

mod github;
mod github_app;
mod https;
mod redirects;
mod weaviate;
mod weaviate_runs;
