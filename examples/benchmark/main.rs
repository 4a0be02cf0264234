//! Measures the cost of runs: requests, statements, bytes, time and memory. Each scenario has bounds that it must keep. A
//! baseline, which handles each mapping alone, is measured for comparison.
//!
//! ```sh
//! cargo build --release --workspace --bins --examples
//! cargo run --release --example benchmark                # every scenario but the long one, as a table
//! cargo run --release --example benchmark -- --help      # single scenarios, JSON, a picture
//! ```
//!
//! Everything runs on loopback against the kit's services. Counts are the same on every machine. Times depend on this machine
//! and on the simulated latency.

mod delay;
mod picture;
mod program;
mod scenarios;
mod services;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use scenarios::{SCENARIOS, Scenario};
use table::Row;

/// Measures the cost of runs of agira-worker; exits with 1 when a bound is exceeded.
#[derive(Debug, Parser)]
struct Args {
    /// Only these scenarios; default: all but the long one.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(SCENARIOS.map(|scenario| scenario.name)))]
    scenarios: Vec<String>,
    /// Also the long one: 100,000 mappings due, about a quarter of an hour.
    #[arg(long)]
    long: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Draw requests and time over the number of mappings, for agira-worker and the baseline, instead of running scenarios.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["scenarios", "long", "json"])]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(path) = args.svg {
        picture::draw(&path);
        return ExitCode::SUCCESS;
    }
    let is_chosen = |scenario: &&Scenario| match args.scenarios.as_slice() {
        [] => args.long || !scenario.is_long,
        named => named.iter().any(|name| name == scenario.name) || (args.long && scenario.is_long),
    };
    let mut rows: Vec<Row> = Vec::new();
    for scenario in SCENARIOS.iter().filter(is_chosen) {
        eprintln!("measuring: {}", scenario.name);
        rows.extend((scenario.measure)());
    }
    match args.json {
        true => println!("{}", table::json(&rows)),
        false => print!("{}", table::markdown(&rows)),
    }
    match rows.iter().all(Row::holds) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
