//! The report of a run and of `status`: plain data in, text, JSON and metrics out (design.md,
//! "Command line and output").

mod counts;
mod exit_code;
mod explanation;
mod format;
mod json;
mod last_word;
pub mod metrics;
mod result;
mod subject;
mod terminal;
mod text;

pub use counts::{MappingReport, Outcome};
pub use exit_code::{CANNOT_RUN, EXIT_CODES, StoppedBy, TRY_LATER, UNHEALTHY};
pub use explanation::{Explanation, ObjectDiff, schedule};
pub use format::Format;
pub use json::print_json;
pub use last_word::{Ending, LastWord};
pub use metrics::METRICS;
pub use result::Report;
pub use subject::Subject;
pub use terminal::{Screen, Tone, is_result_lost, print};
