//! The end of a process that does not end by itself, because something blocks it or because of a
//! bug (design.md, "Failure model"). Its claims expire, as after a kill.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use log::Level;

use crate::report::{Ending, LastWord};
use crate::signal::Signals;

/// Time from the first signal to the end of the process. The promise is 20 s.
const AFTER_SIGNAL: Duration = Duration::from_secs(18);

/// Time by which a process may outlast its time budget. The promise is 60 s.
const AFTER_BUDGET: Duration = Duration::from_secs(55);

const POLL: Duration = Duration::from_millis(100);

/// Time for log, result and metrics, which may be blocked, too.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts a thread that ends the process some time after its time budget or the first signal.
pub fn start(time_budget: Duration, signals: Signals, last_word: LastWord) {
    let started = Instant::now();
    std::thread::spawn(move || {
        let mut signaled = None;
        loop {
            std::thread::sleep(POLL);
            let signal = signals.caught();
            let since = signal.map(|_| *signaled.get_or_insert_with(Instant::now));
            let is_over = match since {
                Some(since) => since.elapsed() >= AFTER_SIGNAL,
                None => started.elapsed() >= time_budget + AFTER_BUDGET,
            };
            if is_over {
                let reason = match (signal, time_budget.is_zero()) {
                    (Some(signal), _) => {
                        format!("{} s after {}", AFTER_SIGNAL.as_secs(), signal.as_str())
                    }
                    (None, true) => format!("after {} s", AFTER_BUDGET.as_secs()),
                    (None, false) => format!("{} s after its time budget", AFTER_BUDGET.as_secs()),
                };
                let reason = format!(
                    "stopped {reason}, because something blocks it: a server that does not answer, or a lock; see whether \
                     PostgreSQL and DNS answer; claims that were not released expire"
                );
                end(&last_word, Ending::Blocked { signal, reason });
            }
        }
    });
}

/// Makes a panic of any thread end the process with one line in the log and one result.
pub fn catch_panics(last_word: LastWord) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string);
        let reason = format!(
            "a bug stopped it at {}: {}; please report this line; claims that were not released expire",
            place.unwrap_or_default(),
            message.unwrap_or("no message")
        );
        end(&last_word, Ending::Panicked(reason));
    }));
}

/// Logs and prints in a thread each, because whatever blocks this process may hold the lock of one
/// of the outputs, or be one of them.
fn end(last_word: &LastWord, ending: Ending) -> ! {
    let (code, until) = (ending.exit_code(), Instant::now() + LAST_WORDS);
    let (last_word, result) = (last_word.clone(), ending.clone());
    let level = match &ending {
        _ if last_word.is_on_terminal() => Level::Info,
        Ending::Blocked { .. } => Level::Warn,
        Ending::Panicked(_) => Level::Error,
    };
    let printed = in_thread(move || last_word.end(&result));
    let logged = in_thread(move || log::log!(level, "{}", ending.reason()));
    let left = || until.saturating_duration_since(Instant::now());
    let code = printed.recv_timeout(left()).unwrap_or(code);
    let _ = logged.recv_timeout(left());
    std::process::exit(code.into())
}

fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
}
