//! What runs cost, counted by the simulators and by PostgreSQL itself.

use serde_json::Value;

use crate::world::World;

const CLOSED_AT: &str = "2026-03-01T10:00:00Z";

/// Requests and statements of one run.
struct Cost {
    github: usize,
    reads: usize,
    batches: usize,
    statements: i64,
    /// What the run itself says.
    report: Value,
}

fn cost(world: &World, args: &[&str]) -> Cost {
    world.github.clear_log();
    world.weaviate.clear_log();
    world.database.reset_statements();
    let report = world.run(args).exits(0).json();
    let statements = world.database.statements().iter().map(|(_, calls)| calls).sum();
    Cost {
        github: world.github.requests().len(),
        reads: world.weaviate.reads(),
        batches: world.weaviate.batches(),
        statements,
        report,
    }
}

/// Issues, every second of them with a pull request.
fn world_of(issues: i32) -> World {
    let mut world = World::new();
    for number in 1..=issues {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        if number % 2 == 0 {
            let pull_request = format!("acme/shop#{}", 10_000 + number);
            world.github.pull_request(&pull_request, |_| {});
            world.github.issue(&key, |issue| issue.references = vec![pull_request]);
        }
        world.github.close(&key, CLOSED_AT);
    }
    world
}

#[test]
fn a_first_run_costs_by_the_page_and_the_changed_row() {
    let world = world_of(200);
    let cost = cost(&world, &["sync", "--limit", "200", "--output", "json"]);
    let (rows, slices) = (300, 3);
    assert_eq!(cost.report["claimed"], rows);
    assert!(cost.github <= rows / 20, "{} GitHub requests", cost.github);
    // Two objects for an issue, one for a pull request: 500 in all, by slices of 100 rows.
    assert!(cost.reads <= 500 / 100 + slices, "{} status reads", cost.reads);
    assert!(cost.batches <= 500 / 100 + slices, "{} batches", cost.batches);
    assert!(cost.statements <= 7 * rows as i64 + 20, "{} statements", cost.statements);
}

#[test]
fn looking_at_what_did_not_change_costs_no_statement_of_its_own() {
    let world = world_of(200);
    world.run(&["sync", "--limit", "200"]).exits(0);
    let cost = cost(&world, &["sync", "--recheck-now", "--limit", "300", "--output", "json"]);
    assert_eq!((&cost.report["claimed"], &cost.report["unchanged"]), (&300.into(), &300.into()));
    assert!(cost.github <= 300 / 20, "{} GitHub requests", cost.github);
    assert_eq!(cost.batches, 0);
    let slices = 3;
    assert!(cost.statements <= 20 + 4 * slices, "{} statements", cost.statements);
}

#[test]
fn a_run_with_nothing_due_asks_what_changed_and_nothing_else() {
    let world = world_of(2);
    world.sync();
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!((cost.github, cost.reads, cost.batches), (1, 0, 0));
    assert!(cost.statements <= 14, "{} statements", cost.statements);
}

#[test]
fn the_report_counts_what_was_really_asked() {
    let world = world_of(30);
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!(cost.report["github"]["requests"], cost.github);
    assert_eq!(cost.report["weaviate"]["requests"], world.weaviate.requests().len());
    assert_eq!(cost.report["database"]["statements"], cost.statements);
}

#[test]
fn each_service_is_asked_over_one_kept_alive_connection() {
    let world = world_of(60);
    world.sync();
    for exchanges in [world.github.requests(), world.weaviate.requests()] {
        assert!(exchanges.len() > 1);
        let connections: std::collections::BTreeSet<_> =
            exchanges.iter().map(|exchange| exchange.request.connection).collect();
        assert_eq!(connections.len(), 1, "{connections:?}");
    }
}
