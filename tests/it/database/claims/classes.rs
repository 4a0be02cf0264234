//! Invariant 15: every row is in exactly one class after every statement.

use agira_worker::core::model::*;
use agira_worker::core::plan::Action;
use agira_worker::db::{MappingFilter, Selection};
use kit::agira;
use kit::postgres_server::Database;
use serde_json::json;

use super::Class::*;
use super::*;

#[test]
fn a_row_that_agira_inserts_is_due() {
    let mut bench = Bench::new();
    let id = bench.issue();
    bench.check(id, Due, 0);
    assert_eq!(bench.trouble(id), (0, None));
}

#[test]
fn a_row_that_exists_at_installation_is_waiting_and_its_recheck_time_has_come() {
    let database = Database::agira_only();
    let mut client = database.client();
    let project = agira::project(&mut client, "old", "acme", "old");
    let item = agira::item(&mut client, project, "Working");
    let id = MappingId(agira::issue(&mut client, item, 1, "acme/old", 1, "open"));
    database.install();
    let mut bench = Bench::on(database);
    bench.check(id, Waiting, 0);
    assert_eq!(bench.claim(&due(), 9, 0), [id]);
    bench.check(id, InWork, 0);
}

#[test]
fn a_claim_puts_a_row_of_any_class_in_work_and_changes_nothing_else() {
    let mut bench = Bench::new();
    for class in UNCLAIMED {
        let id = bench.row_in(class);
        let mut before = bench.row(id);
        bench.take(id, 2);
        bench.check(id, InWork, 2);
        let mut after = bench.row(id);
        for column in ["worker_claim", "worker_claimed_until"] {
            assert_ne!(after[column], before[column]);
            (after[column], before[column]) = (json!(null), json!(null));
        }
        assert_eq!(after, before, "{class:?}");
    }
}

#[test]
fn success_leaves_a_waiting_row_without_an_error() {
    let mut bench = Bench::new();
    for class in UNCLAIMED {
        let id = bench.row_in(class);
        let claimed = bench.take(id, 2);
        let (now, recheck, updated) = (bench.at(3), bench.at(2 * RECHECK), bench.at(-100));
        let finished = SuccessRecord {
            recheck_at: recheck,
            ..bench.finished(&claimed)
        };
        bench
            .db
            .record_success(bench.hold.run, &[finished], now, now)
            .unwrap();
        bench.check(id, Waiting, 3);
        assert_eq!(bench.trouble(id), (0, None), "{class:?}");
        let times = "SELECT last_synced_at = $2 AND worker_checked_at = $2 AND worker_pushed_at = $2 AND worker_error_at IS NULL
            AND worker_recheck_at = $3 AND worker_external_updated_at = $4 FROM core_externalissuemapping WHERE id = $1";
        assert!(
            bench
                .client
                .query_one(times, &[&id.0, &now, &recheck, &updated])
                .unwrap()
                .get::<_, bool>(0)
        );
    }
}

#[test]
fn a_mark_made_during_a_run_survives_its_success() {
    let mut bench = Bench::new();
    for class in UNCLAIMED {
        let id = bench.row_in(class);
        let claimed = bench.take(id, 2);
        bench.mark(id, 3);
        bench.check(id, InWork, 3);
        bench.finish(&claimed, 4);
        bench.check(id, Due, 4);
        assert_eq!(bench.due_at(id), Some(bench.at(3)), "{class:?}");
        // The check that the mark requested ends the parking.
        let claimed = bench.take(id, 5);
        bench.finish(&claimed, 5);
        bench.check(id, Waiting, 5);
    }
}

#[test]
fn a_mark_makes_a_waiting_row_due() {
    let mut bench = Bench::new();
    let id = bench.row_in(Waiting);
    bench.mark(id, 7);
    bench.check(id, Due, 7);
    assert_eq!(bench.due_at(id), Some(bench.at(7)));
}

#[test]
fn a_mark_keeps_the_due_time_of_older_work_and_of_a_backoff() {
    let mut bench = Bench::new();
    for class in [Due, BackingOff] {
        let id = bench.row_in(class);
        let before = bench.row(id);
        bench.mark(id, 7);
        assert_eq!(bench.row(id), before, "{class:?}");
    }
}

#[test]
fn a_mark_brings_a_parked_row_back_at_most_every_six_hours() {
    let mut bench = Bench::new();
    let id = bench.row_in(Parked);
    bench.mark(id, 7);
    bench.check(id, BackingOff, 7);
    assert_eq!(bench.due_at(id), Some(bench.at(EARLY + 6 * 60)));
    bench.check(id, Due, EARLY + 6 * 60);

    let id = bench.row_in(Parked);
    bench.mark(id, 500);
    bench.check(id, Due, 500);
    assert_eq!(bench.due_at(id), Some(bench.at(500)));
    assert_eq!(bench.trouble(id), (1, Some("no repository".to_owned())));
}

#[test]
fn a_failed_row_backs_off_until_its_due_time() {
    for class in UNCLAIMED {
        let mut bench = Bench::new();
        let id = bench.row_in(class);
        let (attempts, _) = bench.trouble(id);
        let claimed = bench.take(id, 2);
        bench.fail(&claimed, Some(50), 3);
        bench.check(id, BackingOff, 3);
        assert_eq!(
            bench.trouble(id),
            (attempts + 1, Some("no repository".to_owned())),
            "{class:?}"
        );
        assert_eq!(bench.claim(&due(), 9, 49), []);
        bench.check(id, Due, 50);
        assert_eq!(bench.claim(&due(), 9, 50), [id]);
    }
}

#[test]
fn a_failure_without_a_next_attempt_parks_the_row() {
    for class in UNCLAIMED {
        let mut bench = Bench::new();
        let id = bench.row_in(class);
        let claimed = bench.take(id, 2);
        bench.fail(&claimed, None, 3);
        bench.check(id, Parked, 3);
        assert_eq!(bench.claim(&due(), 9, 100_000), [], "{class:?}");
    }
}

#[test]
fn retry_failed_claims_rows_with_an_error_and_resets_their_attempts() {
    let mut bench = Bench::new();
    let [parked, backing_off, _, _, _] =
        [Parked, BackingOff, Due, Waiting, InWork].map(|class| bench.row_in(class));
    assert_eq!(
        bench.claim(&select(Selection::Failed), 9, 2),
        [parked, backing_off]
    );
    for id in [parked, backing_off] {
        bench.check(id, InWork, 2);
        assert_eq!(bench.trouble(id), (0, Some("no repository".to_owned())));
        assert_eq!(bench.due_at(id), Some(bench.at(2)));
    }
    bench
        .db
        .release(bench.hold.run, &[parked, backing_off])
        .unwrap();
    bench.check(parked, Due, 2);
    bench.check(backing_off, Due, 2);
}

#[test]
fn recheck_now_changes_only_waiting_rows() {
    let mut bench = Bench::new();
    let other_project = agira::project(&mut bench.client, "other", "acme", "other");
    let mut rows = [InWork, Due, BackingOff, Parked, Waiting]
        .map(|class| (class, bench.row_in(class)))
        .to_vec();
    // These rows also have a recheck time, but they are in another class.
    let [taken, marked] = [bench.row_in(Waiting), bench.row_in(Waiting)];
    bench.take(taken, EARLY);
    bench.mark(marked, EARLY);
    rows.extend([(InWork, taken), (Due, marked)]);
    let elsewhere = bench.issue_of(other_project);
    let claimed = bench.take(elsewhere, EARLY);
    bench.finish(&claimed, EARLY);
    let before: Vec<_> = rows.iter().map(|(_, id)| bench.row(*id)).collect();
    let now = bench.at(2);
    // The waiting row, and the issue whose check marked another row.
    let recheck_now = |bench: &mut Bench, projects: &[i64]| {
        let batch = bench.db.recheck_now(projects, MappingId(0), now).unwrap();
        (batch.set, batch.held)
    };
    let project = bench.project;
    assert_eq!(recheck_now(&mut bench, &[project]), (2, 0));
    let waiting = rows[4].1;
    for ((class, id), before) in rows.into_iter().zip(before) {
        bench.check(id, class, 2);
        let changed = bench.row(id) != before;
        assert_eq!(changed, class == Waiting, "{class:?}");
    }
    let whole = MappingFilter {
        mappings: vec![waiting.0, elsewhere.0],
        ..due()
    };
    assert_eq!(bench.claim(&whole, 9, 2), [waiting]);
    assert_eq!(recheck_now(&mut bench, &[]), (1, 0));
    assert_eq!(bench.claim(&whole, 9, 2), [elsewhere]);
}

#[test]
fn an_inserted_pull_request_row_is_claimed_and_due_after_a_release() {
    let mut bench = Bench::new();
    let issue = bench.issue();
    let claimed = bench.take(issue, 2);
    let pull_request = PullRequestRef {
        github_id: GithubId(77),
        address: Address::parse("https://github.com/acme/lib/pull/7").unwrap(),
        url: "https://github.com/acme/lib/pull/7".to_owned(),
        state: State::Merged,
        relation: Relation::Closes,
    };
    bench.apply(
        &claimed,
        vec![Action::InsertPullRequest { pull_request }],
        None,
        2,
    );
    let sql = "SELECT id FROM core_externalissuemapping WHERE github_id = 77 AND kind = 'PR' AND state = 'merged'";
    let id = MappingId(bench.client.query_one(sql, &[]).unwrap().get(0));
    bench.check(id, InWork, 2);
    assert_eq!(bench.claim(&due(), 9, 2), []);
    bench.db.release(bench.hold.run, &[id]).unwrap();
    bench.check(id, Due, 2);
    let claimed = bench.take(id, 3);
    bench.finish(&claimed, 3);
    bench.check(id, Waiting, 3);
}

/// Delivering concerns only Weaviate: it changes neither due times nor recheck times.
#[test]
fn delivering_an_outbox_changes_no_class() {
    for class in UNCLAIMED {
        let mut bench = Bench::new();
        let waiting = outbox(bench.at(0));
        let id = bench.row_with(class, Some(&waiting));
        let mut before = bench.row(id);

        let claimed = bench
            .db
            .claim_outboxes(&due(), 9, None, bench.hold)
            .unwrap();
        assert_eq!(claimed.len(), 1, "{class:?}");
        assert_eq!(claimed[0].outbox, Ok(waiting));
        let (mut other, other_hold) = bench.other_run(60);
        assert!(
            other
                .claim_outboxes(&due(), 9, None, other_hold)
                .unwrap()
                .is_empty(),
            "{class:?}"
        );
        bench.check(id, InWork, 2);
        bench.db.release(bench.hold.run, &[id]).unwrap();
        assert_eq!(bench.row(id), before, "{class:?}, given back");

        bench
            .db
            .claim_outboxes(&due(), 9, None, bench.hold)
            .unwrap();
        let now = bench.at(2);
        bench
            .db
            .record_delivery(bench.hold.run, &[id], &[], now)
            .unwrap();
        let mut after = bench.row(id);
        assert_ne!(after["worker_pushed_at"], before["worker_pushed_at"]);
        (after["worker_pushed_at"], before["worker_pushed_at"]) = (json!(null), json!(null));
        (before["worker_outbox"], before["worker_delivery_at"]) = (json!(null), json!(null));
        assert_eq!(after, before, "{class:?}, delivered");
        assert!(
            bench
                .db
                .claim_outboxes(&due(), 9, None, bench.hold)
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_stale_outbox_is_dropped_and_its_row_is_marked() {
    for (class, expected, due_at) in [
        (Due, Due, None),
        (BackingOff, BackingOff, None),
        (Parked, BackingOff, Some(EARLY + 360)),
        (Waiting, Due, Some(2)),
    ] {
        let mut bench = Bench::new();
        let waiting = outbox(bench.at(0));
        let id = bench.row_with(class, Some(&waiting));
        let due_before = bench.due_at(id);
        bench
            .db
            .claim_outboxes(&due(), 9, None, bench.hold)
            .unwrap();
        let now = bench.at(2);
        bench
            .db
            .record_delivery(bench.hold.run, &[id], &[id], now)
            .unwrap();
        bench.check(id, expected, 2);
        let due_at = due_at.map_or(due_before, |minute| Some(bench.at(minute)));
        assert_eq!(bench.due_at(id), due_at, "{class:?}");
        assert_eq!(bench.row(id)["worker_outbox"], json!(null));
    }
}

/// A dropped object must not be lost: the same transaction marks the row.
#[test]
fn a_stale_outbox_stays_if_its_row_cannot_be_marked() {
    let mut bench = Bench::new();
    let waiting = outbox(bench.at(0));
    let id = bench.row_with(Waiting, Some(&waiting));
    let before = bench.row(id);
    bench.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no marks today'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE OF worker_due_at ON core_externalissuemapping EXECUTE FUNCTION refuse()",
    );
    bench
        .db
        .claim_outboxes(&due(), 9, None, bench.hold)
        .unwrap();
    let now = bench.at(2);
    bench
        .db
        .record_delivery(bench.hold.run, &[id], &[id], now)
        .unwrap_err();
    bench.db.release(bench.hold.run, &[id]).unwrap();
    assert_eq!(bench.row(id), before);
}

/// A failure keeps the outbox, and a success unless Weaviate has confirmed it.
#[test]
fn an_outbox_stays_until_weaviate_confirms_it() {
    let mut bench = Bench::new();
    let waiting = outbox(bench.at(0));
    for class in [Waiting, Parked] {
        let id = bench.row_with(class, Some(&waiting));
        assert_eq!(bench.row(id)["worker_outbox"], json!(waiting), "{class:?}");
        assert_eq!(bench.row(id)["worker_pushed_at"], json!(null), "{class:?}");
        let claimed = bench.take(id, 2);
        let now = bench.at(2);
        match class {
            Waiting => {
                let finished = SuccessRecord {
                    pushed: true,
                    ..bench.finished(&claimed)
                };
                bench
                    .db
                    .record_success(bench.hold.run, &[finished], now, now)
                    .unwrap();
            }
            _ => {
                let failed = bench.failed(&claimed, None);
                bench
                    .db
                    .record_failure(bench.hold.run, &[failed], now, now)
                    .unwrap();
            }
        }
        let row = bench.row(id);
        assert_eq!(row["worker_outbox"] == json!(null), class == Waiting);
        assert_eq!(row["worker_pushed_at"] == json!(null), class == Parked);
    }
}
