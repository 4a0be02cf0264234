//! Every answer that GitHub and Weaviate are known to give instead of the one that was asked for, with what the run makes
//! of it: one table a service, made from section 5 of the design.

use kit::fault_proxy::{FaultProxy, WireFault};
use serde_json::{Value, json};

use crate::world::{Run, World};

/// Status, headers, body; exit code and `stopped_by`.
type Row = (u16, &'static [(&'static str, &'static str)], &'static str, i32, Option<&'static str>);

const LATER: Option<&str> = Some("github");
const LIMIT: Option<&str> = Some("rate_limit");
const WEAVIATE: Option<&str> = Some("weaviate");

const GITHUB: &[Row] = &[
    (401, &[], r#"{"message":"Bad credentials"}"#, 1, None),
    (403, &[], r#"{"message":"Resource not accessible by personal access token"}"#, 1, None),
    (403, &[("x-github-sso", "required; url=https://x")], r#"{"message":"SAML enforcement"}"#, 1, None),
    (403, &[("x-ratelimit-remaining", "0")], r#"{"message":"no"}"#, 75, LIMIT),
    (403, &[("retry-after", "60")], r#"{"message":"no"}"#, 75, LIMIT),
    (403, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#, 75, LIMIT),
    (429, &[], "", 75, LIMIT),
    (200, &[], r#"{"errors":[{"type":"RATE_LIMITED","message":"no"}]}"#, 75, LIMIT),
    (200, &[], r#"{"errors":[{"type":"RATE_LIMIT","message":"no"}],"data":null}"#, 75, LIMIT),
    (200, &[], r#"{"errors":[{"message":"API rate limit exceeded"}]}"#, 75, LIMIT),
    (200, &[], r#"{"errors":[{"type":"RESOURCE_LIMITS_EXCEEDED","message":"no"}],"data":{}}"#, 75, LATER),
    (200, &[], r#"{"errors":[{"type":"MAX_NODE_LIMIT_EXCEEDED","message":"no"}],"data":{}}"#, 75, LATER),
    (200, &[], r#"{"errors":[{"message":"Something went wrong while executing your query."}]}"#, 75, LATER),
    (200, &[], r#"{"errors":[{"message":"Field 'x' doesn't exist","extensions":{"code":"undefinedField"}}]}"#, 1, None),
    (200, &[], "{}", 75, LATER),
    (200, &[], "", 75, LATER),
    (301, &[("location", "https://elsewhere.example/")], "", 1, None),
    (400, &[], r#"{"message":"not a supported version"}"#, 1, None),
    (404, &[], r#"{"message":"Not Found"}"#, 1, None),
    (410, &[], r#"{"message":"retired"}"#, 1, None),
    (500, &[], "", 75, LATER),
    (502, &[], "<html>Server Error</html>", 75, LATER),
    (503, &[], "", 75, LATER),
    (504, &[], "", 75, LATER),
];

const FOR_WEAVIATE: &[Row] = &[
    (401, &[], r#"{"code":401,"message":"anonymous access not enabled"}"#, 1, None),
    (403, &[], r#"{"error":[{"message":"forbidden"}]}"#, 1, None),
    (429, &[], r#"{"errorCode":"USAGE_LIMIT_EXCEEDED","limit":"objects","message":"no more"}"#, 75, WEAVIATE),
    (429, &[], "", 75, WEAVIATE),
    (301, &[("location", "https://elsewhere.example/")], "", 1, None),
    (400, &[], r#"{"code":400,"message":"odd"}"#, 1, None),
    (410, &[], "", 1, None),
    (422, &[], r#"{"code":601,"message":"odd"}"#, 1, None),
    (200, &[], "<html>a proxy</html>", 75, WEAVIATE),
    (200, &[], "", 75, WEAVIATE),
    (500, &[], r#"{"error":[{"message":"no"}]}"#, 75, WEAVIATE),
    (502, &[], "<html>a proxy</html>", 75, WEAVIATE),
    (503, &[], "", 75, WEAVIATE),
    (504, &[], "", 75, WEAVIATE),
];

/// The run that gets this answer to everything ends like this, and counts no attempt of the mapping.
#[track_caller]
fn check(variable: &str, row: &Row, url: impl Fn(&World) -> String) {
    let (status, headers, body, code, stopped_by) = *row;
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let front = FaultProxy::before(&url(&world));
    front.fail_from(0, WireFault::answer(status, headers, body.as_bytes()));
    let run = Run::of(world.command(&["sync", "--output", "json"]).env(variable, front.url()));
    assert_eq!(run.code, code, "{row:?}\n{}", run.all());
    assert_eq!(run.json()["stopped_by"], stopped_by.map_or(Value::Null, |by| json!(by)), "{row:?}\n{}", run.all());
    let healthy = "SELECT worker_attempts = 0 AND worker_error IS NULL AND worker_claim IS NULL
        FROM core_externalissuemapping";
    assert!(world.one::<bool>(healthy), "{row:?}\n{}", run.all());
}

#[test]
fn every_answer_of_github_is_the_environments_failure_of_its_kind() {
    GITHUB.iter().for_each(|row| check("GITHUB_API_URL", row, |world| world.github.url()));
}

#[test]
fn every_answer_of_weaviate_is_the_environments_failure_of_its_kind() {
    FOR_WEAVIATE.iter().for_each(|row| check("WEAVIATE_URL", row, |world| world.weaviate.url()));
}
