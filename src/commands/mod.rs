//! The subcommands, all made of the same steps (design, section 3).

mod apply;
mod context;
mod deliver;
mod discover;
mod observe;
mod preview;
mod push;
mod report;
mod run;
mod slice;
mod status;

pub use run::{push_weaviate, retry_failed, sync};
pub use status::status;
