//! The rows that a claim takes, and their order. A claim does not wait for locked rows.

use std::collections::BTreeSet;
use std::sync::Barrier;

use agira_worker::db::Part;

use super::Class::*;
use super::*;

impl Bench {
    /// Inserts a row with these minutes as due and recheck times; without either, the row is parked.
    fn row_at(&mut self, due: Option<i64>, recheck: Option<i64>) -> MappingId {
        let id = self.issue();
        let [due, recheck] = [due, recheck].map(|time| time.map(|minute| self.at(minute)));
        let sql = "UPDATE core_externalissuemapping SET worker_due_at = $2, worker_recheck_at = $3,
            worker_error = CASE WHEN $4 THEN 'gone' END, worker_error_at = CASE WHEN $4 THEN now() END WHERE id = $1";
        let parked = due.is_none() && recheck.is_none();
        self.client
            .execute(sql, &[&id.0, &due, &recheck, &parked])
            .unwrap();
        id
    }

    /// Inserts rows that are due second, third and first, then rows whose rechecks come second and first, and then rows
    /// that must not be claimed. Returns the claimable ones in the order of the claim.
    fn queue(&mut self) -> [MappingId; 5] {
        let [due_2, due_3, due_1] = [20, 30, 10].map(|due| self.row_at(Some(due), Some(1)));
        let [recheck_2, recheck_1] = [5, 4].map(|recheck| self.row_at(None, Some(recheck)));
        self.row_at(Some(101), Some(1)); // a backoff ends later, and its recheck time does not count
        self.row_at(None, Some(101));
        self.row_at(None, None);
        [due_1, due_2, due_3, recheck_1, recheck_2]
    }

    fn selected(&mut self, whole: &MappingFilter, limit: usize, minute: i64) -> Vec<MappingId> {
        let now = self.at(minute);
        let claimed = self.db.select(whole, limit, &[], now).unwrap();
        claimed.iter().map(|claimed| claimed.mapping.id).collect()
    }

    fn unclaimed(&mut self) -> i64 {
        let sql = "SELECT count(*) FROM core_externalissuemapping WHERE worker_claim IS NULL";
        self.client.query_one(sql, &[]).unwrap().get(0)
    }
}

#[test]
fn due_rows_come_oldest_first_and_rechecks_fill_the_rest_of_the_limit() {
    let mut bench = Bench::new();
    let queue = bench.queue();
    for limit in 0..=8 {
        let expected = &queue[..limit.min(queue.len())];
        assert_eq!(
            bench.selected(&due(), limit, 100),
            expected,
            "limit {limit}, selected"
        );
        assert_eq!(bench.unclaimed(), 8);
        assert_eq!(bench.claim(&due(), limit, 100), expected, "limit {limit}");
        bench.db.release(bench.hold.run, expected).unwrap();
    }
}

#[test]
fn each_claim_takes_the_next_rows_until_none_is_left() {
    let mut bench = Bench::new();
    let [due_1, due_2, due_3, recheck_1, recheck_2] = bench.queue();
    let taken = [(); 4].map(|()| bench.claim(&due(), 2, 100));
    assert_eq!(
        taken,
        [
            vec![due_1, due_2],
            vec![due_3, recheck_1],
            vec![recheck_2],
            vec![]
        ]
    );
}

#[test]
fn rows_with_the_same_time_come_in_the_order_of_their_ids() {
    let mut bench = Bench::new();
    let dues = [(); 4].map(|()| bench.row_at(Some(10), None));
    let rechecks = [(); 4].map(|()| bench.row_at(None, Some(10)));
    assert_eq!(bench.claim(&due(), 3, 100), dues[..3]);
    assert_eq!(
        bench.claim(&due(), 3, 100),
        [dues[3], rechecks[0], rechecks[1]]
    );
}

#[test]
fn a_claim_takes_only_the_named_projects_and_mappings() {
    let mut bench = Bench::new();
    let [other, third] =
        ["other", "third"].map(|name| agira::project(&mut bench.client, name, "acme", name));
    let ours = bench.issue();
    let [first, second] = [bench.issue_of(other), bench.issue_of(other)];
    let elsewhere = bench.issue_of(third);
    let narrowed = |projects: &[i64], mappings: &[MappingId]| MappingFilter {
        projects: projects.to_vec(),
        ..MappingFilter {
            selection: Selection::NeverPushed,
            ..named(mappings)
        }
    };
    let project = bench.project;
    for selection in [Selection::Due, Selection::NeverPushed] {
        for (projects, mappings, expected) in [
            (&[other][..], &[][..], &[first, second][..]),
            (&[other, third], &[], &[first, second, elsewhere]),
            (&[], &[second, ours], &[ours, second]),
            (&[other], &[second, ours], &[second]),
            (&[project], &[second], &[]),
            (&[], &[], &[ours, first, second, elsewhere]),
        ] {
            let whole = MappingFilter {
                selection,
                ..narrowed(projects, mappings)
            };
            assert_eq!(bench.selected(&whole, 9, 1), expected, "{whole:?}");
            assert_eq!(bench.claim(&whole, 9, 1), expected, "{whole:?}");
            bench.db.release(bench.hold.run, expected).unwrap();
        }
    }
    let whole = MappingFilter {
        projects: vec![other],
        ..named(&[second, ours])
    };
    assert_eq!(bench.claim(&whole, 9, 1), [second]);
}

#[test]
fn a_named_mapping_is_claimed_due_or_not_unless_another_run_holds_it() {
    let mut bench = Bench::new();
    let rows = [Waiting, Parked, BackingOff, InWork, Due].map(|class| bench.row_in(class));
    let [waiting, parked, backing_off, in_work, due] = rows;
    let [mut shown, mut taken] = [
        bench.selected(&named(&rows), 9, 2),
        bench.claim(&named(&rows), 9, 2),
    ];
    assert_eq!(taken[..2], [due, backing_off]);
    // A dry run also reads the claimed row, to explain its claim.
    shown.sort();
    taken.sort();
    assert_eq!(shown, [waiting, parked, backing_off, in_work, due]);
    assert_eq!(taken, [waiting, parked, backing_off, due]);
}

/// A claim does not remove rows from these selections, so each batch starts after the last id of the one before. Failed
/// rows go by time instead, and a run excludes the ones that it has tried.
#[test]
fn a_selection_by_id_continues_after_the_last_id() {
    let mut bench = Bench::new();
    let parked = [(); 3].map(|()| bench.row_in(Parked));
    let healthy = bench.row_in(Waiting);
    let unpushed = [(); 3].map(|()| bench.row_in(Due));
    for (whole, expected) in [
        // Failed rows are left to `sync` and block no others.
        (select(Selection::NeverPushed), &unpushed[..]),
        (
            named(&[parked[0], parked[1], parked[2], healthy]),
            &[parked[0], parked[1], parked[2], healthy],
        ),
    ] {
        let (mut after, mut taken) = (MappingId(0), Vec::new());
        while taken.len() <= expected.len() {
            let batch = bench
                .db
                .claim(&whole, 2, after, bench.at(2), bench.hold)
                .unwrap();
            let ids: Vec<MappingId> = batch.iter().map(|claimed| claimed.mapping.id).collect();
            let Some(last) = ids.iter().max() else { break };
            after = *last;
            bench.db.release(bench.hold.run, &ids).unwrap();
            taken.extend(ids);
        }
        taken.sort();
        assert_eq!(taken, expected, "{whole:?}");
    }
}

/// Rows that a mark would make due come after the rows that are already due. A backoff, a claim and a recent failure
/// delay them, as with a real mark.
#[test]
fn a_dry_run_treats_marked_rows_as_due() {
    let mut bench = Bench::new();
    let [ahead, overdue] = [500, 1].map(|recheck| bench.row_at(None, Some(recheck)));
    let old = bench.row_at(Some(10), None);
    let [backing_off, parked] = [Some(600), None].map(|due| bench.row_at(due, None));
    let claimed = bench.row_in(InWork);
    let unmarked = bench.row_at(None, Some(2));
    let marked = [ahead, overdue, backing_off, parked, claimed];
    let project = bench.project;
    let mut select = |whole: &MappingFilter, limit, minute| -> Vec<MappingId> {
        let now = bench.at(minute);
        let selected = bench.db.select(whole, limit, &marked, now).unwrap();
        for one in &selected {
            let is_marked = marked.contains(&one.mapping.id);
            assert_eq!(
                one.mapping.due_at == Some(now),
                is_marked,
                "{:?}",
                one.mapping.id
            );
        }
        selected.iter().map(|one| one.mapping.id).collect()
    };
    assert_eq!(select(&due(), 9, 100), [old, ahead, overdue, unmarked]);
    assert_eq!(select(&due(), 2, 100), [old, ahead]);
    // A parked row can be marked six hours after its error. The error has PostgreSQL's time here, an hour before the
    // start.
    assert_eq!(select(&due(), 9, 299), [old, ahead, overdue, unmarked]);
    assert_eq!(
        select(&due(), 9, 301),
        [old, ahead, overdue, parked, unmarked]
    );
    assert_eq!(select(&of(project + 1), 9, 100), []);
    let excluded = MappingFilter {
        excluded: vec![ahead.0, old.0],
        ..due()
    };
    assert_eq!(select(&excluded, 9, 100), [overdue, unmarked]);
}

/// A claim skips a row that a person has locked. A claim that waited for it would fail after its lock timeout.
#[test]
fn a_row_that_a_person_has_locked_is_skipped() {
    let mut bench = Bench::new();
    let [held, free] = [bench.issue(), bench.issue()];
    let waiting = outbox(bench.at(0));
    for id in [held, free] {
        let claimed = bench.take(id, EARLY);
        bench.apply(&claimed, Vec::new(), Some(&waiting), EARLY);
        bench.db.release(bench.hold.run, &[id]).unwrap();
    }
    bench.execute(&format!(
        "BEGIN; SELECT 1 FROM core_externalissuemapping WHERE id = {held} FOR UPDATE"
    ));
    for whole in [due(), named(&[held, free])] {
        assert_eq!(bench.claim(&whole, 9, 2), [free], "{whole:?}");
        bench.db.release(bench.hold.run, &[free]).unwrap();
    }
    let delivering = bench
        .db
        .claim_outboxes(&due(), 9, None, bench.hold)
        .unwrap();
    assert_eq!(
        delivering
            .iter()
            .map(|one| one.claimed.mapping.id)
            .collect::<Vec<_>>(),
        [free]
    );
    bench.db.release(bench.hold.run, &[free]).unwrap();
    bench.execute("COMMIT");
    assert_eq!(bench.claim(&due(), 9, 2), [held, free]);

    // This includes suspects, because both claims have expired.
    bench.execute(&format!(
        "BEGIN; SELECT 1 FROM core_externalissuemapping WHERE id = {held} FOR UPDATE"
    ));
    let (mut db, hold) = bench.other_run(1000);
    let taken = [(); 2].map(|()| db.claim_suspect(&due(), 10, bench.at(100), hold).unwrap());
    assert_eq!(
        taken.map(|suspect| super::taken(suspect).map(|claimed| claimed.mapping.id)),
        [Some(free), None]
    );
}

/// Invariant 9: two runs never work on the same mapping at once, and together they claim all.
#[test]
fn concurrent_runs_claim_every_row_exactly_once() {
    const RUNS: usize = 4;
    let mut bench = Bench::new();
    let item = bench.issue();
    bench.execute(&format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, worker_due_at, worker_recheck_at)
         SELECT 1000000 + n, n, 'Issue', 'open', '', now(), m.item_id, '', '', CASE WHEN n % 2 = 0 THEN now() END, now()
         FROM core_externalissuemapping m, generate_series(1, 999) AS n WHERE m.id = {item}"
    ));
    let barrier = Barrier::new(RUNS);
    let (bench_ref, barrier_ref) = (&bench.database, &barrier);
    let (start, until) = (bench.at(1), bench.at(60));
    let taken: Vec<Vec<MappingId>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..RUNS)
            .map(|_| {
                scope.spawn(move || {
                    let (mut db, _) = Db::connect(&bench_ref.url(), Access::ReadWrite).unwrap();
                    let hold = Lease {
                        run: Uuid::new_v4(),
                        until,
                    };
                    let mut taken = Vec::new();
                    barrier_ref.wait();
                    // At most one more claim than rows, so that the loop ends even if no claim comes back empty.
                    for _ in 0..=1000 {
                        let batch = db.claim(&due(), 7, MappingId(0), start, hold).unwrap();
                        if batch.is_empty() {
                            return taken;
                        }
                        taken.extend(batch.iter().map(|claimed| claimed.mapping.id));
                    }
                    panic!("1,001 claims of 1,000 rows are not enough")
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let all: Vec<MappingId> = taken.concat();
    assert_eq!(all.len(), 1000);
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        1000,
        "some row was claimed twice"
    );
    assert_eq!(bench.unclaimed(), 0);
}

/// There are more of them than the statement reads besides the limit of the run.
#[test]
fn mappings_of_a_paused_owner_do_not_hide_those_of_a_hidden_repository() {
    let mut bench = Bench::new();
    let [hidden, healthy] = [20, 30].map(|due| bench.row_at(Some(due), None));
    let now = bench.at(100);
    bench.execute(&format!(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/acme/hidden/issues/1' WHERE id = {hidden};
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, error, error_at)
            VALUES ('acme/hidden', now(), now(), 'hidden', now());
         INSERT INTO worker_pause (scope, until, reason) VALUES ('github:paused', '{now}'::timestamptz + interval '1 hour', 'limit');
         INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, worker_due_at)
         SELECT 1000000 + n, n, 'Issue', 'open', 'https://github.com/Paused/shop/issues/' || n, now(), m.item_id, '', '', now()
         FROM core_externalissuemapping m, generate_series(1, 1010) n WHERE m.id = {healthy}"
    ));
    let batch = bench.db.set_aside(&due(), Part::Due, 1, now).unwrap();
    assert_eq!((batch.set, batch.others), (1, 1));
    bench.check(hidden, Waiting, 100);
    assert_eq!(bench.claim(&due(), 1, 100), [healthy]);
}
