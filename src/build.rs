//! Puts the commit into `--version`.

use std::process::Command;

fn main() {
    // In a linked worktree they are elsewhere.
    for path in ["HEAD", "logs/HEAD"]
        .iter()
        .filter_map(|name| git(&["rev-parse", "--git-path", name]))
    {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=AGIRA_WORKER_COMMIT");
    let given = std::env::var("AGIRA_WORKER_COMMIT").ok();
    // Outside a git checkout there is none: a source archive sets AGIRA_WORKER_COMMIT.
    let commit = given
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown commit".to_owned());
    println!(
        "cargo::rustc-env=AGIRA_WORKER_VERSION={} ({commit})",
        env!("CARGO_PKG_VERSION")
    );
}

/// What git says, if it can.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
