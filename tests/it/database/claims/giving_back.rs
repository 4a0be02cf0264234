//! Claims that end without an answer: given back, expired, taken over, lost.

use serde_json::json;

use super::Class::*;
use super::*;
use agira_worker::db::ApplyError;

const MAX_ATTEMPTS: i32 = 3;

impl Bench {
    /// A row whose run died: claimed, and its claim is over after minute 10.
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
fn giving_back_leaves_a_row_of_any_class_as_it_was() {
    let mut bench = Bench::new();
    for class in UNCLAIMED {
        let id = bench.row_in(class);
        let before = bench.row(id);
        bench.take(id, 2);
        assert_ne!(bench.row(id), before);
        bench.db.give_back(bench.hold.run, &[id]).unwrap();
        assert_eq!(bench.row(id), before, "{class:?}");
        bench.check(id, class, 2);
    }
}

#[test]
fn an_expired_claim_stays_in_work_and_no_ordinary_claim_takes_it() {
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
fn a_suspect_is_taken_over_with_its_unfinished_attempt_counted() {
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
    // Success ends it as it ends any other claim.
    let finished = bench.finished(&claimed);
    db.record_success(hold.run, &[finished], bench.at(12), bench.at(12))
        .unwrap();
    bench.check(id, Waiting, 12);
    assert_eq!(bench.trouble(id), (0, None));
}

#[test]
fn a_suspect_is_parked_instead_of_its_last_attempt_and_the_next_one_is_taken() {
    let mut bench = Bench::new();
    let [poison, harmless] = [bench.suspect(), bench.suspect()];
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 2 WHERE id = {poison}"
    ));
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 1 WHERE id = {harmless}"
    ));
    let (mut db, hold) = bench.other_run(30);
    let mut taken = Vec::new();
    while let Some(claimed) = bench.take_over(&mut db, hold, 11) {
        taken.push(claimed.mapping.id);
    }
    assert_eq!(taken, [harmless]);
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
fn suspects_come_one_at_a_time_fewest_attempts_first_and_only_of_the_projects() {
    let mut bench = Bench::new();
    let [tried, fresh] = [bench.suspect(), bench.suspect()];
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_attempts = 1 WHERE id = {tried}"
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
    assert_eq!(taken, [fresh, tried]);
}

/// Design, section 2: giving a suspect back takes that attempt back and leaves the claim expired, so that it stays one.
#[test]
fn a_suspect_that_is_given_back_stays_a_suspect_with_its_attempts() {
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
        // A run may give back what it holds twice: a mapping on its own, then all of the slice.
        for _ in 0..2 {
            db.give_back(hold.run, &[id, healthy]).unwrap();
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

    let plan = Plan {
        actions: vec![
            Action::RecordState {
                from: "open".to_owned(),
                to: "closed",
            },
            Action::MoveItem {
                from: claimed.item.status.clone(),
                to: agira_worker::core::model::ItemStatus::testing(),
            },
        ],
        notes: Vec::new(),
    };
    let now = bench.at(31);
    let waiting = outbox(now);
    let result = bench
        .db
        .apply(&claimed, &plan, Some(&waiting), now, bench.hold);
    assert!(
        matches!(result, Err(ApplyError::GivenBack(_))),
        "{result:?}"
    );
    bench.finish(&claimed, 31);
    bench.fail(&claimed, Some(60), 31);
    bench
        .db
        .record_delivery(bench.hold.run, &[id], &[], now)
        .unwrap();
    bench.db.give_back(bench.hold.run, &[id]).unwrap();
    assert_eq!(bench.database.dump(""), before);

    // The run that holds it is not disturbed.
    db.record_failure(hold.run, &[bench.failed(&claimed, None)], now, now)
        .unwrap();
    bench.check(id, Parked, 31);
    assert_eq!(bench.row(id)["worker_outbox"], json!(null));
}
