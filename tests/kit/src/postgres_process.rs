//! The processes of a throwaway PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Environment variable with the folder of another PostgreSQL's programs; `tests/run.sh --postgres` sets it.
const FOLDER: &str = "KIT_POSTGRES";

/// Returns the folder with initdb, postgres and pg_ctl, which Debian keeps off the PATH. Without [`FOLDER`], it is the
/// newest one.
pub(crate) fn binaries() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Ok(folder.into());
    }
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    debian.sort();
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    debian.into_iter().rev().chain(on_path).find(complete).ok_or_else(|| {
        anyhow::anyhow!("initdb, postgres and pg_ctl are not found; on Debian and Ubuntu: apt-get install postgresql")
    })
}

/// Returns a command that does not run as root, because PostgreSQL refuses that: it runs as the user `postgres`, or as
/// `nobody`.
pub(crate) fn other_user() -> anyhow::Result<Option<String>> {
    let id = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(None);
    }
    let exists = |name: &str| {
        Command::new("id")
            .arg(name)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    Ok(Some(
        if exists("postgres") {
            "postgres"
        } else {
            "nobody"
        }
        .to_owned(),
    ))
}

pub(crate) fn as_user(user: Option<&str>, program: &Path) -> Command {
    match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", user, "--regid", user, "--clear-groups", "--"])
                .arg(program);
            command.current_dir("/");
            command
        }
        None => Command::new(program),
    }
}

pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    // A server that inherits stdout would block whoever reads it for ever.
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(output.success(), "{command:?} failed");
    Ok(())
}

/// Starts a watchdog that waits until this process ends for any reason, and then stops the server and removes its
/// folder. It waits for the end of a pipe whose only writing end belongs to this process.
pub(crate) fn watchdog(bin: &Path, folder: &Path) -> anyhow::Result<Child> {
    let script = "trap '' INT TERM HUP; read _; if [ -f \"$2/data/postmaster.pid\" ]; then \
        kill -QUIT \"$(head -n 1 \"$2/data/postmaster.pid\")\"; \
        for _ in 1 2 3 4 5 6 7 8 9 10; do [ -f \"$2/data/postmaster.pid\" ] || break; sleep 0.1; done; fi; rm -rf \"$2\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "watchdog"])
        .arg(bin)
        .arg(folder);
    Ok(command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}
