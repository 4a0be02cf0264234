//! SIGHUP, SIGINT and SIGTERM: the first one ends a run in order, a second one ends the process at
//! once (design.md, "Failure model").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// A signal that asks a run to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP, from a terminal or connection that is closed.
    Hangup,
    /// SIGINT, from Ctrl+C.
    Interrupt,
    /// SIGTERM, from `kill`, systemd or Kubernetes.
    Terminate,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hangup, Self::Interrupt, Self::Terminate];

    /// Returns the signal's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// Returns the exit code of a run that the signal ended, by the shell's rule: 128 plus the
    /// signal's number.
    pub fn exit_code(self) -> u8 {
        128 + self.number() as u8
    }

    fn number(self) -> i32 {
        match self {
            Self::Hangup => SIGHUP,
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
        }
    }
}

/// The first signal that this process received after [`Signals::watch`].
#[derive(Debug, Clone, Default)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Records the first signal from now on. A second signal of any kind ends the process. A hangup
    /// that the starting program ignores, such as `nohup`, stays ignored.
    pub fn watch() -> anyhow::Result<Self> {
        let signals = Self::default();
        let is_second = Arc::new(AtomicBool::new(false));
        let watched = Signal::ALL.into_iter();
        for signal in watched.filter(|signal| *signal != Signal::Hangup || !is_ignored(*signal)) {
            let (number, code) = (signal.number(), signal.exit_code());
            // The order matters: the shutdown must test the flag before the same signal sets it.
            flag::register_conditional_shutdown(number, code.into(), is_second.clone())
                .and_then(|_| flag::register(number, is_second.clone()))
                .and_then(|_| flag::register_usize(number, signals.0.clone(), code.into()))
                .with_context(|| format!("cannot wait for {}", signal.as_str()))?;
        }
        Ok(signals)
    }

    /// Returns the first signal, if one was received.
    pub fn caught(&self) -> Option<Signal> {
        let code = self.0.load(Ordering::Relaxed);
        Signal::ALL
            .into_iter()
            .find(|signal| usize::from(signal.exit_code()) == code)
    }
}

/// Returns true if this process started with the signal ignored. It returns false on a system
/// without `/proc`.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}
