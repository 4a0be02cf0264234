//! Claims that end without a result: released, expired, taken over or lost.

use serde_json::json;

use super::Class::*;
use super::*;

const MAX_ATTEMPTS: i32 = 3;

impl Bench {
    /// Returns a row of a dead run: it is claimed, and the claim expires at minute 10.
    fn suspect(&mut self) -> MappingId {
        self.row_in(InWork)
    }

    fn take_over(&mut self, db: &mut Db, hold: Lease, minute: i64) -> Option<Claimed> {
        taken(
            db.claim_suspect(&due(), MAX_ATTEMPTS, self.at(minute), hold)
                .unwrap(),
        )
    }
}

#[test]
fn a_release_restores_a_row_of_any_class() {
    let mut bench = Bench::new();
    for class in UNCLAIMED {
        let id = bench.row_in(class);
        let before = bench.row(id);
        bench.take(id, 2);
        assert_ne!(bench.row(id), before);
        bench.db.release(bench.hold.run, &[id]).unwrap();
        assert_eq!(bench.row(id), before, "{class:?}");
        bench.check(id, class, 2);
    }
}

#[test]
fn a_renewal_prolongs_what_the_run_still_holds_and_nothing_else() {
    let mut bench = Bench::new();
    let [kept, released, of_another] = [1, 2, 3].map(|_| bench.row_in(Due));
    assert_eq!(bench.claim(&due(), 2, 2), [kept, released]);
    let (mut db, other) = bench.other_run(10);
    db.claim(&due(), 9, MappingId(0), bench.at(2), other)
        .unwrap();
    // The run has taken over a suspect and released it: the row names the run, and its claim has expired.
    let suspect = bench.suspect();
    let hold = bench.hold;
    let expired = format!(
        "UPDATE core_externalissuemapping SET worker_claim = '{}', worker_claimed_until = '{}' WHERE id = {suspect}",
        hold.run,
        bench.at(1)
    );
    bench.execute(&expired);
    bench.db.release(hold.run, &[released]).unwrap();
    let unchanged = [released, of_another, suspect].map(|id| bench.row(id));
    let until = bench.at(100);
    let (mut person, now) = (bench.database.client(), bench.at(6));
    let mut locked = person.transaction().unwrap();
    locked
        .execute(
            "SELECT FROM core_externalissuemapping WHERE id = $1 FOR UPDATE",
            &[&kept.0],
        )
        .unwrap();
    let renewed = Lease { until, ..hold };
    // A locked row is left to the next renewal.
    bench.db.renew(renewed, now).unwrap();
    locked.rollback().unwrap();
    bench.db.renew(renewed, now).unwrap();
    assert_eq!(
        [released, of_another, suspect].map(|id| bench.row(id)),
        unchanged
    );
    let ends = bench.row(kept)["worker_claimed_until"].clone();
    assert_eq!(
        serde_json::from_value::<DateTime<Utc>>(ends).unwrap(),
        until
    );
    let (mut third, hold) = bench.other_run(200);
    assert!(
        bench.take_over(&mut third, hold, 50).is_some(),
        "the other run's row or the suspect"
    );
}

#[test]
fn an_expired_claim_stays_in_work_and_no_ordinary_claim_takes_its_row() {
    let mut bench = Bench::new();
    let id = bench.suspect();
    bench.check(id, InWork, 100);
    for whole in [
        due(),
        named(&[id]),
        select(Selection::Failed),
        select(Selection::NeverPushed),
    ] {
        assert_eq!(bench.claim(&whole, 9, 100), [], "{whole:?}");
    }
}

#[test]
fn taking_over_a_suspect_counts_its_unfinished_attempt() {
    let mut bench = Bench::new();
    let id = bench.suspect();
    let (mut db, hold) = bench.other_run(30);
    assert!(
        bench.take_over(&mut db, hold, 10).is_none(),
        "the claim holds until the end of minute 10"
    );
    let claimed = bench.take_over(&mut db, hold, 11).expect("a suspect");
    assert_eq!((claimed.mapping.id, claimed.mapping.attempts), (id, 1));
    bench.check(id, InWork, 11);
    let (attempts, error) = bench.trouble(id);
    assert_eq!(attempts, 1);
    assert!(
        error
            .as_deref()
            .is_some_and(|error| error.starts_with("attempt 1 did not finish")),
        "{error:?}"
    );
    assert!(
        bench.take_over(&mut db, hold, 12).is_none(),
        "no second time"
    );
    // Success ends this claim like any other claim.
    let finished = bench.finished(&claimed);
    db.record_success(hold.run, &[finished], bench.at(12), bench.at(12))
        .unwrap();
    bench.check(id, Waiting, 12);
    assert_eq!(bench.trouble(id), (0, None));
}

#[test]
fn a_suspect_without_attempts_left_is_parked_and_the_next_one_is_taken() {
    let mut bench = Bench::new();
    let [poison, harmless] = [bench.suspect(), bench.suspect()];
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 2 WHERE id = {poison}"
    ));
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 1 WHERE id = {harmless}"
    ));
    let (mut db, hold) = bench.other_run(30);
    let taken = [(); 3].map(|()| bench.take_over(&mut db, hold, 11));
    let taken = taken.map(|claimed| claimed.map(|claimed| claimed.mapping.id));
    assert_eq!(taken, [None, Some(harmless), None]);
    bench.check(poison, Parked, 11);
    let (attempts, error) = bench.trouble(poison);
    assert_eq!(attempts, MAX_ATTEMPTS);
    assert!(
        error
            .as_deref()
            .is_some_and(|error| error.starts_with("attempt 3 did not finish")),
        "{error:?}"
    );
}

#[test]
fn suspects_of_the_named_projects_come_one_at_a_time_the_first_to_expire_first() {
    let mut bench = Bench::new();
    let [later, earlier] = [bench.suspect(), bench.suspect()];
    let expired = bench.at(9);
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 1, worker_claimed_until = '{expired}' WHERE id = {earlier}"
    ));
    let (mut db, hold) = bench.other_run(30);
    assert!(
        db.claim_suspect(&of(bench.project + 1), MAX_ATTEMPTS, bench.at(11), hold)
            .unwrap()
            .is_none()
    );
    let taken = [(); 2].map(|()| {
        let suspect = db
            .claim_suspect(&of(bench.project), MAX_ATTEMPTS, bench.at(11), hold)
            .unwrap();
        taken(suspect).expect("a suspect").mapping.id
    });
    assert_eq!(taken, [earlier, later]);
}

/// The release of a suspect removes that attempt and leaves the claim expired, so that the row stays a suspect
/// (design.md, "Data").
#[test]
fn a_released_suspect_stays_a_suspect_with_its_earlier_attempts() {
    let mut bench = Bench::new();
    let [id, healthy] = [bench.suspect(), bench.issue()];
    for round in 1..=2 * i64::from(MAX_ATTEMPTS) {
        let (mut db, hold) = bench.other_run(1000);
        let claimed = bench
            .take_over(&mut db, hold, 10 + round)
            .expect("a suspect");
        assert_eq!(
            (claimed.mapping.id, claimed.mapping.attempts),
            (id, 1),
            "round {round}"
        );
        db.claim(&named(&[healthy]), 1, MappingId(0), bench.at(11), hold)
            .unwrap();
        // A run may release a claim twice: first one mapping, and then the whole slice.
        for _ in 0..2 {
            db.release(hold.run, &[id, healthy]).unwrap();
        }
        bench.check(id, InWork, 10 + round);
        bench.check(healthy, Due, 10 + round);
        assert_eq!(bench.trouble(id).0, 0, "round {round}");
        assert!(
            bench.take_over(&mut db, hold, 100).is_none(),
            "the same run does not try it again"
        );
    }
}

#[test]
fn a_run_that_lost_its_claim_changes_nothing() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let (mut db, hold) = bench.other_run(60);
    bench.take_over(&mut db, hold, 30).expect("a suspect");
    let before = bench.database.dump("");

    let actions = vec![
        Action::RecordState {
            from: "open".to_owned(),
            to: "closed",
        },
        Action::MoveItem {
            from: claimed.item.status.clone(),
            to: agira_worker::core::model::ItemStatus::testing(),
        },
    ];
    let now = bench.at(31);
    let waiting = outbox(now);
    let change = (actions, Some(&waiting));
    let result = apply(&mut bench.db, &claimed, change, now, bench.hold);
    assert!(matches!(result, Err(ApplyError::Stale(_))), "{result:?}");
    bench.finish(&claimed, 31);
    bench.fail(&claimed, Some(60), 31);
    bench
        .db
        .record_delivery(bench.hold.run, &[id], &[], now)
        .unwrap();
    bench.db.release(bench.hold.run, &[id]).unwrap();
    assert_eq!(bench.database.dump(""), before);

    // The run that holds the claim is not affected.
    db.record_failure(hold.run, &[bench.failed(&claimed, None)], now, now)
        .unwrap();
    bench.check(id, Parked, 31);
    assert_eq!(bench.row(id)["worker_outbox"], json!(null));
}

/// The release takes the attempt back, so that an order by attempts would always bring the same ones first.
#[test]
fn a_suspect_that_is_always_released_does_not_hold_up_the_others_not_even_those_with_more_attempts()
{
    let mut bench = Bench::new();
    let ids = [(); 3].map(|()| bench.suspect());
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 1 WHERE id = {}",
        ids[1]
    ));
    let taken = [1, 2, 3, 4].map(|round| {
        let (mut db, hold) = bench.other_run(1000);
        let claimed = bench
            .take_over(&mut db, hold, 10 + round)
            .expect("a suspect");
        db.release(hold.run, &[claimed.mapping.id]).unwrap();
        claimed.mapping.id
    });
    assert_eq!(taken, [ids[0], ids[1], ids[2], ids[0]]);
}

/// Another run recorded a failure without an attempt after this run began, and this run claimed the mapping later.
#[test]
fn the_failure_of_another_run_does_not_make_a_suspect_of_what_a_run_holds() {
    let mut bench = Bench::new();
    let [failed, healthy] = [bench.issue(), bench.issue()];
    let error_at = bench.at(2);
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_error = 'GitHub gives no answer', worker_error_at = '{error_at}' WHERE id = {failed}"
    ));
    assert_eq!(bench.claim(&due(), 9, 3).len(), 2);
    let (run, since) = (bench.hold.run, bench.at(1));
    bench.db.release_all(run, since).unwrap();
    for id in [failed, healthy] {
        bench.check(id, Due, 3);
        assert_eq!(bench.trouble(id).0, 0);
    }
}

/// What is parked gets one attempt per change, at most one in 6 h after its error.
#[test]
fn putting_rows_behind_the_others_leaves_a_parked_one_as_it_was() {
    let mut bench = Bench::new();
    let [parked, waiting, failed] = [Parked, Waiting, BackingOff].map(|class| bench.row_in(class));
    let before = [parked, waiting].map(|id| bench.row(id));
    for id in [parked, waiting, failed] {
        bench.take(id, 2);
    }
    let (run, now) = (bench.hold.run, bench.at(3));
    let ids = [parked, waiting, failed];
    bench.db.postpone(run, &ids, now).unwrap();
    bench.db.release(run, &ids).unwrap();
    assert_eq!([parked, waiting].map(|id| bench.row(id)), before);
    // What failed later comes first.
    let other = bench.issue();
    let claimed = bench.take(other, 2);
    bench.fail(&claimed, Some(60), 2);
    let first = bench.claim(&select(Selection::Failed), 2, 4);
    assert_eq!(first, [parked, other]);
}
