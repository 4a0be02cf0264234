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

#[test]
fn every_flag_has_a_description_and_every_page_has_examples() {
    let (_folder, files) = written();
    let pages = files
        .iter()
        .filter(|file| file.to_string_lossy().ends_with(".1"));
    for page in pages {
        let text = std::fs::read_to_string(page).unwrap();
        let entries = text.split("\n.TP\n").skip(1);
        for entry in entries.filter(|entry| entry.contains("\\-\\-")) {
            let description = entry.lines().nth(1).unwrap_or_default();
            assert!(!description.is_empty(), "{}: {entry}", page.display());
        }
        assert!(text.contains("\n.SH EXAMPLES\n"), "{}", page.display());
    }
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

/// Beginnings of command lines, each with the only word that completes its last one.
const WORDS: [(&str, &str); 6] = [
    ("agira-worker pu", "push-weaviate"),
    ("agira-worker --all", "--allow-http"),
    ("agira-worker sync --dry", "--dry-run"),
    ("agira-worker push-weaviate --max-a", "--max-attempts"),
    (
        "agira-worker retry-failed --keep-status Rea",
        "ReadyForRelease",
    ),
    ("agira-worker status --output j", "json"),
];

/// Prints the words with which bash would replace the last one of the line $2, with the completions in the file $1.
const BASH: &str = r#"source "$1"
read -ra COMP_WORDS <<< "$2"
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
spec=$(complete -p agira-worker)
spec=${spec#*-F }
"${spec%% *}" agira-worker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Prints what stands on the command line of an interactive zsh after the line $2 and the tabulator, with the
/// completions in the folder $1.
const ZSH: &str = r#"zmodload zsh/zpty
out=$(mktemp -d)
cat > $out/setup <<END
PROMPT=; fpath=($1 \$fpath)
autoload -Uz compinit; compinit -u -d $out/dump
show() { print -r -- "\$BUFFER" > $out/line; }
zle -N show; bindkey '^I' complete-word; bindkey '^X' show
touch $out/ready
END
zpty shell zsh -f -i
zpty -w shell "source $out/setup"
until [[ -e $out/ready ]]; do sleep 0.1; done
zpty -w -n shell "$2"$'\t\x18'
until [[ -s $out/line ]]; do zpty -r -t shell chunk; sleep 0.1; done
cat $out/line
zpty -d shell
rm -r $out
"#;

/// Checks that the shell, which a command of it describes, completes each of the words.
fn completes(command: impl Fn(&Path, &str) -> Command) {
    let (folder, _) = written();
    let folder = folder.path().join("completions");
    for (line, word) in WORDS {
        let output = kit::wait::output(&mut command(&folder, line)).expect("the shell");
        let said = String::from_utf8_lossy(&output.stdout);
        // zsh prints the line and may add a sign, and fish adds a description.
        let words = said.split(|sign: char| sign.is_whitespace() || sign == '=');
        let behind = words.filter(|found| !found.is_empty());
        assert!(
            behind.clone().any(|found| found == word),
            "{line}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn shell(program: &str, args: &[&str], more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).args(more);
    command
}

#[test]
fn bash_completes_a_word_behind_each_command() {
    completes(|folder, line| {
        let file = folder.join("agira-worker.bash");
        let args = ["--norc", "--noprofile", "-c", BASH, "bash"];
        shell("bash", &args, &[file.to_str().unwrap(), line])
    });
}

#[test]
#[ignore = "needs zsh"]
fn zsh_completes_a_word_behind_each_command() {
    completes(|folder, line| {
        let args = ["-f", "-c", ZSH, "zsh"];
        shell("zsh", &args, &[folder.to_str().unwrap(), line])
    });
}

#[test]
#[ignore = "needs fish"]
fn fish_completes_a_word_behind_each_command() {
    completes(|folder, line| {
        let file = folder.join("agira-worker.fish");
        let script = format!("source {}; complete --do-complete '{line}'", file.display());
        shell("fish", &["--no-config", "-c"], &[&script])
    });
}

#[test]
#[ignore = "needs mandoc and groff"]
fn the_man_page_tools_report_no_problem() {
    let (_folder, files) = written();
    check("mandoc", &["-Tlint", "-Wwarning"], &files, ".1");
    check("groff", &["-man", "-ww", "-z", "-Tutf8"], &files, ".1");
}
