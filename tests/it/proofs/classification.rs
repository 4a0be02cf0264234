//! Every failure response of GitHub, Weaviate and PostgreSQL, with the effect on the run: one table per service, after
//! design.md, "Failure model". `src/core/failure` tests the classification itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use kit::boundaries::{Boundaries, Side, Then};
use kit::fault_proxy::{FaultProxy, WireFault};
use kit::postgres_proxy::PostgresProxy;
use serde_json::{Value, json};

use crate::harness::{Run, World};

/// Status, headers and body; exit code and `stopped_by`.
type Row = (
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
    i32,
    Option<&'static str>,
);

const LATER: Option<&str> = Some("github");
const LIMIT: Option<&str> = Some("rate_limit");
const WEAVIATE: Option<&str> = Some("weaviate");

const GITHUB: &[Row] = &[
    (401, &[], r#"{"message":"Bad credentials"}"#, 1, None),
    (
        403,
        &[],
        r#"{"message":"Resource not accessible by personal access token"}"#,
        1,
        None,
    ),
    (
        403,
        &[("x-github-sso", "required; url=https://x")],
        r#"{"message":"SAML enforcement"}"#,
        1,
        None,
    ),
    (
        403,
        &[("x-ratelimit-remaining", "0")],
        r#"{"message":"no"}"#,
        75,
        LIMIT,
    ),
    (
        403,
        &[("retry-after", "60")],
        r#"{"message":"no"}"#,
        75,
        LIMIT,
    ),
    (
        403,
        &[],
        r#"{"message":"You have exceeded a secondary rate limit."}"#,
        75,
        LIMIT,
    ),
    (
        403,
        &[("x-ratelimit-remaining", "7")],
        r#"{"message":"no"}"#,
        1,
        None,
    ),
    (429, &[], "", 75, LIMIT),
    (429, &[("retry-after", "9999999999999999")], "", 75, LIMIT),
    (
        200,
        &[],
        r#"{"errors":[{"type":"RATE_LIMITED","message":"no"}]}"#,
        75,
        LIMIT,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"RATE_LIMIT","message":"no"}],"data":null}"#,
        75,
        LIMIT,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"message":"API rate limit exceeded"}]}"#,
        75,
        LIMIT,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"RESOURCE_LIMITS_EXCEEDED","message":"no"}],"data":{}}"#,
        75,
        LATER,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"MAX_NODE_LIMIT_EXCEEDED","message":"no"}],"data":{}}"#,
        75,
        LATER,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"message":"Something went wrong while executing your query."}]}"#,
        75,
        LATER,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"message":"Field 'x' doesn't exist","extensions":{"code":"undefinedField"}}]}"#,
        1,
        None,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"INSUFFICIENT_SCOPES","message":"no"}]}"#,
        1,
        None,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"FORBIDDEN","message":"SAML enforcement"}],"data":null}"#,
        1,
        None,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"SERVICE_UNAVAILABLE","message":"no"}]}"#,
        75,
        LATER,
    ),
    (
        200,
        &[],
        r#"{"errors":[{"type":"NOT_FOUND","message":"no"},{"type":"RATE_LIMITED","message":"no"}]}"#,
        75,
        LIMIT,
    ),
    (200, &[], "{}", 75, LATER),
    (200, &[], "", 75, LATER),
    (
        301,
        &[("location", "https://elsewhere.example/")],
        "",
        1,
        None,
    ),
    (
        400,
        &[],
        r#"{"message":"not a supported version"}"#,
        1,
        None,
    ),
    (404, &[], r#"{"message":"Not Found"}"#, 1, None),
    (410, &[], r#"{"message":"retired"}"#, 1, None),
    (422, &[], r#"{"message":"Validation Failed"}"#, 1, None),
    (500, &[], "", 75, LATER),
    (502, &[], "<html>Server Error</html>", 75, LATER),
    (503, &[], "", 75, LATER),
    (504, &[], "", 75, LATER),
];

const FOR_WEAVIATE: &[Row] = &[
    (
        401,
        &[],
        r#"{"code":401,"message":"anonymous access not enabled"}"#,
        1,
        None,
    ),
    (403, &[], r#"{"error":[{"message":"forbidden"}]}"#, 1, None),
    (
        429,
        &[],
        r#"{"errorCode":"USAGE_LIMIT_EXCEEDED","limit":"objects","message":"no more"}"#,
        75,
        WEAVIATE,
    ),
    (429, &[], "", 75, WEAVIATE),
    (
        301,
        &[("location", "https://elsewhere.example/")],
        "",
        1,
        None,
    ),
    (400, &[], r#"{"code":400,"message":"odd"}"#, 1, None),
    (404, &[], "", 1, None),
    (405, &[], r#"{"code":405,"message":"odd"}"#, 1, None),
    (410, &[], "", 1, None),
    (413, &[], "<html>a proxy</html>", 1, None),
    (415, &[], r#"{"code":415,"message":"odd"}"#, 1, None),
    (422, &[], r#"{"code":601,"message":"odd"}"#, 1, None),
    (200, &[], "<html>a proxy</html>", 75, WEAVIATE),
    (200, &[], "", 75, WEAVIATE),
    (500, &[], r#"{"error":[{"message":"no"}]}"#, 75, WEAVIATE),
    (502, &[], "<html>a proxy</html>", 75, WEAVIATE),
    (503, &[], "", 75, WEAVIATE),
    (504, &[], "", 75, WEAVIATE),
];

/// SQLSTATE and number of failures; exit code, `stopped_by`, and counted attempts.
const POSTGRESQL: &[(&str, usize, i32, Option<&str>, i32)] = &[
    // Failures of the mapping: its data is rejected, or its statement takes too long.
    ("22021", 1, 3, None, 1),
    ("23503", 1, 3, None, 1),
    ("57014", 1, 3, None, 1),
    ("P0001", 1, 3, None, 1),
    ("XX000", 1, 3, None, 1),
    // Conflicts: the statement is repeated twice, then the mapping is released.
    ("40001", 2, 0, None, 0),
    ("40P01", 2, 0, None, 0),
    ("55P03", 2, 0, None, 0),
    ("55P03", 3, 0, None, 0),
    // The server is lost, shutting down or full.
    ("08006", 1, 75, Some("database"), 0),
    ("25P03", 1, 75, Some("database"), 0),
    ("53100", 1, 75, Some("database"), 0),
    ("53200", 1, 75, Some("database"), 0),
    ("57P01", 1, 75, Some("database"), 0),
    ("57P02", 1, 75, Some("database"), 0),
    ("58030", 1, 75, Some("database"), 0),
    // The worker cannot write any more: a person has to act, and no mapping is to blame.
    ("25006", 1, 1, None, 0),
    ("42501", 1, 1, None, 0),
    ("42703", 1, 1, None, 0),
];

/// Checks that a run that gets this response to everything ends like this, and counts no attempt of the mapping.
#[track_caller]
fn check(variable: &str, row: &Row, url: impl Fn(&World) -> String) {
    let (status, headers, body, code, stopped_by) = *row;
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let front = FaultProxy::before(&url(&world));
    front.fail_from(0, WireFault::answer(status, headers, body.as_bytes()));
    let run = Run::of(
        world
            .command(&["sync", "--output", "json"])
            .env(variable, front.url()),
    );
    assert_eq!(run.code, code, "{row:?}\n{}", run.all());
    assert_eq!(
        run.json()["stopped_by"],
        stopped_by.map_or(Value::Null, |by| json!(by)),
        "{row:?}\n{}",
        run.all()
    );
    let healthy = "SELECT worker_attempts = 0 AND worker_error IS NULL AND worker_claim IS NULL
        FROM core_externalissuemapping";
    assert!(world.one::<bool>(healthy), "{row:?}\n{}", run.all());
}

#[test]
fn every_failure_response_of_github_ends_the_run_as_designed() {
    GITHUB
        .iter()
        .for_each(|row| check("GITHUB_API_URL", row, |world| world.github.url()));
}

#[test]
fn every_failure_response_of_weaviate_ends_the_run_as_designed() {
    FOR_WEAVIATE
        .iter()
        .for_each(|row| check("WEAVIATE_URL", row, |world| world.weaviate.url()));
}

/// Checks a run in which a statement of one plan fails with this error.
#[test]
fn every_error_of_postgresql_ends_the_run_as_designed() {
    for row in POSTGRESQL {
        let (state, times, code, stopped_by, attempts) = *row;
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        world.github.close("acme/shop#1", "2026-03-01T10:00:00Z");
        let boundaries = Boundaries::new();
        let proxy = PostgresProxy::start(&world.database.url(), boundaries.clone());
        let raised = AtomicUsize::new(0);
        boundaries.watch(move |place| {
            let is_here =
                place.side == Side::Before && place.what.contains("/* apply_move_item */");
            let is_due = is_here && raised.fetch_add(1, Ordering::SeqCst) < times;
            if is_due {
                Then::Raise(state)
            } else {
                Then::Pass
            }
        });
        let run = Run::of(
            world
                .command(&["sync", "--output", "json"])
                .env("DATABASE_URL", proxy.url()),
        );
        assert_eq!(run.code, code, "{row:?}\n{}", run.all());
        assert_eq!(
            run.json()["stopped_by"],
            stopped_by.map_or(Value::Null, |by| json!(by)),
            "{row:?}\n{}",
            run.all()
        );
        let person = [
            "this server is read-only; point DATABASE_URL at the primary",
            "run examples/sql/role.sql as the owner",
            "run sql/worker.sql",
        ];
        assert_eq!(
            code == 1,
            person.iter().any(|what| run.stderr.contains(what)),
            "{row:?}\n{}",
            run.all()
        );
        let counted = "SELECT worker_attempts FROM core_externalissuemapping";
        assert_eq!(
            world.one::<i32>(counted),
            attempts,
            "{row:?}\n{}",
            run.all()
        );
        // No part of the plan was applied.
        let moved = "SELECT (SELECT status = 'Testing' FROM core_item) = (SELECT count(*) = 2 FROM core_activity)";
        assert!(world.one::<bool>(moved), "{row:?}\n{}", run.all());
    }
}
