//! Every failure response of design.md, "Failure model", and of the services' documented status
//! tables.

use super::DatabaseFailure::{Conflict, Forbidden, Lost, Slow};
use super::FailureKind::*;
use super::MappingErrorKind::{Failed, Gone, RepositoryHidden, Unanswered};
use super::*;

const ABUSE: &str = "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again.";
const DOCUMENTED: &str = r#"{"message": "Forbidden", "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}"#;
const SECONDARY: &str =
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
const PRIMARY: &str = "API rate limit exceeded for user ID 1.";

fn response(status: u16, message: &str) -> GithubResponse<'_> {
    GithubResponse {
        status,
        message,
        ..GithubResponse::default()
    }
}

#[test]
fn githubs_answers_by_status() {
    let spent = |status, until_reset| GithubResponse {
        remaining: Some("0"),
        until_reset: Some(until_reset),
        ..response(status, "")
    };
    let with_retry_after = |status, message| GithubResponse {
        retry_after: Some(77),
        ..response(status, message)
    };
    let table: &[(GithubResponse<'_>, Result<(), FailureKind>)] = &[
        (response(200, ""), Ok(())),
        (response(204, ""), Ok(())),
        (response(299, ""), Ok(())),
        // The token is refused, or lacks a permission, or the organisation demands its single
        // sign-on.
        (response(401, "Bad credentials"), Err(Refused)),
        (
            response(403, "Resource not accessible by personal access token"),
            Err(Refused),
        ),
        (
            response(403, "Resource protected by organization SAML enforcement."),
            Err(Refused),
        ),
        (
            GithubResponse {
                remaining: Some("4999"),
                until_reset: Some(300),
                ..response(403, "no")
            },
            Err(Refused),
        ),
        // A refused token stays refused, even if the message names a limit.
        (response(401, PRIMARY), Err(Refused)),
        // Primary limit.
        (spent(403, 300), Err(RateLimited(Some(300)))),
        (spent(429, 300), Err(RateLimited(Some(300)))),
        (spent(403, 0), Err(RateLimited(Some(0)))),
        (spent(403, -1), Err(RateLimited(None))),
        (
            GithubResponse {
                until_reset: None,
                ..spent(403, 0)
            },
            Err(RateLimited(None)),
        ),
        (response(403, PRIMARY), Err(RateLimited(None))),
        // Secondary limit: Retry-After has priority; a reset counts only if no point is left.
        (with_retry_after(403, SECONDARY), Err(RateLimited(Some(77)))),
        (with_retry_after(429, SECONDARY), Err(RateLimited(Some(77)))),
        (with_retry_after(403, ""), Err(RateLimited(Some(77)))),
        (
            GithubResponse {
                retry_after: Some(77),
                ..spent(403, 300)
            },
            Err(RateLimited(Some(77))),
        ),
        (
            GithubResponse {
                remaining: Some("12"),
                until_reset: Some(300),
                ..response(429, "")
            },
            Err(RateLimited(None)),
        ),
        (response(403, SECONDARY), Err(RateLimited(None))),
        // Older GitHub Enterprise Server, and limits that only the address of the documentation
        // names.
        (response(403, ABUSE), Err(RateLimited(None))),
        (response(403, DOCUMENTED), Err(RateLimited(None))),
        (
            response(403, "Resource not accessible by integration"),
            Err(Refused),
        ),
        (response(429, ""), Err(RateLimited(None))),
        (
            GithubResponse {
                retry_after: Some(u64::MAX),
                ..response(429, "")
            },
            Err(RateLimited(Some(LONGEST_WAIT))),
        ),
        (spent(403, i64::MAX), Err(RateLimited(Some(LONGEST_WAIT)))),
        // More than ten seconds of work.
        (response(502, "Server Error"), Err(TooHeavy)),
        (
            response(504, "We couldn't respond to your request in time."),
            Err(TooHeavy),
        ),
        (response(500, ""), Err(Unavailable)),
        (response(501, ""), Err(Unavailable)),
        (response(503, "Service unavailable"), Err(Unavailable)),
        (with_retry_after(503, ""), Err(RateLimited(Some(77)))),
        (
            GithubResponse {
                retry_after: Some(0),
                ..response(503, "")
            },
            Err(Unavailable),
        ),
        (response(599, ""), Err(Unavailable)),
        // Redirects, an unknown or retired version, an invalid query.
        (response(301, ""), Err(Rejected)),
        (response(304, ""), Err(Rejected)),
        (response(400, ""), Err(Rejected)),
        (response(404, "Not Found"), Err(Rejected)),
        (response(410, ""), Err(Rejected)),
        (response(422, "Validation Failed"), Err(Rejected)),
        (response(499, ""), Err(Rejected)),
        (response(199, ""), Err(Rejected)),
    ];
    for (response, expected) in table {
        assert_eq!(github(response), *expected, "{response:?}");
    }
}

#[test]
fn githubs_errors_with_status_200() {
    // Type, message, the class if the response has data, the class if it has none.
    let table: &[(Option<&str>, &str, Option<FailureKind>, FailureKind)] = &[
        (
            Some("RATE_LIMITED"),
            "",
            Some(RateLimited(Some(5))),
            RateLimited(Some(5)),
        ),
        (
            Some("RATE_LIMIT"),
            "",
            Some(RateLimited(Some(5))),
            RateLimited(Some(5)),
        ),
        (
            Some("RESOURCE_LIMITS_EXCEEDED"),
            "",
            Some(TooHeavy),
            TooHeavy,
        ),
        (
            Some("MAX_NODE_LIMIT_EXCEEDED"),
            "",
            Some(TooHeavy),
            TooHeavy,
        ),
        (Some("INSUFFICIENT_SCOPES"), "", None, Refused),
        (
            Some("FORBIDDEN"),
            "Resource protected by organization SAML enforcement.",
            None,
            Refused,
        ),
        (Some("SERVICE_UNAVAILABLE"), "", None, Unavailable),
        (
            Some("NOT_FOUND"),
            "Could not resolve to a Repository",
            None,
            Rejected,
        ),
        (None, PRIMARY, None, RateLimited(Some(5))),
        (None, SECONDARY, None, RateLimited(Some(5))),
        (
            None,
            "Something went wrong while executing your query.",
            None,
            TooHeavy,
        ),
        (
            None,
            "We couldn't respond to your request in time.",
            None,
            TooHeavy,
        ),
        (
            None,
            "Field 'x' doesn't exist on type 'Query'",
            None,
            Rejected,
        ),
        (Some("SOMETHING_NEW"), "", None, Rejected),
    ];
    for (error_type, message, beside_data, alone) in table {
        assert_eq!(
            graphql(*error_type, message, true, Some(5)),
            *beside_data,
            "{error_type:?} {message}"
        );
        assert_eq!(
            graphql(*error_type, message, false, Some(5)),
            Some(*alone),
            "{error_type:?} {message}"
        );
    }
}

#[test]
fn no_wait_is_longer_than_two_hours() {
    let with_retry_after = |seconds| {
        GithubResponse {
            retry_after: Some(seconds),
            ..response(429, "")
        }
        .wait()
    };
    assert_eq!(
        (with_retry_after(7200), with_retry_after(7201)),
        (Some(7200), Some(7200))
    );
}

/// The most restrictive of several errors classifies a response.
#[test]
fn the_most_restrictive_failure_comes_first() {
    assert!(
        RateLimited(None) < Refused
            && Refused < Unavailable
            && Unavailable < TooHeavy
            && TooHeavy < Rejected
    );
}

#[test]
fn githubs_errors_of_one_issue_or_repository() {
    // Type, the class for the whole repository, the class for a part of it.
    let table = [
        (Some("NOT_FOUND"), Some(RepositoryHidden), None),
        (
            Some("FORBIDDEN"),
            Some(RepositoryHidden),
            Some(RepositoryHidden),
        ),
        (
            Some("INSUFFICIENT_SCOPES"),
            Some(RepositoryHidden),
            Some(RepositoryHidden),
        ),
        (
            Some("SERVICE_UNAVAILABLE"),
            Some(Unanswered),
            Some(Unanswered),
        ),
        (Some("SOMETHING_NEW"), Some(Unanswered), Some(Unanswered)),
        (None, Some(Unanswered), Some(Unanswered)),
    ];
    for (error_type, of_repository, of_part) in table {
        assert_eq!(
            (
                graphql_path(error_type, true),
                graphql_path(error_type, false)
            ),
            (of_repository, of_part),
            "{error_type:?}"
        );
        assert_eq!(
            Some(graphql_poll(error_type)),
            of_repository,
            "{error_type:?}"
        );
    }
}

#[test]
fn rests_answers_about_an_issue_that_graphql_lacks() {
    for status in [301, 302, 307, 308] {
        assert_eq!(
            (rest_issue(status, false, ""), rest_issue(status, true, "")),
            (Gone, Failed),
            "{status}"
        );
    }
    // The texts are those of recorded answers.
    for (status, message, expected) in [
        (404, "Not Found", Gone),
        (410, "This issue was deleted", Gone),
        (410, "Issues are disabled for this repo", RepositoryHidden),
        (
            410,
            "Issues has been disabled in this repository.",
            RepositoryHidden,
        ),
        (410, "", Failed),
        (451, "Repository access blocked", RepositoryHidden),
        (451, "", RepositoryHidden),
        (200, "", Failed),
        (304, "", Failed),
        (422, "", Failed),
    ] {
        assert_eq!(
            (
                rest_issue(status, false, message),
                rest_issue(status, true, message)
            ),
            (expected, expected),
            "{status} {message}"
        );
    }
}

#[test]
fn an_error_names_its_class_and_the_services_message() {
    let text = |kind, status| {
        let message = "no".to_owned();
        ServiceError {
            kind,
            status,
            message,
        }
        .to_string()
    };
    assert_eq!(
        text(RateLimited(Some(7)), Some(429)),
        "rate limit reached, retry in 7 s: no"
    );
    assert_eq!(text(RateLimited(None), Some(429)), "rate limit reached: no");
    assert_eq!(text(Refused, Some(401)), "credentials refused: no");
    assert_eq!(text(Unavailable, None), "not available: no");
    assert_eq!(text(TooHeavy, None), "could not answer in time: no");
    assert_eq!(
        text(Rejected, Some(422)),
        "request rejected with status 422: no"
    );
    assert_eq!(text(Interrupted, None), "no");
}

#[test]
fn weaviates_answers_by_status() {
    let table = [
        (200, Ok(())),
        (204, Ok(())),
        (299, Ok(())),
        (401, Err(Refused)),
        (403, Err(Refused)),
        (429, Err(Unavailable)),
        (500, Err(Unavailable)),
        (502, Err(Unavailable)),
        (503, Err(Unavailable)),
        (504, Err(Unavailable)),
        (199, Err(Rejected)),
        (301, Err(Rejected)),
        (400, Err(Rejected)),
        (404, Err(Rejected)),
        (405, Err(Rejected)),
        (406, Err(Rejected)),
        (410, Err(Rejected)),
        (413, Err(Rejected)),
        (415, Err(Rejected)),
        (422, Err(Rejected)),
        (499, Err(Rejected)),
    ];
    for (status, expected) in table {
        assert_eq!(weaviate(status, None), expected, "{status}");
    }
    for (status, wait, expected) in [
        (429, 60, RateLimited(Some(60))),
        (503, 31_536_000, RateLimited(Some(7200))),
        (503, 0, Unavailable),
        (500, 60, Unavailable),
        (403, 60, Refused),
    ] {
        assert_eq!(weaviate(status, Some(wait)), Err(expected), "{status}");
    }
}

#[test]
fn weaviates_errors_with_status_200() {
    let table = [
        (
            "store is read-only due to: disk usage too high",
            Unavailable,
        ),
        (
            "explorer: list class: search: 429 Too many requests",
            Unavailable,
        ),
        (
            "failed to vectorize batch of objects: dial tcp 10.0.0.1:8000: connect: connection refused",
            Unavailable,
        ),
        (
            "vectorize: connection to: OpenAI API failed with status: 429 error: slow down",
            Unavailable,
        ),
        ("OpenAI API failed with status: 500", Unavailable),
        ("remote client: status code: 503", Unavailable),
        ("API failed with status: 401", Unavailable),
        (
            "OpenAI API failed with status: 400 error: too long",
            Rejected,
        ),
        ("invalid text property 'status': 5 is a number", Rejected),
        ("API Key: no api key found", Unavailable),
        (
            "panic occurred: runtime error: invalid memory address or nil pointer dereference",
            Unavailable,
        ),
        ("put objects: cannot reach enough replicas", Unavailable),
        ("cannot process batch: not enough memory", Unavailable),
        (
            "invalid integer property 'number' on class 'AgiraObject'",
            Rejected,
        ),
        (
            "no such prop with name 'x' found in class 'AgiraObject' in the schema",
            Rejected,
        ),
        ("class 'AgiraObject' not present in schema", Rejected),
        (
            "Cannot query field \"AgiraObject\" on type \"GetObjectsObj\".",
            Rejected,
        ),
        ("", Rejected),
    ];
    for (message, expected) in table {
        assert_eq!(weaviate_message(message), expected, "{message}");
    }
}

#[test]
fn postgresqls_errors_by_code() {
    let table = [
        ("08000", Lost),                     // connection_exception
        ("08006", Lost),                     // connection_failure
        ("25P03", Lost),                     // idle_in_transaction_session_timeout
        ("25P04", Lost),                     // transaction_timeout
        ("53000", Lost),                     // insufficient_resources
        ("53100", Lost),                     // disk_full
        ("53200", Lost),                     // out_of_memory
        ("53300", Lost),                     // too_many_connections
        ("57P01", Lost),                     // admin_shutdown
        ("57P02", Lost),                     // crash_shutdown
        ("57P03", Lost),                     // cannot_connect_now
        ("57P05", Lost),                     // idle_session_timeout
        ("58030", Lost),                     // io_error
        ("40001", Conflict),                 // serialization_failure
        ("40P01", Conflict),                 // deadlock_detected
        ("55P03", Conflict),                 // lock_not_available
        ("57014", Slow),                     // query_canceled: statement_timeout
        ("25006", Forbidden),                // read_only_sql_transaction
        ("42501", Forbidden),                // insufficient_privilege
        ("42703", Forbidden), // undefined_column: worker.sql is not applied, or taken away in mid-run
        ("42P01", Forbidden), // undefined_table
        ("42P05", Forbidden), // duplicate_prepared_statement: a pool in transaction mode
        ("26000", Forbidden), // invalid_sql_statement_name: the same
        ("22001", DatabaseFailure::Refused), // string_data_right_truncation
        ("22021", DatabaseFailure::Refused), // character_not_in_repertoire
        ("23503", DatabaseFailure::Refused), // foreign_key_violation
        ("23505", DatabaseFailure::Refused), // unique_violation
        ("25P02", DatabaseFailure::Refused), // in_failed_sql_transaction
        ("40002", DatabaseFailure::Refused), // transaction_integrity_constraint_violation
        ("54000", DatabaseFailure::Refused), // program_limit_exceeded
        ("55006", DatabaseFailure::Refused), // object_in_use
        ("P0001", DatabaseFailure::Refused), // raise_exception: a trigger of somebody's
        ("XX000", DatabaseFailure::Refused), // internal_error
    ];
    for (code, expected) in table {
        for is_broken in [false, true] {
            assert_eq!(postgres(Some(code), is_broken), expected, "{code}");
        }
    }
    assert_eq!(
        (postgres(None, true), postgres(None, false)),
        (Lost, DatabaseFailure::Refused)
    );
}

#[test]
fn objects_that_all_fail_for_one_reason_are_a_failure_of_the_service() {
    let one = [
        "object 'a b' of batch 7 failed: id 3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "object 'c' of batch 12 failed: id 00000000-0000-0000-0000-000000000001",
    ];
    assert!(is_one_reason(&one));
    assert!(is_one_reason(&["no", "no", "no"]));
    assert!(is_one_reason(&["é \"1\"", "é \"x\""]));
    assert!(!is_one_reason(&["no"]) && !is_one_reason(&[]));
    assert!(!is_one_reason(&["no", "no", "not this one"]));
    assert!(!is_one_reason(&["can't read it", "can't write it"]));
    assert!(!is_one_reason(&["an 'open quote", "an 'open end"]));
}
