//! The cost of runs, counted by the simulators and by PostgreSQL itself.

use kit::agira;
use serde_json::Value;

use crate::fixtures::CLOSED_AT;
use crate::harness::World;

/// Requests and statements of one run.
struct Cost {
    github: usize,
    /// GitHub's points.
    points: i64,
    reads: usize,
    batches: usize,
    statements: i64,
    /// JSON report of the run.
    report: Value,
}

fn cost(world: &World, args: &[&str]) -> Cost {
    world.github.clear_log();
    world.weaviate.clear_log();
    world.database.reset_statements();
    let spent = world.github.spent();
    let report = world.run(args).exits(0).json();
    let statements = world
        .database
        .statements()
        .iter()
        .map(|(_, calls)| calls)
        .sum();
    Cost {
        github: world.github.requests().len(),
        points: world.github.spent() - spent,
        reads: world.weaviate.reads(),
        batches: world.weaviate.batches(),
        statements,
        report,
    }
}

/// Returns issues; every second one has a pull request.
fn world_of(issues: i32) -> World {
    let mut world = World::new();
    for number in 1..=issues {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        if number % 2 == 0 {
            let pull_request = format!("acme/shop#{}", 10_000 + number);
            world.closing_pull_request(&key, &pull_request);
        }
        world.github.close(&key, CLOSED_AT);
    }
    world
}

#[test]
fn the_cost_of_a_first_run_depends_on_pages_and_changed_rows() {
    let world = world_of(200);
    let cost = cost(&world, &["sync", "--limit", "200", "--output", "json"]);
    let (rows, slices) = (300, 3);
    assert_eq!(cost.report["claimed"], rows);
    assert!(cost.github <= rows / 20, "{} GitHub requests", cost.github);
    // An issue has two objects and a pull request has one: 500 objects in slices of 100 rows.
    assert!(
        cost.reads <= 500 / 100 + slices,
        "{} status reads",
        cost.reads
    );
    assert!(
        cost.batches <= 500 / 100 + slices,
        "{} batches",
        cost.batches
    );
    // Two slices of issues, two of pull requests, and what each run needs.
    assert!(cost.statements <= 65, "{} statements", cost.statements);
}

/// Returns the row versions that were written to all tables, and those of them that are heap-only.
fn versions(world: &mut World) -> (i64, i64) {
    // A session that goes on publishes its counts once a second at most.
    world.execute("SELECT pg_sleep(1.1)");
    let sum = |column: &str| format!("SELECT sum({column})::bigint FROM pg_stat_user_tables");
    (
        world.one(&sum("n_tup_ins + n_tup_upd")),
        world.one(&sum("n_tup_hot_upd")),
    )
}

/// Claim, apply and finish write a row once each, and the second of them adds no index entry where its page has room.
#[test]
fn a_step_writes_no_row_twice() {
    let mut world = world_of(200);
    let looks = 300;
    // The repository, the record of the run, and claims that a slow machine has to renew.
    let rest = 5 + 100;
    let [written, _] = written_by_a_run(&mut world);
    // An issue: its row in each step, its item, two activities. A pull request: its new row, two steps, its link.
    assert!(
        written <= 200 * 6 + 100 * 4 + rest,
        "{written} row versions"
    );

    // Later, all issues are closed again. An issue: its row in each step, its item, one activity. A pull request: two steps.
    for number in 1..=200 {
        let key = format!("acme/shop#{number}");
        world.github.reopen(&key, "2026-03-02T09:00:00Z");
        world.github.close(&key, "2026-03-02T10:00:00Z");
    }
    world.execute(
        "UPDATE core_item SET status = 'Working'; UPDATE core_externalissuemapping SET worker_due_at = now()",
    );
    // In an installation that has lived for a while, few of the items of a page change in one run, so that the page has room.
    for statement in [
        "ALTER TABLE core_item SET (fillfactor = 50)",
        "VACUUM FULL core_item",
        "VACUUM core_externalissuemapping",
    ] {
        world.execute(statement);
    }
    let [written, heap_only] = written_by_a_run(&mut world);
    assert!(written <= 4 * looks + rest, "{written} row versions");
    assert!(
        heap_only >= (written - rest) / 3,
        "{heap_only} of {written} are heap-only"
    );
}

/// Returns the number of row versions that a run writes, and of those that add no index entry.
fn written_by_a_run(world: &mut World) -> [i64; 2] {
    let before = versions(world);
    world.run(&["sync", "--limit", "300"]).exits(0);
    let after = versions(world);
    [after.0 - before.0, after.1 - before.1]
}

#[test]
fn checking_one_more_unchanged_mapping_costs_no_statement() {
    let world = world_of(200);
    world.run(&["sync", "--limit", "200"]).exits(0);
    let cost = cost(
        &world,
        &[
            "sync",
            "--recheck-now",
            "--limit",
            "300",
            "--output",
            "json",
        ],
    );
    assert_eq!(
        (&cost.report["claimed"], &cost.report["unchanged"]),
        (&300.into(), &300.into())
    );
    assert!(cost.github <= 300 / 20, "{} GitHub requests", cost.github);
    // 0.06 for each look, and one for the poll.
    assert!(cost.points <= 300 * 6 / 100 + 1, "{} points", cost.points);
    assert_eq!(cost.batches, 0);
    let slices = 3;
    assert!(
        cost.statements <= 20 + 5 * slices,
        "{} statements",
        cost.statements
    );
}

#[test]
fn a_run_with_nothing_due_sends_only_the_poll() {
    let world = world_of(2);
    world.sync();
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!((cost.github, cost.reads, cost.batches), (1, 0, 0));
    assert!(cost.statements <= 15, "{} statements", cost.statements);
}

#[test]
fn the_report_counts_the_requests_that_were_really_sent() {
    let world = world_of(30);
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!(cost.report["github"]["requests"], cost.github);
    assert_eq!(
        cost.report["weaviate"]["requests"],
        world.weaviate.requests().len()
    );
    assert_eq!(cost.report["database"]["statements"], cost.statements);
}

#[test]
fn each_service_gets_all_requests_over_one_connection() {
    let world = world_of(60);
    world.sync();
    for exchanges in [world.github.requests(), world.weaviate.requests()] {
        assert!(exchanges.len() > 1);
        let connections: std::collections::BTreeSet<_> = exchanges
            .iter()
            .map(|exchange| exchange.request.connection)
            .collect();
        assert_eq!(connections.len(), 1, "{connections:?}");
    }
}

/// Returns that many healthy waiting mappings of ten repositories, inserted directly as runs would leave them. GitHub
/// has only those issues that a test uses.
fn settled(mappings: i64) -> World {
    let mut world = World::new();
    let project = world.project("acme/repo-0");
    let first = agira::item(&mut world.client, project, "Working");
    let copied =
        "created_at, updated_at, title, description, solution_description, status, type_id, user_input, intern,
        short_description, suggested_model, pr_description, epic_order, claude_auth_mode, project_id";
    world.execute(&format!(
        "INSERT INTO core_item ({copied}) SELECT {copied} FROM core_item, generate_series(2, {mappings}) WHERE id = {first};
         INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, worker_due_at, worker_recheck_at, worker_checked_at, worker_external_updated_at, worker_pushed_at)
         SELECT n, n, 'Issue', 'open', 'https://github.com/acme/repo-' || n % 10 || '/issues/' || n, now(), {first} + n - 1, '', '',
            NULL, now() + interval '1 day', now(), '2026-01-01', now() FROM generate_series(1, {mappings}) n;
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor)
         SELECT 'acme/repo-' || n, now(), now() FROM generate_series(0, 9) n;
         ANALYZE"
    ));
    for repository in 0..10 {
        world.github.issue(
            &format!("acme/repo-{repository}#{}", 1_000_000 + repository),
            |_| {},
        );
    }
    world
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Creates one of these issues on GitHub, closed just now.
fn close(world: &World, number: i64) -> String {
    let key = format!("acme/repo-{}#{number}", number % 10);
    world.github.issue(&key, |issue| issue.github_id = number);
    world.github.close(&key, &now());
    key
}

/// Returns the number of scans of the mapping table, by sessions that have ended.
fn scans(world: &mut World) -> i64 {
    world
        .one("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'core_externalissuemapping'")
}

#[test]
fn the_cost_of_a_run_does_not_depend_on_the_number_of_unchanged_mappings() {
    for mappings in [1000, 100_000] {
        let mut world = settled(mappings);
        let (rows, scanned) = (world.database.dump("worker_"), scans(&mut world));
        let cost = cost(&world, &["sync", "--output", "json"]);
        assert_eq!(
            (cost.github, world.weaviate.requests().len()),
            (1, 0),
            "{mappings} mappings"
        );
        assert!(
            cost.statements <= 15,
            "{} statements for {mappings} mappings",
            cost.statements
        );
        // The first dump makes one scan.
        assert!(
            scans(&mut world) - scanned <= 1,
            "{mappings} mappings are scanned"
        );
        assert_eq!(world.database.dump("worker_"), rows);
    }
}

#[test]
fn twenty_closed_issues_among_many_cost_as_much_as_twenty() {
    let world = settled(1000);
    for number in 1..=20 {
        let key = close(&world, number);
        let pull_request = format!("acme/repo-{}#{}", number % 10, 2000 + number);
        world
            .github
            .pull_request(&pull_request, |found| found.updated_at = now());
        world
            .github
            .issue(&key, |issue| issue.references = vec![pull_request]);
    }
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!(
        (
            &cost.report["items_moved"],
            &cost.report["pull_requests_linked"]
        ),
        (&20.into(), &20.into())
    );
    assert!(cost.github <= 4, "{} GitHub requests", cost.github);
    assert!(cost.points <= 6, "{} points", cost.points);
    let weaviate = world.weaviate.requests().len();
    assert!(
        weaviate <= 4,
        "{weaviate} Weaviate requests, the class's included"
    );
    assert!(cost.statements <= 45, "{} statements", cost.statements);
}

#[test]
fn one_closed_pull_request_costs_three_requests() {
    let mut world = settled(1000);
    let github_id = world.github.pull_request("acme/repo-3#5000", |_| {});
    agira::pull_request(&mut world.client, 3, github_id, "acme/repo-3", 5000, "open");
    world.sync();
    world.github.pull_request("acme/repo-3#5000", |found| {
        found.state = "CLOSED";
        found.updated_at = (chrono::Utc::now() + chrono::Duration::seconds(5))
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    });
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert!(cost.github <= 3, "{} GitHub requests", cost.github);
    assert_eq!(
        world.one::<String>("SELECT state FROM core_externalissuemapping WHERE kind = 'PR'"),
        "closed"
    );
    let id: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    let object_type = agira_worker::core::agira_object::ObjectType::GithubPr;
    assert_eq!(world.properties(object_type, id)["status"], "closed");
}

#[test]
fn an_overdue_backlog_does_not_delay_a_new_closing() {
    let mut world = settled(100_000);
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = now() - interval '1 day'; ANALYZE");
    close(&world, 77_777);
    // GitHub does not have the other issues of the batch; their failures delay nothing.
    let report = world.run(&["sync", "--output", "json"]).exits(3).json();
    assert_eq!(
        (&report["discovered"], &report["items_moved"]),
        (&1.into(), &1.into())
    );
    assert_eq!(world.item_status(77_777), "Testing");
}

#[test]
fn a_first_run_over_issues_that_pull_requests_closed_costs_few_points() {
    let mut world = World::new();
    for number in 1..=200 {
        let (key, pull_request) = (
            format!("acme/shop#{number}"),
            format!("acme/shop#{}", 10_000 + number),
        );
        world.issue(&key, "Working");
        world.closing_pull_request(&key, &pull_request);
        world.github.merge(&pull_request, CLOSED_AT);
    }
    let cost = cost(&world, &["sync", "--limit", "200", "--output", "json"]);
    assert_eq!(cost.report["claimed"], 400);
    assert!(cost.github <= 10, "{} GitHub requests", cost.github);
    assert!(cost.points <= 26, "{} points", cost.points);
}

/// A pull request that changed last is in every poll, and is not asked again what it closes.
#[test]
fn a_poll_of_unchanged_repositories_costs_few_points() {
    let mut world = settled(1000);
    for repository in 0..100 {
        let name = format!("acme/repo-{repository}");
        world.project(&name);
        world.github.pull_request(&format!("{name}#9"), |found| {
            found.updated_at = CLOSED_AT.to_owned();
        });
    }
    world.execute(&format!(
        "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor)
         SELECT 'acme/repo-' || n, now(), now() FROM generate_series(10, 99) n;
         UPDATE worker_repository SET pull_requests_cursor = '{CLOSED_AT}', polled_at = now() - interval '1 hour'"
    ));
    let cost = cost(&world, &["sync", "--output", "json"]);
    assert_eq!((cost.github, cost.points), (2, 2));
}

#[test]
fn a_changed_pull_request_is_asked_what_it_closes_until_every_poll_has_seen_it() {
    let mut world = settled(10);
    world.github.pull_request("acme/repo-3#9", |found| {
        found.updated_at = CLOSED_AT.to_owned();
    });
    for (polled_after, error, requests) in [
        ("4 minutes", "NULL", 2),
        ("6 minutes", "NULL", 1),
        ("6 minutes", "'it broke'", 2),
    ] {
        world.execute(&format!(
            "UPDATE worker_repository SET error = {error}, pull_requests_cursor = '{CLOSED_AT}',
                polled_at = timestamptz '{CLOSED_AT}' + interval '{polled_after}'"
        ));
        let cost = cost(&world, &["sync", "--output", "json"]);
        assert_eq!(cost.github, requests, "{polled_after} {error}");
    }
}
