//! Log lines on stderr, as text or JSON, and the progress bar of a terminal.

use std::io::{IsTerminal, Write};

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;
use log::kv::Key;
use uuid::Uuid;

use crate::commands::Output;
use crate::core::text::{Printable, printable_json, timestamp};
use crate::report::{Format, Progress, has_color, is_capable};

/// Sets up the logger, whose JSON lines have the id of the run, and returns the progress bar, which
/// may be hidden. On a terminal, the result shows the changes, and so the log leaves them out.
pub fn init(output: &Output, run: Uuid) -> Progress {
    let terminal = std::io::stderr().is_terminal();
    let hidden = output.no_progress || output.quiet || output.log_format == Format::Json;
    let progress = match terminal && is_capable() && !hidden {
        true => Progress::visible(),
        false => Progress::hidden(),
    };
    let (ours, others) = match (output.quiet, output.verbose) {
        (true, _) => (LevelFilter::Warn, LevelFilter::Warn),
        (false, 0) if terminal => (LevelFilter::Warn, LevelFilter::Warn),
        (false, 0) => (LevelFilter::Info, LevelFilter::Warn),
        (false, 1) => (LevelFilter::Debug, LevelFilter::Warn),
        (false, _) => (LevelFilter::Trace, LevelFilter::Debug),
    };
    let mut builder = logger(output.log_format, terminal && has_color(), run);
    if std::env::var_os("RUST_LOG").is_some_and(|directives| !directives.is_empty()) {
        builder.parse_default_env();
    } else {
        builder
            .filter_level(others)
            .filter_module("agira_worker", ours);
    }
    builder.target(Target::Pipe(Box::new(BesideProgress(progress.clone()))));
    // This fails only in a test that has set its own logger, which stays.
    let _ = builder.try_init();
    progress
}

/// Returns a logger that writes each record as one line and escapes control characters in it.
pub fn logger(format: Format, colored: bool, run: Uuid) -> Builder {
    let mut builder = Builder::new();
    builder.write_style(if colored {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    match format {
        Format::Text => builder.format(|out, record| {
            let (time, level) = (timestamp(chrono::Utc::now()), record.level());
            let style = out.default_level_style(level);
            let message = record.args().to_string();
            writeln!(
                out,
                "[{time} {style}{level:<5}{style:#}] {}",
                Printable(&message)
            )
        }),
        Format::Json => builder.format(move |out, record| {
            // A row that a dry run would insert has a negative id.
            let id = |name| {
                let value = record.key_values().get(Key::from_str(name));
                value?.to_i64().filter(|id| *id > 0)
            };
            let line = serde_json::json!({
                "run": run,
                "mapping": id("mapping"),
                "item": id("item"),
                "time": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                "level": record.level().as_str().to_lowercase(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{}", printable_json(&line.to_string()))
        }),
    };
    builder
}

/// Standard error that hides the progress bar while it writes a line.
struct BesideProgress(Progress);

impl Write for BesideProgress {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
