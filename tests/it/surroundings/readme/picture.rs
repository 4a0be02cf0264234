//! The picture at the top shows the current output of the demo.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const PICTURE: &str = include_str!("../../../../examples/demo.svg");

/// Returns the command of an example, which Cargo builds beside the tests.
fn example(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_BIN_EXE_agira-worker"))
            .with_file_name("examples")
            .join(name),
    )
}

#[test]
fn the_picture_of_the_demo_is_up_to_date() {
    // Log lines are not in the picture: on a terminal, there are none without a warning.
    let mut demo = example("demo");
    let demo = demo
        .arg(env!("CARGO_BIN_EXE_agira-worker"))
        .env("KIT_WEAVIATE", "");
    // The program would warn of those that only the tests know.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AGIRA_WORKER_") {
            demo.env_remove(name);
        }
    }
    let demo = demo.output().unwrap();
    assert!(
        demo.status.success(),
        "{}",
        String::from_utf8_lossy(&demo.stdout)
    );
    let mut artist = example("screenshot")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    artist
        .stdin
        .take()
        .unwrap()
        .write_all(&demo.stdout)
        .unwrap();
    let drawn = artist.wait_with_output().unwrap();
    assert!(drawn.status.success());
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert_eq!(drawn, PICTURE, "run: examples/demo.sh --picture");
    assert!(PICTURE.len() < 60_000);
    for part in ["prefers-color-scheme: dark", ">Before:<", ">After:<"] {
        assert!(PICTURE.contains(part), "{part}");
    }
}
