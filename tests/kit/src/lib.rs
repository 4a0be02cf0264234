//! What tests, demo and benchmark share: a throwaway PostgreSQL, strict simulators of GitHub and Weaviate, and a real
//! Weaviate where there is one.
//!
//! Strict means that a simulator rejects what the real service rejects, so that a test that passes here has a
//! chance of meaning something there. Everything listens on loopback only and disappears with the process.

pub mod agira;
pub mod boundaries;
pub mod fault_proxy;
pub mod github;
pub mod graphql;
pub mod http;
mod postgres_messages;
pub mod postgres_pool;
pub mod postgres_proxy;
pub mod postgres_server;
pub mod weaviate;
mod weaviate_named;
mod weaviate_reached;
pub mod weaviate_server;
