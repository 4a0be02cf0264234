//! Everything that decides, and nothing that does I/O, reads a clock or logs (design, invariant 1).

pub mod agira_object;
pub mod backoff;
pub mod carry;
pub mod closing_keyword;
pub mod known;
pub mod model;
pub mod outbox;
pub mod plan;
pub mod text;
