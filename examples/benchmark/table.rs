//! The results, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// What one run, or several together, cost.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Requests to GitHub.
    pub github: usize,
    /// GraphQL points spent for them.
    pub points: i64,
    /// Requests to Weaviate.
    pub weaviate: usize,
    /// SQL statements, transaction control included.
    pub statements: i64,
    /// Bodies of requests and answers, as they were sent.
    pub bytes: usize,
    /// Start to end.
    pub elapsed: Duration,
    /// The largest process, in kB; unknown on systems without `/proc`.
    pub peak: Option<u64>,
}

impl Cost {
    /// Adds what a later run cost.
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

/// A promise, and whether it was kept.
#[derive(Debug, Clone)]
pub struct Bound {
    what: String,
    holds: bool,
}

impl Bound {
    /// A promise of any kind.
    pub fn new(what: impl Into<String>, holds: bool) -> Self {
        Self {
            what: what.into(),
            holds,
        }
    }

    /// At most so much.
    pub fn at_most(what: &str, most: i64, found: i64) -> Self {
        Self {
            what: format!("at most {most} {what}"),
            holds: found <= most,
        }
    }

    /// A ratio that has to be reached, and the one that was.
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
    /// What was run, on what.
    pub name: String,
    /// What it cost.
    pub cost: Cost,
    /// What was promised.
    pub bounds: Vec<Bound>,
}

impl Row {
    /// Whether all promises were kept.
    pub fn holds(&self) -> bool {
        self.bounds.iter().all(|bound| bound.holds)
    }
}

/// A Markdown table.
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

/// The same as JSON.
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
