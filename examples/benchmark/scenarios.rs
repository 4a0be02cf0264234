//! The scenarios, each with the bounds of its cost.

use std::time::Duration;

use crate::program::{self, Finished};
use crate::services::{LATENCY, Services, at, count};
use crate::table::{Bound, Cost, Row};

/// A situation whose cost is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// True for a scenario that takes more than a few minutes.
    pub is_long: bool,
    /// Function that measures it.
    pub measure: fn() -> Vec<Row>,
}

pub const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "unchanged",
        is_long: false,
        measure: unchanged,
    },
    Scenario {
        name: "repositories",
        is_long: false,
        measure: repositories,
    },
    Scenario {
        name: "changes",
        is_long: false,
        measure: changes,
    },
    Scenario {
        name: "pull-request",
        is_long: false,
        measure: pull_request,
    },
    Scenario {
        name: "overdue",
        is_long: false,
        measure: overdue,
    },
    Scenario {
        name: "first-run",
        is_long: false,
        measure: first_run,
    },
    Scenario {
        name: "processes",
        is_long: false,
        measure: processes,
    },
    Scenario {
        name: "status",
        is_long: false,
        measure: status,
    },
    Scenario {
        name: "long",
        is_long: true,
        measure: long,
    },
];

fn row(name: impl Into<String>, cost: Cost, bounds: Vec<Bound>) -> Row {
    Row {
        name: name.into(),
        cost,
        bounds,
    }
}

/// Returns the bounds for the requests and statements of a run.
fn requests(cost: &Cost, github: i64, weaviate: i64, statements: i64) -> Vec<Bound> {
    vec![
        Bound::at_most("GitHub", github, cost.github as i64),
        Bound::at_most("Weaviate", weaviate, cost.weaviate as i64),
        Bound::at_most("SQL", statements, cost.statements),
    ]
}

/// Counts the looks of runs at issues and pull requests; returns the bound of their points.
fn per_look(cost: &mut Cost, runs: &[Finished]) -> Bound {
    cost.looks = runs.iter().map(|run| count(&run.report, "claimed")).sum();
    let points = cost.points_per_look().unwrap_or_default();
    Bound::new(
        format!("at most 0.06 points a look: {points:.3}"),
        points <= 0.06,
    )
}

/// Measures a run when nothing changed: the number of mappings must make no difference.
fn unchanged() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut first: Option<Duration> = None;
    for (mappings, shown) in [(1_000, "1,000"), (100_000, "100,000")] {
        let services = Services::with(10, mappings);
        services.pretend_settled();
        let (scans, written) = services.touched();
        // Other work on the machine disturbs a single run.
        let mut costs: Vec<Cost> = (0..5).map(|_| services.measure(&[]).0).collect();
        let (scans, written) = (services.touched().0 - scans, services.touched().1 - written);
        costs.sort_by_key(|cost| cost.elapsed);
        let cost = costs.swap_remove(2);
        let mut bounds = requests(&cost, 1, 0, 14);
        bounds.push(Bound::new("no mapping written", written == 0));
        match first {
            None => first = Some(cost.elapsed),
            Some(first) => {
                let ratio = cost.elapsed.as_secs_f64() / first.as_secs_f64();
                bounds.push(Bound::new("no scan of the mapping table", scans == 0));
                bounds.push(Bound::new(
                    format!("at most 1.5 times as long as 1,000: {ratio:.2}"),
                    ratio <= 1.5,
                ));
            }
        }
        rows.push(row(
            format!("{shown} mappings, nothing changed (median of 5 runs)"),
            cost,
            bounds,
        ));
    }
    rows
}

/// Measures polls: one request polls 50 repositories.
fn repositories() -> Vec<Row> {
    let services = Services::with(100, 1_000);
    services.pretend_settled();
    let (cost, _) = services.measure(&[]);
    let mut bounds = requests(&cost, 2, 0, 14);
    bounds.push(Bound::at_most("points", 3, cost.points));
    vec![row("100 repositories, nothing changed", cost, bounds)]
}

/// Measures a run with a few changes among many mappings: only the changes may cost.
fn changes() -> Vec<Row> {
    let services = Services::with(10, 1_000);
    services.at_github(1..=1_000);
    services.settle();
    for number in 1..=20 {
        services.pull_request(number, &at(5));
        services
            .github
            .merge(&services.pull_request_key(number), &at(5));
    }
    let (cost, run) = services.measure(&[]);
    let mut bounds = requests(&cost, 4, 4, 45);
    bounds.push(Bound::at_most("points", 6, cost.points));
    bounds.push(Bound::new(
        "20 items moved",
        count(&run.report, "items_moved") == 20,
    ));
    bounds.push(Bound::new(
        "20 pull requests linked",
        count(&run.report, "pull_requests_linked") == 20,
    ));
    vec![row(
        "1,000 mappings, 20 issues closed by 20 new pull requests",
        cost,
        bounds,
    )]
}

/// Measures a changed pull request whose issue did not change.
fn pull_request() -> Vec<Row> {
    let services = Services::with(10, 1_000);
    services.at_github(1..=1_000);
    services.pull_request(7, &at(-3600));
    services.settle();
    services
        .github
        .pull_request(&services.pull_request_key(7), |found| {
            found.state = "CLOSED";
            found.updated_at = at(5);
        });
    let (cost, _) = services.measure(&[]);
    let state: String =
        services.one("SELECT state FROM core_externalissuemapping WHERE kind = 'PR'");
    let objects = services.weaviate.objects();
    let mut of_pull_requests = objects
        .values()
        .filter(|object| object["properties"]["type"] == "github_pr");
    let is_followed = of_pull_requests.all(|object| object["properties"]["status"] == "closed");
    let bounds = vec![
        Bound::at_most("GitHub", 3, cost.github as i64),
        Bound::new("its state followed", state == "closed"),
        Bound::new("its Weaviate object followed", is_followed),
    ];
    vec![row(
        "1,000 mappings, one pull request closed, its issue untouched",
        cost,
        bounds,
    )]
}

/// Measures a new change while many rechecks are overdue: the change goes first.
fn overdue() -> Vec<Row> {
    let services = Services::with(10, 100_000);
    services.pretend_settled();
    services.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = now() - interval '2 days' + id * interval '1 second'",
    );
    services.execute("VACUUM (FULL, ANALYZE) core_externalissuemapping");
    // GitHub needs the issues that a run claims first, and the one that was closed.
    services.at_github((1..=100).chain([77_777]));
    services.github.close(&services.key(77_777), &at(5));
    let (cost, run) = services.measure(&[]);
    let bounds = vec![Bound::new(
        "moved in that run",
        count(&run.report, "items_moved") == 1,
    )];
    vec![row(
        "100,000 rechecks overdue, one issue closed, --limit 50",
        cost,
        bounds,
    )]
}

/// Creates new mappings of closed issues; a pull request closed every third of them.
pub fn all_closed(mappings: i32) -> Services {
    let services = Services::with(10, mappings);
    services.at_github(1..=mappings);
    for number in (3..=mappings).step_by(3) {
        services.pull_request(number, "2026-03-01T10:00:00Z");
        services
            .github
            .merge(&services.pull_request_key(number), "2026-03-01T10:00:00Z");
    }
    services.close((1..=mappings).filter(|number| number % 3 != 0));
    services.latency(LATENCY);
    services
}

/// Measures the baseline's requests for all mappings.
pub fn baseline(services: &Services) -> Cost {
    services.cost(|services| vec![program::run(&mut services.command(&program::baseline()))])
}

fn first_run() -> Vec<Row> {
    let theirs = baseline(&all_closed(200));
    let (mut ours, run) = all_closed(200).measure(&["--limit", "200"]);
    let points = per_look(&mut ours, std::slice::from_ref(&run));
    let mut services = all_closed(200);
    services.far_database(Duration::from_millis(1));
    let (far, _) = services.measure(&["--limit", "200"]);
    let times = |cost: &Cost| cost.elapsed.as_secs_f64() / ours.elapsed.as_secs_f64();
    let (faster, slower) = (times(&theirs), times(&far));
    let bounds = vec![
        Bound::at_most("SQL", 75, ours.statements),
        Bound::new("200 items moved", count(&run.report, "items_moved") == 200),
        Bound::at_least_times("faster than the baseline", 40.0, faster),
        Bound::at_most("GitHub", 10, ours.github as i64),
        points,
    ];
    let far_bounds = vec![Bound::new(
        format!("at most 1.25 times as long as without: {slower:.2}"),
        slower <= 1.25,
    )];
    vec![
        row(
            "200 mappings, first run, all closed: the baseline's requests",
            theirs,
            Vec::new(),
        ),
        row("200 mappings, first run, all closed", ours, bounds),
        row(
            "200 mappings, first run, all closed, with 1 ms to PostgreSQL",
            far,
            far_bounds,
        ),
    ]
}

/// Runs until no mapping is due.
fn looping(services: &Services, args: &[&str]) -> Vec<Finished> {
    let mut finished = Vec::new();
    loop {
        let run = services.run(&[&["sync"], args].concat());
        let claimed = count(&run.report, "claimed");
        finished.push(run);
        if claimed == 0 {
            return finished;
        }
    }
}

/// Checks that each mapping was claimed once, its item moved once, and its two objects written once.
fn each_once(services: &Services, mappings: i64, runs: &[Finished]) -> Bound {
    let claimed: i64 = runs.iter().map(|run| count(&run.report, "claimed")).sum();
    let moves: i64 =
        services.one("SELECT count(*) FROM core_activity WHERE verb = 'item.status_changed'");
    let writes = services.weaviate.writes() as i64;
    let is_once = (claimed, moves, writes) == (mappings, mappings, 2 * mappings);
    Bound::new(
        format!("each mapping once ({claimed} claimed, {moves} moved, {writes} objects written)"),
        is_once,
    )
}

/// Measures overlapping runs, which share the work.
fn processes() -> Vec<Row> {
    const MAPPINGS: i32 = 5_000;
    let measure = |processes: usize| {
        let services = Services::with(10, MAPPINGS);
        services.at_github(1..=MAPPINGS);
        services.close(1..=MAPPINGS);
        services.latency(LATENCY);
        let mut runs = Vec::new();
        let mut cost = services.cost(|services| {
            std::thread::scope(|scope| {
                let started: Vec<_> = (0..processes)
                    .map(|_| scope.spawn(|| looping(services, &["--limit", "500"])))
                    .collect();
                runs = started
                    .into_iter()
                    .flat_map(|one| one.join().expect("its runs"))
                    .collect();
            });
            runs.clone()
        });
        let bounds = vec![
            each_once(&services, i64::from(MAPPINGS), &runs),
            per_look(&mut cost, &runs),
        ];
        (cost, bounds)
    };
    let (one, mut bounds_alone) = measure(1);
    bounds_alone.push(Bound::at_most("SQL", 1250, one.statements));
    let (four, mut bounds_together) = measure(4);
    let ratio = one.elapsed.as_secs_f64() / four.elapsed.as_secs_f64();
    bounds_together.push(Bound::at_least_times("faster than one", 2.5, ratio));
    vec![
        row(
            "5,000 due mappings, 1 process looping over --limit 500",
            one,
            bounds_alone,
        ),
        row(
            "5,000 due mappings, 4 processes looping over --limit 500",
            four,
            bounds_together,
        ),
    ]
}

/// Measures `status` on a large Agira: an operator must not have to wait.
fn status() -> Vec<Row> {
    const AT_ONCE: Duration = Duration::from_millis(300);
    let services = Services::with(10, 100_000);
    services.pretend_settled();
    services.grow();
    let median = |name: &str, args: &[&str]| {
        let run = || services.cost(|services| vec![services.run(&[&["status"], args].concat())]);
        let mut costs: Vec<Cost> = (0..5).map(|_| run()).collect();
        costs.sort_by_key(|cost| cost.elapsed);
        let cost = costs.swap_remove(2);
        let bounds = vec![
            Bound::at_most("GitHub", 0, cost.github as i64),
            Bound::at_most("Weaviate", 0, cost.weaviate as i64),
            Bound::new("within 300 ms", cost.elapsed < AT_ONCE),
        ];
        row(
            format!("100,000 mappings, 1,000,000 activities, {name} (median of 5 runs)"),
            cost,
            bounds,
        )
    };
    vec![
        median("status", &[]),
        median("status --failed", &["--failed"]),
        median("status --mapping", &["--mapping", "77777"]),
    ]
}

/// Measures a large backlog that bounded runs work through.
fn long() -> Vec<Row> {
    const MAPPINGS: i32 = 100_000;
    const BUDGET: Duration = Duration::from_secs(300);
    let services = Services::with(10, MAPPINGS);
    services.at_github(1..=MAPPINGS);
    services.close(1..=MAPPINGS);
    services.latency(LATENCY);
    let mut runs: Vec<Finished> = Vec::new();
    let mut total = Cost::default();
    loop {
        let (cost, run) = services.measure(&["--limit", "10000", "--time-budget", "300s"]);
        let claimed = count(&run.report, "claimed");
        eprintln!("  {claimed} mappings in {} ms", cost.elapsed.as_millis());
        if claimed == 0 {
            break;
        }
        total.add(&cost);
        runs.push(run);
    }
    let points = per_look(&mut total, &runs);
    let slowest = runs.iter().map(|run| run.elapsed).max().unwrap_or_default();
    let claimed: i64 = runs.iter().map(|run| count(&run.report, "claimed")).sum();
    let moves: i64 =
        services.one("SELECT count(*) FROM core_activity WHERE verb = 'item.status_changed'");
    let bounds = vec![
        Bound::new(
            format!("done after 10 runs: {}", runs.len()),
            runs.len() == 10,
        ),
        Bound::new(
            format!("each mapping once ({claimed} claimed, {moves} moved)"),
            (claimed, moves) == (i64::from(MAPPINGS), i64::from(MAPPINGS)),
        ),
        Bound::new(
            format!(
                "every run within its time budget of 300 s: {} s",
                slowest.as_secs()
            ),
            slowest <= BUDGET,
        ),
        Bound::at_most("points", 6_500, total.points),
        points,
        Bound::at_most("SQL", 25_000, total.statements),
        Bound::new(
            "below 96 MB",
            total.peak.is_some_and(|peak| peak < 96 * 1024),
        ),
    ];
    vec![row(
        "100,000 due mappings, runs of --limit 10000, together",
        total,
        bounds,
    )]
}
