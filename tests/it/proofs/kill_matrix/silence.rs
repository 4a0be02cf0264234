//! Invariants 8 and L2: PostgreSQL, GitHub or Weaviate stops answering, and all connections stay open. The run must end
//! by itself, within its time budget and 60 s, or within 20 s of a signal, and the next runs must reach the state of an
//! undisturbed twin.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kit::boundaries::{Side, Then};
use kit::wait;
use serde_json::Value;

use super::level::Level;
use super::scene::Scene;
use super::undisturbed;
use crate::harness::send_signal;
use crate::parallel::check_at_once;

const BUDGET: Duration = Duration::from_secs(2);
/// Limit for the end of a run after its time budget.
const AFTER_BUDGET: Duration = Duration::from_secs(60);
/// Limit for the end of a run after a signal.
const AFTER_SIGNAL: Duration = Duration::from_secs(20);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(5);

/// One silence.
struct Case {
    index: usize,
    /// The statement or request from which on its service is silent.
    place: String,
    side: Side,
    /// A signal comes as soon as the service is silent.
    has_signal: bool,
}

/// Returns the service of a place: `PostgreSQL`, `GitHub` or `Weaviate`.
fn service(place: &str) -> &str {
    place.split(':').next().unwrap_or_default()
}

/// Makes a run during which the service of the place falls silent; returns why it broke a promise.
fn check(scene: &Scene, case: &Case, expected: &Level) -> Result<(), String> {
    let mut stage = scene.stage();
    let (began, silence) = mpsc::channel();
    let (from, side, silent) = (case.index, case.side, service(&case.place).to_owned());
    stage.boundaries.watch(move |place| {
        let is_here = (place.index, place.side) == (from, side);
        let is_later = place.index > from && service(place.what) == silent;
        if is_here {
            began.send(()).expect("somebody waits");
        }
        if is_here || is_later {
            Then::Silence
        } else {
            Then::Pass
        }
    });
    let budget = format!("{}s", BUDGET.as_secs());
    let args = [
        "sync",
        "--output",
        "json",
        "--time-budget",
        &budget,
        "--request-timeout",
        "1s",
    ];
    let mut command = stage.command(&args);
    let started = Instant::now();
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (from, bound) = if case.has_signal {
        silence
            .recv_timeout(wait::SOON)
            .expect("the service falls silent");
        send_signal(run.id(), "TERM");
        (Instant::now(), AFTER_SIGNAL)
    } else {
        (started, BUDGET + AFTER_BUDGET)
    };
    wait::end(&mut run, bound + SLACK);
    let took = from.elapsed();
    let output = run.wait_with_output().expect("its outputs");
    let said = String::from_utf8_lossy(&output.stderr);
    println!(
        "{:?} {}: {took:?}, {}",
        case.side, case.place, output.status
    );
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "{error}: {}\n{said}",
            String::from_utf8_lossy(&output.stdout)
        )
    })?;
    // A run may be done before it needs the service again.
    let is_expected = match output.status.code() {
        Some(143) => case.has_signal,
        Some(75) => !case.has_signal,
        Some(0 | 3) => {
            report["stopped_by"] == "time_budget" || service(&case.place) != "PostgreSQL"
        }
        _ => false,
    };
    if !is_expected || report["exit_code"] != output.status.code().unwrap_or_default() {
        return Err(format!("{}: {report}\n{said}", output.status));
    }
    stage.settle(&["sync"])?;
    match Level::of(&mut stage.world).differences(expected) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(differences),
    }
}

/// Checks the cases that `choose` makes of the places of an undisturbed run.
fn check_all(choose: impl Fn(usize, &str) -> Vec<(Side, bool)>) {
    let scene = Scene::grown();
    let (places, expected) = undisturbed(&scene, &["sync"]);
    let cases = places.iter().enumerate().flat_map(|(index, place)| {
        let chosen = choose(index, place).into_iter();
        chosen.map(move |(side, has_signal)| Case {
            index,
            place: place.clone(),
            side,
            has_signal,
        })
    });
    let cases: Vec<Case> = cases.collect();
    println!("{} silences", cases.len());
    check_at_once(&cases, cases.len(), |case| {
        check(&scene, case, &expected).map_err(|reason| {
            format!(
                "silence {:?} {} ({}):\n{reason}",
                case.side, case.index, case.place
            )
        })
    });
}

/// A real Weaviate that all runs use at once may not answer within their short timeout, so that they never come to the
/// place of the silence.
mod simulated {
    use super::*;

    #[test]
    fn a_run_ends_by_itself_and_omits_nothing_when_github_or_weaviate_is_silent() {
        check_all(|index, place| {
            if service(place) == "PostgreSQL" {
                return Vec::new();
            }
            vec![
                (Side::Before, index % 2 == 0),
                (Side::After, index % 2 == 1),
            ]
        });
    }
}

/// Statements at which a run without a signal meets the silence. Each takes the time budget and 60 s, all at once.
const WITHOUT_SIGNAL: [&str; 7] = [
    "connect",
    "/* settings */",
    "/* claim */",
    "/* apply_lock */",
    "COMMIT",
    "/* record_success */",
    "/* record_run */",
];

#[test]
fn a_run_ends_by_itself_and_omits_nothing_when_postgresql_is_silent() {
    let seen = RefCell::new(BTreeSet::new());
    check_all(|index, place| {
        let statement = place.trim_start_matches("PostgreSQL: ");
        let tag = statement.split_inclusive("*/").next().unwrap_or(statement);
        // Once for each statement.
        if service(place) != "PostgreSQL" || !seen.borrow_mut().insert(tag.to_owned()) {
            return Vec::new();
        }
        let (one, other) = match index % 2 {
            0 => (Side::Before, Side::After),
            _ => (Side::After, Side::Before),
        };
        let without = WITHOUT_SIGNAL.contains(&tag).then_some((other, false));
        [(one, true)].into_iter().chain(without).collect()
    });
}
