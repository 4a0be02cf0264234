//! Waiting with a deadline: a test that waits in vain fails and names the condition, instead of hanging.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Limit for something that normally takes milliseconds.
pub const SOON: Duration = Duration::from_secs(60);

/// Limit for any run of the program in a test, and for any wait on a socket.
pub const RUN: Duration = Duration::from_secs(15 * 60);

/// Time between two checks of a condition.
const STEP: Duration = Duration::from_millis(1);

/// Waits until `is_so` holds.
///
/// # Panics
/// If it does not hold within `limit`; the message names `what`.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    until_ok(limit, || {
        is_so().then_some(()).ok_or_else(|| what.to_owned())
    });
}

/// Waits until `attempt` succeeds, and returns its value.
///
/// # Panics
/// If it does not succeed within `limit`; the message is the last error.
#[track_caller]
pub fn until_ok<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(what) if Instant::now() > deadline => {
                panic!("waited {} s in vain: {what}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// Accepts one connection.
///
/// # Panics
/// If nobody connects within [`SOON`].
#[track_caller]
pub fn connection(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a listener");
    let stream = until_ok(SOON, || match listener.accept() {
        Ok((stream, _)) => Ok(stream),
        Err(error) => Err(format!("a connection: {error}")),
    });
    stream.set_nonblocking(false).expect("a stream");
    stream
}

/// Waits for the end of a child.
///
/// # Panics
/// If it has not ended within `limit`; the child is killed first.
#[track_caller]
pub fn end(child: &mut Child, limit: Duration) -> ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the state of the child") {
            return status;
        }
        if Instant::now() > deadline {
            // The child may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "process {} did not end within {} s",
                child.id(),
                limit.as_secs()
            );
        }
        std::thread::sleep(STEP);
    }
}

/// Runs a command to its end with no input, and returns its outputs.
///
/// # Errors
/// If it does not start.
///
/// # Panics
/// If it has not ended within [`RUN`]; it is killed first.
#[track_caller]
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null());
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(output_of(child))
}

/// Sends a signal, such as `TERM`, to a process; returns whether the process is there. Every shell
/// can do that itself, and a minimal system has no program for it.
pub fn signal(process: u32, signal: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s \"$0\" \"$1\"", signal]);
    shell.arg(process.to_string()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Waits for the end of a child whose outputs are pipes, and returns both outputs.
///
/// # Panics
/// If it has not ended within [`RUN`]; it is killed first.
#[track_caller]
pub fn output_of(child: Child) -> Output {
    let id = child.id();
    let (ended, end) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let is_late = end.recv_timeout(RUN) == Err(RecvTimeoutError::Timeout);
        if is_late {
            // Nothing has waited for the child yet, so no other process has its id.
            signal(id, "KILL");
        }
        is_late
    });
    let output = child.wait_with_output();
    drop(ended);
    let is_late = watchdog.join().expect("the watchdog does not panic");
    let output = output.expect("the child's outputs");
    assert!(
        !is_late,
        "killed after {} s; its outputs:\n{}{}",
        RUN.as_secs(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "waited 0 s in vain: a miracle")]
    fn a_wait_that_times_out_names_its_condition() {
        until("a miracle", Duration::from_millis(5), || false);
    }

    #[test]
    #[should_panic(expected = "did not end within 0 s")]
    fn a_child_that_does_not_end_is_killed_and_named() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        end(&mut child, Duration::from_millis(5));
    }

    #[test]
    fn both_outputs_of_a_command_are_returned() {
        let output = output(Command::new("sh").args(["-c", "cat; echo out; echo err >&2; exit 3"]));
        let output = output.expect("sh");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }
}
