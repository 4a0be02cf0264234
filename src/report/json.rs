//! Results for programs: one JSON object on stdout.

use serde::Serialize;

use super::terminal::print_raw;
use crate::core::text::printable_json;

/// Prints one JSON object on stdout.
pub fn print_json(value: &impl Serialize) {
    print_raw(&printable_json(
        &serde_json::to_string(value).unwrap_or_default(),
    ));
}
