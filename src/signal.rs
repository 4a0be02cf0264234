//! SIGINT and SIGTERM: the first one ends a run in good order, a second one at once (design, section 5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// A signal that asks a run to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl+C.
    Interrupt,
    /// SIGTERM: what `kill`, systemd and Kubernetes send.
    Terminate,
}

impl Signal {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Interrupt, Self::Terminate];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of a run that it ended, as a shell would name it: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
        }
    }
}

/// Whether this process was asked to end. Without [`Signals::watch`] it never is.
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From now on the first signal is only remembered; a second one, of either kind, ends the process.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub fn watch() -> anyhow::Result<Self> {
        let signals = Self::default();
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in Signal::ALL {
            let (number, code) = (signal.number(), signal.exit_code());
            // In this order: what looks for the first signal must come before what remembers it.
            flag::register_conditional_shutdown(number, code.into(), is_second.clone())
                .and_then(|_| flag::register(number, is_second.clone()))
                .and_then(|_| flag::register_usize(number, signals.0.clone(), code.into()))
                .with_context(|| format!("cannot wait for {}", signal.as_str()))?;
        }
        Ok(signals)
    }

    /// The signal that was caught.
    pub fn caught(&self) -> Option<Signal> {
        let code = self.0.load(Ordering::Relaxed);
        Signal::ALL
            .into_iter()
            .find(|signal| usize::from(signal.exit_code()) == code)
    }
}
