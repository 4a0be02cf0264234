//! Protection of secrets, beyond their type, against other users and processes of this machine.

use std::path::Path;

/// Keeps this process's memory out of core dumps and away from other processes of its user, because
/// libraries and the environment keep copies of secrets that nobody wipes.
pub fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        log::warn!("a core dump of this process would contain its secrets: {error}");
    }
}

/// Warns about a file with a secret that every user of this machine can read.
pub fn warn_if_world_readable(name: &str, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // Whoever reads the file next reports an error.
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
        let path = path.display();
        log::warn!(
            "{path}, which {name} names, can be read by every user of this machine; run: chmod o= {path}"
        );
    }
}
