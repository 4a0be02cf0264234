//! Integration tests. Most of them run the built program against a real PostgreSQL and strict simulators of GitHub and
//! Weaviate, over HTTP.

mod adapters;
mod commands;
mod database;
mod failures;
mod fixtures;
mod harness;
mod parallel;
mod proofs;
mod surroundings;
