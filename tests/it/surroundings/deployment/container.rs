//! The Containerfile. A parser reads it, tests compare it with the checkout and the manual, and it is built if a
//! builder can reach the registries of its base images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use parse_dockerfile::{CopyInstruction, Dockerfile, Instruction, Source, parse};

use super::{all, example};
use crate::surroundings::hygiene::files_of_the_project;

const CONTAINERFILE: &str = include_str!("../../../../examples/container/Containerfile");
const IGNORED: &str = include_str!("../../../../.dockerignore");
const MANUAL: &str = include_str!("../../../../examples/manual/README.md");

fn read() -> Dockerfile<'static> {
    parse(CONTAINERFILE).unwrap_or_else(|error| panic!("Containerfile: {error}"))
}

/// Returns stage, source and destination of every file that is copied.
fn copies(instructions: &[Instruction<'_>]) -> Vec<(Option<String>, String, String)> {
    let copy = |instruction: &CopyInstruction<'_>| {
        let mut options = instruction.options.iter();
        let from = options
            .find(|flag| flag.name.value == "from")
            .and_then(|flag| flag.value.as_ref())
            .map(|value| value.value.to_string());
        let sources: Vec<String> = instruction
            .src
            .iter()
            .map(|source| match source {
                Source::Path(source) => source.value.to_string(),
                _ => panic!("only files: {instruction:?}"),
            })
            .collect();
        let destination = instruction.dest.value.to_string();
        sources
            .into_iter()
            .map(move |source| (from.clone(), source, destination.clone()))
    };
    instructions
        .iter()
        .filter_map(|one| match one {
            Instruction::Copy(one) => Some(copy(one)),
            _ => None,
        })
        .flatten()
        .collect()
}

/// Returns the folders of the manual's files in the block that installs them.
fn installed_by_hand() -> BTreeSet<(String, String)> {
    let line = regex::Regex::new(r"(?m)^install -D -m 644 (?:-t (\S+) )?manual/(\S+)(?: (\S+))?$")
        .unwrap();
    let found = line.captures_iter(MANUAL).map(|found| {
        let (source, folder) = (found[2].trim_end_matches("*.1").to_owned(), found.get(1));
        let name = Path::new(&source)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let target = match (folder, source.ends_with('/')) {
            (Some(folder), true) => format!("{}/", folder.as_str()),
            (Some(folder), false) => format!("{}/{name}", folder.as_str()),
            (None, _) => found[3].to_owned(),
        };
        (source, target)
    });
    found.collect()
}

#[test]
fn the_image_holds_the_program_and_the_manual_where_people_put_them() {
    let file = read();
    let stages: Vec<_> = file.stages().collect();
    assert_eq!(stages.len(), 2);
    let copied = copies(stages[1].instructions);
    assert!(
        copied.iter().all(|(from, ..)| from.as_deref()
            == stages[0].from.as_.as_ref().map(|(_, name)| &*name.value))
    );
    let program = (
        "/src/target/release/agira-worker".to_owned(),
        "/usr/local/bin/agira-worker".to_owned(),
    );
    assert!(
        copied
            .iter()
            .any(|(_, source, target)| (source, target) == (&program.0, &program.1)),
        "{copied:?}"
    );
    let sql = copied
        .iter()
        .filter(|(_, source, _)| source.ends_with(".sql"));
    let sql: Vec<&str> = sql
        .map(|(_, source, _)| source.trim_start_matches("/src/"))
        .collect();
    assert_eq!(
        sql,
        [
            "sql/worker.sql",
            "sql/uninstall.sql",
            "examples/sql/role.sql"
        ]
    );
    let manual: BTreeSet<(String, String)> = copied
        .iter()
        .filter_map(|(_, source, target)| {
            let source = source.strip_prefix("/manual/")?.to_owned();
            let name = Path::new(&source)
                .file_name()?
                .to_string_lossy()
                .into_owned();
            let is_folder = source.ends_with('/') || !target.ends_with('/');
            Some((
                source,
                if is_folder {
                    target.clone()
                } else {
                    format!("{target}{name}")
                },
            ))
        })
        .collect();
    assert_eq!(manual, installed_by_hand());
    let (folder, _) = crate::commands::manual::written();
    for (source, _) in &manual {
        assert!(
            folder.path().join(source).exists(),
            "the manual has no {source}"
        );
    }
}

#[test]
fn the_image_has_pinned_base_images_and_does_not_run_as_root() {
    let file = read();
    for stage in file.stages() {
        let image = &stage.from.image.value;
        assert!(
            image
                .rsplit_once(':')
                .is_some_and(|(_, tag)| tag != "latest"),
            "{image}"
        );
    }
    let last = file.stages().last().unwrap();
    let user = last.instructions.iter().find_map(|one| {
        if let Instruction::User(one) = one {
            Some(one)
        } else {
            None
        }
    });
    let user = &user.expect("a user").arguments.value;
    assert!(
        user.split(':')
            .all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "Kubernetes compares numbers: {user}"
    );
    let rust = regex::Regex::new(r"/rust:1\.(\d+)")
        .unwrap()
        .captures(CONTAINERFILE)
        .unwrap()[1]
        .parse::<u32>()
        .unwrap();
    let oldest = env!("CARGO_PKG_RUST_VERSION")
        .split('.')
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!(rust >= oldest, "{rust} < {oldest}");
}

/// Ignored files are in no commit, and every file that a build reads is included.
#[test]
fn the_build_ignores_no_tracked_file() {
    let left_out: Vec<&str> = IGNORED
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert!(left_out.contains(&"/target"));
    let tracked = files_of_the_project();
    for pattern in left_out {
        let folder = pattern
            .strip_prefix('/')
            .expect("from the top of the checkout");
        assert!(!folder.contains(['*', '!']), "{pattern}");
        assert!(
            !tracked
                .iter()
                .any(|file| Path::new(file).starts_with(folder)),
            "{pattern}"
        );
    }
}

/// Needs npm; `tests/run.sh` names the version of the linter.
#[test]
#[ignore = "needs the linter dockerfile-utils"]
fn linter_finds_nothing_in_the_containerfile() {
    let linter =
        std::env::var("AGIRA_WORKER_DOCKERFILE_LINTER").expect("the command that lints a file");
    let lint = |file: &PathBuf| {
        let mut words = linter.split(' ');
        Command::new(words.next().unwrap())
            .args(words)
            .arg(file)
            .output()
            .unwrap()
    };
    let output = lint(&example("container/Containerfile"));
    assert!(
        output.status.success() && all(&output).trim().is_empty(),
        "{}",
        all(&output)
    );
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("Containerfile");
    std::fs::write(&broken, CONTAINERFILE.replace("ENTRYPOINT", "ENTRYPONT")).unwrap();
    assert!(
        !lint(&broken).status.success(),
        "an unknown instruction is found"
    );
}
