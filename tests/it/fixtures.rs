//! Ready-made times, worlds and answers that several modules use. A world that only one module needs stays there.

use std::collections::BTreeMap;

use chrono::{Duration, SecondsFormat, Utc};
use kit::http::Response;
use kit::weaviate::Settings;
use serde_json::Value;

use crate::harness::World;

/// Time at which GitHub says that an issue was closed, where a test does not need another one.
pub const CLOSED_AT: &str = "2026-03-01T10:00:00Z";
/// A day after [`CLOSED_AT`].
pub const LATER: &str = "2026-03-02T10:00:00Z";
/// A time before all others, for issues that were closed before the worker began.
pub const LONG_AGO: &str = "2026-01-15T10:00:00Z";
/// Number of items that were moved.
pub const MOVED: &str = "SELECT count(*) FROM core_item WHERE status = 'Testing'";
/// API key of Weaviate. Tests search outputs for its text.
pub const WEAVIATE_KEY: &str = "SENTINEL-weaviate-key";

/// Returns a world with one closed issue, `acme/shop#12`, whose item is in `Working`.
pub fn one_closed_issue() -> World {
    one_closed_issue_with_key(None)
}

/// Returns the world of [`one_closed_issue`], with a Weaviate that requires this key.
pub fn one_closed_issue_with_key(key: Option<&str>) -> World {
    let mut world = World::with(Settings {
        api_key: key.map(str::to_owned),
        ..Settings::default()
    });
    world.closed_issue("acme/shop#12");
    world
}

/// Returns a world with closed issues that no run has fetched yet: `acme/shop#1`, `acme/shop#2` and so on.
pub fn closed_issues(settings: Settings, issues: i32) -> World {
    let mut world = World::with(settings);
    for number in 1..=issues {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    world
}

/// Returns the error and the actions of each mapping in a report, by its name on GitHub. Ids of rows that are not
/// stored yet are replaced, so that the report of a dry run can be compared with that of the real run.
#[track_caller]
pub fn plans(report: &Value) -> BTreeMap<String, (Value, String)> {
    let mappings = report["mappings"].as_array().expect("mappings").iter();
    let plans = mappings.map(|mapping| {
        let name = format!(
            "{} {}#{}",
            mapping["kind"], mapping["repository"], mapping["number"]
        );
        let id = mapping["mapping_id"].to_string();
        let actions = mapping["actions"]
            .to_string()
            .replace(&format!("github_pr:{id}\""), "github_pr:new\"");
        (name, (mapping["error"].clone(), actions))
    });
    plans.collect()
}

/// Lets the rest of every hidden repository end, so that the next run polls it.
pub fn rest_is_over(world: &mut World) {
    world.execute("UPDATE worker_repository SET error_at = error_at - interval '61 minutes'");
}

/// Returns the time that is this many seconds from now, in GitHub's form. Discovery treats a difference of ten seconds
/// or more as a change.
pub fn seconds_from_now(seconds: i64) -> String {
    (Utc::now() + Duration::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns an answer with this text as its body.
pub fn text_response(status: u16, body: &str) -> Response {
    Response {
        body: body.as_bytes().to_vec(),
        ..Response::empty(status)
    }
}
