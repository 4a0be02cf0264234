//! The rules that decide which pull requests belong to an issue.

use agira_worker::core::model::Relation::{self, Closes, Connected};
use kit::github::Event;

use super::*;

const PR: &str = "acme/shop#13";
const OTHER: &str = "acme/shop#14";
const FOREIGN: &str = "acme/lib#5";

/// Returns a GitHub with issue 12 and the pull requests above.
fn simulator() -> Simulator {
    let simulator = with_issues(&["acme/shop#12", "acme/shop#20"]);
    for key in [PR, OTHER, FOREIGN] {
        simulator.pull_request(key, |_| {});
    }
    simulator
}

/// Checks the pull requests of the issue after a change to it.
#[track_caller]
fn check(
    simulator: &Simulator,
    change: impl FnOnce(&mut kit::github::Issue),
    expected: &[(&str, Relation)],
) {
    simulator.issue("acme/shop#12", change);
    let Details::Issue { pull_requests, .. } = fetch_one(simulator, "acme/shop#12").details else {
        panic!("no issue")
    };
    let found: Vec<_> = pull_requests
        .iter()
        .map(|found| (found.address.to_string(), found.relation))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, relation)| ((*key).to_owned(), *relation))
        .collect();
    assert_eq!(found, expected);
}

/// Checks the pull requests of the issue after these events.
#[track_caller]
fn check_timeline(events: impl IntoIterator<Item = Event>, expected: &[(&str, Relation)]) {
    check(
        &simulator(),
        |issue| issue.timeline.extend(events),
        expected,
    );
}

/// Checks whether a pull request with this text about issue 12 of `acme/shop` belongs to it.
#[track_caller]
fn check_text(key: &str, title: &str, body: &str, belongs: bool) {
    let simulator = simulator();
    simulator.pull_request(key, |found| {
        (found.title, found.body) = (title.to_owned(), body.to_owned())
    });
    let expected = [(key, Closes)];
    check(
        &simulator,
        |issue| issue.timeline.push(mentioned_by(key)),
        if belongs { &expected } else { &[] },
    );
}

fn connected(key: &str) -> Event {
    Event::Connected(key.to_owned())
}

fn disconnected(key: &str) -> Event {
    Event::Disconnected(key.to_owned())
}

fn mentioned_by(key: &str) -> Event {
    Event::CrossReferenced {
        source: key.to_owned(),
        will_close: false,
    }
}

fn closed_by(key: &str) -> Event {
    Event::Closed(Closer::PullRequest(key.to_owned()))
}

fn reopened(at: &str) -> Event {
    Event::Reopened(at.to_owned())
}

#[test]
fn a_closing_reference_belongs_in_any_state() {
    for state in ["OPEN", "CLOSED", "MERGED"] {
        let simulator = simulator();
        simulator.pull_request(PR, |found| found.state = state);
        check(
            &simulator,
            |issue| issue.references = vec![PR.to_owned()],
            &[(PR, Closes)],
        );
    }
}

#[test]
fn a_connected_pull_request_belongs_until_it_is_disconnected() {
    check_timeline([connected(PR)], &[(PR, Connected)]);
    check_timeline([connected(PR), disconnected(PR)], &[]);
    check_timeline(
        [connected(PR), disconnected(PR), connected(PR)],
        &[(PR, Connected)],
    );
    check_timeline(
        [connected(PR), connected(OTHER), disconnected(PR)],
        &[(OTHER, Connected)],
    );
}

#[test]
fn the_pull_request_that_closed_the_issue_belongs() {
    check_timeline([closed_by(PR)], &[(PR, Closes)]);
    check_timeline(
        [
            closed_by(PR),
            reopened("2026-02-01T00:00:00Z"),
            closed_by(OTHER),
        ],
        &[(PR, Closes), (OTHER, Closes)],
    );
}

#[test]
fn only_merged_pull_requests_of_the_closing_commit_belong() {
    let simulator = simulator();
    simulator.merge(PR, "2026-02-01T00:00:00Z");
    let commit = Closer::Commit(vec![OTHER.to_owned(), PR.to_owned()]);
    check(
        &simulator,
        |issue| issue.timeline.push(Event::Closed(commit)),
        &[(PR, Closes)],
    );
}

#[test]
fn an_issue_closed_by_a_person_a_commit_or_a_project_has_no_pull_request() {
    for closer in [Closer::Nobody, Closer::Commit(Vec::new()), Closer::Project] {
        check_timeline([Event::Closed(closer)], &[]);
    }
}

#[test]
fn a_cross_reference_that_will_close_the_issue_belongs() {
    check_timeline(
        [Event::CrossReferenced {
            source: PR.to_owned(),
            will_close: true,
        }],
        &[(PR, Closes)],
    );
}

#[test]
fn a_cross_reference_with_a_closing_keyword_in_its_description_belongs() {
    check_text(PR, "Correct prices", "Fixes #12", true);
    check_text(
        PR,
        "Correct prices",
        "resolved https://github.com/Acme/Shop/issues/12",
        true,
    );
    check_text(FOREIGN, "Correct prices", "Fixes acme/shop#12", true);
}

#[test]
fn a_keyword_that_github_ignores_does_not_belong() {
    // The title of a revert quotes the title that it takes back.
    check_text(PR, "Revert \"Closes #12\"", "", false);
    check_text(PR, "Correct prices", "<!-- Fixes #12 -->", false);
    check_text(PR, "Correct prices", "> Fixes #12", false);
    check_text(
        PR,
        "Correct prices",
        "Fixes https://ghe.example/acme/shop/issues/12",
        false,
    );
}

#[test]
fn a_plain_mention_does_not_belong() {
    check_text(PR, "Prepares #12", "see #12", false);
    check_text(PR, "Correct prices", "Fixes #120", false);
    check_text(FOREIGN, "Correct prices", "Fixes #12", false);
    check_text(FOREIGN, "Correct prices", "Part of acme/shop#12", false);
}

#[test]
fn a_keyword_still_counts_after_the_repository_was_renamed() {
    let simulator = simulator();
    simulator.pull_request(PR, |found| found.body = "Fixes #12".to_owned());
    simulator.issue("acme/shop#12", |issue| {
        issue.timeline.push(mentioned_by(PR))
    });
    simulator.rename_repository("acme/shop", "acme/store");
    let seen = fetch_one(&simulator, "acme/shop#12");
    let Details::Issue { pull_requests, .. } = seen.details else {
        panic!("{seen:?}")
    };
    assert_eq!(pull_requests.len(), 1);
    assert_eq!(pull_requests[0].address.to_string(), "acme/store#13");
}

#[test]
fn a_mention_by_an_issue_does_not_belong() {
    let simulator = simulator();
    simulator.issue("acme/shop#20", |issue| issue.body = "Closes #12".to_owned());
    check(
        &simulator,
        |issue| issue.timeline.push(mentioned_by("acme/shop#20")),
        &[],
    );
    check(
        &simulator,
        |issue| issue.timeline.push(connected("acme/shop#20")),
        &[],
    );
}

#[test]
fn a_hidden_pull_request_does_not_belong_and_causes_no_failure() {
    let simulator = simulator();
    simulator.hide_repository("acme/lib");
    let events = [
        Event::CrossReferenced {
            source: FOREIGN.to_owned(),
            will_close: true,
        },
        connected(FOREIGN),
        closed_by(FOREIGN),
        closed_by(PR),
    ];
    let change = |issue: &mut kit::github::Issue| {
        issue.references = vec![FOREIGN.to_owned()];
        issue.timeline.extend(events);
    };
    check(&simulator, change, &[(PR, Closes)]);
}

#[test]
fn a_pull_request_keeps_its_own_repository_and_number() {
    let simulator = simulator();
    let id = simulator.pull_request(FOREIGN, |_| {});
    simulator.merge(FOREIGN, "2026-02-01T00:00:00Z");
    simulator.issue("acme/shop#12", |issue| {
        issue.references = vec![FOREIGN.to_owned()]
    });
    let Details::Issue { pull_requests, .. } = fetch_one(&simulator, "acme/shop#12").details else {
        panic!("no issue")
    };
    let [found] = pull_requests.as_slice() else {
        panic!("{pull_requests:?}")
    };
    assert_eq!(
        (found.github_id.0, found.address.to_string(), found.state),
        (id, FOREIGN.to_owned(), State::Merged)
    );
    assert_eq!(found.url, "https://github.com/acme/lib/pull/5");
}

#[test]
fn a_pull_request_belongs_once_and_closing_wins_over_connected() {
    let events = [
        connected(PR),
        connected(OTHER),
        closed_by(PR),
        closed_by(PR),
        connected(OTHER),
    ];
    let change = |issue: &mut kit::github::Issue| {
        issue.references = vec![PR.to_owned(), PR.to_owned()];
        issue.timeline.extend(events);
    };
    check(&simulator(), change, &[(PR, Closes), (OTHER, Connected)]);
}

#[test]
fn disconnecting_does_not_undo_closing() {
    check_timeline(
        [closed_by(PR), connected(PR), disconnected(PR)],
        &[(PR, Closes)],
    );
}
