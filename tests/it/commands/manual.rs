//! Man pages and completions, as `examples/manual/main.rs` writes them, checked by the tools that read them.

use std::path::{Path, PathBuf};
use std::process::Command;

use agira_worker::cli::Cli;
use clap::CommandFactory;

/// Runs the example, which Cargo builds beside the tests; returns the files that it writes.
pub fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_agira-worker"))
        .with_file_name("examples")
        .join("manual");
    let output = Command::new(&program)
        .arg(folder.path())
        .output()
        .expect("the example is built with the tests");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files = ["man1", "completions"]
        .iter()
        .flat_map(|part| std::fs::read_dir(folder.path().join(part)).unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    (folder, files)
}

fn names(files: &[PathBuf]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn there_is_a_page_for_the_program_and_each_command_and_a_completion_for_each_shell() {
    let (_folder, files) = written();
    let mut expected: Vec<String> = ["_agira-worker", "agira-worker.bash", "agira-worker.fish"]
        .map(str::to_owned)
        .into();
    let mut pages: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| format!("agira-worker-{}.1", command.get_name()))
        .collect();
    pages.push("agira-worker.1".to_owned());
    pages.sort();
    expected.extend(pages);
    assert_eq!(names(&files), expected);
}

#[test]
fn the_man_pages_have_an_exit_status_section() {
    let (folder, _) = written();
    let page = std::fs::read_to_string(folder.path().join("man1/agira-worker.1")).unwrap();
    let (_, section) = page
        .split_once("\n.SH \"EXIT STATUS\"\n")
        .expect("a section");
    let (section, _) = section.split_once("\n.SH ").unwrap();
    let codes: Vec<u8> = section
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert_eq!(codes, agira_worker::EXIT_CODES.map(|(code, _)| code));
}

#[test]
fn the_page_of_the_program_has_the_sections_of_the_manual() {
    let (folder, _) = written();
    let page = std::fs::read_to_string(folder.path().join("man1/agira-worker.1")).unwrap();
    let manual = include_str!("../../../examples/manual/README.md").lines();
    let headings = manual.filter_map(|line| line.strip_prefix("## "));
    for heading in headings.chain(["Environment"]) {
        let section = format!("\n.SH \"{}\"\n", heading.to_uppercase());
        assert_eq!(page.matches(&section).count(), 1, "{heading}");
    }
    let row = "\n.TP\n\\fBGITHUB_API_URL\\fR\ndefault \\fBhttps://api.github.com\\fR";
    assert!(page.contains(row), "{page}");
    let (_, own) = page.split_once(".SH \"ENVIRONMENT\"").unwrap();
    assert!(!own.contains("](") && !own.contains('`'), "{own}");
}

/// Checks that the tool succeeds without output for each file with this suffix.
fn check(tool: &str, args: &[&str], files: &[PathBuf], ends: &str) {
    let chosen: Vec<&PathBuf> = files
        .iter()
        .filter(|file| file.to_string_lossy().ends_with(ends))
        .collect();
    assert!(!chosen.is_empty(), "{ends}");
    for file in chosen {
        let output = Command::new(tool)
            .args(args)
            .arg(file)
            .output()
            .unwrap_or_else(|error| panic!("{tool}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        let said = format!("{}{said}", String::from_utf8_lossy(&output.stdout));
        assert!(
            output.status.success() && said.is_empty(),
            "{tool} {}: {said}",
            file.display()
        );
    }
}

#[test]
fn bash_reads_its_completions() {
    let (_folder, files) = written();
    check("bash", &["-n"], &files, ".bash");
}

#[test]
#[ignore = "needs zsh, fish, mandoc and groff"]
fn other_shells_and_man_page_tools_report_no_problem() {
    let (_folder, files) = written();
    check("zsh", &["-n"], &files, "_agira-worker");
    check("fish", &["--no-execute"], &files, ".fish");
    check("mandoc", &["-Tlint", "-Wwarning"], &files, ".1");
    check("groff", &["-man", "-ww", "-z", "-Tutf8"], &files, ".1");
}
