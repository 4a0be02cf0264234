//! Puts the commit into `--version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    println!("cargo::rerun-if-env-changed=AGIRA_WORKER_COMMIT");
    let given = std::env::var("AGIRA_WORKER_COMMIT").ok();
    let commit = given.or_else(commit).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rustc-env=AGIRA_WORKER_VERSION={} ({commit})", env!("CARGO_PKG_VERSION"));
}

/// `None` outside a git checkout: a source archive sets AGIRA_WORKER_COMMIT.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
