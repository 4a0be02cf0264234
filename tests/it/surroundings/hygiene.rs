//! Rules that hold for the source tree as a whole: layers, layout, licences, the oldest compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => files_below(&path, files),
            path => files.push(path),
        }
    }
}

/// Each module with those that it may use besides itself: imports point down only.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli", "run"]),
    (
        "lib",
        &[
            "cli", "commands", "config", "logging", "core", "db", "github", "http", "secret",
            "weaviate", "signal", "run",
        ],
    ),
    ("cli", &["commands"]),
    ("config", &["commands", "github", "secret"]),
    ("logging", &["commands", "core"]),
    (
        "commands",
        &[
            "core", "db", "github", "weaviate", "http", "secret", "signal",
        ],
    ),
    ("db", &["core", "secret"]),
    ("github", &["http", "core", "secret", "signal"]),
    ("weaviate", &["http", "core", "signal"]),
    ("http", &["core", "signal"]),
    ("secret", &[]),
    ("signal", &[]),
    ("core", &[]),
];

#[test]
fn imports_point_down_only() {
    let source = root().join("src");
    let mut files = Vec::new();
    files_below(&source, &mut files);
    let path = regex::Regex::new(r"\b(?:crate|agira_worker)::(?:\{([^}]*)\}|(\w+))").unwrap();
    let mut seen = BTreeSet::new();
    for file in files.iter().filter(|file| !file.ends_with("build.rs")) {
        let first = file
            .strip_prefix(&source)
            .unwrap()
            .components()
            .next()
            .unwrap();
        let module = Path::new(&first)
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let allowed = LAYERS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("no layer for {module}"))
            .1;
        let text = std::fs::read_to_string(file).unwrap();
        for found in path.captures_iter(&text) {
            let named = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
            for used in named
                .split(',')
                .map(|part| part.trim().split("::").next().unwrap())
            {
                assert!(
                    used == module || allowed.contains(&used),
                    "{}: {module} must not use {used}",
                    file.display()
                );
                seen.insert((module.clone(), used.to_owned()));
            }
        }
    }
    assert!(
        seen.contains(&("commands".to_owned(), "core".to_owned())),
        "{seen:?}"
    );
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
    let listed = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output()
        .expect("git");
    let text = String::from_utf8(listed.stdout).unwrap();
    let top: BTreeSet<&str> = text
        .lines()
        .map(|line| line.split('/').next().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(top, BTreeSet::from(agreed));
}

/// All packages that the lock file names, of whatever platform.
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
fn every_package_has_a_licence_that_a_user_can_live_with() {
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
    // Names its licence (MIT) in a file only; used by tests alone.
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
fn every_package_comes_from_the_registry_and_builds_with_our_oldest_compiler() {
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
                ["agira-worker", "kit"].iter().any(|ours| name == ours),
                "{name}"
            ),
        }
    }
}
