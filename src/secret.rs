//! Text that must not be shown, and the files that hold it.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

/// Text that must not be shown: it has no `Display`, its `Debug` says nothing, and it is wiped from memory when dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// Keeps this process's memory out of core dumps, and out of reach of other processes of its user: libraries have copies of
/// secrets that nobody wipes (headers, the database driver's configuration), as has the environment.
pub fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        log::warn!("a core dump of this process would have its secrets: {error}");
    }
}

/// Warns about a file with a secret that every user of this machine can read.
pub fn warn_if_world_readable(name: &str, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // A file that cannot be looked at cannot be read either, which is told where it is read.
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
        let path = path.display();
        log::warn!(
            "{path}, which {name} names, can be read by every user of this machine; run: chmod o= {path}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", Secret::new("tok-1234".to_owned())),
            "(secret)"
        );
    }
}
