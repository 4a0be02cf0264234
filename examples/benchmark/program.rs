//! Runs a program to its end and measures its time and its peak memory.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Result of a program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Time from start to end.
    pub elapsed: Duration,
    /// Peak of its resident memory in kB, as Linux reports it; `None` on other systems.
    pub peak: Option<u64>,
    /// JSON that it printed; null when it printed something else.
    pub report: Value,
}

/// Returns the path of the worker's release binary, beside this example.
pub fn worker() -> PathBuf {
    beside("../agira-worker")
}

/// Returns the path of the baseline.
pub fn baseline() -> PathBuf {
    beside("baseline")
}

fn beside(name: &str) -> PathBuf {
    let example = std::env::current_exe().expect("the path of this example");
    let path = example.parent().expect("a folder").join(name);
    let advice = "cargo build --release --workspace --bins --examples";
    assert!(path.exists(), "{} is missing: {advice}", path.display());
    path
}

/// Runs a command to its end.
///
/// # Panics
/// Panics when the command does not exit with 0.
pub fn run(command: &mut Command) -> Finished {
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut printed = Vec::new();
        stdout.read_to_end(&mut printed).expect("its output");
        printed
    });
    let path = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of the child") {
            break status;
        }
        let shown = std::fs::read_to_string(&path).unwrap_or_default();
        let line = shown.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // The line disappears from the file while the process ends.
        peak = line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .or(peak);
        std::thread::sleep(Duration::from_millis(2));
    };
    let elapsed = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    let printed = reader.join().expect("its output");
    Finished {
        elapsed,
        peak,
        report: serde_json::from_slice(&printed).unwrap_or_default(),
    }
}
