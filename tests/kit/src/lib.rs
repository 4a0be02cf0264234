//! Services for tests, demo and benchmark: a throwaway PostgreSQL, strict simulators of GitHub and Weaviate, and a real
//! Weaviate if there is one.
//!
//! A strict simulator rejects what the real service rejects, so that a passing test means something. Everything listens
//! on loopback only and ends with the process.

pub mod agira;
pub mod boundaries;
pub mod fault_proxy;
pub mod github;
pub mod graphql;
pub mod http;
pub mod postgres_bouncer;
mod postgres_messages;
pub mod postgres_pool;
mod postgres_process;
pub mod postgres_proxy;
pub mod postgres_server;
pub mod wait;
pub mod weaviate;
mod weaviate_named;
mod weaviate_reached;
pub mod weaviate_server;
