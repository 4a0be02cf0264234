//! GitHub's rate limits and refusals, and answers that are none.

use kit::github::Fault;
use serde_json::json;

use super::*;

fn message(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "message": message }))
}

/// What the client says when GitHub answers like this, however often it asks, and how often it asks.
#[track_caller]
fn failure(answer: Response) -> (ServiceError, usize) {
    let simulator = with_issues(&shop(1..=2));
    simulator.fail_next(9, &Fault::Answer(answer));
    let error = refused(&mut client(&simulator));
    (error, simulator.requests().len())
}

/// After that answer nothing more is asked, and the wait is as GitHub named it.
#[track_caller]
fn check_limited(answer: Response, expected: Option<u64>) {
    let (error, asked) = failure(answer);
    let ServiceError::RateLimited { wait, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!((wait, asked), (expected.map(Duration::from_secs), 1));
}

/// After that answer nothing more is asked, and all of this is said.
#[track_caller]
fn check_refused(answer: Response, said: &[&str]) {
    let (error, asked) = failure(answer);
    assert!(matches!(error, ServiceError::Refused(_)), "{error:?}");
    let text = error.to_string();
    assert!(said.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(asked, 1);
}

/// After that answer GitHub is asked a few times more; what it said is told on one line.
#[track_caller]
fn check_unavailable(answer: Response, said: &str) {
    let (error, asked) = failure(answer);
    assert!(matches!(error, ServiceError::Unavailable(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(said) && !text.contains('\n') && text.len() < 400,
        "{text}"
    );
    assert_eq!(
        asked, 6,
        "three times, and three times whether it answers at all"
    );
}

#[test]
fn a_spent_budget_is_waited_for_by_githubs_own_clock() {
    for ahead in [-3600, 0, 3600] {
        let simulator = with_issues(&shop(1..=2));
        simulator.settings().clock_ahead = ahead;
        simulator.settings().points = 0;
        let error = refused(&mut client(&simulator));
        let ServiceError::RateLimited {
            wait: Some(wait),
            reason,
        } = &error
        else {
            panic!("{error:?}")
        };
        assert!(
            (1799..=1800).contains(&wait.as_secs()),
            "{wait:?} with a clock {ahead} s ahead"
        );
        assert!(reason.contains("already exceeded"), "{reason}");
        assert_eq!(simulator.requests().len(), 1);
    }
}

#[test]
fn the_budget_that_ends_between_two_pages_is_waited_for() {
    let simulator = with_issues(&shop(1..=26));
    simulator.settings().points = 1;
    let error = look_with(&mut client(&simulator), &shop(1..=26)).expect_err("a limit");
    assert!(
        matches!(error, ServiceError::RateLimited { wait: Some(_), .. }),
        "{error:?}"
    );
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn the_budget_that_ends_before_rest_is_asked_is_waited_for() {
    let simulator = with_issues(&shop(1..=1));
    simulator.delete("acme/shop#1");
    simulator.settings().points = 1;
    let error = look_with(&mut client(&simulator), &shop(1..=1)).expect_err("a limit");
    assert!(
        matches!(error, ServiceError::RateLimited { wait: Some(_), .. }),
        "{error:?}"
    );
    assert_eq!(
        paths(&simulator.requests()),
        ["/graphql", "/repos/acme/shop/issues/1"]
    );
}

#[test]
fn a_403_or_429_with_nothing_left_waits_until_the_reset() {
    for status in [403, 429] {
        let answer = message(status, "API rate limit exceeded for user ID 1.")
            .header("date", "Tue, 24 Nov 2026 04:00:00 GMT")
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", "1795493100");
        check_limited(answer, Some(300));
    }
}

#[test]
fn a_reset_that_is_over_names_no_wait() {
    let answer = message(403, "API rate limit exceeded for user ID 1.")
        .header("date", "Tue, 24 Nov 2026 04:00:00 GMT")
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "1795492799");
    check_limited(answer, None);
}

#[test]
fn a_secondary_limit_waits_as_long_as_it_says() {
    let said =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    for status in [403, 429] {
        check_limited(message(status, said).header("retry-after", "77"), Some(77));
        check_limited(message(status, said), None);
        check_limited(
            message(status, "Slow down.").header("retry-after", "77"),
            Some(77),
        );
    }
    check_limited(message(429, "Slow down."), None);
    check_limited(
        Response {
            body: b"<html>Too many requests</html>".to_vec(),
            ..Response::empty(429)
        },
        None,
    );
}

#[test]
fn a_limit_in_a_200_is_a_limit() {
    let errors = |error: serde_json::Value| Response::json(200, &json!({ "errors": [error] }));
    for kind in ["RATE_LIMITED", "RATE_LIMIT"] {
        let error = json!({ "type": kind, "code": "graphql_rate_limit", "message": "Not now." });
        check_limited(errors(error.clone()), None);
        check_limited(errors(error).header("retry-after", "60"), Some(60));
    }
    check_limited(
        errors(json!({ "message": "You have exceeded a secondary rate limit." })),
        None,
    );
}

#[test]
fn a_403_that_is_no_limit_names_the_missing_permission() {
    let answer = message(403, "Resource not accessible by personal access token")
        .header("x-accepted-github-permissions", "issues=read");
    check_refused(
        answer,
        &[
            "Resource not accessible by personal access token",
            "issues=read",
        ],
    );
    check_refused(
        message(403, "Resource protected by organization SAML enforcement."),
        &["SAML"],
    );
}

#[test]
fn a_wrong_token_is_refused_without_being_shown() {
    let simulator = with_issues(&shop(1..=2));
    let mut client = Github::new(&simulator.url(), "github_pat_wrong")
        .expect("a client")
        .with_patience(PATIENCE);
    let error = refused(&mut client);
    assert_eq!(error, ServiceError::Refused("Bad credentials".to_owned()));
    assert_eq!(simulator.requests().len(), 1);
    assert!(!format!("{client:?}").contains("github_pat_wrong"));
}

#[test]
fn a_server_error_is_asked_again_and_then_githubs_failure() {
    check_unavailable(message(503, "Service unavailable"), "Service unavailable");
    check_unavailable(
        Response::empty(500),
        "500 Internal Server Error without a body",
    );
    let page = format!(
        "<html>\n<body>\n  <h1>Unicorn!</h1>{}</body></html>",
        " ".repeat(1000) + &"x".repeat(1000)
    );
    check_unavailable(
        Response {
            body: page.into_bytes(),
            ..Response::empty(503)
        },
        "Unicorn!",
    );
}

#[test]
fn an_answer_that_is_none_is_asked_for_again_and_then_githubs_failure() {
    let text = |body: &[u8]| Response {
        body: body.to_vec(),
        ..Response::empty(200)
    };
    for garbled in [
        &b"<html>Hello</html>"[..],
        b"",
        b"{\"data\":{\"t0\":{\"name",
        b"[]",
        b"null",
        b"{}",
        b"{\"data\":null}",
    ] {
        check_unavailable(text(garbled), "no GraphQL answer");
    }
    let cut_gzip =
        text(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab]).header("content-encoding", "gzip");
    check_unavailable(cut_gzip, "cut off");
}

#[test]
fn one_failure_in_between_is_not_noticed() {
    let page = Response {
        body: b"<html>".to_vec(),
        ..Response::empty(200)
    };
    for failure in [message(503, "Service unavailable"), page] {
        let simulator = with_issues(&shop(1..=2));
        simulator.fail_next(2, &Fault::Answer(failure));
        assert!(looks(&simulator, &shop(1..=2)).iter().all(Result::is_ok));
    }
}

#[test]
fn a_rejected_query_is_told_with_githubs_words() {
    let errors = json!({ "errors": [{ "message": "Field 'x' doesn't exist", "extensions": { "code": "undefinedField" } }] });
    let (error, asked) = failure(Response::json(200, &errors));
    let reason = "Field 'x' doesn't exist".to_owned();
    assert_eq!(
        (error, asked),
        (
            ServiceError::Rejected {
                status: 200,
                reason
            },
            1
        )
    );
    let (error, asked) = failure(message(400, "Problems parsing JSON"));
    let reason = "Problems parsing JSON".to_owned();
    assert_eq!(
        (error, asked),
        (
            ServiceError::Rejected {
                status: 400,
                reason
            },
            1
        )
    );
}

#[test]
fn a_github_that_is_not_there_is_not_available() {
    let url = with_issues(&shop(1..=2)).url();
    let mut client = client_at(&url);
    let error = refused(&mut client);
    assert!(matches!(error, ServiceError::Unavailable(_)), "{error:?}");
    assert_eq!(
        client.requests(),
        6,
        "three times, and three times whether it answers at all"
    );
}
