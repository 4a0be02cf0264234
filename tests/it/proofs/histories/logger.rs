//! The log of the runs in this process. It is searched for secrets, and printed when a failed history is played again.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use kit::github::TOKEN;

use super::world::KEY;

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
        if super::is_shown() {
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

/// Returns true if a line contained a secret.
pub fn leaked() -> bool {
    LEAKED.load(Ordering::SeqCst)
}
