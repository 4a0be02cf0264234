//! Adapter to Weaviate: the class, what it holds under given ids, and writing objects. It knows nothing of plans.

mod class;
mod client;
mod read;
mod write;

pub use class::ClassState;
pub use client::Weaviate;
pub use read::StoredObject;
pub use write::ObjectWrite;
