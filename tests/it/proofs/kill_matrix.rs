//! Invariant 8: a run is killed (SIGKILL) at every statement and every request, once before the service receives it,
//! and once before the program receives the response. The next runs must reach the state of an undisturbed twin.
//!
//! The simulators and a proxy in front of PostgreSQL disturb the program from outside, so the tested program is the
//! installed one. A first run records the places at which it can be killed.

pub mod level;
pub mod scene;
mod silence;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::mpsc;

use kit::boundaries::{Side, Then};

use crate::harness::send_signal;
use crate::parallel::check_each;
use level::Level;
use scene::{Scene, Stage};

/// Makes an undisturbed run, and runs after it until nothing is left to do. Returns the places that it passed, and the
/// final state.
fn undisturbed(scene: &Scene, args: &[&str]) -> (Vec<String>, Level) {
    let mut stage = scene.stage();
    let code = stage.run(args).code;
    assert!([0, 3].contains(&code), "{args:?} ends with {code}");
    let passed = stage.boundaries.passed();
    stage.settle(args).unwrap();
    (passed, Level::of(&mut stage.world))
}

/// Kills a run at one place.
fn killed(scene: &Scene, args: &[&str], index: usize, side: Side) -> Result<Stage, String> {
    let stage = scene.stage();
    let (id, id_of_run) = mpsc::channel::<u32>();
    stage.boundaries.watch(move |place| {
        if (place.index, place.side) != (index, side) {
            return Then::Pass;
        }
        send_signal(id_of_run.recv().expect("the run's process id"), "KILL");
        Then::Lose
    });
    let mut command = stage.command(args);
    let mut run = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    id.send(run.id()).expect("somebody watches");
    let status = kit::wait::end(&mut run, kit::wait::RUN);
    match status.signal() {
        Some(9) => Ok(stage),
        _ => Err(format!("the run was not killed: {status}")),
    }
}

fn check(
    scene: &Scene,
    args: &[&str],
    index: usize,
    side: Side,
    expected: &Level,
) -> Result<(), String> {
    let mut stage = killed(scene, args, index, side)?;
    stage.settle(args)?;
    match Level::of(&mut stage.world).differences(expected) {
        differences if differences.is_empty() => Ok(()),
        differences => Err(differences),
    }
}

/// Kills a run at every place, each time in a new world.
fn check_all(scene: &Scene, args: &[&str]) {
    let (places, expected) = undisturbed(scene, args);
    println!("{args:?}: {} places, each before and after", places.len());
    let sides = |index| [(index, Side::Before), (index, Side::After)];
    let cases: Vec<(usize, Side)> = (0..places.len()).flat_map(sides).collect();
    check_each(&cases, |&(index, side)| {
        check(scene, args, index, side, &expected).map_err(|reason| {
            let place = &places[index];
            format!("{args:?} killed {side:?} {index} ({place}):\n{reason}")
        })
    });
}

/// Starting a real Weaviate for hundreds of worlds would take too long, and these tests are not about it.
mod simulated {
    use super::*;

    #[test]
    fn a_sync_that_is_killed_anywhere_omits_and_repeats_nothing() {
        check_all(&Scene::grown(), &["sync"]);
    }

    #[test]
    fn a_first_sync_that_is_killed_anywhere_omits_and_repeats_nothing() {
        check_all(&Scene::first_run(), &["sync", "--recheck-now"]);
    }

    #[test]
    fn a_push_to_weaviate_that_is_killed_anywhere_omits_and_repeats_nothing() {
        check_all(&Scene::grown(), &["push-weaviate"]);
    }

    #[test]
    fn a_retry_that_is_killed_anywhere_omits_and_repeats_nothing() {
        check_all(&Scene::grown(), &["retry-failed"]);
    }
}
