//! The report of a run and of `status`: plain data in, text, JSON and metrics out (design.md,
//! "Command line and output").

mod counts;
mod display;
mod draw;
mod entry;
mod exit_code;
mod explanation;
mod format;
mod json;
mod last_word;
pub mod metrics;
mod progress;
mod result;
mod subject;
mod terminal;
mod text;
mod words;

pub use counts::{MappingReport, Next, Outcome, Written};
pub use exit_code::{CANNOT_RUN, EXIT_CODES, SOME_FAILED, StoppedBy, TRY_LATER, UNHEALTHY};
pub use explanation::{Explanation, ObjectDiff, schedule};
pub use format::Format;
pub use json::print_json;
pub use last_word::{Ending, LastWord};
pub use metrics::METRICS;
pub use progress::Progress;
pub use result::Report;
pub use subject::Subject;
pub use terminal::{Screen, Tone, has_color, is_capable, is_result_lost, print};
pub use words::{ago, away, counted, number, when};
