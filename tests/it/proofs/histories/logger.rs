//! The log of the runs that are made in this process: searched for secrets, and shown when a failing history is told again.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use kit::github::TOKEN;

use super::stage::KEY;

static LEAKED: AtomicBool = AtomicBool::new(false);

struct Searched;

impl log::Log for Searched {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("agira_worker")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        if line.contains(TOKEN) || line.contains(KEY) {
            LEAKED.store(true, Ordering::SeqCst);
        }
        if super::is_told() {
            eprintln!("        {} {line}", record.level());
        }
    }

    fn flush(&self) {}
}

/// Sets up the logger of this process.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Searched)).expect("the only logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// Whether a line had a secret in it.
pub fn leaked() -> bool {
    LEAKED.load(Ordering::SeqCst)
}
