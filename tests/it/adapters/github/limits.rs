//! GitHub's rate limits, refusals and unreadable responses.

use kit::github::Fault;
use serde_json::json;

use super::*;

fn message(status: u16, message: &str) -> Response {
    Response::json(status, &json!({ "message": message }))
}

/// Returns the client's error if GitHub always responds like this, and the number of requests.
#[track_caller]
fn failure(answer: Response) -> (ServiceError, usize) {
    let simulator = with_issues(&shop(1..=2));
    simulator.fail_next(9, &Fault::Answer(answer));
    let error = refused(&mut client(&simulator));
    (error, simulator.requests().len())
}

/// Checks that the client sends no request after this response, and returns the wait that GitHub names.
#[track_caller]
fn check_limited(answer: Response, expected: Option<u64>) {
    let (error, asked) = failure(answer);
    assert_eq!(
        (error.kind, asked),
        (FailureKind::RateLimited(expected), 1),
        "{error:?}"
    );
}

/// Checks that the client sends no request after this response, and that the message has all parts.
#[track_caller]
fn check_refused(answer: Response, said: &[&str]) {
    let (error, asked) = failure(answer);
    assert_eq!(error.kind, FailureKind::Refused, "{error:?}");
    let text = error.to_string();
    assert!(said.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(asked, 1);
}

/// Checks that the client repeats the request a few times after this response, and reports it on one line.
#[track_caller]
fn check_unavailable(answer: Response, said: &str) {
    let (error, asked) = failure(answer);
    assert_eq!(error.kind, FailureKind::Unavailable, "{error:?}");
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
fn the_wait_for_a_spent_budget_uses_githubs_clock() {
    for ahead in [-3600, 0, 3600] {
        let simulator = with_issues(&shop(1..=2));
        simulator.settings().clock_ahead = ahead;
        simulator.settings().points = 0;
        let error = refused(&mut client(&simulator));
        let FailureKind::RateLimited(Some(seconds)) = error.kind else {
            panic!("{error:?}")
        };
        assert!(
            (1799..=1800).contains(&seconds),
            "{seconds} s with a clock {ahead} s ahead"
        );
        assert!(error.message.contains("already exceeded"), "{error:?}");
        assert_eq!(simulator.requests().len(), 1);
    }
}

#[test]
fn a_budget_that_ends_between_two_pages_causes_a_wait() {
    let simulator = with_issues(&shop(1..=26));
    simulator.settings().points = 1;
    let error = fetch_with(&mut client(&simulator), &shop(1..=26)).expect_err("a limit");
    assert!(
        matches!(error.kind, FailureKind::RateLimited(Some(_))),
        "{error:?}"
    );
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn a_budget_that_ends_before_the_rest_request_causes_a_wait() {
    let simulator = with_issues(&shop(1..=1));
    simulator.delete("acme/shop#1");
    simulator.settings().points = 1;
    let error = fetch_with(&mut client(&simulator), &shop(1..=1)).expect_err("a limit");
    assert!(
        matches!(error.kind, FailureKind::RateLimited(Some(_))),
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
fn a_reset_in_the_past_gives_no_wait() {
    let answer = message(403, "API rate limit exceeded for user ID 1.")
        .header("date", "Tue, 24 Nov 2026 04:00:00 GMT")
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "1795492799");
    check_limited(answer, None);
}

#[test]
fn a_secondary_limit_waits_as_long_as_github_requests() {
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
fn a_rate_limit_with_status_200_is_recognized() {
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

/// Returns responses with status 200 that are no answers and name a limit: a message and a page.
fn limits_with_200() -> [Response; 2] {
    let page = b"<html><h1>Whoa there!</h1>You have exceeded a secondary rate limit.</html>";
    [
        message(200, "You have exceeded a secondary rate limit."),
        Response {
            body: page.to_vec(),
            ..Response::empty(200)
        },
    ]
}

#[test]
fn a_page_or_message_with_status_200_that_names_a_limit_is_a_limit() {
    for answer in limits_with_200() {
        check_limited(answer.clone(), None);
        check_limited(answer.header("retry-after", "60"), Some(60));
    }
}

#[test]
fn a_limit_with_status_200_in_the_place_of_an_issue_of_rest_counts_no_attempt() {
    for answer in limits_with_200() {
        let simulator = with_issues(&shop(1..=1));
        simulator.delete("acme/shop#1");
        let hidden = fetch_all(&simulator, &shop(1..=1));
        assert!(hidden[0].is_err(), "{hidden:?}");
        let graphql = simulator.requests().remove(0).response;
        simulator.clear_log();
        simulator.fail_next(1, &Fault::Answer(graphql));
        simulator.fail_next(1, &Fault::Answer(answer.header("retry-after", "60")));
        let error = fetch_with(&mut client(&simulator), &shop(1..=1)).expect_err("a limit");
        assert_eq!(error.kind, FailureKind::RateLimited(Some(60)), "{error:?}");
        assert_eq!(simulator.requests().len(), 2);
    }
}

#[test]
fn an_issue_about_rate_limits_is_no_limit_even_if_its_answer_is_cut_off() {
    let simulator = with_issues(&shop(1..=2));
    simulator.issue("acme/shop#1", |issue| {
        issue.title = "You have exceeded a secondary rate limit.".to_owned();
    });
    let fetched = fetch_all(&simulator, &shop(1..=2));
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    let mut answer = simulator.requests().remove(0).response;
    assert!(String::from_utf8_lossy(&answer.body).contains("rate limit"));
    answer.body.truncate(answer.body.len() - 1);
    check_unavailable(answer, "not a GraphQL answer");
    let moved = json!({
        "html_url": "https://github.com/acme/shop/issues/9", "body": "API rate limit exceeded",
    });
    simulator.delete("acme/shop#1");
    let deleted = fetch_all(&simulator, &shop(1..=1));
    assert!(deleted[0].is_err(), "{deleted:?}");
    let graphql = simulator.requests().remove(1).response;
    simulator.fail_next(1, &Fault::Answer(graphql));
    simulator.fail_next(1, &Fault::Answer(Response::json(200, &moved)));
    let fetched = fetch_all(&simulator, &shop(1..=1));
    let error = fetched[0].as_ref().expect_err("it was moved");
    assert!(error.message.contains("was moved to"), "{error:?}");
}

#[test]
fn a_403_without_a_limit_names_the_missing_permission() {
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
        .with_timeouts(PATIENCE);
    let error = refused(&mut client);
    assert_eq!(
        error,
        ServiceError {
            kind: FailureKind::Refused,
            status: Some(401),
            message: "Bad credentials".to_owned()
        }
    );
    assert_eq!(simulator.requests().len(), 1);
    assert!(!format!("{client:?}").contains("github_pat_wrong"));
}

#[test]
fn a_server_error_is_retried_before_github_counts_as_down() {
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
fn an_unreadable_response_is_retried_before_github_counts_as_down() {
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
        check_unavailable(text(garbled), "not a GraphQL answer");
    }
    let cut_gzip =
        text(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab]).header("content-encoding", "gzip");
    check_unavailable(cut_gzip, "cut off");
}

#[test]
fn a_single_failure_has_no_effect() {
    let page = Response {
        body: b"<html>".to_vec(),
        ..Response::empty(200)
    };
    for failure in [message(503, "Service unavailable"), page] {
        let simulator = with_issues(&shop(1..=2));
        simulator.fail_next(2, &Fault::Answer(failure));
        assert!(
            fetch_all(&simulator, &shop(1..=2))
                .iter()
                .all(Result::is_ok)
        );
    }
}

#[test]
fn a_rejected_query_quotes_github() {
    let errors = json!({ "errors": [{ "message": "Parse error on \"}\"", "extensions": { "code": "parseError" } }] });
    let (error, asked) = failure(Response::json(200, &errors));
    let reason = "Parse error on \"}\"".to_owned();
    assert_eq!(
        (error, asked),
        (
            ServiceError {
                kind: FailureKind::Rejected,
                status: Some(200),
                message: reason
            },
            1
        )
    );
    let (error, asked) = failure(message(400, "Problems parsing JSON"));
    let reason = "Problems parsing JSON".to_owned();
    assert_eq!(
        (error, asked),
        (
            ServiceError {
                kind: FailureKind::Rejected,
                status: Some(400),
                message: reason
            },
            1
        )
    );
}

#[test]
fn an_unreachable_github_is_unavailable() {
    let url = with_issues(&shop(1..=2)).url();
    let mut client = client_at(&url);
    let error = refused(&mut client);
    assert_eq!(error.kind, FailureKind::Unavailable, "{error:?}");
    assert_eq!(
        client.requests(),
        6,
        "three times, and three times whether it answers at all"
    );
}
