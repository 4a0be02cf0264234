//! Organizations whose access policies refuse our credentials, and whose people mention the issues of others.

use kit::github::{Closer, Event, Shown};

use crate::fixtures::seconds_from_now;
use crate::harness::World;

/// What GitHub says for such policies; each has `saml_failure: false`.
const POLICIES: [&str; 3] = [
    "`evil` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions.",
    "The 'evil' organization forbids access via a fine-grained personal access tokens if the token's lifetime is greater than 366 days.",
    "Although you appear to have the correct authorization credentials, the `evil` organization has an IP allow list enabled, and your IP address is not permitted to access this resource.",
];

/// Returns a world with a checked issue and its linked pull request, and an organization with these policies.
fn linked(policy: &'static str) -> World {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.closing_pull_request("acme/shop#1", "acme/shop#7");
    world.sync();
    world.github.pull_request("evil/corp#1", |found| {
        found.body = "Fixes acme/shop#1".to_owned();
        found.state = "MERGED";
    });
    world.github.show("evil/corp", Shown::Refused(policy));
    world
}

/// Checks that the issue is recorded and moves its item, that its link stays, and that one line says what is hidden.
#[track_caller]
fn check_moves(world: &mut World, policy: &str) {
    let run = world.run(&["sync"]).exits(0);
    let begin: String = policy.chars().take(40).collect();
    assert_eq!(run.stderr.matches(&begin).count(), 1, "{}", run.all());
    let run = run.logs("acme/shop#1: a part of what refers to it is hidden");
    assert_eq!(world.item_status(1), "Testing", "{}", run.all());
    let links = "SELECT count(*) FROM worker_pull_request_link";
    assert_eq!(world.one::<i64>(links), 1, "{}", run.all());
}

#[test]
fn a_mention_from_an_organization_with_an_access_policy_hides_only_itself() {
    let mention = |will_close| Event::CrossReferenced {
        source: "evil/corp#1".to_owned(),
        will_close,
    };
    for policy in POLICIES {
        let mut world = linked(policy);
        world.github.issue("acme/shop#1", |issue| {
            issue.references.clear();
            issue.timeline.extend([mention(false), mention(true)]);
        });
        world.github.close("acme/shop#1", &seconds_from_now(5));
        check_moves(&mut world, policy);
    }
}

/// GitHub puts null in the place of the closer, as if a person had closed the issue by hand.
#[test]
fn a_closer_that_a_policy_hides_leaves_the_links() {
    let closers = [
        Closer::PullRequest("evil/corp#1".to_owned()),
        Closer::Commit(vec!["evil/corp#1".to_owned()]),
    ];
    for closer in closers {
        let mut world = linked(POLICIES[0]);
        world
            .github
            .issue("acme/shop#1", |issue| issue.references.clear());
        let at = seconds_from_now(5);
        world
            .github
            .close_by("acme/shop#1", &at, "COMPLETED", closer);
        check_moves(&mut world, POLICIES[0]);
    }
}

/// A pull request of ours that closes one of their issues, too.
#[test]
fn an_issue_that_a_policy_hides_stops_no_poll() {
    for policy in POLICIES {
        let mut world = linked(policy);
        world.github.issue("evil/corp#2", |issue| {
            issue.references = vec!["acme/shop#7".to_owned()];
        });
        world.github.pull_request("acme/shop#7", |found| {
            found.updated_at = seconds_from_now(5);
        });
        world.github.close("acme/shop#1", &seconds_from_now(5));
        world.run(&["sync"]).exits(0);
        assert_eq!(world.item_status(1), "Testing");
        let failed = "SELECT count(*) FROM worker_repository WHERE error IS NOT NULL";
        assert_eq!(world.one::<i64>(failed), 0);
    }
}

#[test]
fn a_repository_of_ours_behind_a_policy_is_hidden_as_a_whole() {
    let mut world = linked(POLICIES[0]);
    world.github.show("acme/shop", Shown::Refused(POLICIES[1]));
    world
        .run(&["sync"])
        .exits(1)
        .logs("acme/shop cannot be read");
    let resting = "SELECT count(*) FROM worker_repository WHERE error_at IS NOT NULL";
    assert_eq!(world.one::<i64>(resting), 1);
}
