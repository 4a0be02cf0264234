//! Answers with holes: a list, a cursor or an alias that is null, and data beside a failure of the whole.

use agira_worker::github::Poll;
use kit::github::{Event, Fault};
use serde_json::{Value, json};

use super::*;

const WRONG: &str = "Something went wrong while executing your query.";

/// Returns a GitHub with four issues; the first one has a label, and a merged pull request closed it.
fn four() -> Simulator {
    let simulator = with_issues(&shop(1..=4));
    simulator.merge("acme/shop#50", "2026-02-01T00:00:00Z");
    simulator.issue("acme/shop#1", |issue| {
        let closer = Closer::PullRequest("acme/shop#50".to_owned());
        issue.labels = vec!["bug".to_owned()];
        issue.timeline = vec![Event::Closed(closer)];
    });
    simulator
}

/// Makes the next answer to a fetch of all four, or to the poll, like this.
fn spoil(simulator: &Simulator, first: &Response, change: impl FnOnce(&mut Value)) {
    let mut answer: Value = serde_json::from_slice(&first.body).expect("JSON");
    change(&mut answer);
    let answer = Response::json(200, &answer);
    simulator.fail_next(1, &Fault::Answer(answer));
}

fn poll(simulator: &Simulator) -> (Result<[usize; 2], MappingErrorKind>, Option<FailureKind>) {
    let since = "2025-01-01T00:00:00Z".parse().expect("a time");
    let poll = Poll {
        repository: Repository::parse("acme/shop").expect("owner/name"),
        issues_since: since,
        pull_requests_since: since,
        closing_after: since,
    };
    let polled = client(simulator).poll(&[poll]);
    let ended_by = polled.ended_by.map(|error| error.kind);
    let answer = polled.answers.into_iter().next().flatten();
    let answer = answer.unwrap_or(Err(MappingError::released("no answer")));
    let closes = |changes: &agira_worker::github::RepositoryChanges| {
        changes
            .pull_requests
            .iter()
            .map(|one| one.closes.len())
            .sum()
    };
    let counts = answer.map(|changes| [changes.issues.len(), closes(&changes)]);
    (counts.map_err(|error| error.kind), ended_by)
}

#[test]
fn a_hole_in_a_list_of_an_issue_is_filled_by_another_request() {
    let keys = shop(1..=4);
    let table: [(&str, Value); 8] = [
        ("/labels/nodes", Value::Null),
        ("/labels", Value::Null),
        ("/closedByPullRequestsReferences/nodes", Value::Null),
        ("/timelineItems/nodes", Value::Null),
        ("/reopenings/nodes", Value::Null),
        ("/reopenings/nodes", json!([null])),
        ("/labels/pageInfo/hasNextPage", json!(true)),
        ("", Value::Null),
    ];
    for (path, value) in table {
        let simulator = four();
        let first = recorded(
            &simulator,
            &["acme/shop#1", "acme/shop#2", "acme/shop#3", "acme/shop#4"],
        );
        spoil(&simulator, &first[0], |answer| {
            let place = format!("/data/t0/issueOrPullRequest{path}");
            *answer.pointer_mut(&place).expect("a place") = value;
            if path.contains("pageInfo") {
                let place = "/data/t0/issueOrPullRequest/labels/pageInfo/endCursor";
                *answer.pointer_mut(place).expect("a cursor") = Value::Null;
            }
        });
        let fetched = fetch_all(&simulator, &keys);
        let first = fetched[0].as_ref().expect(path);
        assert_eq!(first.labels, ["bug"], "{path}");
        match &first.details {
            Details::Issue {
                pull_requests,
                some_hidden,
                ..
            } => {
                assert_eq!((pull_requests.len(), *some_hidden), (1, false), "{path}");
            }
            Details::PullRequest { .. } => panic!("no issue"),
        }
        assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
        assert_eq!(
            simulator.requests().len(),
            2,
            "{path}: nobody else is asked about again"
        );
    }
}

/// Returns the number of pull requests of the first issue, and whether another one may be hidden.
#[track_caller]
fn related(simulator: &Simulator) -> (usize, bool) {
    match fetch_one(simulator, "acme/shop#1").details {
        Details::Issue {
            pull_requests,
            some_hidden,
            ..
        } => (pull_requests.len(), some_hidden),
        Details::PullRequest { .. } => panic!("no issue"),
    }
}

#[test]
fn a_hole_in_the_pull_requests_of_a_closing_commit_is_filled_by_another_request() {
    for path in [
        "",
        "/associatedPullRequests",
        "/associatedPullRequests/nodes",
    ] {
        let simulator = four();
        simulator.issue("acme/shop#1", |issue| {
            let commit = Closer::Commit(vec!["acme/shop#50".to_owned()]);
            issue.timeline = vec![Event::Closed(commit)];
        });
        assert_eq!(related(&simulator), (1, false));
        let answers = simulator.requests();
        simulator.clear_log();
        simulator.fail_next(1, &Fault::Answer(answers[0].response.clone()));
        spoil(&simulator, &answers[1].response, |answer| {
            let place = format!("/data/l0{path}");
            *answer.pointer_mut(&place).expect("a place") = Value::Null;
        });
        assert_eq!(related(&simulator), (1, false), "{path}");
        assert_eq!(simulator.requests().len(), 3, "{path}");
    }
}

/// The first request asks for the changes, and the second one for the issues that pull requests close.
#[test]
fn a_hole_in_a_poll_is_filled_by_another_request() {
    let table: [(usize, &[(&str, Value)]); 7] = [
        (0, &[("r0/issues", Value::Null)]),
        (0, &[("r0/issues/nodes", Value::Null)]),
        (0, &[("r0/pullRequests/nodes", Value::Null)]),
        (
            0,
            &[
                ("r0/issues/pageInfo/hasNextPage", json!(true)),
                ("r0/issues/pageInfo/endCursor", Value::Null),
            ],
        ),
        (1, &[("l0", Value::Null)]),
        (1, &[("l0/closingIssuesReferences", Value::Null)]),
        (1, &[("l0/closingIssuesReferences/nodes", Value::Null)]),
    ];
    for (request, holes) in table {
        let simulator = four();
        simulator.issue("acme/shop#2", |issue| {
            issue.references = vec!["acme/shop#50".to_owned()]
        });
        assert_eq!(poll(&simulator), (Ok([4, 1]), None));
        let answers = simulator.requests();
        for before in &answers[..request] {
            simulator.fail_next(1, &Fault::Answer(before.response.clone()));
        }
        spoil(&simulator, &answers[request].response, |answer| {
            for (path, value) in holes {
                let place = format!("/data/{path}");
                *answer.pointer_mut(&place).expect("a place") = value.clone();
            }
        });
        simulator.clear_log();
        assert_eq!(poll(&simulator), (Ok([4, 1]), None), "{holes:?}");
        assert_eq!(simulator.requests().len(), 3, "{holes:?}");
    }
}

/// Returns GitHub's answer about four issues in which it did not get to the last two, with this error about the whole.
fn half(simulator: &Simulator, error: &Value) {
    let first = recorded(
        simulator,
        &["acme/shop#1", "acme/shop#2", "acme/shop#3", "acme/shop#4"],
    );
    spoil(simulator, &first[0], |answer| {
        answer["data"]["t2"] = Value::Null;
        answer["data"]["t3"] = Value::Null;
        answer["errors"] = json!([error]);
    });
}

#[test]
fn data_beside_a_general_error_counts_and_the_rest_is_asked_for_again() {
    for error in [
        json!({ "message": WRONG }),
        json!({ "message": "Resource limits for this query exceeded.", "type": "RESOURCE_LIMITS_EXCEEDED" }),
    ] {
        let simulator = four();
        half(&simulator, &error);
        let fetched = fetch_all(&simulator, &shop(1..=4));
        assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
        assert_eq!(sizes(&simulator), [4, 2], "{error}");
    }
}

#[test]
fn data_beside_a_limit_counts_and_no_request_follows() {
    for error in [
        json!({ "message": "API rate limit exceeded", "type": "RATE_LIMITED" }),
        json!({ "message": "You have exceeded a secondary rate limit." }),
    ] {
        let simulator = four();
        // This one would have a further page.
        simulator.issue("acme/shop#1", |issue| {
            issue.labels = vec!["bug".to_owned(); 101]
        });
        let first = fetch_all(&simulator, &shop(1..=4));
        assert!(first.iter().all(Result::is_ok), "{first:?}");
        let answer = simulator.requests().remove(0).response;
        simulator.clear_log();
        spoil(&simulator, &answer, |answer| {
            answer["data"]["t3"] = Value::Null;
            answer["errors"] = json!([error]);
        });
        let targets = issues(&shop(1..=4));
        let fetched = client(&simulator).fetch(&targets, &|_| {});
        let read: Vec<bool> = fetched.answers.iter().map(Option::is_some).collect();
        assert_eq!(read, [false, true, true, false], "{error}");
        let kind = fetched.ended_by.map(|error| error.kind);
        assert!(
            matches!(kind, Some(FailureKind::RateLimited(_))),
            "{kind:?}"
        );
        assert_eq!(simulator.requests().len(), 1);
    }
}

#[test]
fn a_limit_with_null_in_the_place_of_all_data_is_a_limit() {
    let simulator = four();
    let answer = json!({
        "data": { "r0": null, "rateLimit": null },
        "errors": [{ "message": "You have exceeded a secondary rate limit." }],
    });
    simulator.fail_next(1, &Fault::Answer(Response::json(200, &answer)));
    let (_, ended_by) = poll(&simulator);
    assert!(
        matches!(ended_by, Some(FailureKind::RateLimited(_))),
        "{ended_by:?}"
    );
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn what_github_answers_beside_a_heavy_issue_is_not_asked_for_again() {
    let simulator = with_issues(&shop(1..=25));
    simulator.make_too_heavy("acme/shop#1");
    let fetched = fetch_all(&simulator, &shop(1..=25));
    assert_eq!(fetched.iter().filter(|one| one.is_ok()).count(), 24);
    // With all of them, alone, without extras, and nothing.
    assert_eq!(sizes(&simulator), [25, 1, 1, 0]);
}
