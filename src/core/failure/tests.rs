//! Every row of section 5 of the design, and of the status tables of what is known about the services, that is an answer.

use super::DatabaseFailure::{Conflict, Forbidden, Lost, Slow};
use super::Failure::*;
use super::NotShown::{Deleted, Gone, Hidden, Moved, NotFound};
use super::*;

const SECONDARY: &str =
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
const PRIMARY: &str = "API rate limit exceeded for user ID 1.";

/// An answer with that status and that message.
fn says(status: u16, said: &str) -> Signs<'_> {
    Signs {
        status,
        said,
        ..Signs::default()
    }
}

#[test]
fn githubs_answers_by_status() {
    let spent = |status, until_reset| Signs {
        remaining: Some("0"),
        until_reset: Some(until_reset),
        ..says(status, "")
    };
    let told = |status, said| Signs {
        retry_after: Some(77),
        ..says(status, said)
    };
    let table: &[(Signs<'_>, Result<(), Failure>)] = &[
        (says(200, ""), Ok(())),
        (says(204, ""), Ok(())),
        (says(299, ""), Ok(())),
        // The token is refused, or lacks a permission, or the organisation demands its single sign-on.
        (says(401, "Bad credentials"), Err(Refused)),
        (
            says(403, "Resource not accessible by personal access token"),
            Err(Refused),
        ),
        (
            says(403, "Resource protected by organization SAML enforcement."),
            Err(Refused),
        ),
        (
            Signs {
                remaining: Some("4999"),
                until_reset: Some(300),
                ..says(403, "no")
            },
            Err(Refused),
        ),
        // What is said of limits with a refused token changes nothing.
        (says(401, PRIMARY), Err(Refused)),
        // Primary limit.
        (spent(403, 300), Err(Limited(Some(300)))),
        (spent(429, 300), Err(Limited(Some(300)))),
        (spent(403, 0), Err(Limited(Some(0)))),
        (spent(403, -1), Err(Limited(None))),
        (
            Signs {
                until_reset: None,
                ..spent(403, 0)
            },
            Err(Limited(None)),
        ),
        (says(403, PRIMARY), Err(Limited(None))),
        // Secondary limit: Retry-After goes first, a reset counts only when nothing is left.
        (told(403, SECONDARY), Err(Limited(Some(77)))),
        (told(429, SECONDARY), Err(Limited(Some(77)))),
        (told(403, ""), Err(Limited(Some(77)))),
        (
            Signs {
                retry_after: Some(77),
                ..spent(403, 300)
            },
            Err(Limited(Some(77))),
        ),
        (
            Signs {
                remaining: Some("12"),
                until_reset: Some(300),
                ..says(429, "")
            },
            Err(Limited(None)),
        ),
        (says(403, SECONDARY), Err(Limited(None))),
        (says(429, ""), Err(Limited(None))),
        (
            Signs {
                retry_after: Some(u64::MAX),
                ..says(429, "")
            },
            Err(Limited(Some(LONGEST_WAIT))),
        ),
        (spent(403, i64::MAX), Err(Limited(Some(LONGEST_WAIT)))),
        // More than ten seconds of work.
        (says(502, "Server Error"), Err(TooHeavy)),
        (
            says(504, "We couldn't respond to your request in time."),
            Err(TooHeavy),
        ),
        (says(500, ""), Err(Unavailable)),
        (says(501, ""), Err(Unavailable)),
        (says(503, "Service unavailable"), Err(Unavailable)),
        (told(503, ""), Err(Unavailable)),
        (says(599, ""), Err(Unavailable)),
        // Redirects, a version that is not known or retired, a query that is none.
        (says(301, ""), Err(Rejected)),
        (says(304, ""), Err(Rejected)),
        (says(400, ""), Err(Rejected)),
        (says(404, "Not Found"), Err(Rejected)),
        (says(410, ""), Err(Rejected)),
        (says(422, "Validation Failed"), Err(Rejected)),
        (says(499, ""), Err(Rejected)),
        (says(199, ""), Err(Rejected)),
    ];
    for (signs, expected) in table {
        assert_eq!(github(signs), *expected, "{signs:?}");
    }
}

#[test]
fn githubs_errors_with_status_200() {
    // Type, message; what it is with data beside it, and without.
    let table: &[(Option<&str>, &str, Option<Failure>, Failure)] = &[
        (
            Some("RATE_LIMITED"),
            "",
            Some(Limited(Some(5))),
            Limited(Some(5)),
        ),
        (
            Some("RATE_LIMIT"),
            "",
            Some(Limited(Some(5))),
            Limited(Some(5)),
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
        (None, PRIMARY, None, Limited(Some(5))),
        (None, SECONDARY, None, Limited(Some(5))),
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
    for (kind, said, beside_data, alone) in table {
        assert_eq!(
            graphql(*kind, said, true, Some(5)),
            *beside_data,
            "{kind:?} {said}"
        );
        assert_eq!(
            graphql(*kind, said, false, Some(5)),
            Some(*alone),
            "{kind:?} {said}"
        );
    }
}

#[test]
fn no_wait_is_longer_than_a_year() {
    let told = |seconds| {
        Signs {
            retry_after: Some(seconds),
            ..says(429, "")
        }
        .wait()
    };
    assert_eq!(
        (told(31_536_000), told(31_536_001)),
        (Some(31_536_000), Some(31_536_000))
    );
}

/// Of several errors the one that forbids most is what the answer means.
#[test]
fn failures_are_ordered_by_what_they_forbid() {
    assert!(
        Limited(None) < Refused
            && Refused < Unavailable
            && Unavailable < TooHeavy
            && TooHeavy < Rejected
    );
}

#[test]
fn githubs_errors_of_one_issue_or_repository() {
    // Type; what it is of the whole repository, and of something in it.
    let table = [
        (Some("NOT_FOUND"), Hidden, NotFound),
        (Some("FORBIDDEN"), Hidden, Hidden),
        (Some("INSUFFICIENT_SCOPES"), Hidden, Hidden),
        (
            Some("SERVICE_UNAVAILABLE"),
            NotShown::Failed,
            NotShown::Failed,
        ),
        (Some("SOMETHING_NEW"), NotShown::Failed, NotShown::Failed),
        (None, NotShown::Failed, NotShown::Failed),
    ];
    for (kind, of_repository, of_part) in table {
        assert_eq!(
            (spoiled(kind, true), spoiled(kind, false)),
            (of_repository, of_part),
            "{kind:?}"
        );
    }
}

#[test]
fn rests_answers_about_what_graphql_does_not_find() {
    for status in [301, 302, 307, 308] {
        assert_eq!(
            (not_found(status, false), not_found(status, true)),
            (Moved, NotShown::Failed),
            "{status}"
        );
    }
    let table = [
        (404, Gone),
        (410, Deleted),
        (200, NotShown::Failed),
        (304, NotShown::Failed),
        (422, NotShown::Failed),
    ];
    for (status, expected) in table {
        assert_eq!(
            (not_found(status, false), not_found(status, true)),
            (expected, expected),
            "{status}"
        );
    }
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
        assert_eq!(weaviate(status), expected, "{status}");
    }
}

#[test]
fn weaviates_words_with_status_200() {
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
    for (said, expected) in table {
        assert_eq!(weaviate_said(said), expected, "{said}");
    }
}

#[test]
fn postgresqls_errors_by_code() {
    let table = [
        ("08000", Lost),                     // connection_exception
        ("08006", Lost),                     // connection_failure
        ("25P03", Lost),                     // idle_in_transaction_session_timeout
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
