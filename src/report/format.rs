//! The two forms of output.

use clap::ValueEnum;

/// Form of the result and of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain text for a person.
    #[default]
    Text,
    /// JSON for a program.
    Json,
}
