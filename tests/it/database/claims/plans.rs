//! With 100,000 mappings, no statement of a run reads the whole table, neither with a custom plan nor with a generic
//! one. PostgreSQL itself reports what it read for the real statements.

use std::sync::OnceLock;

use agira_worker::core::model::*;
use agira_worker::db::{Part, PollResult};
use kit::boundaries::Boundaries;
use kit::postgres_proxy::PostgresProxy;
use postgres::types::ToSql;

use super::*;

/// Limit for the rows that a run of 100 mappings reads; far less than the table.
const FEW: i64 = 5_000;
/// Minute at which 90,000 rechecks are overdue; before the start, none is.
const OVERDUE: i64 = 1296;

/// A grown Agira: almost every row waits for a recheck within a day.
struct Grown {
    database: Database,
    start: DateTime<Utc>,
}

/// Returns a copy of a database that is built once for all tests of this file.
fn grown() -> Grown {
    static GROWN: OnceLock<Grown> = OnceLock::new();
    let Grown { database, start } = GROWN.get_or_init(Grown::build);
    Grown {
        database: database.duplicate(),
        start: *start,
    }
}

/// Inserts the items of a large and of a small project, and 100,000 mappings, with these values per column.
fn fill(client: &mut Client, columns: &[(&str, &str)], now: DateTime<Utc>) {
    let [large, small] = ["large", "small"].map(|name| {
        let project = agira::project(client, name, "acme", name);
        agira::item(client, project, "Working")
    });
    let copied =
        "created_at, updated_at, title, description, solution_description, status, type_id, user_input, intern,
        short_description, suggested_model, pr_description, epic_order, claude_auth_mode, project_id";
    for (item, copies) in [(large, 9_979), (small, 19)] {
        let sql = format!(
            "INSERT INTO core_item ({copied}) SELECT {copied} FROM core_item, generate_series(1, {copies}) WHERE id = {item}"
        );
        client.batch_execute(&sql).unwrap();
    }
    let names: String = columns
        .iter()
        .map(|(name, _)| format!(", {name}"))
        .collect();
    let values: String = columns
        .iter()
        .map(|(_, value)| format!(", {value}"))
        .collect();
    let insert = format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha{names})
         SELECT 1000000000 + n, n, CASE WHEN n % 5 < 3 THEN 'Issue' ELSE 'PR' END, 'open',
            'https://github.com/acme/shop/issues/' || n, $1::timestamptz, item.id, '', ''{values}
         FROM generate_series(1::bigint, 100000) AS n
         JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM core_item) AS item ON item.place = n % 10000"
    );
    assert_eq!(client.execute(&insert, &[&now]).unwrap(), 100_000);
}

impl Grown {
    fn build() -> Self {
        let Bench {
            database,
            mut client,
            start,
            ..
        } = Bench::new();
        let failed = "n % 500 = 1 OR n % 1000 = 2";
        let columns = [
            (
                "worker_due_at",
                "CASE WHEN n % 500 = 0 THEN $1 - n * interval '1 second' WHEN n % 500 = 1 THEN $1 + interval '3 hours' END",
            ),
            (
                "worker_recheck_at",
                "CASE WHEN n % 500 > 1 AND n % 1000 <> 2 THEN $1 + (n * 7919 % 100000) * interval '1 day' / 100000 END",
            ),
            (
                "worker_claim",
                "CASE WHEN n % 2000 = 3 THEN gen_random_uuid() END",
            ),
            (
                "worker_claimed_until",
                "CASE WHEN n % 2000 = 3 THEN $1 - interval '1 hour' END",
            ),
            (
                "worker_error",
                &format!("CASE WHEN {failed} THEN 'broken' END"),
            ),
            (
                "worker_error_at",
                &format!("CASE WHEN {failed} THEN $1 END"),
            ),
            (
                "worker_outbox",
                "CASE WHEN n % 1000 = 4 OR n % 100 = 6 THEN '{}'::jsonb END",
            ),
            (
                "worker_delivery_error",
                "CASE WHEN n % 100 = 6 THEN 'rejected' END",
            ),
            (
                "worker_delivery_attempts",
                "CASE WHEN n % 100 = 6 THEN 12 ELSE 0 END",
            ),
            (
                "worker_delivery_at",
                "CASE WHEN n % 100 = 6 THEN $1 + interval '1 day' WHEN n % 1000 = 4 THEN 'epoch' END",
            ),
            ("worker_pushed_at", "CASE WHEN n % 400 <> 5 THEN $1 END"),
            (
                "worker_external_updated_at",
                "CASE WHEN n % 800 > 6 THEN $1 END",
            ),
        ];
        fill(&mut client, &columns, start);
        client
            .batch_execute(
                "INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
                 SELECT issue.id, pr.github_id, issue.item_id, pr.item_id, 'closes' FROM core_externalissuemapping issue
                 JOIN core_externalissuemapping pr ON pr.number = issue.number + 3 AND pr.kind = 'PR' WHERE issue.kind = 'Issue';
                 ANALYZE",
            )
            .unwrap();
        Self { database, start }
    }

    /// Returns the state right after installation: every row waits since the same moment, none was ever pushed, and
    /// PostgreSQL has no statistics about the worker's columns.
    fn just_installed() -> Self {
        let database = Database::agira_only();
        let mut client = database.client();
        fill(&mut client, &[], Utc::now());
        client.batch_execute("ANALYZE").unwrap();
        database.install();
        let Bench {
            database, start, ..
        } = Bench::on(database);
        Self { database, start }
    }

    fn at(&self, minute: i64) -> DateTime<Utc> {
        self.start + Duration::minutes(minute)
    }

    /// Returns the scans of the mapping table, and the rows read from it and its indexes, by sessions that have ended.
    fn read(&self, client: &mut Client) -> (i64, i64) {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'agira-worker'";
        // PostgreSQL publishes the counts of a session at the latest when the session ends.
        kit::wait::until("the sessions to end", kit::wait::SOON, || {
            client.query_one(busy, &[]).unwrap().get::<_, i64>(0) == 0
        });
        // Before version 15, a process of its own collects them, twice a second.
        let collected =
            "SELECT pg_sleep(1.5) WHERE current_setting('server_version_num')::int < 150000";
        client.execute(collected, &[]).unwrap();
        let sql = "SELECT seq_scan, seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid)::bigint
            FROM pg_stat_user_tables t WHERE relname = 'core_externalissuemapping'";
        let row = client.query_one(sql, &[]).unwrap();
        (row.get(0), row.get(1))
    }

    /// Runs `work` with both kinds of plans; each time it may read at most `most` rows, and never the whole table.
    #[track_caller]
    fn check(&self, name: &str, most: i64, work: impl Fn(&mut Db, Lease)) {
        self.check_scans(name, 0, most, work);
    }

    /// Does the same for work that may read the whole table so often.
    #[track_caller]
    fn check_scans(&self, name: &str, allowed: i64, most: i64, work: impl Fn(&mut Db, Lease)) {
        let mut client = self.database.client();
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let before = self.read(&mut client);
            let url = format!("{}?options=-cplan_cache_mode%3D{mode}", self.database.url());
            let (mut db, _) = Db::connect(&url, Access::ReadWrite).unwrap();
            work(
                &mut db,
                Lease {
                    run: Uuid::new_v4(),
                    until: self.at(10_000),
                },
            );
            drop(db);
            let after = self.read(&mut client);
            let (scans, rows) = (after.0 - before.0, after.1 - before.1);
            assert!(
                scans <= allowed && rows <= most,
                "{name}, {mode}: {scans} scans of the whole table, {rows} rows read"
            );
            assert!(rows > 0, "{name}, {mode}: nothing was measured");
        }
    }

    /// Returns the first mappings in the order of their ids.
    fn ids(&self, condition: &str, limit: i64) -> Vec<MappingId> {
        let sql = format!(
            "SELECT id FROM core_externalissuemapping m WHERE {condition} ORDER BY id LIMIT $1"
        );
        self.database
            .client()
            .query(&sql, &[&limit])
            .unwrap()
            .iter()
            .map(|row| MappingId(row.get(0)))
            .collect()
    }
}

fn ids(claimed: &[Claimed]) -> Vec<MappingId> {
    claimed.iter().map(|claimed| claimed.mapping.id).collect()
}

/// Claims and reads 100 rows of a selection.
#[track_caller]
fn check_claim(grown: &Grown, whole: &MappingFilter, minute: i64) {
    let (name, now) = (
        format!("{:?} at {minute}", whole.selection),
        grown.at(minute),
    );
    grown.check(&name, FEW, |db, hold| {
        let claimed = db.claim(whole, 100, MappingId(0), now, hold).unwrap();
        assert_eq!(claimed.len(), 100, "{name}");
        db.release(hold.run, &ids(&claimed)).unwrap();
    });
    let read = |db: &mut Db, _| {
        assert_eq!(db.select(whole, 100, &[], now).unwrap().len(), 100);
        assert!(db.has_more(whole, MappingId(0), now).unwrap());
    };
    grown.check(&format!("reading {name}"), FEW, read);
}

#[test]
fn no_claim_reads_the_whole_table() {
    let grown = grown();
    let some = grown.ids("id % 37 = 0 AND worker_claim IS NULL", 100);
    let selections = [
        due(),
        select(Selection::Failed),
        select(Selection::NeverPushed),
        named(&some),
    ];
    for minute in [0, OVERDUE] {
        for whole in &selections {
            check_claim(&grown, whole, minute);
        }
    }
}

#[test]
fn the_first_runs_after_installation_do_not_read_the_whole_table() {
    let grown = Grown::just_installed();
    for whole in [due(), select(Selection::NeverPushed)] {
        check_claim(&grown, &whole, 0);
    }
    grown.check("what else a run asks", FEW, |db, hold| {
        assert!(
            db.claim_suspect(&due(), 10, grown.at(0), hold)
                .unwrap()
                .is_none()
        );
        assert!(
            db.claim_outboxes(&due(), 100, None, hold)
                .unwrap()
                .is_empty()
        );
        assert_eq!(db.due(grown.at(0)).unwrap(), Some(0));
        db.claim(&named(&[MappingId(1)]), 1, MappingId(0), grown.at(0), hold)
            .unwrap();
        db.release(hold.run, &[MappingId(1)]).unwrap();
    });
}

/// A claim for a small project may read an index until it reaches the project's last row, but never the table.
#[test]
fn no_claim_of_one_project_scans_the_table() {
    let grown = grown();
    let projects = grown
        .database
        .client()
        .query("SELECT id FROM core_project ORDER BY id", &[])
        .unwrap();
    for project in projects.iter().map(|row| row.get::<_, i64>(0)) {
        for selection in [Selection::Due, Selection::Failed, Selection::NeverPushed] {
            let whole = MappingFilter {
                projects: vec![project],
                ..select(selection)
            };
            for minute in [0, OVERDUE] {
                grown.check(&format!("{whole:?} at {minute}"), i64::MAX, |db, hold| {
                    let claimed = db
                        .claim(&whole, 50, MappingId(0), grown.at(minute), hold)
                        .unwrap();
                    db.release(hold.run, &ids(&claimed)).unwrap();
                });
            }
        }
        grown.check(
            "suspects and outboxes of a project",
            i64::MAX,
            |db, hold| {
                db.claim_suspect(
                    &MappingFilter {
                        projects: vec![project],
                        ..due()
                    },
                    10,
                    grown.at(0),
                    hold,
                )
                .unwrap();
                let whole = MappingFilter {
                    projects: vec![project],
                    ..due()
                };
                let waiting = db.claim_outboxes(&whole, 10, None, hold).unwrap();
                let waiting: Vec<MappingId> =
                    waiting.iter().map(|one| one.claimed.mapping.id).collect();
                db.release(hold.run, &waiting).unwrap();
            },
        );
    }
}

#[test]
fn suspects_and_outboxes_are_selected_by_index() {
    let grown = grown();
    grown.check("claim_suspect", FEW, |db, hold| {
        let taken = [(); 3].map(|()| {
            taken(db.claim_suspect(&due(), 10, grown.at(0), hold).unwrap())
                .expect("a suspect")
                .mapping
                .id
        });
        db.release(hold.run, &taken).unwrap();
    });
    let waiting = |claimed: Vec<agira_worker::db::ClaimedOutbox>| -> Vec<MappingId> {
        claimed.iter().map(|one| one.claimed.mapping.id).collect()
    };
    // Ten thousand rejected outboxes, which wait for another day, are not read.
    let reject = "UPDATE core_externalissuemapping SET worker_outbox = '{}', worker_delivery_error = 'rejected',
        worker_delivery_at = now() + interval '1 day' WHERE id % 10 = 6; ANALYZE";
    grown.database.client().batch_execute(reject).unwrap();
    grown.check("outboxes that wait", FEW, |db, hold| {
        let now = grown.at(0);
        let ids = waiting(db.claim_outboxes(&due(), 200, Some(now), hold).unwrap());
        assert!((50..=100).contains(&ids.len()), "{}", ids.len());
        let delays: Vec<DelayRecord> = ids
            .iter()
            .map(|id| DelayRecord {
                id: *id,
                attempts: 1,
                error: None,
                at: now,
            })
            .collect();
        db.record_delays(hold.run, &delays).unwrap();
        db.release(hold.run, &ids).unwrap();
    });
    grown.check("claim_waiting and delivered", FEW, |db, hold| {
        let ids = waiting(db.claim_outboxes(&due(), 30, None, hold).unwrap());
        assert_eq!(ids.len(), 30);
        let (delivered, outdated) = (&ids[..20], &ids[10..20]);
        db.record_delivery(hold.run, delivered, outdated, grown.at(0))
            .unwrap();
        db.release(hold.run, &ids).unwrap();
    });
}

#[test]
fn a_slice_is_read_and_written_by_index() {
    let grown = grown();
    // 100 linked issues of 100 items.
    let linked = "id % 41 = 0 AND worker_claim IS NULL AND EXISTS (SELECT FROM worker_pull_request_link WHERE issue_mapping_id = m.id)";
    let whole = named(&grown.ids(linked, 100));
    // A renewal also reads what other runs hold, and each update leaves entries behind that the next statement still reads.
    grown.check("a slice", 2 * FEW, |db, hold| {
        let now = grown.at(OVERDUE);
        let claimed = db.claim(&whole, 100, MappingId(0), now, hold).unwrap();
        assert_eq!(claimed.len(), 100);
        let (slice, items) = (
            ids(&claimed),
            claimed
                .iter()
                .map(|one| one.mapping.item_id)
                .collect::<Vec<_>>(),
        );
        let github_ids: Vec<GithubId> = (1..200)
            .map(|n| GithubId(1_000_000_000 + n * 499))
            .collect();
        let (rows, links) = db.related(hold.run, &slice, &items, &github_ids).unwrap();
        let own = links.iter().filter(|link| slice.contains(&link.issue));
        assert_eq!((rows.len(), own.count()), (100 + 199, 100));
        assert_eq!(db.mappings(&slice).unwrap().len(), 100);
        assert!(!db.items(&items).unwrap().is_empty());
        let numbers: Vec<i64> = slice.iter().map(|id| id.0).collect();
        db.check_ids(&[], &numbers).unwrap();
        db.not_failed(&numbers).unwrap();
        let finished: Vec<SuccessRecord> = claimed[..60]
            .iter()
            .map(|one| SuccessRecord {
                id: one.mapping.id,
                due_at: one.mapping.due_at,
                recheck_at: grown.at(2000),
                external_updated_at: now,
                pushed: true,
            })
            .collect();
        db.renew(hold, now).unwrap();
        db.record_success(hold.run, &finished, now, now).unwrap();
        let failed: Vec<FailureRecord> = claimed[60..]
            .iter()
            .map(|one| FailureRecord {
                id: one.mapping.id,
                attempts: 1,
                error: "broken".to_owned(),
                due_at: Some(grown.at(0)),
                recheck_at: None,
                external_updated_at: None,
                was_checked: false,
            })
            .collect();
        db.record_failure(hold.run, &failed, now, now).unwrap();
        db.release(hold.run, &slice).unwrap();
    });
}

#[test]
fn correcting_times_reads_only_rows_that_back_off_or_are_claimed() {
    let grown = grown();
    grown.check("correcting times", FEW, |db, _| {
        assert_eq!(db.correct_times(grown.at(0)).unwrap(), 0);
    });
}

#[test]
fn a_plan_is_applied_by_index() {
    let grown = grown();
    let issue = grown.ids("worker_claim IS NULL AND kind = 'Issue' AND EXISTS (SELECT FROM worker_pull_request_link WHERE issue_mapping_id = m.id)", 1);
    grown.check("apply", FEW, |db, hold| {
        let claimed = db
            .claim(&named(&issue), 1, MappingId(0), grown.at(0), hold)
            .unwrap()
            .remove(0);
        let (_, links) = db.related(hold.run, &issue, &[], &[]).unwrap();
        let (id, number) = (claimed.mapping.github_id, claimed.mapping.number);
        let url = format!(
            "https://github.com/acme/shop/pull/{}",
            hold.run.as_fields().0 >> 2
        );
        let address = Address::parse(&url).unwrap();
        let github_id = GithubId(i64::from(hold.run.as_fields().0));
        let pull_request = PullRequestRef {
            github_id,
            address: address.clone(),
            url,
            state: State::Open,
            relation: Relation::Closes,
        };
        let mut actions = vec![
            Action::SetGithubId {
                row: claimed.mapping.id,
                from: id,
                to: GithubId(id.0 + 500_000),
            },
            Action::RecordState {
                from: "open".to_owned(),
                to: "closed",
            },
            Action::MoveItem {
                from: ItemStatus("Working".to_owned()),
                to: ItemStatus::testing(),
            },
            Action::InsertPullRequest { pull_request },
            Action::Link {
                pull_request: address,
                github_id,
                relation: Relation::Closes,
                from: None,
            },
        ];
        let linked = links.iter().find_map(|link| link.row);
        actions.extend(linked.map(|row| Action::Unlink { row }));
        actions.extend((1..50).map(|n| make_due(MappingId(i64::from(number) + n))));
        let (now, waiting) = (grown.at(0), outbox(grown.at(0)));
        let applied = apply(db, &claimed, (actions, Some(&waiting)), now, hold).unwrap();
        assert_eq!((applied.inserted.len(), applied.linked), (1, 1));
        db.release(hold.run, &[issue[0], applied.inserted[0]])
            .unwrap();
    });
}

/// No index has a column that a plan changes, so that PostgreSQL adds no entry to any of them.
#[test]
fn the_result_of_a_plan_is_stored_by_a_heap_only_update() {
    let mut bench = Bench::new();
    let id = bench.issue();
    let (claimed, hold) = (bench.take(id, 0), bench.hold);
    let Bench {
        database,
        start,
        db,
        ..
    } = bench;
    drop(db);
    let grown = Grown { database, start };
    let updates = || -> [i64; 2] {
        let mut client = grown.database.client();
        grown.read(&mut client);
        let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'core_externalissuemapping'";
        let row = client.query_one(sql, &[]).unwrap();
        [row.get(0), row.get(1)]
    };
    let before = updates();
    let actions = vec![
        Action::RecordState {
            from: "open".to_owned(),
            to: "closed",
        },
        Action::RememberClose { closed_at: start },
        Action::RecordMerge {
            body: Some("What was done".to_owned()),
            commit: Some("c0ffee".to_owned()),
            merged_at: Some(start),
        },
    ];
    let (mut db, _) = Db::connect(&grown.database.worker_url(), Access::ReadWrite).unwrap();
    let waiting = outbox(start);
    apply(&mut db, &claimed, (actions, Some(&waiting)), start, hold).unwrap();
    drop(db);
    let after = updates();
    assert_eq!([after[0] - before[0], after[1] - before[1]], [1, 1]);
}

/// Discovery may mark as many rows at once as a poll of busy repositories returns.
#[test]
fn marking_and_counting_due_rows_reads_only_those_rows() {
    let grown = grown();
    for many in [100, 1_000] {
        let ids = grown.ids("id % 7 = 0", many);
        grown.check(&format!("marking {many}"), FEW, |db, hold| {
            db.record_delivery(hold.run, &[], &ids, grown.at(0))
                .unwrap()
        });
    }
    grown.check("counting what is due", FEW, |db, _| {
        assert!(db.due(grown.at(0)).unwrap() > Some(100))
    });
}

/// `status` reads only indexes for its totals, once VACUUM has run, as autovacuum does. Only shared addresses take one
/// scan of the table.
#[test]
fn status_of_everything_reads_no_healthy_row() {
    let grown = grown();
    let mut client = grown.database.client();
    client
        .batch_execute("VACUUM ANALYZE core_externalissuemapping")
        .unwrap();
    let fetched = || -> i64 {
        let mut client = grown.database.client();
        grown.read(&mut client);
        let sql = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'core_externalissuemapping'";
        client.query_one(sql, &[]).unwrap().get(0)
    };
    let before = fetched();
    // One index entry for each mapping.
    grown.check("status", 100_000 + FEW, |db, _| {
        let seen = db.essentials(&[], &[], grown.at(0)).unwrap();
        assert_eq!(seen.counts.totals.total, 100_000);
        assert_eq!(seen.counts.never_synced, 875);
        let causes = db.causes(&[], &[], Some(20)).unwrap();
        assert_eq!(
            causes[0].count as usize,
            db.failures(&[], &[]).unwrap().len()
        );
    });
    let fetched = fetched() - before;
    assert!(fetched <= 2 * FEW, "{fetched} rows read");
    let double = "UPDATE core_externalissuemapping m SET html_url = upper(o.html_url)
        FROM core_externalissuemapping o WHERE m.id % 50000 = 8 AND o.id = m.id - 1";
    client.batch_execute(double).unwrap();
    grown.check_scans("shared addresses", 1, 200_000 + FEW, |db, _| {
        let seen = db.overview(&[], &[], grown.at(0)).unwrap();
        assert_eq!(seen.shared.unwrap().len(), 2);
    });
}

#[test]
fn status_of_one_mapping_reads_few_rows() {
    let grown = grown();
    let some = grown.ids("id % 1000 = 7", 1);
    grown.check("status --mapping", 100, |db, _| {
        let seen = db.overview(&[], &[some[0].0], grown.at(0)).unwrap();
        assert_eq!(seen.counts.totals.total, 1);
        let claimed = db.mappings(&some).unwrap().remove(0);
        assert!(db.history(&claimed.mapping).unwrap().is_some());
    });
}

#[test]
fn changed_issues_are_marked_by_index() {
    let grown = grown();
    let github_ids: Vec<i64> = (1..=50).map(|n| 1_000_000_000 + n * 7).collect();
    let urls: Vec<String> = (1..=50)
        .map(|n| format!("https://github.com/acme/shop/issues/{}", n * 11))
        .collect();
    grown.check("finding what changed", FEW, |db, _| {
        assert_eq!(db.candidates(&github_ids, &urls).unwrap().len(), 96);
    });
    let ids = grown.ids("worker_recheck_at IS NOT NULL", 50);
    grown.check("marking what changed", FEW, |db, _| {
        let polled = polled("acme/shop", ids.clone());
        let patience = std::time::Duration::from_secs(1);
        assert!(db.record_polls(&[&polled], grown.at(0), patience).unwrap());
    });
}

/// Returns the result of a poll that marks these mappings.
pub(super) fn polled(name: &str, marks: Vec<MappingId>) -> PollResult {
    PollResult {
        name: name.to_owned(),
        github_id: None,
        issues_cursor: Utc::now(),
        pull_requests_cursor: Utc::now(),
        error: None,
        is_hidden: false,
        was_hidden: false,
        is_far_behind: false,
        is_ahead: false,
        marks,
    }
}

/// Half of the mappings belong to a hidden repository, and all mappings are due or to be rechecked.
#[test]
fn the_mappings_of_a_hidden_repository_are_found_by_index() {
    let grown = grown();
    let sql = "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor, error, error_at)
            VALUES ('acme/hidden', now(), now(), 'hidden', now());
         UPDATE core_externalissuemapping SET html_url = 'https://github.com/Acme/Hidden/issues/' || number
            WHERE id % 1000 IN (500, 501, 502)";
    grown.database.client().batch_execute(sql).unwrap();
    for part in [Part::Due, Part::Recheck] {
        grown.check(&format!("setting aside, {part:?}"), FEW, |db, _| {
            let batch = db.set_aside(&due(), part, 50, grown.at(OVERDUE)).unwrap();
            assert!(batch.others > 0, "{batch:?}");
        });
    }
    grown.check("reading healthy mappings", FEW, |db, _| {
        assert!(!db.healthy(grown.at(0)).unwrap().is_empty());
    });
    grown.check("reading what waits", FEW, |db, _| {
        assert!(db.issues_wait_for("acme/shop").is_ok());
    });
    grown.check("waking nobody", FEW, |db, _| {
        assert_eq!(db.wake(grown.at(OVERDUE)).unwrap(), 0);
    });
    let back = "UPDATE worker_repository SET error = NULL, error_at = NULL";
    grown.database.client().batch_execute(back).unwrap();
    grown.check("waking", FEW, |db, _| {
        db.wake(grown.at(OVERDUE)).unwrap();
    });
    let asleep = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error = 'hidden' AND worker_recheck_at > $1";
    let row = grown
        .database
        .client()
        .query_one(asleep, &[&grown.at(OVERDUE)])
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[test]
fn each_part_of_a_claim_has_its_own_index() {
    let grown = grown();
    let mut client = grown.database.client();
    let boundaries = Boundaries::new();
    let proxy = PostgresProxy::start(&grown.database.url(), boundaries.clone());
    let (mut db, _) = Db::connect(&proxy.url(), Access::ReadWrite).unwrap();
    let some = named(&grown.ids("true", 50)).mappings;
    for (selection, indexes) in [
        (
            Selection::Due,
            &["worker_mapping_due", "worker_mapping_recheck"][..],
        ),
        (Selection::Failed, &["worker_mapping_failed_at"]),
        (Selection::NeverPushed, &["worker_mapping_unpushed"]),
        (Selection::Named, &["core_externalissuemapping_pkey"]),
    ] {
        let mappings = if selection == Selection::Named {
            some.clone()
        } else {
            Vec::new()
        };
        let whole = MappingFilter {
            selection,
            projects: Vec::new(),
            mappings,
            excluded: Vec::new(),
        };
        for minute in [0, OVERDUE] {
            let (run, now, until) = (Uuid::new_v4(), grown.at(minute), grown.at(minute + 10));
            boundaries.clear();
            let claimed = db
                .claim(&whole, 100, MappingId(0), now, Lease { run, until })
                .unwrap();
            let sent = boundaries.passed();
            let sql = sent
                .iter()
                .find_map(|sent| sent.strip_prefix("PostgreSQL: /* claim */"))
                .expect("a claim");
            db.release(run, &ids(&claimed)).unwrap();
            let parameters: [&(dyn ToSql + Sync); 8] = [
                &100_i64,
                &whole.projects,
                &whole.mappings,
                &0_i64,
                &now,
                &whole.excluded,
                &run,
                &until,
            ];
            let rows = client
                .query(&format!("EXPLAIN {sql}"), &parameters)
                .unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            for index in indexes {
                assert!(
                    plan.contains(&format!("{index} on core_externalissuemapping")),
                    "{index} is not used:\n{plan}"
                );
            }
            assert!(
                !plan.contains("Seq Scan on core_externalissuemapping"),
                "{plan}"
            );
        }
    }
}
