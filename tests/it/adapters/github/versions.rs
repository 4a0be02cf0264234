//! Versions of GitHub that lack a part of what the program asks for.

use agira_worker::github::OLDEST_SERVER;
use kit::github::Version;

use super::*;
use crate::harness::World;

/// Returns a GitHub of this version with an issue that was closed as a duplicate.
fn with_duplicate(version: Version) -> Simulator {
    let simulator = with_issues(&shop(1..=60));
    let at = "2026-03-01T10:00:00Z";
    simulator.close_by("acme/shop#1", at, "DUPLICATE", Closer::Nobody);
    simulator.settings().version = version;
    simulator
}

#[track_caller]
fn check_duplicate(fetched: &Fetched) {
    match &fetched.as_ref().expect("an answer").details {
        Details::Issue { close_reason, .. } => {
            assert_eq!(*close_reason, Some(CloseReason::Duplicate));
        }
        Details::PullRequest { .. } => panic!("no issue"),
    }
}

#[test]
fn a_github_that_lost_the_argument_for_duplicates_answers_without_it() {
    let simulator = with_duplicate(Version::WithoutEnableDuplicate);
    let mut client = client(&simulator);
    let fetched = fetch_with(&mut client, &shop(1..=60)).expect("GitHub answers");
    check_duplicate(&fetched[0]);
    // Only the first document is sent twice.
    assert_eq!(sizes(&simulator), [25, 25, 35]);
}

#[test]
fn a_github_that_needs_the_argument_for_duplicates_gets_it() {
    let simulator = with_duplicate(Version::Today);
    check_duplicate(&fetch_all(&simulator, &["acme/shop#1"])[0]);
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn a_github_that_is_too_old_is_named_with_what_it_lacks_and_the_version_that_has_it() {
    let simulator = with_duplicate(Version::Server3_15);
    let error = refused(&mut client(&simulator));
    assert_eq!(error.kind, FailureKind::Unknown);
    let field = "Field 'closedByPullRequestsReferences' doesn't exist on type 'Issue'";
    assert!(error.message.contains(field), "{}", error.message);

    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.github.settings().version = Version::Server3_15;
    let run = world.run(&["sync"]).exits(1).logs(field);
    let requests = world.github.requests();
    let bodies = requests.iter().map(|request| &request.response.body);
    let errors: String = bodies.map(|body| String::from_utf8_lossy(body)).collect();
    for variable in ["references", "moreReferences"] {
        let unused = format!("Variable ${variable} is declared by Fetch but not used");
        assert!(errors.contains(&unused), "{errors}");
    }
    assert!(!run.stderr.contains("Variable"), "{}", run.all());
    let run = run.logs(&format!(
        "GitHub Enterprise Server {OLDEST_SERVER} or newer"
    ));
    assert!(!run.stderr.contains("check GITHUB"), "{}", run.all());
    let manual = include_str!("../../../../examples/manual/README.md");
    assert!(manual.contains(&format!("GitHub Enterprise Server {OLDEST_SERVER}")));
}

#[test]
fn a_run_against_the_oldest_server_does_everything() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.closing_pull_request("acme/shop#1", "acme/shop#7");
    world.github.settings().version = Version::WithoutEnableDuplicate;
    world.github.close("acme/shop#1", "2026-03-01T10:00:00Z");
    world.sync();
    assert_eq!(world.item_status(1), "Testing");
    let links = "SELECT count(*) FROM worker_pull_request_link";
    assert_eq!(world.one::<i64>(links), 1);
}
