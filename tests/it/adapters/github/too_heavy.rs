//! Requests that are too heavy for GitHub.

use kit::github::{Fault, Sickness};
use serde_json::json;

use super::*;

/// Checks that exactly these fetches failed.
#[track_caller]
fn check_failed(fetched: &[Fetched], expected: &[usize]) {
    let failed: Vec<usize> = (0..fetched.len())
        .filter(|index| fetched[*index].is_err())
        .collect();
    assert_eq!(failed, expected, "{fetched:?}");
    for result in fetched {
        if let Err(error) = result {
            assert!(
                error.kind == MappingErrorKind::Failed
                    && error.message.contains("could not answer"),
                "{error:?}"
            );
        }
    }
}

#[test]
fn the_client_halves_a_heavy_request_and_keeps_the_smaller_size() {
    let keys = shop(1..=26);
    let simulator = with_issues(&keys);
    simulator.settings().most_aliases = 10;
    let mut client = client(&simulator);
    check_failed(
        &fetch_with(&mut client, &keys).expect("GitHub answers"),
        &[],
    );
    assert_eq!(sizes(&simulator), [25, 13, 7, 7, 7, 5]);
    simulator.clear_log();
    check_failed(
        &fetch_with(&mut client, &keys).expect("GitHub answers"),
        &[],
    );
    assert_eq!(sizes(&simulator), [7, 7, 7, 5]);
}

#[test]
fn an_issue_that_is_too_heavy_fails_alone_at_any_position() {
    let keys = shop(1..=5);
    for (heavy, key) in keys.iter().enumerate() {
        let simulator = with_issues(&keys);
        simulator.make_too_heavy(key);
        check_failed(&fetch_all(&simulator, &keys), &[heavy]);
    }
}

#[test]
fn the_last_issue_fails_alone_if_it_is_too_heavy() {
    let simulator = with_issues(&shop(1..=2));
    simulator.make_too_heavy("acme/shop#2");
    let mut client = client(&simulator);
    fetch_with(&mut client, &shop(1..=1)).expect("GitHub answers");
    check_failed(
        &fetch_with(&mut client, &shop(2..=2)).expect("GitHub has answered before"),
        &[0],
    );
}

#[test]
fn a_further_page_that_is_too_heavy_is_left_out() {
    let simulator = with_issues(&shop(1..=2));
    simulator.issue("acme/shop#1", |issue| {
        issue.labels = vec!["bug".to_owned(); 101]
    });
    let first_page = recorded(&simulator, &["acme/shop#1"]).remove(0);
    for answer in [first_page, page_too_late()] {
        simulator.fail_next(1, &Fault::Answer(answer));
    }
    let seen = fetch_one(&simulator, "acme/shop#1");
    assert_eq!((seen.labels.len(), seen.missing), (100, vec!["labels"]));
}

#[test]
fn several_heavy_issues_in_a_row_fail_alone() {
    let keys = shop(1..=6);
    let simulator = with_issues(&keys);
    keys[..5]
        .iter()
        .for_each(|key| simulator.make_too_heavy(key));
    check_failed(&fetch_all(&simulator, &keys), &[0, 1, 2, 3, 4]);
}

#[test]
fn a_single_heavy_issue_is_not_a_failure_of_github() {
    let simulator = with_issues(&shop(1..=1));
    simulator.make_too_heavy("acme/shop#1");
    check_failed(&fetch_all(&simulator, &shop(1..=1)), &[0]);
    assert_eq!(sizes(&simulator), [1, 1, 0], "without extras, and nothing");
}

#[test]
fn an_issue_that_github_answers_with_garbage_or_500_fails_alone() {
    for answer in [
        Response::empty(500),
        Response {
            body: b"{\"data\":".to_vec(),
            ..Response::empty(200)
        },
    ] {
        let simulator = with_issues(&shop(1..=1));
        simulator.fail_next(6, &Fault::Answer(answer));
        check_failed(&fetch_all(&simulator, &shop(1..=1)), &[0]);
        assert_eq!(sizes(&simulator), [1, 1, 1, 1, 1, 1, 0]);
    }
}

#[test]
fn no_response_at_all_is_a_failure_of_github() {
    let keys = shop(1..=9);
    let simulator = with_issues(&keys);
    simulator.fail_next(100, &Fault::Answer(page_too_late()));
    for keys in [&keys[..], &keys[..1]] {
        let error = fetch_with(&mut client(&simulator), keys).expect_err("GitHub does not answer");
        assert_eq!(error.kind, FailureKind::TooHeavy, "{error:?}");
    }
    assert_eq!(
        sizes(&simulator),
        [9, 5, 3, 2, 1, 1, 0, 1, 1, 0],
        "asked for nothing, it does not answer either"
    );
}

#[test]
fn if_github_stops_answering_half_way_github_counts_as_down() {
    let keys = shop(1..=9);
    let simulator = with_issues(&keys);
    let mut client = client(&simulator);
    fetch_with(&mut client, &keys).expect("GitHub answers");
    simulator.fail_next(100, &Fault::Answer(page_too_late()));
    let error = fetch_with(&mut client, &keys).expect_err("GitHub does not answer");
    assert_eq!(error.kind, FailureKind::TooHeavy, "{error:?}");
}

fn page_too_late() -> Response {
    Response {
        body: b"<html>We couldn't respond in time</html>".to_vec(),
        ..Response::empty(502)
    }
}

#[test]
fn every_response_that_means_too_heavy_halves_the_request() {
    let errors =
        |kind: &str| json!({ "errors": [{ "type": kind, "message": "too much" }], "data": null });
    let said = |message: &str| json!({ "errors": [{ "message": message }], "data": null });
    let forms = [
        page_too_late(),
        Response::empty(504),
        Response::json(502, &json!({ "message": "Server Error" })),
        Response::json(200, &errors("RESOURCE_LIMITS_EXCEEDED")),
        Response::json(200, &errors("MAX_NODE_LIMIT_EXCEEDED")),
        Response::json(
            200,
            &said("Something went wrong while executing your query."),
        ),
        Response::json(200, &said("We couldn't respond to your request in time.")),
    ];
    let keys = shop(1..=4);
    for form in forms {
        let simulator = with_issues(&keys);
        simulator.fail_next(1, &Fault::Answer(form.clone()));
        check_failed(&fetch_all(&simulator, &keys), &[]);
        assert_eq!(sizes(&simulator), [4, 2, 2], "{form:?}");
    }
}

#[test]
fn a_request_that_times_out_is_halved() {
    let keys = shop(1..=4);
    let simulator = with_issues(&keys);
    simulator.settings().latency = Duration::from_millis(300);
    let patience = Timeouts {
        answer: Duration::from_millis(50),
        ..PATIENCE
    };
    let mut client = client(&simulator).with_timeouts(patience);
    let error = fetch_with(&mut client, &keys).expect_err("GitHub does not answer");
    assert!(
        error.kind == FailureKind::TooHeavy && error.message.contains("no answer within 50ms"),
        "{error:?}"
    );
    assert_eq!(
        client.requests(),
        5,
        "4, 2, 1, 1 without extras, and nothing"
    );
}

/// GitHub answers nothing as long as the heavy issue is in the request, and the time ends before it is alone.
#[test]
fn what_is_in_the_last_failed_request_at_the_end_of_the_time_is_postponed() {
    let keys = shop(1..=25);
    let simulator = with_issues(&keys);
    simulator.make_sick("acme/shop#1", "title", Sickness::Timeout);
    simulator.settings().latency = Duration::from_millis(600);
    let targets = issues(&keys);
    let mut client = client(&simulator);
    client.set_deadline(Instant::now() + Duration::from_millis(1000));
    let fetched = client.fetch(&targets, &|_| {});
    let kind = fetched.ended_by.map(|error| error.kind);
    assert_eq!(kind, Some(FailureKind::OutOfTime));
    let postponed = fetched.answers.iter().take_while(
        |answer| matches!(answer, Some(Err(error)) if error.kind == MappingErrorKind::Postponed),
    );
    let postponed = postponed.count();
    assert_eq!(sizes(&simulator).last(), Some(&postponed));
    assert!(fetched.answers.iter().skip(postponed).all(Option::is_none));
}
