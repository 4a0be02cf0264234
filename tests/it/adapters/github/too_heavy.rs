//! What is too much for GitHub to answer at once.

use kit::github::Fault;
use serde_json::json;

use super::*;

/// Every look is one that GitHub answered, but for these.
#[track_caller]
fn check_failed(looks: &[Look], expected: &[usize]) {
    let failed: Vec<usize> = (0..looks.len())
        .filter(|index| looks[*index].is_err())
        .collect();
    assert_eq!(failed, expected, "{looks:?}");
    for look in looks {
        if let Err(error) = look {
            assert!(
                matches!(error, LookError::Failed(reason) if reason.contains("could not answer")),
                "{error:?}"
            );
        }
    }
}

#[test]
fn a_page_that_is_too_heavy_is_halved_which_the_client_remembers() {
    let keys = shop(1..=26);
    let simulator = with_issues(&keys);
    simulator.settings().most_aliases = 10;
    let mut client = client(&simulator);
    check_failed(&look_with(&mut client, &keys).expect("GitHub answers"), &[]);
    assert_eq!(sizes(&simulator), [25, 13, 7, 7, 7, 5]);
    simulator.clear_log();
    check_failed(&look_with(&mut client, &keys).expect("GitHub answers"), &[]);
    assert_eq!(sizes(&simulator), [7, 7, 7, 5]);
}

#[test]
fn one_that_is_too_heavy_on_its_own_fails_alone_wherever_it_stands() {
    let keys = shop(1..=5);
    for (heavy, key) in keys.iter().enumerate() {
        let simulator = with_issues(&keys);
        simulator.make_too_heavy(key);
        check_failed(&looks(&simulator, &keys), &[heavy]);
    }
}

#[test]
fn one_that_is_too_heavy_fails_alone_also_when_it_is_the_only_one_left() {
    let simulator = with_issues(&shop(1..=2));
    simulator.make_too_heavy("acme/shop#2");
    let mut client = client(&simulator);
    look_with(&mut client, &shop(1..=1)).expect("GitHub answers");
    check_failed(
        &look_with(&mut client, &shop(2..=2)).expect("GitHub has answered before"),
        &[0],
    );
}

#[test]
fn an_issue_whose_further_page_is_too_heavy_fails_alone() {
    let simulator = with_issues(&shop(1..=2));
    simulator.issue("acme/shop#1", |issue| {
        issue.labels = vec!["bug".to_owned(); 101]
    });
    let first_page = recorded(&simulator, &["acme/shop#1"]).remove(0);
    for answer in [first_page, page_too_late()] {
        simulator.fail_next(1, &Fault::Answer(answer));
    }
    check_failed(&looks(&simulator, &["acme/shop#1"]), &[0]);
}

#[test]
fn many_that_are_too_heavy_fail_alone_also_in_a_row() {
    let keys = shop(1..=6);
    let simulator = with_issues(&keys);
    keys[..5]
        .iter()
        .for_each(|key| simulator.make_too_heavy(key));
    check_failed(&looks(&simulator, &keys), &[0, 1, 2, 3, 4]);
}

#[test]
fn the_only_one_that_is_asked_for_is_not_githubs_failure() {
    let simulator = with_issues(&shop(1..=1));
    simulator.make_too_heavy("acme/shop#1");
    check_failed(&looks(&simulator, &shop(1..=1)), &[0]);
    assert_eq!(sizes(&simulator), [1, 0]);
}

#[test]
fn one_that_github_answers_with_garbage_or_500_fails_alone() {
    for answer in [
        Response::empty(500),
        Response {
            body: b"{\"data\":".to_vec(),
            ..Response::empty(200)
        },
    ] {
        let simulator = with_issues(&shop(1..=1));
        simulator.fail_next(3, &Fault::Answer(answer));
        check_failed(&looks(&simulator, &shop(1..=1)), &[0]);
        assert_eq!(sizes(&simulator), [1, 1, 1, 0]);
    }
}

#[test]
fn nothing_answered_is_githubs_failure() {
    let keys = shop(1..=9);
    let simulator = with_issues(&keys);
    simulator.fail_next(100, &Fault::Answer(page_too_late()));
    for keys in [&keys[..], &keys[..1]] {
        let error = look_with(&mut client(&simulator), keys).expect_err("GitHub does not answer");
        assert!(matches!(error, ServiceError::TooHeavy(_)), "{error:?}");
    }
    assert_eq!(
        sizes(&simulator),
        [9, 5, 3, 2, 1, 0, 1, 0],
        "asked for nothing, it does not answer either"
    );
}

#[test]
fn github_that_stops_answering_half_way_is_githubs_failure() {
    let keys = shop(1..=9);
    let simulator = with_issues(&keys);
    let mut client = client(&simulator);
    look_with(&mut client, &keys).expect("GitHub answers");
    simulator.fail_next(100, &Fault::Answer(page_too_late()));
    let error = look_with(&mut client, &keys).expect_err("GitHub does not answer");
    assert!(matches!(error, ServiceError::TooHeavy(_)), "{error:?}");
}

fn page_too_late() -> Response {
    Response {
        body: b"<html>We couldn't respond in time</html>".to_vec(),
        ..Response::empty(502)
    }
}

#[test]
fn every_form_of_too_heavy_is_halved() {
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
        check_failed(&looks(&simulator, &keys), &[]);
        assert_eq!(sizes(&simulator), [4, 2, 2], "{form:?}");
    }
}

#[test]
fn an_answer_that_takes_too_long_is_halved() {
    let keys = shop(1..=4);
    let simulator = with_issues(&keys);
    simulator.settings().latency = Duration::from_millis(300);
    let patience = Timeouts {
        answer: Duration::from_millis(50),
        ..PATIENCE
    };
    let mut client = client(&simulator).with_patience(patience);
    let error = look_with(&mut client, &keys).expect_err("GitHub does not answer");
    assert!(
        matches!(&error, ServiceError::TooHeavy(reason) if reason.contains("no answer within 50ms")),
        "{error:?}"
    );
    assert_eq!(client.requests(), 4, "4, 2, 1, and nothing");
}
