//! Invariant 8: a run is killed (SIGKILL) at every statement and every request, before the service has it and before the
//! program knows the answer. The next runs must reach the state of a twin that nobody disturbed.
//!
//! The program is disturbed from outside, by the simulators and a proxy in front of PostgreSQL, so that what is tested is
//! the program that is installed. Where it can be killed is found by letting it run.

pub mod level;
pub mod scene;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use kit::boundaries::{Side, Then};

use level::Level;
use scene::{Scene, Stage};

/// A run that ends as nobody disturbs it, and those that follow until there is nothing to do: the places that it passes,
/// and what there is in the end.
fn undisturbed(scene: &Scene, args: &[&str]) -> (Vec<String>, Level) {
    let mut stage = scene.stage();
    let code = stage.run(args).code;
    assert!([0, 3].contains(&code), "{args:?} ends with {code}");
    let passed = stage.boundaries.passed();
    stage.settle(args).unwrap();
    (passed, Level::of(&mut stage.world))
}

/// A run that is killed at one place.
fn killed(scene: &Scene, args: &[&str], index: usize, side: Side) -> Result<Stage, String> {
    let stage = scene.stage();
    let (tell, told) = mpsc::channel::<u32>();
    stage.boundaries.watch(move |place| {
        if (place.index, place.side) != (index, side) {
            return Then::Pass;
        }
        let id = told.recv().expect("the run's process id").to_string();
        let killed = Command::new("sh")
            .args(["-c", "kill -KILL \"$0\"", &id])
            .status()
            .expect("sh");
        assert!(killed.success(), "the run is not there");
        Then::Lose
    });
    let mut command = stage.command(args);
    let mut run = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    tell.send(run.id()).expect("somebody watches");
    let status = run.wait().expect("the run ends");
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

/// Kills a run at every place, each time in a world of its own.
fn check_all(scene: &Scene, args: &[&str]) {
    let (places, expected) = undisturbed(scene, args);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    let (index, side) = (
                        case / 2,
                        if case.is_multiple_of(2) {
                            Side::Before
                        } else {
                            Side::After
                        },
                    );
                    let Some(what) = places.get(index) else {
                        return;
                    };
                    if let Err(reason) = check(scene, args, index, side, &expected) {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("killed {side:?} {index} ({what}):\n{reason}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let (places, count) = (places.len(), failures.len());
    println!("{args:?}: {places} places, each before and after; {count} end differently");
    assert!(
        failures.is_empty(),
        "{args:?}: {count} of {} differ\n{}",
        2 * places,
        failures.join("\n\n")
    );
}

/// A fresh real Weaviate for each of hundreds of worlds would take too long, and it is not what is looked at here.
mod simulated {
    use super::*;

    #[test]
    fn a_sync_that_is_killed_anywhere_leaves_nothing_out_and_does_nothing_twice() {
        check_all(&Scene::grown(), &["sync"]);
    }

    #[test]
    fn a_first_sync_that_is_killed_anywhere_leaves_nothing_out_and_does_nothing_twice() {
        check_all(&Scene::first_run(), &["sync", "--recheck-now"]);
    }

    #[test]
    fn a_push_to_weaviate_that_is_killed_anywhere_leaves_nothing_out_and_does_nothing_twice() {
        check_all(&Scene::grown(), &["push-weaviate"]);
    }

    #[test]
    fn a_retry_that_is_killed_anywhere_leaves_nothing_out_and_does_nothing_twice() {
        check_all(&Scene::grown(), &["retry-failed"]);
    }
}
