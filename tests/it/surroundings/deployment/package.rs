//! The Debian package, in a minimal Debian in which nothing else is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::all;
use crate::harness::World;

/// A minimal Debian with the packages `/first.deb` and `/newer.deb`, made by `tests/package.sh`.
struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Runs a command, which must succeed, and returns its output.
    #[track_caller]
    fn does(&self, args: &[&str]) -> String {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(args).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().expect("chroot");
        assert!(output.status.success(), "{args:?}: {}", all(&output));
        all(&output)
    }

    /// Runs `status` on a new installation.
    #[track_caller]
    fn shows_status(&self) {
        let world = World::new();
        let database = format!("DATABASE_URL={}", world.database.worker_url());
        self.does(&["env", &database, "agira-worker", "status"]);
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path.trim_start_matches('/')).exists()
    }
}

/// Needs root and a minimal Debian; `tests/package.sh` makes one and runs this test.
#[test]
#[ignore = "needs root and debootstrap"]
fn the_package_is_installed_upgraded_removed_and_purged() {
    let root = std::env::var_os("AGIRA_WORKER_DEBIAN").expect("AGIRA_WORKER_DEBIAN");
    let debian = Debian { root: root.into() };
    let secrets = "etc/agira-worker/database-url";

    let said = debian.does(&["dpkg", "--install", "/first.deb"]);
    assert!(said.contains("its timer is not started"), "{said}");
    assert!(!debian.has("/etc/systemd/system/timers.target.wants/agira-worker.timer"));
    for file in [
        "/usr/share/man/man1/agira-worker-sync.1.gz",
        "/usr/share/bash-completion/completions/agira-worker",
        "/usr/share/agira-worker/sql/worker.sql",
        "/usr/share/agira-worker/sql/uninstall.sql",
        "/usr/share/agira-worker/sql/role.sql",
        "/usr/share/doc/agira-worker/examples/crontab.example",
        "/usr/share/doc/agira-worker/README.Debian",
        "/usr/lib/systemd/system/agira-worker.timer",
    ] {
        assert!(debian.has(file), "{file}");
    }
    let unit = debian
        .root
        .join("usr/lib/systemd/system/agira-worker.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/bin/agira-worker sync"),
        "{unit}"
    );
    assert!(!unit.contains("/usr/local/"), "{unit}");

    debian.shows_status();

    // The settings of an administrator survive an upgrade and a removal.
    let settings = debian.root.join("etc/agira-worker/environment");
    std::fs::write(&settings, "WEAVIATE_URL=http://weaviate:8080\n").unwrap();
    std::fs::write(debian.root.join(secrets), "postgresql://agira").unwrap();
    let said = debian.does(&["dpkg", "--install", "/newer.deb"]);
    assert!(
        said.contains("over (") && !said.contains("its timer is not started"),
        "{said}"
    );
    debian.shows_status();
    let kept = |debian: &Debian| {
        let settings = std::fs::read_to_string(debian.root.join("etc/agira-worker/environment"));
        settings.is_ok_and(|settings| settings.contains("weaviate:8080")) && debian.has(secrets)
    };
    assert!(kept(&debian));
    debian.does(&["dpkg", "--remove", "agira-worker"]);
    assert!(!debian.has("/usr/bin/agira-worker") && kept(&debian));
    debian.does(&["dpkg", "--purge", "agira-worker"]);
    assert_eq!(left(&debian.root), Vec::<PathBuf>::new());
}

/// Returns the files and folders of the package that are left.
fn left(root: &Path) -> Vec<PathBuf> {
    let found = Command::new("find")
        .arg(root)
        .args([
            "-xdev",
            "-name",
            "*agira-worker*",
            "-not",
            "-path",
            "*/var/lib/dpkg/*",
        ])
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", all(&found));
    let found = String::from_utf8(found.stdout).unwrap();
    found.lines().map(PathBuf::from).collect()
}
