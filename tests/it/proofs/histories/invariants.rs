//! Checks that hold at every moment: invariants 2 to 7, 9 to 12 and 15 (design.md, "Invariants"). Invariant 1 holds if
//! no run panics, and the twin checks invariant 8.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kit::github::TOKEN;
use serde_json::Value;

use super::world::{HistoryWorld, KEY, statuses};
use crate::fixtures::plans;

/// Disturbance of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbed {
    /// No disturbance; all services work.
    NotAtAll,
    /// Services may fail, and people may act.
    ByOthers,
    /// PostgreSQL ends the session of the run, which can record nothing more.
    Cut,
    /// Another run works at the same time.
    ByARun,
    /// The run is killed.
    Killed,
}

/// Query for all changes since the last call, and for states that are never allowed.
const AUDIT: &str = "SELECT seq, what, id, old, new, item, status, by_worker, xid FROM kit_audit WHERE seq > $1
    UNION ALL
    SELECT NULL, 'forgotten', id, m::text, NULL, item_id, NULL, false, NULL FROM core_externalissuemapping m
        WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at IS NULL AND worker_error IS NULL
        OR worker_claimed_until > $2::timestamptz + interval '1 h' OR worker_due_at > $2::timestamptz + interval '9 h'
        OR worker_recheck_at > $2::timestamptz + interval '46 d'
    UNION ALL
    SELECT NULL, 'secret', 0, told, NULL, 0, NULL, false, NULL FROM (
        SELECT m::text FROM core_externalissuemapping m UNION ALL SELECT a::text FROM core_activity a
        UNION ALL SELECT i::text FROM core_item i UNION ALL SELECT l::text FROM worker_pull_request_link l
        UNION ALL SELECT r::text FROM worker_repository r UNION ALL SELECT r::text FROM worker_run r
        UNION ALL SELECT p::text FROM worker_pause p) AS t(told) WHERE told LIKE ANY ($3)
    ORDER BY 1";

impl HistoryWorld<'_> {
    /// Checks the invariants that hold after every step.
    pub fn check(&mut self) {
        assert!(
            !super::logger::leaked(),
            "invariant 12: a secret in the log"
        );
        let secrets = [TOKEN, KEY]
            .map(|secret| format!("%{}%", secret.replace('_', "\\_")))
            .to_vec();
        let (audited, now) = (self.audited, self.now());
        let is_protected =
            |status: &str| ["Testing", "ReadyForRelease", "Closed"].contains(&status);
        let mut by_people: BTreeSet<i64> = BTreeSet::new();
        let mut moves: Vec<(i64, String)> = Vec::new();
        for row in self
            .databases
            .real
            .query(AUDIT, &[&audited, &now, &secrets])
        {
            let (id, xid): (i64, Option<String>) = (row.get("id"), row.get("xid"));
            let (by_worker, xid): (bool, _) = (row.get("by_worker"), xid.unwrap_or_default());
            let (old, new): (Option<&str>, Option<&str>) = (row.get("old"), row.get("new"));
            self.audited = row.get::<_, Option<i64>>("seq").unwrap_or(self.audited);
            match row.get("what") {
                "status" if !by_worker => drop(by_people.insert(id)),
                "status" => {
                    assert_eq!(new, Some("Testing"), "invariant 4: item {id}");
                    assert!(
                        !is_protected(old.unwrap_or_default()),
                        "invariant 4: item {id} was {old:?}"
                    );
                    moves.push((id, xid));
                }
                "dealt" => {
                    assert!(by_worker);
                    let event = (id, new.expect("a time").to_owned());
                    assert!(
                        self.dealt.insert(event),
                        "invariant 4: {new:?} of mapping {id} was dealt with before"
                    );
                    let (item, status): (i64, &str) = (row.get("item"), row.get("status"));
                    moves.retain(|moved| *moved != (item, xid.clone()));
                    let stays = is_protected(status) || by_people.contains(&item);
                    assert!(
                        stays,
                        "mapping {id} was closed, and item {item} is still {status}"
                    );
                }
                "moved" => assert!(
                    !by_worker,
                    "invariant 5: mapping {id} moved from item {old:?} to {new:?}"
                ),
                "foreign" => {
                    panic!("invariant 9: a run changed what another one holds: {old:?} to {new:?}")
                }
                "forgotten" => panic!("invariant 15: mapping {id} is forgotten: {old:?}"),
                "secret" => panic!("invariant 12: a row with a secret: {old:?}"),
                what => panic!("{what}"),
            }
        }
        assert!(
            moves.is_empty(),
            "invariant 4: items were moved without a close event: {moves:?}"
        );
        self.check_objects();
    }

    /// Checks invariant 6 (for every type and id at most one object, with the UUIDv5 as its id) and invariant 12 (no
    /// secrets).
    fn check_objects(&self) {
        for (id, object) in self.weaviate.objects() {
            let properties = &object["properties"];
            let key = format!(
                "{}:{}",
                properties["type"].as_str().unwrap(),
                properties["object_id"].as_str().unwrap()
            );
            let expected = uuid::Uuid::new_v5(
                &uuid::Uuid::from_u128(0xa9c5_e8d0_1234_5678_9abc_def0_1234_5678),
                key.as_bytes(),
            );
            assert_eq!(id, expected.to_string(), "invariant 6: {key}");
            let text = object.to_string();
            assert!(
                [TOKEN, KEY].iter().all(|secret| !text.contains(secret)),
                "invariant 12: a secret in {text}"
            );
        }
    }

    /// Checks the invariants that hold after every run. `before` has the objects before the run.
    pub(super) fn check_run(
        &mut self,
        args: &[&str],
        report: &Value,
        before: &BTreeMap<String, Value>,
        disturbed: Disturbed,
    ) {
        if matches!(
            disturbed,
            Disturbed::NotAtAll | Disturbed::ByOthers | Disturbed::Cut
        ) {
            self.check_writes(before);
            self.check_pause(report);
        }
        if disturbed != Disturbed::Killed {
            self.check_failures(args, report, disturbed);
        }
    }

    /// Checks invariant 7: each written object had another status before, or was missing.
    fn check_writes(&self, before: &BTreeMap<String, Value>) {
        let mut known = statuses(before);
        for exchange in self.weaviate.requests() {
            if exchange.request.path != "/v1/batch/objects" {
                continue;
            }
            let results: Vec<Value> =
                serde_json::from_slice(&exchange.response.body).unwrap_or_default();
            let body: Value = serde_json::from_slice(&exchange.request.body).unwrap();
            for (index, object) in body["objects"].as_array().unwrap().iter().enumerate() {
                let (id, status) = (
                    object["id"].as_str().unwrap().to_owned(),
                    object["properties"]["status"].clone(),
                );
                assert_ne!(
                    known.get(&id),
                    Some(&status),
                    "invariant 7: {object} had that status"
                );
                // If the response was lost, the run cannot know.
                match results
                    .get(index)
                    .map(|result| result["result"]["status"] == "SUCCESS")
                {
                    Some(true) => drop(known.insert(id, status)),
                    Some(false) => {}
                    None => drop(known.remove(&id)),
                }
            }
        }
    }

    /// Checks invariant 11: after GitHub's limit, the run sends no request.
    fn check_pause(&self, report: &Value) {
        let is_limit = |exchange: &kit::http::Exchange| {
            exchange.response.status == 429
                || String::from_utf8_lossy(&exchange.response.body)
                    .to_lowercase()
                    .contains("rate limit")
        };
        let requests = self.github.requests();
        let first = requests.iter().position(is_limit);
        assert!(
            first.is_none_or(|index| index + 1 == requests.len()),
            "invariant 11: GitHub was asked after it wanted a pause: {report}"
        );
    }

    /// Checks invariant 10: failures are visible and delay no other mapping. A run that was not killed holds no claim.
    fn check_failures(&mut self, args: &[&str], report: &Value, disturbed: Disturbed) {
        let mappings = report["mappings"].as_array().expect("mappings");
        let failed: Vec<&Value> = mappings
            .iter()
            .filter(|mapping| mapping["outcome"] == "failed")
            .collect();
        assert_eq!(report["failed"], failed.len(), "invariant 10: {report}");
        assert!(
            failed.iter().all(|mapping| mapping["error"].is_string()),
            "invariant 10: {report}"
        );
        assert!(
            failed.is_empty() || report["exit_code"] != 0,
            "invariant 10: {report}"
        );
        if report["dry_run"] == true {
            return;
        }
        let started: Option<DateTime<Utc>> =
            report["started_at"].as_str().and_then(|at| at.parse().ok());
        let ids: Vec<i64> = failed
            .iter()
            .filter_map(|mapping| mapping["mapping_id"].as_i64())
            .collect();
        // A run is recorded last. Only without another run is the last record its own.
        let left = "SELECT
            (SELECT count(*) FROM core_externalissuemapping WHERE id = ANY ($1) AND worker_error IS NULL),
            (SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NULL
                AND worker_claim = (SELECT run FROM worker_run ORDER BY id DESC LIMIT 1)),
            (SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_due_at <= $2::timestamptz
                AND worker_error IS NULL)";
        let row = self.databases.real.query(left, &[&ids, &started]).remove(0);
        let (unseen, held, overdue): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(held, 0, "a run that ended by itself holds nothing");
        // `push-weaviate` leaves mappings that it could not fetch to `sync`.
        let can_record = !matches!(disturbed, Disturbed::ByARun | Disturbed::Cut);
        if can_record && args[0] != "push-weaviate" {
            assert_eq!(
                unseen, 0,
                "invariant 10: what failed does not show: {report}"
            );
        }
        let is_done = [0, 3].iter().any(|code| report["exit_code"] == *code)
            && report["stopped_by"].is_null();
        if disturbed == Disturbed::NotAtAll
            && is_done
            && args[0] == "sync"
            && report["given_back"] == 0
        {
            assert_eq!(overdue, 0, "invariant 10: something was held up: {report}");
        }
    }
}

/// Checks invariant 2: each mapping that a dry run planned has the same plan in the run that follows. With
/// `has_outboxes`, the run first delivered outboxes, which a dry run does not foresee, so it may claim other mappings
/// and write less.
pub fn check_same(dry: &Value, real: &Value, has_outboxes: bool) {
    let (dry, real) = (plans(dry), plans(real));
    if !has_outboxes {
        let claimed = real.iter().filter(|(name, _)| dry.contains_key(*name));
        let claimed: BTreeMap<_, _> = claimed.collect();
        assert_eq!(
            dry.iter().collect::<BTreeMap<_, _>>(),
            claimed,
            "invariant 2: the plan that was printed (left), and what was done (right)"
        );
        return;
    }
    for (name, (error, actions)) in &dry {
        if let Some((real_error, real_actions)) = real.get(name) {
            assert_eq!(error, real_error, "invariant 2: {name}");
            assert_eq!(
                without_writes(actions),
                without_writes(real_actions),
                "invariant 2: {name}"
            );
        }
    }
}

fn without_writes(actions: &str) -> Vec<Value> {
    let actions: Vec<Value> = serde_json::from_str(actions).expect("a list of actions");
    let kept = actions
        .into_iter()
        .filter(|action| action["action"] != "write");
    kept.collect()
}

/// Checks invariant 3: after a plan was applied, the next plan is empty.
pub fn check_empty(again: &Value) {
    for mapping in again["mappings"].as_array().expect("mappings") {
        assert_eq!(
            mapping["actions"],
            Value::Array(Vec::new()),
            "invariant 3: there is still something to do: {mapping}"
        );
    }
}
