//! Everything around the program: terminals, deployment, monitoring, README and the source tree itself.

mod deployment;
pub mod hygiene;
mod monitoring;
mod readme;
mod start;
