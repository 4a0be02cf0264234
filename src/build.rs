//! Adds the commit to `--version`.

use std::process::Command;

fn main() {
    // A linked worktree has these files in another folder.
    for path in ["HEAD", "logs/HEAD"]
        .iter()
        .filter_map(|name| git(&["rev-parse", "--git-path", name]))
    {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=AGIRA_WORKER_COMMIT");
    // A source archive has no git checkout; its builder sets AGIRA_WORKER_COMMIT.
    let commit = std::env::var("AGIRA_WORKER_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown commit".to_owned());
    println!(
        "cargo::rustc-env=AGIRA_WORKER_VERSION={} ({commit})",
        env!("CARGO_PKG_VERSION")
    );
}

/// Returns git's output, if git succeeds.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
