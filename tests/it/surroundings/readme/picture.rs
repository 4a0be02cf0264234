//! The picture at the top is what the demo prints today.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const PICTURE: &str = include_str!("../../../../examples/demo.svg");

/// Cargo builds the examples beside the tests.
fn example(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_BIN_EXE_agira-worker"))
            .with_file_name("examples")
            .join(name),
    )
}

#[test]
fn drawing_the_demo_again_gives_the_same_picture() {
    // What the program logs comes between what the demo says, as on a terminal.
    let script = "exec 2>&1; exec \"$0\" \"$1\"";
    let mut told = Command::new("sh");
    let told = told
        .args(["-c", script])
        .arg(example("demo").get_program())
        .arg(env!("CARGO_BIN_EXE_agira-worker"))
        .env("KIT_WEAVIATE", "");
    let told = told.output().unwrap();
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stdout)
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
        .write_all(&told.stdout)
        .unwrap();
    let drawn = artist.wait_with_output().unwrap();
    assert!(drawn.status.success());
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert_eq!(drawn, PICTURE, "run: examples/demo.sh --picture");
    assert!(PICTURE.len() < 60_000);
}
