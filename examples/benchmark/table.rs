//! Results of the benchmark, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Cost of one run, or of several together.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    pub github: usize,
    /// GraphQL points that the requests to GitHub cost.
    pub points: i64,
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
        self.weaviate += other.weaviate;
        self.statements += other.statements;
        self.bytes += other.bytes;
        self.elapsed += other.elapsed;
        self.peak = self.peak.max(other.peak);
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

/// Returns the rows as a Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let mut table =
        "| run | GitHub requests | points | Weaviate requests | SQL statements | KB | ms | peak MB | bounds |\n\
        |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for Row { name, cost, bounds } in rows {
        let peak = cost
            .peak
            .map_or("?".to_owned(), |peak| (peak / 1024).to_string());
        let bounds: Vec<String> = bounds
            .iter()
            .map(|bound| match bound.holds {
                true => format!("{}: ok", bound.what),
                false => format!("{}: **MISSED**", bound.what),
            })
            .collect();
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} | {} | {} | {} | {peak} | {} |",
            cost.github,
            cost.points,
            cost.weaviate,
            cost.statements,
            cost.bytes.div_ceil(1024),
            cost.elapsed.as_millis(),
            bounds.join("; ")
        );
    }
    table
}

/// Returns the rows as JSON.
pub fn json(rows: &[Row]) -> Value {
    let shown = rows.iter().map(|row| {
        let cost = &row.cost;
        let bounds: Vec<Value> =
            row.bounds.iter().map(|bound| json!({ "what": bound.what, "holds": bound.holds })).collect();
        json!({
            "run": row.name, "github_requests": cost.github, "points": cost.points, "weaviate_requests": cost.weaviate,
            "statements": cost.statements, "bytes": cost.bytes, "milliseconds": cost.elapsed.as_millis() as u64,
            "peak_kilobytes": cost.peak, "bounds": bounds, "holds": row.holds(),
        })
    });
    json!({ "rows": shown.collect::<Vec<_>>(), "holds": rows.iter().all(Row::holds) })
}
