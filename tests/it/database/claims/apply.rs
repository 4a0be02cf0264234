//! Apply writes all changes of a plan or none.

use agira_worker::core::model::*;
use serde_json::json;

use super::Class::*;
use super::*;
use crate::fixtures::CLOSED_AT;

fn closed_at() -> DateTime<Utc> {
    CLOSED_AT.parse().unwrap()
}

/// Returns the actions for a closed issue.
fn close(from: &str) -> Vec<Action> {
    vec![
        Action::RecordState {
            from: "open".to_owned(),
            to: "closed",
        },
        Action::MoveItem {
            from: ItemStatus(from.to_owned()),
            to: ItemStatus::testing(),
        },
        Action::RememberClose {
            closed_at: closed_at(),
        },
    ]
}

fn pull_request(github_id: i64, number: i32) -> PullRequestRef {
    let url = format!("https://github.com/acme/lib/pull/{number}");
    PullRequestRef {
        github_id: GithubId(github_id),
        address: Address::parse(&url).unwrap(),
        url,
        state: State::Open,
        relation: Relation::Closes,
    }
}

/// Returns a pull request that belongs to the issue and has no row.
fn insert_and_link(github_id: i64, number: i32) -> [Action; 2] {
    let pull_request = pull_request(github_id, number);
    let address = pull_request.address.clone();
    [
        Action::InsertPullRequest { pull_request },
        Action::Link {
            pull_request: address,
            github_id: GithubId(github_id),
            relation: Relation::Closes,
            from: None,
        },
    ]
}

impl Bench {
    fn try_apply(
        &mut self,
        claimed: &Claimed,
        actions: Vec<Action>,
        minute: i64,
    ) -> Result<Applied, ApplyError> {
        let now = self.at(minute);
        apply(&mut self.db, claimed, (actions, None), now, self.hold)
    }

    /// Returns status and `updated_at`.
    fn item(&mut self, id: ItemId) -> (String, DateTime<Utc>) {
        let row = self
            .client
            .query_one(
                "SELECT status, updated_at FROM core_item WHERE id = $1",
                &[&id.0],
            )
            .unwrap();
        (row.get(0), row.get(1))
    }

    fn activities(&mut self, id: ItemId) -> Vec<String> {
        agira::activities(&mut self.client, id.0)
            .into_iter()
            .map(|(verb, summary)| format!("{verb}: {summary}"))
            .collect()
    }

    /// Checks that the same connection can still work on the mapping.
    #[track_caller]
    fn check_usable(&mut self, claimed: &Claimed, minute: i64) {
        self.fail(claimed, None, minute);
        self.check(claimed.mapping.id, Parked, minute);
    }
}

#[test]
fn a_move_writes_status_updated_at_and_one_activity_row_as_agira_does() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let applied = bench.try_apply(&claimed, close("Working"), 3).unwrap();
    assert_eq!(applied.moved, Some(true));
    let item = claimed.mapping.item_id;
    assert_eq!(bench.item(item), ("Testing".to_owned(), bench.at(3)));
    let number = claimed.mapping.number;
    assert_eq!(
        bench.activities(item),
        [
            "item.status_changed: Status: Working → Testing".to_owned(),
            format!(
                "github.issue_state_changed: GitHub issue #{number} changed from open to closed"
            ),
        ]
    );
    let by_system = "SELECT count(*) FROM core_activity WHERE actor_id IS NULL
         AND created_at IN ($1::timestamptz, $1::timestamptz + interval '1 microsecond')";
    let now = bench.at(3);
    assert_eq!(
        bench
            .client
            .query_one(by_system, &[&now])
            .unwrap()
            .get::<_, i64>(0),
        2
    );
    let row = bench.row(id);
    assert_eq!(
        (&row["state"], &row["worker_closed_at"]),
        (&json!("closed"), &json!("2026-03-01T10:00:00+00:00"))
    );
}

/// Invariant 4: a status that a person sets between read and write stays, and the next run does not change it either.
#[test]
fn an_item_that_a_person_moves_between_read_and_apply_is_left() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let item = claimed.mapping.item_id;
    agira::person_sets_status(&mut bench.client, item.0, "Review");
    let (before, activities) = (bench.item(item), bench.activities(item));
    let applied = bench.try_apply(&claimed, close("Working"), 3).unwrap();
    assert_eq!(applied.moved, Some(false));
    assert_eq!(bench.item(item), before);
    let new: Vec<String> = bench.activities(item).split_off(activities.len());
    assert!(
        new.iter()
            .all(|activity| activity.starts_with("github.issue_state_changed: ")),
        "{new:?}"
    );
    assert_eq!(
        bench.row(id)["worker_closed_at"],
        json!("2026-03-01T10:00:00+00:00")
    );
}

#[test]
fn a_plan_for_another_close_event_or_item_is_not_applied() {
    for change in [
        "worker_closed_at = now()",
        "item_id = (SELECT max(id) FROM core_item)",
    ] {
        let mut bench = Bench::new();
        let id = bench.issue();
        bench.issue();
        let claimed = bench.take(id, 2);
        bench.execute(&format!(
            "UPDATE core_externalissuemapping SET {change} WHERE id = {id}"
        ));
        let before = bench.database.dump("");
        let result = bench.try_apply(&claimed, close("Working"), 3);
        assert!(
            matches!(result, Err(ApplyError::Stale(_))),
            "{change}: {result:?}"
        );
        assert_eq!(bench.database.dump(""), before, "{change}");
        bench.check_usable(&claimed, 4);
    }
}

#[test]
fn a_mapping_that_was_deleted_before_apply_is_released_and_nothing_is_written() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let item = claimed.mapping.item_id;
    bench.execute(&format!(
        "BEGIN; DELETE FROM core_externalissuemapping WHERE id = {id}; DELETE FROM core_item WHERE id = {item}; COMMIT"
    ));
    let before = bench.database.dump("");
    let result = bench.try_apply(
        &claimed,
        [close("Working"), insert_and_link(71, 7).to_vec()].concat(),
        3,
    );
    assert!(matches!(result, Err(ApplyError::Stale(_))), "{result:?}");
    bench.finish(&claimed, 4);
    assert_eq!(bench.database.dump(""), before);
}

/// PostgreSQL checks Agira's foreign keys at COMMIT, after every statement has succeeded.
#[test]
fn a_foreign_key_error_at_commit_is_a_failure_of_the_mapping() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let item = claimed.mapping.item_id;
    // The item is deleted without its mapping, which Django would never do.
    bench.execute(&format!(
        "SET session_replication_role = replica; DELETE FROM core_item WHERE id = {item}; RESET session_replication_role"
    ));
    let before = bench.database.dump("");
    let [insert, _] = insert_and_link(71, 7);
    let result = bench.try_apply(&claimed, vec![close("Working").remove(0), insert], 3);
    let Err(ApplyError::Refused(reason)) = result else {
        panic!("{result:?}")
    };
    assert!(
        reason.contains("violates foreign key constraint") && reason.contains(&format!("({item})")),
        "{reason}"
    );
    assert_eq!(bench.database.dump(""), before);
    bench.fail(&claimed, None, 4);
    assert_eq!(bench.trouble(id), (1, Some("no repository".to_owned())));
}

#[test]
fn a_value_that_the_database_rejects_rolls_back_the_whole_plan() {
    let mut bench = Bench::new();
    let [id, other] = [bench.issue(), bench.issue()];
    let claimed = bench.take(id, 2);
    let taken = "SELECT github_id FROM core_externalissuemapping WHERE id = $1";
    let taken = GithubId(bench.client.query_one(taken, &[&other.0]).unwrap().get(0));
    let from = claimed.mapping.github_id;
    let too_long = || {
        let [Action::InsertPullRequest { mut pull_request }, link] = insert_and_link(71, 7) else {
            unreachable!()
        };
        pull_request.url = format!("https://github.com/{}", "x".repeat(200));
        vec![Action::InsertPullRequest { pull_request }, link]
    };
    let before = bench.database.dump("");
    for (refused, part) in [
        (
            vec![Action::SetGithubId {
                row: id,
                from,
                to: taken,
            }],
            "duplicate key value",
        ),
        (too_long(), "value too long"),
    ] {
        // The first change would succeed alone.
        let result = bench.try_apply(&claimed, [close("Working"), refused].concat(), 3);
        let Err(ApplyError::Refused(reason)) = result else {
            panic!("{result:?}")
        };
        assert!(reason.contains(part) && !reason.contains('\n'), "{reason}");
        assert_eq!(bench.database.dump(""), before);
    }
    bench.check_usable(&claimed, 4);
}

/// A conflict is not a failure of the mapping: after three tries, the mapping is released. A lock timeout was a wait
/// already.
#[test]
fn a_conflicting_transaction_is_tried_three_times_and_a_locked_one_once() {
    // Lock timeout, deadlock, serialization failure. The sequence counts the tries: it is not rolled back.
    for (code, tries) in [("55P03", 1), ("40P01", 3), ("40001", 3)] {
        let mut bench = Bench::new();
        let id = bench.issue();
        let claimed = bench.take(id, 2);
        bench.execute(&format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                IF nextval('tries') <= {tries} THEN RAISE 'in the way' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER in_the_way BEFORE UPDATE ON core_item FOR EACH ROW EXECUTE FUNCTION in_the_way()"
        ));
        let before = bench.database.dump("");
        let result = bench.try_apply(&claimed, close("Working"), 3);
        let Err(ApplyError::Locked(reason) | ApplyError::Conflict(reason)) = result else {
            panic!("{code}: {result:?}")
        };
        assert!(reason.contains("in the way"), "{reason}");
        assert_eq!(bench.database.dump(""), before);
        let tried = "SELECT last_value FROM tries";
        assert_eq!(
            bench.client.query_one(tried, &[]).unwrap().get::<_, i64>(0),
            tries,
            "{code}"
        );
        // The next run meets no conflict.
        let applied = bench.try_apply(&claimed, close("Working"), 4).unwrap();
        assert_eq!(applied.moved, Some(true), "{code}");
    }
}

#[test]
fn pull_requests_are_inserted_and_linked_once() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let item = claimed.mapping.item_id;
    let actions = [insert_and_link(71, 7), insert_and_link(5_000_000_000, 8)].concat();
    let applied = bench.try_apply(&claimed, actions.clone(), 3).unwrap();
    assert_eq!((applied.inserted.len(), applied.linked), (2, 2));
    let links = "SELECT l.issue_mapping_id, l.item_id, l.relation, m.github_id, m.number, m.kind, m.html_url, m.item_id
        FROM worker_pull_request_link l JOIN core_externalissuemapping m ON m.github_id = l.github_id ORDER BY m.id";
    let found = bench.client.query(links, &[]).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|row| {
            let ids = (
                row.get::<_, i64>(0),
                row.get::<_, i64>(1),
                row.get::<_, i64>(7),
            );
            assert_eq!(ids, (id.0, item.0, item.0));
            let words: (&str, &str, &str) = (row.get(2), row.get(5), row.get(6));
            (
                row.get::<_, i64>(3),
                row.get::<_, i32>(4),
                words.0.to_owned(),
                words.1.to_owned(),
                words.2.to_owned(),
            )
        })
        .collect();
    let expected = [(71, 7), (5_000_000_000, 8)].map(|(github_id, number)| {
        let url = format!("https://github.com/acme/lib/pull/{number}");
        (github_id, number, "closes".to_owned(), "PR".to_owned(), url)
    });
    assert_eq!(found, expected);

    // Another run inserted them first: its rows are linked, and no row is inserted or moved (invariant 5).
    let other = bench.issue();
    let claimed = bench.take(other, 4);
    let applied = bench.try_apply(&claimed, actions, 5).unwrap();
    assert_eq!((applied.inserted.len(), applied.linked), (0, 2));
    let owners =
        "SELECT count(*) FROM core_externalissuemapping WHERE kind = 'PR' AND item_id = $1";
    assert_eq!(
        bench
            .client
            .query_one(owners, &[&item.0])
            .unwrap()
            .get::<_, i64>(0),
        2
    );
}

/// The item has the status that the plan read, and yet a person decided meanwhile.
#[test]
fn an_item_that_a_person_moved_and_moved_back_since_the_plan_stays() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let claimed = bench.take(id, 2);
    let item = claimed.mapping.item_id;
    for status in ["Testing", "Working"] {
        agira::person_sets_status(&mut bench.client, item.0, status);
    }
    let applied = bench.try_apply(&claimed, close("Working"), 3).unwrap();
    assert_eq!(applied.moved, Some(false));
    assert_eq!(bench.item(item).0, "Working");
    assert_eq!(
        bench.row(id)["worker_closed_at"],
        "2026-03-01T10:00:00+00:00"
    );
}

fn change<'a>(claimed: &'a Claimed, plan: &'a Plan) -> Change<'a> {
    Change {
        claimed,
        plan,
        outbox: None,
    }
}

fn plan(actions: impl Into<Vec<Action>>) -> Plan {
    Plan {
        actions: actions.into(),
        notes: Vec::new(),
    }
}

#[test]
fn a_later_plan_depends_on_the_earlier_ones_of_its_item() {
    let mut bench = Bench::new();
    let [first, second, other] = [bench.issue(), bench.issue(), bench.issue()];
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET item_id = (SELECT min(item_id) FROM core_externalissuemapping)
         WHERE id = {second}"
    ));
    let [first, second, other] = [first, second, other].map(|id| bench.take(id, 2));
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET worker_closed_at = now() WHERE id = {}",
        first.mapping.id
    ));
    let plans = [
        plan(close("Working")),
        plan(close("Working")[..1].to_vec()),
        plan(close("Working")),
    ];
    let claimed = [&first, &second, &other];
    let changes = claimed.into_iter().zip(&plans);
    let changes: Vec<_> = changes.map(|(one, plan)| change(one, plan)).collect();
    let (now, hold) = (bench.at(3), bench.hold);
    let results = bench.db.apply(&changes, false, now, hold).unwrap().plans;
    assert!(
        matches!(
            &results[..],
            [Err(ApplyError::Stale(_)), Err(ApplyError::Stale(reason)), Ok(Some(true))]
                if reason.contains("an earlier mapping of its item")
        ),
        "{results:?}"
    );
    assert_eq!(bench.row(second.mapping.id)["state"], "open");
    assert_eq!(bench.item(first.mapping.item_id).0, "Working");
}

#[test]
fn a_pull_request_that_one_plan_inserts_is_linked_by_the_others_or_not_at_all() {
    let mut bench = Bench::new();
    let ids = [bench.issue(), bench.issue()];
    let claimed = ids.map(|id| bench.take(id, 2));
    let [insert, link] = insert_and_link(71, 7);
    let plans = [plan([insert, link.clone()]), plan([link])];
    let changes = claimed.iter().zip(&plans);
    let changes: Vec<_> = changes.map(|(one, plan)| change(one, plan)).collect();
    let (now, hold) = (bench.at(3), bench.hold);
    let before = bench.database.dump("");
    let alone = bench.db.apply(&changes[1..], false, now, hold);
    assert!(matches!(alone, Err(ApplyError::Stale(_))), "{alone:?}");
    assert_eq!(bench.database.dump(""), before);
    let together = bench.db.apply(&changes, false, now, hold).unwrap();
    assert_eq!((together.inserted.len(), together.linked), (1, 2));
}

/// A person holds the row that a plan marks, or the item that it links.
#[test]
fn a_plan_whose_other_rows_are_locked_is_left_out() {
    let mut bench = Bench::new();
    let [id, marked, free] = [bench.issue(), bench.issue(), bench.issue()];
    let [claimed, free] = [id, free].map(|id| bench.take(id, 2));
    let item = claimed.mapping.item_id;
    for (held, actions) in [
        (
            format!("core_externalissuemapping WHERE id = {marked}"),
            vec![make_due(marked)],
        ),
        (
            format!("core_item WHERE id = {item}"),
            insert_and_link(71, 7).to_vec(),
        ),
    ] {
        bench.execute(&format!("BEGIN; SELECT FROM {held} FOR UPDATE"));
        let plans = [plan(actions), plan(Vec::new())];
        let changes = [change(&claimed, &plans[0]), change(&free, &plans[1])];
        let (now, hold) = (bench.at(3), bench.hold);
        let results = bench.db.apply(&changes, false, now, hold).unwrap().plans;
        bench.execute("ROLLBACK");
        assert!(
            matches!(&results[..], [Err(ApplyError::Locked(_)), Ok(None)]),
            "{held}: {results:?}"
        );
        let results = bench.db.apply(&changes, false, now, hold).unwrap().plans;
        assert!(
            matches!(&results[..], [Ok(_), Ok(_)]),
            "{held}: {results:?}"
        );
    }
}
