//! The program runs with the variables and arguments that each example gives it.

use std::path::Path;

use kit::github::TOKEN;
use serde_json::Value;

use crate::harness::{Run, World};

use super::{CRONTAB, KUBERNETES, SERVICE};

/// Variables and arguments of the program.
struct Start {
    variables: Vec<(String, String)>,
    args: Vec<String>,
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("{text}"));
    (name.to_owned(), value.to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn of_crontab() -> Start {
    let lines: Vec<&str> = CRONTAB
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let entry = lines
        .iter()
        .find_map(|line| line.split_once("agira-worker "))
        .expect("an entry")
        .1;
    let variables = lines
        .iter()
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()));
    Start {
        variables: variables.map(|line| pair(line)).collect(),
        args: words(entry.split(">>").next().unwrap()),
    }
}

fn of_systemd() -> Start {
    let of = |key: &'static str| {
        SERVICE
            .lines()
            .filter_map(move |line| line.strip_prefix(key))
    };
    let variables = of("Environment=")
        .flat_map(|line| line.split(' '))
        .map(pair)
        .collect();
    Start {
        variables,
        args: words(
            of("ExecStart=/usr/local/bin/agira-worker ")
                .next()
                .expect("a command"),
        ),
    }
}

fn of_kubernetes() -> Start {
    let documents = KUBERNETES
        .split("\n---\n")
        .map(|text| serde_yaml_ng::from_str::<Value>(text).unwrap());
    let job = documents
        .into_iter()
        .find(|one| one["kind"] == "CronJob")
        .expect("a CronJob");
    let container = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let variables = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["name"]), text(&one["value"])));
    Start {
        variables: variables.collect(),
        args: container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect(),
    }
}

#[test]
fn the_program_accepts_the_variables_and_arguments_of_each_example() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let secrets = [
        ("DATABASE_URL", world.database.worker_url()),
        ("GITHUB_TOKEN", TOKEN.to_owned()),
    ];
    for (name, start) in [
        ("crontab", of_crontab()),
        ("systemd", of_systemd()),
        ("Kubernetes", of_kubernetes()),
    ] {
        let args: Vec<&str> = start.args.iter().map(String::as_str).collect();
        let mut command = world.command(&args);
        for needed in ["DATABASE_URL", "GITHUB_TOKEN", "WEAVIATE_URL"] {
            command.env_remove(needed);
        }
        for (variable, value) in &start.variables {
            let secret = secrets
                .iter()
                .find(|(name, _)| Some(*name) == variable.strip_suffix("_FILE"));
            match secret {
                // This machine does not have the path of the example.
                Some((name, secret)) => {
                    assert!(
                        Path::new(&value.replace("%d", "/")).is_absolute(),
                        "{value}"
                    );
                    let path = folder.path().join(name);
                    std::fs::write(&path, secret).unwrap();
                    command.env(variable, path)
                }
                None => command.env(variable, value),
            };
        }
        // There are no mappings, so the program does not contact the Weaviate of the example.
        let run = Run::of(&mut command);
        assert_eq!(run.code, 0, "{name}: {}", run.all());
    }
}
