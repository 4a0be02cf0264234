//! Executes every block of commands, from first to last, on its own server. Commands that would build, install or
//! publish are replaced by stand-ins that check their arguments.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::github::{Github, TOKEN};
use kit::postgres_server::{Cluster, TEMPLATE};
use kit::weaviate::Weaviate;

use super::{CRONTAB, DOCUMENTS, README, blocks};

/// Cargo parses the arguments itself. It rejects an unknown one before it does anything, and names the first one.
const CARGO: &str = r#"
case "$*" in
    'run --example manual -- '*) exec "$EXAMPLES/manual" "${@:5}" ;;
    'run --release --example benchmark -- --'*)
        known=$("$EXAMPLES/benchmark" --help)
        [[ $known == *"$6"* ]] ;;
    'test --test it '*)
        found=$("$IT" --list "$4")
        [[ $found == *': test'* ]] ;;
    *)
        said=$("$REAL_CARGO" "$@" --no-such-flag 2>&1 || true)
        [[ $said == *"unexpected argument '--no-such-flag'"* ]] ;;
esac"#;

/// Only root may give files to others.
const INSTALL: &str = r#"
args=()
while [ $# -gt 0 ]; do
    case $1 in
        -o | -g) [ "$2" = agira-worker ] && shift ;;
        *) args+=("$1") ;;
    esac
    shift
done
exec /usr/bin/install "${args[@]}""#;

const USERADD: &str = r#"[ "$*" = '--system --user-group agira-worker' ]"#;

const GIT: &str = r#"[ "$*" = "tag v$VERSION" ]"#;

struct Checkout {
    folder: tempfile::TempDir,
    cluster: Cluster,
    github: Github,
    weaviate: Weaviate,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bin, checkout) = (folder.path().join("bin"), folder.path().join("checkout"));
        let program = Path::new(env!("CARGO_BIN_EXE_agira-worker"));
        for new in [
            &bin,
            &checkout.join("target/release"),
            &folder.path().join("root/usr/local/bin"),
            &folder.path().join("root/etc/agira-worker"),
            &folder.path().join("root/var/log"),
        ] {
            std::fs::create_dir_all(new).unwrap();
        }
        symlink(program, checkout.join("target/release/agira-worker")).unwrap();
        for (name, script) in [
            ("cargo", CARGO),
            ("install", INSTALL),
            ("useradd", USERADD),
            ("git", GIT),
        ] {
            let path = bin.join(name);
            std::fs::write(
                &path,
                format!("#!/usr/bin/env bash\nset -euo pipefail\n{script}\n"),
            )
            .unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(program, bin.join("agira-worker")).unwrap();
        for name in [
            "Cargo.toml",
            "Cargo.lock",
            "README.md",
            "examples",
            "sql",
            "src",
            "tests",
        ] {
            symlink(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
                checkout.join(name),
            )
            .unwrap();
        }
        Self {
            folder,
            cluster: Cluster::of(&[]),
            github: Github::start(),
            weaviate: Weaviate::start(),
        }
    }

    /// Executes a block as a person at a shell who has set the variables and stored the secrets.
    #[track_caller]
    fn carry_out(&self, block: &str) {
        let root = self.folder.path().join("root");
        let secrets = root.join("etc/agira-worker");
        let (database, token) = (secrets.join("database-url"), secrets.join("github-token"));
        std::fs::write(&database, self.cluster.url(TEMPLATE)).unwrap();
        std::fs::write(&token, TOKEN).unwrap();
        let variables = [
            ("OWNER_URL", self.cluster.url(TEMPLATE).into()),
            ("DATABASE_URL_FILE", database.into_os_string()),
            ("GITHUB_TOKEN_FILE", token.into_os_string()),
            ("WEAVIATE_URL", self.weaviate.url().into()),
        ];
        let is_set = |line: &str| {
            variables
                .iter()
                .any(|(name, _)| line.starts_with(&format!("export {name}=")))
        };
        let lines = block.lines().filter(|line| !is_set(line));
        let mut block = lines.collect::<Vec<_>>().join("\n");
        for place in ["/usr/local", "/etc/agira-worker", "/var/log"] {
            block = block.replace(&format!("{place}/"), &format!("{}{place}/", root.display()));
        }
        let at = |name: &str| self.folder.path().join(name);
        let program = Path::new(env!("CARGO_BIN_EXE_agira-worker"));
        let path = std::env::join_paths(
            std::iter::once(at("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        // psql would ask for a password at the terminal, if there is one.
        let mut reader = Command::new("setsid");
        reader
            .args(["--wait", "bash", "-euo", "pipefail", "-c", &block])
            .current_dir(at("checkout"))
            .env("PATH", path.unwrap())
            .env("EXAMPLES", program.with_file_name("examples"))
            .env("IT", std::env::current_exe().unwrap())
            .env("REAL_CARGO", env!("CARGO"))
            .env("VERSION", env!("CARGO_PKG_VERSION"))
            .env("GITHUB_API_URL", self.github.url())
            .envs(variables);
        let output = kit::wait::output(&mut reader).expect("setsid");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{block}{said}");
    }

    fn one<T: postgres::types::FromSqlOwned>(&self, sql: &str) -> T {
        let mut client =
            postgres::Client::connect(&self.cluster.url(TEMPLATE), postgres::NoTls).unwrap();
        client.query_one(sql, &[]).unwrap().get(0)
    }

    fn installed(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join("root");
        let mut files = Vec::new();
        crate::surroundings::hygiene::files_below(&root, &mut files);
        files
            .iter()
            .map(|file| file.strip_prefix(&root).unwrap().to_owned())
            .collect()
    }
}

/// Replaces calls of scripts by a syntax check, because the test cannot run them within itself.
fn without_scripts(block: &str) -> String {
    let lines = block.lines().map(|line| {
        match line.starts_with("tests/") || line.starts_with("examples/") {
            true => format!("bash -n {line}\n"),
            false => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn every_block_of_commands_works() {
    let checkout = Checkout::new();
    let has_columns = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attname = 'worker_due_at')";
    let has_role = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'agira_worker')";
    let all: Vec<&str> = DOCUMENTS
        .iter()
        .flat_map(|(_, text)| blocks(text, "sh"))
        .collect();
    assert!(all.len() >= 10, "{all:?}");
    for block in &all {
        checkout.carry_out(&without_scripts(block));
        let is_end = block.contains("sql/uninstall.sql");
        if is_end || block.contains("role.sql") {
            assert_eq!(checkout.one::<bool>(has_columns), !is_end, "{block}");
            assert_eq!(checkout.one::<bool>(has_role), !is_end, "{block}");
        }
    }
    let installed = checkout.installed();
    for (file, count) in [
        ("share/man/man1", 5),
        ("bash-completion", 1),
        ("zsh", 1),
        ("fish", 1),
    ] {
        let found = installed
            .iter()
            .filter(|path| path.to_string_lossy().contains(file))
            .count();
        assert_eq!(found, count, "{file}: {installed:?}");
    }
}

#[test]
fn a_block_with_a_mistake_fails() {
    let checkout = Checkout::new();
    for wrong in [
        "cargo install --locked --pth .",
        "cargo build --release --lockd",
        "cargo test --test it no_such_test",
        "cargo run --release --example benchmark -- --no-such",
        "git tag v9.9.9",
        "psql -v ON_ERROR_STOP=1 -d \"$OWNER_URL\" -f sql/no-such.sql",
        "agira-worker sync --no-such-flag",
    ] {
        let found =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| checkout.carry_out(wrong)));
        assert!(found.is_err(), "{wrong}");
    }
}

#[test]
fn the_cron_line_in_the_readme_is_in_the_crontab() {
    let shown = blocks(README, "text");
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(
        shown[0]
            .lines()
            .all(|line| CRONTAB.lines().any(|other| other == line)),
        "{shown:?}"
    );
    // No block escapes these tests by another language name.
    for (path, text) in DOCUMENTS {
        let fences = text.lines().filter(|line| line.starts_with("```"));
        let named = fences.filter(|line| line.len() > 3).count();
        let known = blocks(text, "text").len() + blocks(text, "sh").len();
        assert_eq!(named, known, "{path}");
    }
}
