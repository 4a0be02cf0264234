//! All decisions. Nothing here does I/O, reads a clock or logs (design.md, "Invariants", 1).

// Invariant 1 also forbids panics, whatever the input. Tests may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod agira_object;
pub mod backoff;
pub mod closing_keyword;
pub mod discovery;
pub mod failure;
pub mod look;
pub mod model;
pub mod note;
pub mod outbox;
pub mod pause;
pub mod plan;
pub mod records;
pub mod text;

#[cfg(test)]
mod tests;
