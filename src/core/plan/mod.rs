//! Decides what one mapping needs (design.md, "The decision table").

mod action;
mod carry;
mod closing;
mod input;
mod links;
mod objects;
mod table;

pub use action::{Action, Plan, WriteReason};
pub use carry::carry;
pub use input::{PlanInput, Policy};
pub use objects::write_reason;
pub use table::plan;

#[cfg(test)]
mod tests;
