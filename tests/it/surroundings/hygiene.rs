//! Rules for the whole source tree: layers, layout, licenses, the oldest compiler.

mod imports;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{Source, circles};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the paths of the files that belong to the project: what git tracks, or everything but
/// build results in a copy without git.
pub fn files_of_the_project() -> Vec<String> {
    let mut git = Command::new("git");
    let listed = git.args(["ls-files"]).current_dir(root()).output();
    if let Ok(listed) = listed
        && listed.status.success()
    {
        let text = String::from_utf8(listed.stdout).unwrap();
        return text.lines().map(str::to_owned).collect();
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root()).unwrap().map(Result::unwrap) {
        match entry.path() {
            built if built.ends_with("target") || built.ends_with(".git") => {}
            folder if folder.is_dir() => files_below(&folder, &mut files),
            file => files.push(file),
        }
    }
    let inside = files.iter().map(|file| file.strip_prefix(root()).unwrap());
    inside
        .map(|file| file.to_str().unwrap().to_owned())
        .collect()
}

pub fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => files_below(&path, files),
            path => files.push(path),
        }
    }
}

/// The rooms of `src`, each with the rooms that it may import: imports point down only.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["lib", "cli"]),
    (
        "lib",
        &[
            "cli", "commands", "config", "logging", "run", "report", "secret", "signal", "watchdog",
        ],
    ),
    ("cli", &["commands", "config", "report", "run"]),
    (
        "commands",
        &[
            "run", "report", "config", "db", "github", "weaviate", "http", "secret", "signal",
            "core",
        ],
    ),
    (
        "run",
        &[
            "report", "config", "db", "github", "weaviate", "http", "secret", "signal", "core",
        ],
    ),
    ("report", &["core", "signal"]),
    ("config", &["github", "secret"]),
    ("watchdog", &["report", "signal"]),
    ("logging", &["commands", "core", "report"]),
    ("db", &["core", "secret", "signal"]),
    ("github", &["http", "core", "signal"]),
    ("weaviate", &["http", "core", "signal"]),
    ("http", &["core", "signal"]),
    ("secret", &["core"]),
    ("signal", &["core"]),
    ("core", &[]),
];

/// Returns the files of `src` by their paths below it, with their texts; the build script is a program of its own.
fn source() -> BTreeMap<String, String> {
    let folder = root().join("src");
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    let files = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
        .map(|file| {
            let name = file.strip_prefix(&folder).unwrap().to_str().unwrap();
            (name.to_owned(), std::fs::read_to_string(file).unwrap())
        })
        .filter(|(name, _)| name != "build.rs")
        .collect()
}

/// Returns the room of a file: the folder or the file that is directly in `src`.
fn room(file: &str) -> &str {
    let first = file.split('/').next().expect("a name");
    first.trim_end_matches(".rs")
}

#[test]
fn imports_point_down_only() {
    let imports = Source::read(&source()).imports();
    let is_allowed = |from: &str, to: &str| {
        let layer = LAYERS.iter().find(|(name, _)| *name == from);
        let (_, allowed) = layer.unwrap_or_else(|| panic!("no layer for {from}"));
        from == to || allowed.contains(&to)
    };
    let upward: Vec<String> = imports
        .iter()
        .filter(|((from, to), _)| !is_allowed(room(from), room(to)))
        .map(|((from, to), path)| format!("{from} must not use {to} ({path})"))
        .collect();
    assert!(upward.is_empty(), "{upward:#?}");
    // At least some imports were resolved.
    assert!(imports.len() > 100, "{imports:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let source = Source::read(&source());
    let circles = circles(&source.imports(), &source.fronts());
    assert!(
        circles.is_empty(),
        "{} circles: {circles:#?}",
        circles.len()
    );
}

#[test]
fn files_functions_and_parameter_lists_are_short() {
    let exceeded: Vec<String> = source()
        .iter()
        .filter(|(name, _)| !name.contains("tests"))
        .flat_map(|(name, text)| limits::exceeded(name, text))
        .collect();
    assert!(exceeded.is_empty(), "{exceeded:#?}");
}

/// Invariant 1: core modules do no I/O, read no clock and do not log.
#[test]
fn the_core_does_no_io() {
    let mut files = Vec::new();
    files_below(&root().join("src/core"), &mut files);
    assert!(files.len() > 5);
    let forbidden = [
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::time",
        "std::process",
        "Utc::now",
        "log::",
        "reqwest",
        "postgres::",
        "println!",
    ];
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in forbidden {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}

#[test]
fn the_top_level_holds_what_was_agreed_and_nothing_else() {
    let agreed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "sql",
        "tests",
        "examples",
        "crontab.example",
        "README.md",
    ];
    let files = files_of_the_project();
    let top: BTreeSet<&str> = files
        .iter()
        .map(|file| file.split('/').next().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(top, BTreeSet::from(agreed));
}

/// Returns all packages in the lock file, for every platform.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_package_has_an_accepted_license() {
    let accepted = [
        "MIT",
        "Apache-2.0",
        "ISC",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Unicode-3.0",
        "Zlib",
        "Unlicense",
        "MIT-0",
        "CDLA-Permissive-2.0",
    ];
    // The package states its license (MIT) only in a file; only tests use it.
    let in_a_file = ["jsonpath-rust"];
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        if in_a_file.contains(&name) {
            continue;
        }
        let licence = package["license"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} names no licence"));
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).unwrap();
        let accepted = expression.evaluate(|wanted| {
            accepted
                .iter()
                .any(|name| wanted.license.id() == spdx::license_id(name))
        });
        assert!(accepted, "{name} is under {licence}");
    }
}

#[test]
fn every_package_comes_from_the_registry_and_supports_our_oldest_compiler() {
    let version = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let packages = packages();
    let ours = packages
        .iter()
        .find(|package| package["name"] == "agira-worker")
        .unwrap();
    let oldest = version(ours["rust_version"].as_str().unwrap());
    for package in &packages {
        let name = &package["name"];
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(
                version(needed)[..2] <= oldest[..2],
                "{name} needs Rust {needed}"
            );
        }
        match package["source"].as_str() {
            Some(source) => assert!(
                source.starts_with("registry+"),
                "{name} comes from {source}"
            ),
            None => assert!(
                ["agira-worker", "demo", "kit"]
                    .iter()
                    .any(|ours| name == ours),
                "{name}"
            ),
        }
    }
}

/// The demo is the first thing that people build.
#[test]
fn the_demo_needs_nothing_but_the_program_and_the_kit() {
    let packages = packages();
    let needed = |name: &str| -> BTreeSet<String> {
        let package = packages.iter().find(|package| package["name"] == name);
        let all = package.unwrap()["dependencies"].as_array().unwrap();
        let names = all.iter().filter(|one| one["kind"] != "dev");
        names.map(|one| one["name"].to_string()).collect()
    };
    let mut known = needed("kit");
    known.extend(needed("agira-worker"));
    known.insert("\"kit\"".to_owned());
    assert!(needed("demo").is_subset(&known));
    let script = std::fs::read_to_string(root().join("examples/demo.sh")).unwrap();
    let builds = script
        .lines()
        .filter(|line| line.starts_with("cargo build"));
    for line in builds {
        assert!(
            line.contains(
                "--package agira-worker --bin agira-worker --package demo --example demo"
            )
        );
    }
}
