//! The deployment examples, each read by a tool that knows its format.

mod container;
mod environment;
mod package;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::str::FromStr;

use agira_worker::EXIT_CODES;

const CRONTAB: &str = include_str!("../../../crontab.example");
const SERVICE: &str = include_str!("../../../examples/systemd/agira-worker.service");
const KUBERNETES: &str = include_str!("../../../examples/kubernetes/agira-worker.yaml");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

fn all(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn cron_can_read_every_line_of_the_crontab() {
    let variable = regex::Regex::new(r"^[A-Z_]+=\S+$").unwrap();
    let entry = regex::Regex::new(r"^((?:\S+ ){4}\S+) (.*)$").unwrap();
    let lines = CRONTAB
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries: Vec<&str> = lines.filter(|line| !variable.is_match(line)).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    for line in entries {
        let parts = entry.captures(line).unwrap_or_else(|| panic!("{line}"));
        croner::Cron::from_str(&parts[1]).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(
            parts[2].starts_with("agira-worker sync") && !parts[2].contains('%'),
            "cron ends a command at %: {line}"
        );
    }
}

/// Returns the numbers on the line after `heading`.
fn codes(heading: &str, text: &str) -> Vec<u8> {
    let (_, rest) = text
        .split_once(heading)
        .unwrap_or_else(|| panic!("no {heading}"));
    let numbers = regex::Regex::new(r"\d+").unwrap();
    numbers
        .find_iter(rest.lines().next().unwrap())
        .map(|number| number.as_str().parse().unwrap())
        .collect()
}

#[test]
fn systemd_and_kubernetes_know_every_exit_code() {
    let ours = EXIT_CODES.iter().map(|(code, _)| *code);
    assert_eq!(codes("SuccessExitStatus=", SERVICE), [3, 75]);
    let failed = codes(
        "values: ",
        KUBERNETES.split_once("action: FailJob").unwrap().1,
    );
    let counted = codes(
        "values: ",
        KUBERNETES.split_once("action: Count").unwrap().1,
    );
    let mut named = [&[0][..], &failed, &counted].concat();
    named.sort_unstable();
    // The codes of signals depend on no policy, and only `status` returns 4.
    let expected: Vec<u8> = ours.filter(|code| *code != 4 && *code < 128).collect();
    assert_eq!(named, expected);
}

/// Needs systemd; `tests/run.sh` runs this test if systemd is installed.
#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_analyze_finds_nothing_in_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let timer = "agira-worker.timer";
    std::fs::copy(example("systemd").join(timer), folder.path().join(timer)).unwrap();
    // `systemd-analyze` requires that the program exists.
    let installed = SERVICE.replace(
        "/usr/local/bin/agira-worker",
        env!("CARGO_BIN_EXE_agira-worker"),
    );
    let service = folder.path().join("agira-worker.service");
    std::fs::write(&service, installed).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&service)
        .arg(folder.path().join(timer))
        .output()
        .unwrap();
    assert!(
        verified.status.success() && all(&verified).is_empty(),
        "{}",
        all(&verified)
    );
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=yes"])
        .arg(&service)
        .output()
        .unwrap();
    let said = all(&rated);
    let score = regex::Regex::new(r"agira-worker.service: (\d+\.\d+)").unwrap();
    let score = &score.captures(&said).unwrap_or_else(|| panic!("{said}"))[1];
    assert!(
        SERVICE.contains(&format!("rates its exposure {score} of 10")),
        "it is {score} now"
    );
}

/// Needs Go and modules from its proxy; `tests/run.sh` runs this test if Go is installed.
#[test]
#[ignore = "needs Go"]
fn kubernetes_own_types_parse_the_manifest() {
    let check = |file: &Path| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes");
        Command::new("go")
            .args(["run", "."])
            .arg(file)
            .current_dir(folder)
            .output()
            .expect("go")
    };
    for (manifest, expected) in [("agira-worker.yaml", 4), ("schema.yaml", 2)] {
        let read = check(&example("kubernetes").join(manifest));
        assert!(read.status.success(), "{}", all(&read));
        // Go reports its downloads on stderr.
        let objects = String::from_utf8_lossy(&read.stdout);
        assert_eq!(objects.lines().count(), expected, "{}", all(&read));
    }
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml");
    std::fs::write(
        &broken,
        KUBERNETES.replace("concurrencyPolicy", "concurencyPolicy"),
    )
    .unwrap();
    assert!(
        !check(&broken).status.success(),
        "an unknown field is found"
    );
}
