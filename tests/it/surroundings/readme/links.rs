//! Whatever a document refers to exists: files, headings, and the paths that it only names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::DOCUMENTS;
use crate::surroundings::hygiene::files_of_the_project;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let is_kept = |letter: &char| letter.is_alphanumeric() || "- _".contains(*letter);
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(is_kept).collect::<String>())
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// Returns what is wrong with the links of a document.
fn broken_links(path: &str, text: &str) -> Vec<String> {
    let link = regex::Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let folder = root().join(path);
    let folder = folder.parent().expect("a folder");
    let mut broken = Vec::new();
    for found in link.captures_iter(text) {
        let target = &found[1];
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file: PathBuf = match file {
            "" => root().join(path),
            file => folder.join(file),
        };
        let is_whole = file.exists() && {
            let target = std::fs::read_to_string(&file).unwrap_or_default();
            anchor.is_empty() || anchors(&target).contains(anchor)
        };
        if !is_whole && !target.starts_with("https://") {
            broken.push(format!("{path}: {target}"));
        }
    }
    broken
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let found: Vec<String> = DOCUMENTS
        .iter()
        .flat_map(|(path, text)| broken_links(path, text))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    let wrong =
        "[a](src/design.md#no-such), [b](no-such.md), [c](#a-vectorizer), [d](src/design.md#data)";
    assert_eq!(
        broken_links("README.md", wrong),
        ["README.md: src/design.md#no-such", "README.md: no-such.md"]
    );
}

#[test]
fn every_path_that_a_document_names_exists() {
    let path =
        regex::Regex::new(r"`((?:src|sql|tests|examples)/[\w./-]*|crontab\.example)`").unwrap();
    let mut named = 0;
    for (document, text) in DOCUMENTS {
        for found in path.captures_iter(text) {
            named += 1;
            assert!(root().join(&found[1]).exists(), "{document}: {}", &found[1]);
        }
    }
    assert!(named > 30, "{named}");
}

/// A document that is not in the list would be checked by no test.
#[test]
fn every_document_is_checked() {
    let files = files_of_the_project();
    let documents = files.iter().filter(|file| file.ends_with(".md"));
    let listed: BTreeSet<&str> = documents.map(String::as_str).collect();
    let checked: BTreeSet<&str> = DOCUMENTS.iter().map(|(path, _)| *path).collect();
    assert_eq!(listed, checked);
}
