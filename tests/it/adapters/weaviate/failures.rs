//! The classification of Weaviate's failures, in every form that Weaviate uses.

use kit::weaviate::Fault;

use super::*;

/// Returns the client's error if every request fails like this, and the number of requests.
#[track_caller]
fn failure(
    fault: &Fault,
    ask: impl FnOnce(&mut Weaviate) -> ServiceError,
) -> (ServiceError, usize) {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    simulator.fail_next(20, fault);
    let error = ask(&mut client);
    (error, simulator.requests().len())
}

/// A request that must fail.
type Ask = fn(&mut Weaviate) -> ServiceError;

/// Returns every kind of request of the client.
fn all_requests() -> [(&'static str, Ask); 4] {
    [
        ("class", |client| client.class().expect_err("class")),
        ("statuses", |client| {
            client.object_states(&ids(0..2)).expect_err("statuses")
        }),
        ("object", |client| client.object(id(0)).expect_err("object")),
        ("write", |client| {
            client.write(&all_to_write(0..2)).expect_err("write")
        }),
    ]
}

#[track_caller]
fn check_unavailable(fault: &Fault) {
    for (name, ask) in all_requests() {
        let (error, asked) = failure(fault, ask);
        assert!(error.kind == FailureKind::Unavailable, "{name}: {error:?}");
        // A ready Weaviate that fails for two objects is asked for each of them.
        let most = 3 + 3 * 3 + 3;
        assert!(asked == 3 || asked <= most, "{name}: {asked}, {error:?}");
    }
}

#[test]
fn a_transient_failure_is_retried_a_few_times_before_weaviate_counts_as_down() {
    for status in [429, 500, 502, 503, 504] {
        check_unavailable(&Fault::Status(status, "<html>no</html>".to_owned()));
    }
    check_unavailable(&Fault::Html);
    check_unavailable(&Fault::Status(200, String::new()));
    check_unavailable(&Fault::Status(200, "{\"class\":\"Agi".to_owned()));
}

#[test]
fn a_single_failure_has_no_effect() {
    for fault in [
        Fault::Html,
        Fault::Status(503, String::new()),
        Fault::Status(429, String::new()),
        Fault::LoseAnswer,
    ] {
        let simulator = with_class(agira_class());
        let mut client = client(&simulator);
        simulator.fail_next(2, &fault);
        assert_eq!(client.class(), Ok(ClassState::Fits), "{fault:?}");
        simulator.fail_next(2, &fault);
        assert_eq!(
            client.object_states(&ids(0..2)).expect("statuses").len(),
            2,
            "{fault:?}"
        );
        simulator.fail_next(2, &fault);
        assert_eq!(
            client.write(&all_to_write(0..2)),
            Ok(vec![Some(Ok(())); 2]),
            "{fault:?}"
        );
    }
}

#[test]
fn a_server_is_unavailable_until_it_is_up_again() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    simulator.settings().down = true;
    let error = client.write(&all_to_write(0..2)).expect_err("down");
    assert_eq!(
        error,
        ServiceError {
            kind: FailureKind::Unavailable,
            status: Some(503),
            message: "503 Service Unavailable without a body".to_owned()
        }
    );
    simulator.settings().down = false;
    assert_eq!(client.write(&all_to_write(0..2)), Ok(vec![Some(Ok(())); 2]));
}

#[test]
fn a_forbidden_action_is_refused_and_quotes_weaviate() {
    let said = "rbac: authorization, forbidden action: user 'x' has insufficient permissions to update_data";
    let fault = Fault::Status(403, json!({ "error": [{ "message": said }] }).to_string());
    for (name, ask) in all_requests() {
        assert_eq!(
            failure(&fault, ask).0,
            ServiceError {
                kind: FailureKind::Refused,
                status: Some(403),
                message: said.to_owned()
            },
            "{name}"
        );
    }
}

/// Checks the message for a response with that status and body to the request for the class.
#[track_caller]
fn check_message(status: u16, body: impl Into<String>, expected: &str) {
    let body = body.into();
    let (error, _) = failure(&Fault::Status(status, body.clone()), |client| {
        client.class().expect_err("a failure")
    });
    assert_eq!(error.to_string(), expected, "{body}");
}

#[test]
fn every_form_of_error_is_reported_on_one_line() {
    let of_handlers = json!({ "error": [{ "message": "the class\nis odd" }] }).to_string();
    check_message(
        422,
        of_handlers.clone(),
        "request rejected with status 422: the class\\nis odd",
    );
    check_message(500, of_handlers, "not available: the class\\nis odd");
    let of_framework =
        json!({ "code": 601, "message": "id in path must be of type uuid" }).to_string();
    check_message(
        422,
        of_framework.clone(),
        "request rejected with status 422: id in path must be of type uuid",
    );
    check_message(
        401,
        of_framework,
        "credentials refused: id in path must be of type uuid",
    );
    let limit = json!({ "errorCode": "USAGE_LIMIT_EXCEEDED", "limit": "objects", "value": 100, "message": "no more" });
    check_message(429, limit.to_string(), "not available: no more");
    let restriction = json!({ "errorCode": "CONFIG_NOT_ALLOWED", "message": "not that index" });
    check_message(
        422,
        restriction.to_string(),
        "request rejected with status 422: not that index",
    );
    check_message(
        400,
        "",
        "request rejected with status 400: 400 Bad Request without a body",
    );
    check_message(
        503,
        "",
        "not available: 503 Service Unavailable without a body",
    );
    let page = "<html>\r\n<body>\n\t<h1>502 Bad Gateway</h1>\n</body></html>";
    check_message(
        502,
        page,
        "not available: <html> <body> <h1>502 Bad Gateway</h1> </body></html>",
    );
    check_message(
        400,
        "\u{1b}[31mred",
        "request rejected with status 400: \\u{1b}[31mred",
    );
    check_message(
        400,
        "{\"odd\":true}",
        "request rejected with status 400: {\"odd\":true}",
    );
    let long = "é".repeat(1000);
    check_message(
        400,
        long,
        &format!("request rejected with status 400: {}…", "é".repeat(300)),
    );
}

#[test]
fn an_html_page_instead_of_weaviate_is_reported_as_such() {
    let said = "not available: the answer is not JSON (is WEAVIATE_URL a Weaviate server?): <html>Login</html>";
    check_message(200, "<html>Login</html>", said);
}

#[test]
fn an_endless_response_does_not_fill_the_memory() {
    let simulator = with_class(agira_class());
    simulator.fail_next(1, &Fault::Status(200, " ".repeat(33 * 1024 * 1024)));
    // A debug build on a busy machine needs much time to compress and decompress this much.
    let patience = Timeouts {
        answer: Duration::from_secs(300),
        ..PATIENCE
    };
    let error = client(&simulator)
        .with_timeouts(patience)
        .class()
        .expect_err("too much");
    assert_eq!(
        error,
        ServiceError::new(FailureKind::TooHeavy, "the answer has more than 32 MiB")
    );
    assert!(
        simulator.requests()[0].sent_bytes < 1024 * 1024,
        "small as long as it is compressed"
    );
}

#[test]
fn a_redirect_is_not_followed_with_the_key() {
    let simulator = with_class(agira_class());
    simulator.fail_next(1, &Fault::Status(301, String::new()));
    let error = client(&simulator).class().expect_err("a redirect");
    assert!(
        (error.kind, error.status) == (FailureKind::Rejected, Some(301)),
        "{error:?}"
    );
}

#[test]
fn an_unreachable_weaviate_is_unavailable() {
    let url = Simulator::start().url();
    let mut client = client_at(&url);
    let error = client.class().expect_err("nobody is there");
    assert!(error.kind == FailureKind::Unavailable, "{error:?}");
    assert!(!error.to_string().contains(&url), "{error}");
    assert_eq!(client.requests(), 3);
}

/// Tests that start their own server, because a running server cannot change these settings.
mod own_server {
    use super::*;

    #[test]
    fn a_wrong_key_is_refused_and_not_shown() {
        let simulator = with_settings(Settings {
            api_key: Some("right".to_owned()),
            ..Settings::default()
        });
        let keyed = |key| {
            Weaviate::new(&simulator.url(), Some(key))
                .expect("a client")
                .with_timeouts(PATIENCE)
        };
        assert_eq!(keyed("right").class(), Ok(ClassState::Fits));
        let (wrong, none) = (
            "unauthorized: invalid api key",
            "anonymous access not enabled",
        );
        for (mut client, said) in [(keyed("wrong-key"), wrong), (client(&simulator), none)] {
            for (name, ask) in all_requests() {
                let error = ask(&mut client);
                assert!(error.kind == FailureKind::Refused, "{name}: {error:?}");
                assert!(error.to_string().contains(said), "{name}: {error}");
            }
            assert!(!format!("{client:?}").contains("wrong-key"));
        }
    }
}
