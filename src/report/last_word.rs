//! The last word of a process: it prints exactly one result, whoever ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exit_code::{CRASHED, TRY_LATER};
use crate::signal::Signal;

/// The reason why a process ends although its work does not.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Something blocks it. `signal` is the signal that asked it to end, if one did.
    Blocked {
        signal: Option<Signal>,
        reason: String,
    },
    /// A bug made it panic.
    Panicked(String),
}

impl Ending {
    /// Returns the exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Blocked { signal, .. } => signal.map_or(TRY_LATER, Signal::exit_code),
            Self::Panicked(_) => CRASHED,
        }
    }

    /// Returns the reason in one sentence.
    pub fn reason(&self) -> &str {
        match self {
            Self::Blocked { reason, .. } | Self::Panicked(reason) => reason,
        }
    }
}

/// Prints the result and returns the exit code.
type Say = Box<dyn FnOnce(&Ending) -> u8 + Send>;

/// The right to print the result, which several threads share.
#[derive(Clone, Default)]
pub struct LastWord(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_said: bool,
    prepared: Option<Prepared>,
}

struct Prepared {
    say: Say,
    is_on_terminal: bool,
}

impl LastWord {
    /// Replaces what is printed if another thread ends the process from now on; `is_on_terminal`
    /// says that it shows the reason on the terminal that shows the log.
    pub fn prepare(&self, is_on_terminal: bool, say: impl FnOnce(&Ending) -> u8 + Send + 'static) {
        let say = Box::new(say);
        self.lock().prepared = Some(Prepared {
            say,
            is_on_terminal,
        });
    }

    /// Returns true if the terminal that shows the log is about to show the reason, too.
    pub fn is_on_terminal(&self) -> bool {
        let state = self.lock();
        let prepared = state.prepared.as_ref().filter(|_| !state.is_said);
        prepared.is_some_and(|prepared| prepared.is_on_terminal)
    }

    /// Returns once and never again: after that, only the caller may print a result. If another
    /// thread has taken the last word, that thread ends the process.
    pub fn take(&self) {
        while !self.claim() {
            std::thread::park();
        }
    }

    /// Prints what was prepared last, unless another thread prints a result. Returns the exit code.
    pub fn end(&self, ending: &Ending) -> u8 {
        if !self.claim() {
            return ending.exit_code();
        }
        let prepared = self.lock().prepared.take();
        prepared.map_or_else(|| ending.exit_code(), |prepared| (prepared.say)(ending))
    }

    /// Returns true for the first caller.
    fn claim(&self) -> bool {
        let was_said = std::mem::replace(&mut self.lock().is_said, true);
        !was_said
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_the_first_that_ends_the_process_prints_and_only_the_latest_result() {
        let said = Arc::new(AtomicUsize::new(0));
        let ending = Ending::Panicked(String::new());
        let word = LastWord::default();
        word.prepare(false, |_| panic!("replaced"));
        let counter = said.clone();
        word.prepare(false, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            9
        });
        assert_eq!((word.clone().end(&ending), word.end(&ending)), (9, CRASHED));
        assert_eq!(said.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn nothing_else_is_printed_beside_the_result_of_the_main_thread() {
        let word = LastWord::default();
        word.prepare(true, |_| panic!("two results"));
        assert!(word.is_on_terminal());
        word.take();
        assert!(!word.is_on_terminal(), "nothing will show the reason");
        word.end(&Ending::Panicked(String::new()));
    }
}
