//! The progress of a run on a terminal: first what it waits for, and then a bar.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(150);

/// Time for clearing, if another thread may be blocked while it draws.
const PATIENCE: Duration = Duration::from_millis(200);

/// The progress of a run. Copies share it.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Something may be on the terminal.
    is_shown: AtomicBool,
    claimed: AtomicU64,
}

impl Progress {
    /// Returns a progress that draws on stderr.
    pub fn visible() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    /// Returns a progress that draws nothing.
    pub fn hidden() -> Self {
        Self::on(ProgressDrawTarget::hidden())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        Self {
            bar: bar.with_finish(ProgressFinish::AndClear),
            state: Arc::default(),
        }
    }

    /// Returns true if it draws anything.
    pub fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows what the run waits for.
    pub fn wait_for(&self, what: &'static str) {
        self.style("{spinner} {msg}, {elapsed}");
        self.bar.set_message(what);
        self.bar.enable_steady_tick(TICK);
    }

    /// Starts the bar, which ends at that many mappings.
    pub fn expect(&self, count: usize) {
        self.bar.disable_steady_tick();
        self.style("{wide_bar} {pos}/{len} mappings, {elapsed}");
        self.bar.set_length(count as u64);
    }

    /// Counts claimed mappings, of which there may be more than expected.
    pub fn claim(&self, count: usize) {
        let claimed = self
            .state
            .claimed
            .fetch_add(count as u64, Ordering::Relaxed)
            + count as u64;
        if self.bar.length().is_none_or(|length| length < claimed) {
            self.bar.set_length(claimed);
        }
    }

    /// Counts mappings that the run has found and claimed besides the expected ones.
    pub fn find(&self, count: usize) {
        self.state
            .claimed
            .fetch_add(count as u64, Ordering::Relaxed);
        self.bar.inc_length(count as u64);
    }

    /// Counts mappings about which GitHub has answered.
    pub fn advance(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    /// Clears the terminal for good.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
        self.state.is_shown.store(false, Ordering::Relaxed);
    }

    /// Clears the terminal, but waits only shortly for a thread that draws.
    pub fn clear_soon(&self) {
        let (sender, receiver) = mpsc::channel();
        let progress = self.clone();
        std::thread::spawn(move || {
            progress.clear();
            sender.send(())
        });
        let _ = receiver.recv_timeout(PATIENCE);
    }

    /// Does something while the terminal shows no progress.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        // A bar that was never drawn must not appear because of a log line.
        match self.state.is_shown.load(Ordering::Relaxed) {
            true => self.bar.suspend(work),
            false => work(),
        }
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.state
            .is_shown
            .store(self.is_visible(), Ordering::Relaxed);
    }
}
