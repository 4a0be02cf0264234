//! Promises that hold for every run: checked at every place, by random histories, or by counting.

mod classification;
mod cost;
mod histories;
pub mod kill_matrix;
mod liveness;
mod secrets;
