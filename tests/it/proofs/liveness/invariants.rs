//! The checks of the liveness invariants (design.md, "Invariants").

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agira_worker::core::agira_object::ObjectType;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::life::{BUDGET, Issue, Life};
use crate::harness::{split, uuid};

/// A mapping before a run.
struct Row {
    /// Its due time is reached.
    is_due: bool,
    /// Its recheck time is reached.
    is_recheck: bool,
    /// It is claimed, backs off or is parked, so that a change on GitHub cannot make it due now.
    is_away: bool,
    /// Its repository rests.
    rests: bool,
    /// `updatedAt` of the issue when it was read last.
    read_at: Option<DateTime<Utc>>,
    /// Its outbox, unless the next delivery of a rejected object comes later.
    outbox: Option<String>,
}

/// The state before a run.
pub struct Before {
    rows: BTreeMap<i64, Row>,
    github_is_well: bool,
    weaviate_is_well: bool,
}

/// A healthy due mapping that no run has looked at yet.
pub struct Waiting {
    /// It waits for a recheck, so that those that become due later come first.
    is_recheck: bool,
    /// Mappings that were due with it, and that no run has claimed since.
    ahead: BTreeSet<i64>,
    /// Number of looks that it may have to wait for.
    looks: usize,
    /// Runs since then.
    runs: usize,
}

const ROWS: &str = "SELECT m.id, m.worker_claim IS NULL AND coalesce(m.worker_due_at <= $1, false),
        m.worker_claim IS NULL AND coalesce(m.worker_recheck_at <= $1, false),
        m.worker_claim IS NOT NULL OR coalesce(m.worker_due_at > $1, false)
            OR m.worker_due_at IS NULL AND m.worker_recheck_at IS NULL,
        r.error IS NOT NULL, m.worker_external_updated_at,
        CASE WHEN m.worker_delivery_at > $1 THEN NULL ELSE m.worker_outbox::text END
    FROM core_externalissuemapping m
    LEFT JOIN worker_repository r ON r.name = lower(split_part(m.html_url, '/', 4) || '/' || split_part(m.html_url, '/', 5))";

/// Repositories that a run which started at `$1` neither polled nor lets rest.
const NOT_POLLED: &str = "SELECT name FROM (SELECT lower(github_owner || '/' || github_repo) AS name FROM core_project
        UNION SELECT name FROM worker_repository) AS known LEFT JOIN worker_repository r USING (name)
    WHERE NOT coalesce(r.error IS NULL AND r.polled_at >= $1 OR r.error_at > $1 - interval '1 hour', false)";

impl Life<'_, '_> {
    /// Reads the state before a run.
    pub fn before(&mut self) -> Before {
        let now = self.world.now();
        let real = &mut self.world.databases.real;
        let rows = real.query(ROWS, &[&now]);
        let row = |row: &postgres::Row| Row {
            is_due: row.get(1),
            is_recheck: row.get(2),
            is_away: row.get(3),
            rests: row.get(4),
            read_at: row.get(5),
            outbox: row.get(6),
        };
        let rows = rows.iter().map(|one| (one.get(0), row(one))).collect();
        let pauses =
            "SELECT scope FROM worker_pause WHERE until > $1::timestamptz - interval '5 s'";
        let pauses: Vec<String> = real
            .query(pauses, &[&now])
            .iter()
            .map(|row| row.get(0))
            .collect();
        let is_paused = |service: &str| pauses.iter().any(|scope| scope.starts_with(service));
        Before {
            rows,
            github_is_well: self.sick.github == 0 && !is_paused("github"),
            weaviate_is_well: self.sick.weaviate == 0 && !is_paused("weaviate"),
        }
    }

    /// Returns true if nothing is wrong with the mapping itself or with its repository.
    fn is_healthy(&self, index: usize, row: &Row) -> bool {
        !row.rests
            && !self.sick.hidden.contains(&self.issues[index].repository)
            && !self.sick.unanswered.contains(&index)
            && self.sick.held() != Some(index)
            && !self.sick.holds_item(index)
    }

    /// Returns true if the next run can store what polls of this repository find: a change of a held row keeps the
    /// whole repository back.
    fn is_polled(&self, repository: usize, before: &Before) -> bool {
        let held = self.sick.held().map(|index| &self.issues[index]);
        let is_held = held.is_some_and(|issue| {
            let read_at = before.rows[&issue.mapping].read_at;
            issue.repository == repository && Some(issue.changed_at) > read_at
        });
        !self.sick.unpolled.contains(&repository) && !is_held
    }

    /// Returns true if the run finds a change of this issue.
    fn is_changed(&self, issue: &Issue, before: &Before) -> bool {
        let row = &before.rows[&issue.mapping];
        !row.is_away
            && Some(issue.changed_at) > row.read_at
            && self.is_polled(issue.repository, before)
    }

    /// Returns the healthy mappings that the next run has a reason to look at, with those whose recheck has come.
    pub fn due(&self, before: &Before) -> BTreeSet<i64> {
        let issues = self.issues.iter().enumerate().filter(|(index, issue)| {
            let row = &before.rows[&issue.mapping];
            let is_due = row.is_due || row.is_recheck || self.is_changed(issue, before);
            is_due && self.is_healthy(*index, row)
        });
        issues.map(|(_, issue)| issue.mapping).collect()
    }

    /// Returns the number of mappings whose repository may come back with the next run, which then has a reason to look
    /// at all of them.
    fn coming(&self, before: &Before) -> usize {
        let hidden = &self.sick.hidden;
        let comes = |issue: &&Issue| {
            before.rows[&issue.mapping].rests && !hidden.contains(&issue.repository)
        };
        self.issues.iter().filter(comes).count()
    }

    /// Returns true if this issue has to be level after the runs that began with this state.
    pub fn is_served(&self, before: &Before, issue: &Issue) -> bool {
        let row = &before.rows[&issue.mapping];
        let same = |other: &Issue| other.mapping == issue.mapping;
        let index = self.issues.iter().position(same).expect("an issue");
        let is_seen = Some(issue.changed_at) <= row.read_at || self.is_changed(issue, before);
        self.is_healthy(index, row) && (row.is_due || row.is_recheck || is_seen)
    }

    /// L1: a healthy due mapping is looked at within ceil(healthy due / limit) + 1 runs, whatever the others do.
    ///
    /// Mappings with a due time come first, in the order of their due times. A mapping whose recheck has come may have
    /// to wait for those that become due after it.
    pub fn check_l1(&mut self, before: &Before, report: &Value) {
        let (due, coming) = (self.due(before), self.coming(before));
        self.waiting.retain(|mapping, _| due.contains(mapping));
        for issue in &self.issues {
            let is_due = before.rows[&issue.mapping].is_due;
            let is_recheck = !is_due && !self.is_changed(issue, before);
            let waiting = || Waiting {
                is_recheck,
                ahead: due.clone(),
                // Plans for held items are made again in each run, behind what is due.
                looks: due.len() + coming + self.sick.held_items(),
                runs: 0,
            };
            if due.contains(&issue.mapping) {
                self.waiting.entry(issue.mapping).or_insert_with(waiting);
            }
        }
        let mappings = report["mappings"].as_array().expect("mappings");
        let (mut looked, mut claimed) = (BTreeSet::new(), BTreeSet::new());
        for mapping in mappings {
            let id = mapping["mapping_id"].as_i64().expect("an id");
            claimed.insert(id);
            match mapping["outcome"].as_str() {
                Some("failed") if due.contains(&id) && before.github_is_well => {
                    panic!("L1: nothing is wrong with mapping {id}: {mapping}")
                }
                Some("synced" | "unchanged" | "failed") => drop(looked.insert(id)),
                _ => {}
            }
        }
        self.waiting.retain(|mapping, _| !looked.contains(mapping));
        // The mappings of a hidden repository must not take the places of others.
        let issues = self.issues.iter();
        let hidden = issues.filter(|issue| self.sick.hidden.contains(&issue.repository));
        let hidden: BTreeSet<i64> = hidden.map(|issue| issue.mapping).collect();
        for (mapping, waiting) in &mut self.waiting {
            for id in &claimed {
                let is_ahead = waiting.ahead.remove(id);
                let counts = waiting.is_recheck && !is_ahead && !hidden.contains(id);
                waiting.looks += usize::from(counts);
            }
            waiting.runs += usize::from(before.github_is_well);
            let bound = waiting.looks.div_ceil(self.limit) + 1;
            assert!(
                waiting.runs < bound,
                "L1: mapping {mapping} is healthy and due, and {} runs have not looked at it; the bound is {bound}",
                waiting.runs
            );
        }
    }

    /// L2: every run ends within its time budget + 60 s. The kill matrix checks the rest of L2.
    pub fn check_l2(&self, took: Duration) {
        assert!(
            took <= BUDGET + Duration::from_secs(60),
            "L2: the run took {took:?}"
        );
    }

    /// L3: exit code 0 means that every repository was polled, or rests because it is hidden.
    pub fn check_l3(&mut self, code: u8, report: &Value) {
        if code != 0 {
            return;
        }
        let started: DateTime<Utc> = report["started_at"].as_str().unwrap().parse().unwrap();
        let real = &mut self.world.databases.real;
        let names = |rows: Vec<postgres::Row>| -> Vec<String> {
            rows.iter().map(|row| row.get(0)).collect()
        };
        let missed = names(real.query(NOT_POLLED, &[&started]));
        let resting = names(real.query(
            "SELECT name FROM worker_repository WHERE error IS NOT NULL",
            &[],
        ));
        assert!(missed.is_empty(), "L3: exit 0 without a poll of {missed:?}");
        for issue in &self.issues {
            let (name, _) = split(&issue.key);
            let rests = resting.iter().any(|other| other == name);
            assert!(
                !rests || self.sick.ever_hidden.contains(&issue.repository),
                "L3: {name} rests and was never hidden"
            );
            assert!(
                rests || !self.sick.unpolled.contains(&issue.repository),
                "L3: exit 0, and the poll of {name} got no answer"
            );
        }
    }

    /// L4: a healthy object reaches a healthy Weaviate in the next run.
    pub fn check_l4(&mut self, before: &Before) {
        if !before.weaviate_is_well {
            return;
        }
        let held = self.sick.held();
        let healthy = self.issues.iter().enumerate().filter(|(index, issue)| {
            let ids = [
                uuid(ObjectType::Item, issue.item),
                uuid(ObjectType::GithubIssue, issue.mapping),
            ];
            let is_rejected = ids.iter().any(|id| self.sick.rejected.contains_key(id));
            !is_rejected && held != Some(*index)
        });
        let had: Vec<(i64, &String)> = healthy
            .filter_map(|(_, issue)| {
                let outbox = before.rows[&issue.mapping].outbox.as_ref()?;
                Some((issue.mapping, outbox))
            })
            .collect();
        let rows = "SELECT id, worker_outbox::text FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL";
        let rows = self.world.databases.real.query(rows, &[]);
        let now: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let still: Vec<i64> = had
            .iter()
            .filter(|(mapping, outbox)| now.get(mapping) == Some(outbox))
            .map(|(mapping, _)| *mapping)
            .collect();
        assert!(
            still.is_empty(),
            "L4: {} healthy outboxes waited, and {still:?} still do",
            had.len()
        );
    }

    /// Returns the ids that a query selects.
    fn ids(&mut self, sql: &str) -> Vec<i64> {
        let rows = self.world.databases.real.query(sql, &[]);
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// L5, repositories: an hour after they can be read again, all their mappings are level, except those that back
    /// off for a reason of their own.
    pub fn check_l5_repositories(&mut self) {
        let resting = "SELECT id FROM core_externalissuemapping WHERE worker_claim IS NULL AND worker_error IS NOT NULL
            AND worker_due_at IS NULL AND worker_recheck_at IS NOT NULL";
        let resting = self.ids(resting);
        assert!(
            resting.is_empty(),
            "L5: after an hour, {resting:?} still wait for their repository"
        );
        let before = self.before();
        self.check_level("L5: after an hour", |_, issue| {
            !before.rows[&issue.mapping].is_away
        });
    }

    /// L5, looks: after the longest backoff, no mapping has an error, except those that are parked.
    pub fn check_l5_looks(&mut self) {
        let sick =
            "SELECT id, worker_error FROM core_externalissuemapping WHERE worker_error IS NOT NULL
            AND (worker_due_at IS NOT NULL OR worker_recheck_at IS NOT NULL)";
        let rows = self.world.databases.real.query(sick, &[]);
        let sick: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert!(
            sick.is_empty(),
            "L5: after 7.5 h, errors are left: {sick:?}"
        );
    }

    /// L5, deliveries: after the longest backoff of a delivery, no outbox is left, and all that is not parked is level.
    pub fn check_l5_deliveries(&mut self) {
        let waiting = "SELECT id FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL";
        let waiting = self.ids(waiting);
        assert!(
            waiting.is_empty(),
            "L5: after 30 h, outboxes are left: {waiting:?}"
        );
        let before = self.before();
        self.check_level("L5: at last", |_, issue| {
            !before.rows[&issue.mapping].is_away
        });
    }
}
