//! Alert rules and dashboard use only metrics that a run writes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::process::Command;

use agira_worker::cli::Cli;
use agira_worker::{EXIT_CODES, METRICS};
use clap::CommandFactory;
use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

const RULES: &str = include_str!("../../../examples/monitoring/agira-worker.rules.yaml");
const DASHBOARD: &str = include_str!("../../../examples/monitoring/agira-worker.dashboard.json");
const DOCUMENT: &str = include_str!("../../../examples/monitoring/README.md");

#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// Checks one expression; returns its metrics.
#[track_caller]
fn metrics(expression: &str) -> BTreeSet<String> {
    let parsed = parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut selectors = Selectors::default();
    let Ok(_) = walk_expr(&mut selectors, &parsed);
    assert!(!selectors.0.is_empty(), "{expression} asks for nothing");
    selectors
        .0
        .iter()
        .map(|selector| metric(expression, selector))
        .collect()
}

/// Returns the name of a metric, and checks that a run writes it with these label values.
#[track_caller]
fn metric(expression: &str, selector: &VectorSelector) -> String {
    let name = selector
        .name
        .clone()
        .unwrap_or_else(|| panic!("a selector without a name in {expression}"));
    let meaning = METRICS.iter().find(|(known, _)| *known == name);
    let (_, meaning) = meaning.unwrap_or_else(|| panic!("there is no metric {name}: {expression}"));
    let commands: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for matcher in &selector.matchers.matchers {
        let known = match (matcher.name.as_str(), &matcher.op) {
            ("instance", _) => true,
            ("command", MatchOp::Equal) => commands.contains(&matcher.value),
            ("command", MatchOp::Re(_)) => matcher.value == "$command",
            (label, MatchOp::Equal | MatchOp::NotEqual) => {
                let values = meaning
                    .split_once(&format!("`{label}`"))
                    .map_or("", |(_, values)| values);
                values
                    .split([' ', ',', ':'])
                    .any(|value| value == matcher.value)
            }
            _ => false,
        };
        assert!(known, "no run writes {name} with {matcher:?}: {expression}");
    }
    name
}

#[test]
fn alert_rules_use_only_metrics_that_a_run_writes() {
    let rules: Value = serde_yaml_ng::from_str(RULES).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for rule in rules {
        metrics(rule["expr"].as_str().unwrap());
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        for part in ["summary", "description"] {
            assert!(
                rule["annotations"][part].is_string(),
                "{name} has no {part}"
            );
        }
        assert!(
            DOCUMENT.contains(&format!("`{name}`")),
            "the document does not know {name}"
        );
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown: BTreeSet<String> = targets
        .flat_map(|target| metrics(target["expr"].as_str().expect("an expression")))
        .collect();
    let all: BTreeSet<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(shown, all);
    let ids: BTreeSet<i64> = panels
        .iter()
        .map(|panel| panel["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[test]
fn the_dashboard_filters_by_command_and_names_every_exit_code() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|one| one["name"] == "command"));
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let selectors = expression.matches('{').count();
        assert_eq!(
            expression.matches("command=").count(),
            selectors,
            "{expression}"
        );
    }
    let panel = panels.iter().find(|panel| panel["title"] == "Exit code");
    let defaults = &panel.unwrap()["fieldConfig"]["defaults"];
    let shown = defaults["mappings"][0]["options"].as_object().unwrap();
    let shown: BTreeSet<u8> = shown.keys().map(|code| code.parse().unwrap()).collect();
    // Wrong usage makes no run, and `status` writes no metrics.
    let codes = EXIT_CODES.iter().map(|(code, _)| *code);
    let of_runs: BTreeSet<u8> = codes.filter(|code| ![2, 4].contains(code)).collect();
    assert_eq!(shown, of_runs);
    let color = |code: &str| defaults["mappings"][0]["options"][code]["color"].clone();
    for (code, expected) in [
        ("0", "green"),
        ("3", "yellow"),
        ("75", "blue"),
        ("1", "red"),
    ] {
        assert_eq!(color(code), expected, "{code}");
    }
}

/// Needs promtool (Debian package `prometheus`); `tests/run.sh` runs this test if promtool is installed.
#[test]
#[ignore = "needs promtool"]
fn promtool_reads_the_alert_rules_and_they_fire_when_they_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for args in [
        [
            "check",
            "rules",
            "examples/monitoring/agira-worker.rules.yaml",
        ],
        ["test", "rules", "tests/alerts.yaml"],
    ] {
        let output = Command::new("promtool")
            .args(args)
            .current_dir(root)
            .output()
            .expect("promtool");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
    }
}
