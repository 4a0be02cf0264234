//! Adapter to Weaviate: checks the class, reads objects and writes them. It knows no plans.

mod class;
mod client;
mod facts;
mod halve;
mod read;
mod write;

pub use class::{ClassState, NO_VECTORIZER};
pub use client::Weaviate;
pub use facts::Facts;
pub use read::StoredObject;
pub use write::ObjectWrite;
