//! Sends 10,000 hostile snapshots through the modules that handle them: plan, printing, JSON, log and database.

use std::io::Write;
use std::sync::{Arc, Mutex};

use agira_worker::cli::Cli;
use agira_worker::core::model::*;
use agira_worker::core::plan::{Action, Plan, PlanInput, Policy, plan};
use agira_worker::core::records::{ObjectState, Records};
use agira_worker::core::text::{Printable, printable_json, storable};
use agira_worker::db::{
    Access, Change, Claimed, Db, FailureRecord, Lease, MappingFilter, Selection,
};
use chrono::{DateTime, Duration, Utc};
use clap::Parser;
use fastrand::Rng;
use kit::agira;
use kit::postgres_server::Database;
use log::Log;
use serde_json::Value;
use uuid::Uuid;

use super::generator::{long_text, text, texts};
use super::{check_json, check_log, check_printable, is_unprintable};

const SNAPSHOTS: usize = 10_000;
/// Number of mappings, which are used again and again.
const MAPPINGS: usize = 250;
const SEED: u64 = 8;

/// A log in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    /// Returns the program's own logger, which writes to this log.
    fn logger(&self, format: &str) -> env_logger::Logger {
        let cli = Cli::parse_from(["agira-worker", "--log-format", format, "status"]);
        let mut builder = agira_worker::testing::logger(&cli);
        builder
            .filter_level(log::LevelFilter::Trace)
            .target(env_logger::Target::Pipe(Box::new(self.clone())));
        builder.build()
    }

    /// Returns the text that was logged since the last call, and checks that it is UTF-8.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).expect("UTF-8")
    }
}

fn policy() -> Policy {
    Policy {
        keep_status: Vec::new(),
        close_reasons: None,
        ignore_closed_before: None,
        replace_foreign: false,
        recheck_after: Duration::hours(24),
        max_attempts: 10,
    }
}

/// Returns a snapshot as the adapter creates it from GitHub's response.
fn snapshot(rng: &mut Rng, mapping: &Mapping, now: DateTime<Utc>) -> Snapshot {
    let text = |rng: &mut Rng| storable(long_text(rng));
    let list = |rng: &mut Rng| -> Vec<String> { texts(rng).into_iter().map(storable).collect() };
    let address = Address::parse(&mapping.html_url).expect("an address");
    let labels = list(rng);
    let is_closed = rng.bool();
    let details = match mapping.kind {
        Kind::PullRequest => Details::PullRequest {
            merged_at: Some(now),
            merge_commit_sha: Some(storable(super::generator::text(rng, 64))),
            files: TruncatedList {
                first: list(rng),
                total: rng.usize(0..9),
            },
            commits: TruncatedList {
                first: list(rng),
                total: rng.usize(0..9),
            },
        },
        _ => Details::Issue {
            closed_at: is_closed.then_some(now),
            close_reason: None,
            pull_requests: Vec::new(),
            reopened_at: None,
            some_hidden: false,
        },
    };
    let state = match (&details, is_closed) {
        (Details::PullRequest { .. }, _) => State::Merged,
        (_, true) => State::Closed,
        (_, false) => State::Open,
    };
    Snapshot {
        github_id: mapping.github_id,
        repository_id: Some(GithubId(1)),
        address,
        url: text(rng),
        state,
        title: text(rng),
        body: text(rng),
        labels,
        created_at: now,
        updated_at: now,
        missing: Vec::new(),
        details,
    }
}

/// Checks the lines of a plan on a terminal, in both log formats and as JSON.
fn check_messages(plan: &Plan, loggers: &[env_logger::Logger; 2]) {
    let actions = plan.actions.iter().map(ToString::to_string);
    for line in actions.chain(plan.notes.iter().map(ToString::to_string)) {
        check_one_line(&Printable(&line).to_string());
        for logger in loggers {
            logger.log(
                &log::Record::builder()
                    .level(log::Level::Info)
                    .args(format_args!("{line}"))
                    .build(),
            );
        }
    }
    let value = serde_json::to_value(&plan.actions).unwrap();
    let printed = serde_json::to_string(&plan.actions).unwrap();
    let printed = printable_json(&printed);
    check_one_line(&printed);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
}

#[track_caller]
fn check_one_line(line: &str) {
    check_printable(line);
    assert!(!line.contains(is_unprintable), "one line: {line:?}");
}

/// Values that PostgreSQL must have after a plan was applied.
struct Expected {
    id: i64,
    body: Option<String>,
    outbox: Option<Value>,
    summary: Option<String>,
}

fn expected(claimed: &Claimed, plan: &Plan, outbox: Option<Value>) -> Expected {
    let (mut body, mut summary) = (None, None);
    for action in &plan.actions {
        match action {
            Action::RecordMerge {
                body: Some(text), ..
            } => body = Some(text.clone()),
            Action::RecordState { from, to } => {
                summary = Some(format!("changed from {from} to {to}"))
            }
            _ => {}
        }
    }
    Expected {
        id: claimed.mapping.id.0,
        body,
        outbox,
        summary,
    }
}

#[test]
fn ten_thousand_hostile_snapshots_through_plan_printing_json_log_and_database() {
    let mut rng = Rng::with_seed(SEED);
    let database = Database::create();
    let mut client = database.client();
    agira::many_issues(&mut client, 1, i32::try_from(MAPPINGS).unwrap());
    client
        .batch_execute(
            "UPDATE core_externalissuemapping SET kind = 'PR', html_url = replace(html_url, 'issues', 'pull') WHERE id % 2 = 0",
        )
        .unwrap();
    let (mut db, now) = Db::connect(&database.worker_url(), Access::ReadWrite).unwrap();
    let kept = [Kept::default(), Kept::default()];
    let loggers = [kept[0].logger("text"), kept[1].logger("json")];
    for round in 0..SNAPSHOTS / MAPPINGS {
        let now = now + Duration::hours(1 + i64::try_from(round).unwrap());
        // Columns of Agira with text from people and from GitHub.
        let some = |rng: &mut Rng, most| {
            (0..MAPPINGS)
                .map(|_| storable(text(rng, most)))
                .collect::<Vec<_>>()
        };
        let (states, statuses, titles) =
            (some(&mut rng, 50), some(&mut rng, 20), some(&mut rng, 1000));
        client
            .execute(
                "UPDATE core_externalissuemapping m SET state = t.state, pr_body = '', merge_commit_sha = '', merged_at = NULL,
                    worker_closed_at = NULL, worker_outbox = NULL, worker_delivery_at = NULL, worker_due_at = $2,
                    worker_recheck_at = NULL
                 FROM unnest($1::text[]) WITH ORDINALITY AS t(state, id) WHERE m.id = t.id",
                &[&states, &now],
            )
            .unwrap();
        client
            .execute(
                "UPDATE core_item i SET status = t.status, title = t.title, description = t.title
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t(status, title, id) WHERE i.id = t.id",
                &[&statuses, &titles],
            )
            .unwrap();
        let whole = MappingFilter {
            selection: Selection::Due,
            projects: Vec::new(),
            mappings: Vec::new(),
            excluded: Vec::new(),
        };
        let hold = Lease {
            run: Uuid::new_v4(),
            until: now + Duration::minutes(10),
        };
        let claimed = db.claim(&whole, MAPPINGS, MappingId(0), now, hold).unwrap();
        assert_eq!(claimed.len(), MAPPINGS);
        let (mut all, mut failed) = (Vec::new(), Vec::new());
        for one in &claimed {
            let Claimed { mapping, item } = one;
            let snapshot = snapshot(&mut rng, mapping, now);
            let mut known = Records::default();
            known.items.insert(item.id, item.clone());
            let held = ObjectState::Present {
                status: Some(text(&mut rng, 1000)),
                without_parent: rng.bool(),
            };
            let key = agira_worker::core::agira_object::mapping_key(mapping);
            known.objects.insert(key.uuid(), held);
            let plan = plan(&PlanInput {
                mapping,
                item,
                snapshot: &snapshot,
                records: &known,
                policy: &policy(),
            });
            check_messages(&plan, &loggers);
            let outbox = plan.outbox(now);
            let change = Change {
                claimed: one,
                plan: &plan,
                outbox: outbox.clone(),
            };
            let applied = db.apply(&[change], true, now, hold);
            let applied = applied.unwrap_or_else(|error| panic!("{snapshot:?}: {error:?}"));
            assert!(applied.plans[0].is_ok(), "{snapshot:?}: {applied:?}");
            all.push(expected(
                one,
                &plan,
                outbox.map(|outbox| serde_json::to_value(outbox).unwrap()),
            ));
            // If an object fails, the reason quotes text of a service.
            let said = agira_worker::core::text::quoted(&long_text(&mut rng));
            failed.push(FailureRecord {
                id: mapping.id,
                attempts: 1,
                error: said,
                due_at: Some(now),
                recheck_at: None,
                external_updated_at: None,
                was_checked: true,
            });
        }
        check_stored(&mut client, &all);
        db.record_failure(hold.run, &failed, now, now).unwrap();
        check_log(&kept[0].take());
        check_json(&kept[1].take());
        let rows = client
            .query(
                "SELECT worker_error FROM core_externalissuemapping ORDER BY id",
                &[],
            )
            .unwrap();
        for row in rows {
            check_one_line(row.get(0));
        }
    }
}

/// Checks that the database has the text unchanged.
fn check_stored(client: &mut postgres::Client, all: &[Expected]) {
    let rows = client
        .query(
            "SELECT m.id, m.pr_body, m.worker_outbox, (SELECT summary FROM core_activity a
                WHERE a.target_object_id = m.item_id::text AND a.verb LIKE 'github.%' ORDER BY a.id DESC LIMIT 1)
             FROM core_externalissuemapping m ORDER BY m.id",
            &[],
        )
        .unwrap();
    for row in rows {
        let id: i64 = row.get(0);
        let Some(Expected {
            body,
            outbox,
            summary,
            ..
        }) = all.iter().find(|one| one.id == id)
        else {
            continue;
        };
        assert_eq!(row.get::<_, String>(1), body.clone().unwrap_or_default());
        assert_eq!(row.get::<_, Option<Value>>(2), *outbox);
        if let Some(summary) = summary {
            assert!(
                row.get::<_, String>(3).ends_with(summary.as_str()),
                "{summary:?}"
            );
        }
    }
}
