//! A GitHub that gives no answer about single repositories and issues, or about all of them, in run after run.

use kit::github::NullAlias;
use serde_json::{Value, json};

use crate::fixtures::seconds_from_now;
use crate::harness::{Run, World};

fn silence() -> NullAlias {
    NullAlias {
        message: Some("Something went wrong while executing your query.".to_owned()),
        kind: None,
        has_path: true,
    }
}

/// Lets GitHub give no answer about these, or answer again.
fn silence_all(world: &World, keys: &[&str], count: usize) {
    for key in keys {
        world.github.nullify(key, count, silence());
    }
}

const SICK: [&str; 3] = ["acme/shop#1", "acme/shop#2", "acme/docs#3"];

/// Returns a world with three closed issues, after a healthy one of another repository was checked, if there is one.
fn closed(has_witness: bool) -> World {
    let mut world = World::new();
    if has_witness {
        world.issue("zoo/keeper#1", "Working");
        world.sync();
    }
    for key in SICK {
        world.issue(key, "Working");
        world.github.close(key, &seconds_from_now(-5));
    }
    world
}

/// Returns a world with a checked issue in each of two repositories.
fn two_repositories() -> World {
    let mut world = World::new();
    for key in ["acme/shop#1", "zoo/keeper#1"] {
        world.issue(key, "Working");
    }
    world.sync();
    world
}

fn sync(world: &World, code: i32) -> Run {
    world.run(&["sync", "--output", "json"]).exits(code)
}

/// Attempts of the sick issues' mappings.
fn attempts(world: &mut World) -> Value {
    world.one("SELECT json_agg(worker_attempts ORDER BY id) FROM core_externalissuemapping WHERE html_url NOT LIKE '%/zoo/%'")
}

fn backoff_is_over(world: &mut World) {
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = now() WHERE worker_due_at > now()",
    );
}

/// The environment never counts an attempt. All go on at once when GitHub answers again.
#[test]
fn an_outage_of_all_looks_counts_no_attempt() {
    for has_witness in [false, true] {
        let mut world = closed(has_witness);
        silence_all(&world, &SICK, 999);
        silence_all(&world, &["zoo/keeper#1"], 999);
        for _ in 0..4 {
            let run = sync(&world, 75);
            assert_eq!(run.json()["stopped_by"], "github", "{}", run.all());
            assert_eq!(attempts(&mut world), json!([0, 0, 0]), "{}", run.all());
            backoff_is_over(&mut world);
        }
        silence_all(&world, &SICK, 0);
        let run = sync(&world, 0);
        assert_eq!(run.json()["items_moved"], 3, "{}", run.all());
    }
}

/// The same if GitHub fails at each look as a whole, and answers the lightest query.
#[test]
fn looks_that_all_fail_as_a_whole_count_no_attempt() {
    for has_witness in [false, true] {
        let mut world = closed(has_witness);
        for key in SICK.iter().chain(&["zoo/keeper#1"]) {
            world.github.make_too_heavy(key);
        }
        for _ in 0..2 {
            sync(&world, 75);
            assert_eq!(attempts(&mut world), json!([0, 0, 0]));
        }
    }
}

/// Nothing else is due, so that a healthy mapping has to tell whether GitHub is silent about all.
#[test]
fn sick_issues_in_a_quiet_world_are_no_outage() {
    let mut world = closed(true);
    silence_all(&world, &SICK, 999);
    sync(&world, 75);
    assert_eq!(attempts(&mut world), json!([0, 0, 0]));
    let healthy = "SELECT row_to_json(m)::text FROM core_externalissuemapping m WHERE html_url LIKE '%/zoo/%'";
    let before: String = world.one(healthy);
    for count in 1..=3 {
        let run = sync(&world, 3);
        assert_eq!(
            attempts(&mut world),
            json!([count, count, count]),
            "{}",
            run.all()
        );
        sync(&world, 0);
        backoff_is_over(&mut world);
    }
    assert_eq!(world.one::<String>(healthy), before);
    let mut world = closed(true);
    for key in SICK {
        world.github.make_too_heavy(key);
    }
    sync(&world, 3);
    assert_eq!(attempts(&mut world), json!([1, 1, 1]));
}

/// It is asked about in each run, and its silence is an outage only if GitHub is silent about the others, too.
#[test]
fn one_repository_that_github_never_answers_about_does_not_end_all_runs_with_75() {
    let world = two_repositories();
    silence_all(&world, &["zoo/keeper"], 999);
    sync(&world, 75).logs("zoo/keeper: GitHub gives no answer about repository zoo/keeper");
    for round in 0..3 {
        world.github.close("acme/shop#1", &seconds_from_now(round));
        world.github.reopen("acme/shop#1", &seconds_from_now(round));
        let run = sync(&world, 3);
        assert_eq!(run.json()["stopped_by"], Value::Null, "{}", run.all());
    }
    world.run(&["status", "--check"]).exits(0);
    silence_all(&world, &["acme/shop"], 999);
    for _ in 0..2 {
        sync(&world, 75);
    }
    silence_all(&world, &["acme/shop", "zoo/keeper"], 0);
    world.github.close("zoo/keeper#1", &seconds_from_now(5));
    let run = sync(&world, 0);
    assert_eq!(run.json()["items_moved"], 1, "{}", run.all());
}

/// A repository that is hidden was no news before.
#[test]
fn a_hidden_repository_that_github_stops_answering_about_does_not_end_all_runs_with_75() {
    let mut world = two_repositories();
    world.github.hide_repository("zoo/keeper");
    sync(&world, 3);
    crate::fixtures::rest_is_over(&mut world);
    world.github.show_repository("zoo/keeper");
    silence_all(&world, &["zoo/keeper"], 999);
    for _ in 0..2 {
        sync(&world, 3);
    }
}

/// Polls that all fail as a whole are an outage, too.
#[test]
fn polls_of_several_repositories_that_all_fail_are_an_outage() {
    let world = two_repositories();
    for name in ["acme/shop", "zoo/keeper"] {
        world
            .github
            .fail_polls_of(name, crate::fixtures::text_response(500, ""));
    }
    for _ in 0..2 {
        let run = sync(&world, 75);
        assert_eq!(run.json()["stopped_by"], "github", "{}", run.all());
    }
}
