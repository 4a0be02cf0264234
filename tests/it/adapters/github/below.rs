//! Lists below the nodes of other lists: what a polled pull request closes, and the pull requests with a closing commit.

use agira_worker::core::model::GithubId;
use agira_worker::github::{Poll, RepositoryChanges};
use kit::github::{Event, Sickness};

use super::*;

const CLOSING: &str = "closingIssuesReferences";
const CONTAINING: &str = "associatedPullRequests";

/// Returns a GitHub with a pull request `acme/shop#5000` that closes so many issues.
fn closing(count: i32) -> Simulator {
    let simulator = with_issues(&shop(1..=count));
    for key in shop(1..=count) {
        simulator.issue(&key, |issue| {
            issue.references = vec!["acme/shop#5000".to_owned()]
        });
    }
    simulator.pull_request("acme/shop#5000", |_| {});
    simulator
}

fn poll(simulator: &Simulator) -> RepositoryChanges {
    poll_with(&mut client(simulator)).expect("changes")
}

fn poll_with(client: &mut Github) -> Result<RepositoryChanges, MappingError> {
    let since = "2025-01-01T00:00:00Z".parse().expect("a time");
    let poll = Poll {
        repository: Repository::parse("acme/shop").expect("owner/name"),
        issues_since: "2027-01-01T00:00:00Z".parse().expect("a time"),
        pull_requests_since: since,
    };
    let polled = client.poll(&[poll]);
    assert_eq!(polled.ended_by, None);
    let answer = polled.answers.into_iter().flatten().next();
    answer.expect("an answer")
}

/// Returns the number of different issues that the changed pull requests close.
fn closed(changes: &RepositoryChanges) -> usize {
    let issues = changes.pull_requests.iter().flat_map(|one| &one.closes);
    let ids: std::collections::HashSet<Option<GithubId>> =
        issues.map(|issue| issue.github_id).collect();
    ids.len()
}

#[test]
fn a_poll_reads_every_issue_that_a_changed_pull_request_closes() {
    for (count, requests) in [(10, 1), (11, 2), (110, 2), (250, 4)] {
        let simulator = closing(count);
        let changes = poll(&simulator);
        assert_eq!(closed(&changes), count as usize);
        assert_eq!(simulator.requests().len(), requests, "{count}");
    }
}

/// Beyond 40 further pages, the issues wait for their recheck.
#[test]
fn a_poll_ends_at_a_pull_request_that_closes_endlessly_many_issues() {
    let simulator = closing(4100);
    let changes = poll(&simulator);
    assert_eq!(closed(&changes), 4010);
    assert_eq!(simulator.requests().len(), 41);
}

/// The cursor must not pass issues that nobody looked at.
#[test]
fn a_poll_without_time_for_all_closed_issues_is_unfinished() {
    let simulator = closing(250);
    simulator.settings().latency = Duration::from_millis(300);
    let mut client = client(&simulator);
    client.set_deadline(Instant::now() + Duration::from_millis(150));
    let answer = poll_with(&mut client).map(|changes| closed(&changes));
    let kind = answer.map_err(|error| error.kind);
    assert_eq!(kind, Err(MappingErrorKind::Released));
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn a_list_of_closed_issues_that_github_never_answers_hides_no_change() {
    for sickness in [Sickness::Timeout, Sickness::Error] {
        let simulator = closing(12);
        simulator.pull_request("acme/shop#5001", |_| {});
        simulator.issue("acme/shop#12", |issue| {
            issue.references = vec!["acme/shop#5001".to_owned()]
        });
        simulator.make_sick("acme/shop#5000", CLOSING, sickness);
        let changes = poll(&simulator);
        assert_eq!(changes.pull_requests.len(), 2, "{sickness:?}");
        assert_eq!(closed(&changes), 1, "{sickness:?}");
    }
}

/// Returns a GitHub with an issue that a commit closed, and with so many merged pull requests that contain the commit.
fn containing(count: i32) -> Simulator {
    let simulator = with_issues(&["acme/shop#1"]);
    let keys = shop(1001..=1000 + count);
    for key in &keys {
        simulator.merge(key, "2026-02-01T00:00:00Z");
    }
    simulator.issue("acme/shop#1", |issue| {
        issue.timeline = vec![Event::Closed(Closer::Commit(keys))];
    });
    simulator
}

/// Checks the number of pull requests of the issue, and whether another one may be hidden.
#[track_caller]
fn check_related(simulator: &Simulator, expected: usize, is_hidden: bool) {
    match fetch_one(simulator, "acme/shop#1").details {
        Details::Issue {
            pull_requests,
            some_hidden,
            ..
        } => assert_eq!((pull_requests.len(), some_hidden), (expected, is_hidden)),
        Details::PullRequest { .. } => panic!("no issue"),
    }
}

#[test]
fn all_pull_requests_with_the_closing_commit_are_read() {
    for (count, requests) in [(5, 1), (6, 2), (105, 2), (106, 3)] {
        let simulator = containing(count);
        check_related(&simulator, count as usize, false);
        assert_eq!(simulator.requests().len(), requests, "{count}");
    }
}

#[test]
fn pull_requests_with_the_closing_commit_that_cannot_be_read_count_as_hidden() {
    let simulator = containing(3);
    simulator.make_sick("acme/shop#1001", CONTAINING, Sickness::Error);
    check_related(&simulator, 0, true);
    let simulator = containing(3);
    simulator.pull_request("secret/lib#1", |_| {});
    simulator.hide_repository("secret/lib");
    simulator.issue("acme/shop#1", |issue| {
        let keys = vec!["acme/shop#1001".to_owned(), "secret/lib#1".to_owned()];
        issue.timeline = vec![Event::Closed(Closer::Commit(keys))];
    });
    check_related(&simulator, 1, true);
}
