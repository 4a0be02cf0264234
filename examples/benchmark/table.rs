//! Results of the benchmark, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Points that GitHub grants one token in an hour.
const POINTS_PER_HOUR: f64 = 5000.0;

/// Number of mappings for which the table shows the hours of a token.
const MANY: f64 = 100_000.0;

/// Cost of one run, or of several together.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    pub github: usize,
    /// GraphQL points that the requests to GitHub cost.
    pub points: i64,
    /// Number of issues and pull requests that were looked at; 0 if looks are not what the points pay for.
    pub looks: i64,
    pub weaviate: usize,
    /// SQL statements, transaction control included.
    pub statements: i64,
    /// Bytes of the bodies in both directions, as they were sent.
    pub bytes: usize,
    /// Time from start to end.
    pub elapsed: Duration,
    /// Peak memory of the largest process in kB; `None` on systems without `/proc`.
    pub peak: Option<u64>,
}

impl Cost {
    /// Adds the cost of a later run.
    pub fn add(&mut self, other: &Self) {
        self.github += other.github;
        self.points += other.points;
        self.looks += other.looks;
        self.weaviate += other.weaviate;
        self.statements += other.statements;
        self.bytes += other.bytes;
        self.elapsed += other.elapsed;
        self.peak = self.peak.max(other.peak);
    }

    /// Returns the points of one look, polls included.
    pub fn points_per_look(&self) -> Option<f64> {
        (self.looks > 0).then(|| self.points as f64 / self.looks as f64)
    }
}

/// A bound, and the answer to whether it was kept.
#[derive(Debug, Clone)]
pub struct Bound {
    what: String,
    holds: bool,
}

impl Bound {
    /// Creates a bound of any kind.
    pub fn new(what: impl Into<String>, holds: bool) -> Self {
        Self {
            what: what.into(),
            holds,
        }
    }

    /// Creates a bound for the largest allowed value.
    pub fn at_most(what: &str, most: i64, found: i64) -> Self {
        Self {
            what: format!("at most {most} {what}"),
            holds: found <= most,
        }
    }

    /// Creates a bound for a ratio, and shows the measured ratio.
    pub fn at_least_times(what: &str, least: f64, found: f64) -> Self {
        Self {
            what: format!("at least {least} times {what}: {found:.1}"),
            holds: found >= least,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name of the scenario.
    pub name: String,
    /// Measured cost.
    pub cost: Cost,
    /// Bounds of the scenario.
    pub bounds: Vec<Bound>,
}

impl Row {
    /// Returns true if all bounds were kept.
    pub fn holds(&self) -> bool {
        self.bounds.iter().all(|bound| bound.holds)
    }
}

/// Returns the rows as a Markdown table, and the bounds that were missed.
pub fn markdown(rows: &[Row]) -> String {
    let mut table =
        "| run | requests to GitHub and Weaviate | points | statements | ms | peak MB |\n\
        |---|---|---|---|---|---|\n"
            .to_owned();
    for Row { name, cost, .. } in rows {
        let peak = cost
            .peak
            .map_or("?".to_owned(), |peak| (peak / 1024).to_string());
        let per_look = cost.points_per_look().map(|points| {
            let hours = hours(points);
            format!(" ({points:.3} a look; {hours:.1} h of a token for 100,000)")
        });
        let _ = writeln!(
            table,
            "| {name} | {} + {} | {}{} | {} | {} | {peak} |",
            cost.github,
            cost.weaviate,
            cost.points,
            per_look.unwrap_or_default(),
            cost.statements,
            cost.elapsed.as_millis(),
        );
    }
    for row in rows {
        for bound in row.bounds.iter().filter(|bound| !bound.holds) {
            let _ = writeln!(table, "\n**MISSED**: {}: {}", row.name, bound.what);
        }
    }
    table
}

/// Returns the hours of one token's budget for many mappings.
fn hours(points_per_look: f64) -> f64 {
    points_per_look * MANY / POINTS_PER_HOUR
}

/// Returns the rows as JSON.
pub fn json(rows: &[Row]) -> Value {
    let shown = rows.iter().map(|row| {
        let cost = &row.cost;
        let bounds: Vec<Value> =
            row.bounds.iter().map(|bound| json!({ "what": bound.what, "holds": bound.holds })).collect();
        json!({
            "run": row.name, "github_requests": cost.github, "points": cost.points, "looks": cost.looks,
            "points_per_look": cost.points_per_look(), "hours_for_100000": cost.points_per_look().map(hours),
            "weaviate_requests": cost.weaviate,
            "statements": cost.statements, "bytes": cost.bytes, "milliseconds": cost.elapsed.as_millis() as u64,
            "peak_kilobytes": cost.peak, "bounds": bounds, "holds": row.holds(),
        })
    });
    json!({ "rows": shown.collect::<Vec<_>>(), "holds": rows.iter().all(Row::holds) })
}
