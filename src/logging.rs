//! Log lines on stderr, for a person or as JSON, beside a progress bar on a terminal.

use std::io::{IsTerminal, Write};

use env_logger::{Builder, Target, WriteStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::LevelFilter;
use log::kv::Key;
use uuid::Uuid;

use crate::commands::{Format, Output};
use crate::core::text::{Printable, printable_json};

/// Sets up the logger, whose JSON lines all have the id of the run; returns the bar that the run moves, which is hidden where nobody would see it.
pub fn init(output: &Output, run: Uuid) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let progress = progress(
        terminal && !output.no_progress && output.log_format == Format::Text && !output.quiet,
    );
    let (ours, others) = match (output.quiet, output.verbose) {
        (true, _) => (LevelFilter::Warn, LevelFilter::Warn),
        (false, 0) => (LevelFilter::Info, LevelFilter::Warn),
        (false, 1) => (LevelFilter::Debug, LevelFilter::Warn),
        (false, _) => (LevelFilter::Trace, LevelFilter::Debug),
    };
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut builder = logger(output.log_format, coloured, run);
    if std::env::var_os("RUST_LOG").is_some_and(|directives| !directives.is_empty()) {
        builder.parse_default_env();
    } else {
        builder
            .filter_level(others)
            .filter_module("agira_worker", ours);
    }
    builder.target(Target::Pipe(Box::new(BesideProgress(progress.clone()))));
    // A second logger can only be a test's, which wants its own.
    let _ = builder.try_init();
    progress
}

/// What a line looks like, whoever logs it: whatever text it quotes, it is one line that drives no terminal.
pub fn logger(format: Format, coloured: bool, run: Uuid) -> Builder {
    let mut builder = Builder::new();
    builder.write_style(if coloured {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    match format {
        Format::Text => builder.format(|out, record| {
            let (time, level) = (out.timestamp_seconds(), record.level());
            let style = out.default_level_style(level);
            let message = record.args().to_string();
            writeln!(
                out,
                "[{time} {style}{level:<5}{style:#}] {}",
                Printable(&message)
            )
        }),
        Format::Json => builder.format(move |out, record| {
            let value = |name| record.key_values().get(Key::from_str(name));
            // A row that a dry run would insert has none.
            let id = |name| {
                value(name)
                    .and_then(|value| value.to_i64())
                    .filter(|id| *id > 0)
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

fn progress(visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} mappings, {elapsed}")
        .expect("a template that is a constant");
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
}

/// Takes the bar away while a line is written, so that the two do not mix.
struct BesideProgress(ProgressBar);

impl Write for BesideProgress {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
