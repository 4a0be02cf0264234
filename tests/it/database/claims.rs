//! The effects of the statements in `src/db` on rows: claims, classes, order, and what apply writes (design.md, "Data"
//! and "The pipeline"). Every call gets the time as an argument, so hours pass here without waiting.

mod apply;
mod classes;
mod clock;
mod order;
mod plans;
mod releases;
mod unreadable;

use agira_worker::core::model::MappingId;
use agira_worker::core::outbox::Outbox;
use agira_worker::core::plan::{Action, Plan};
use agira_worker::db::{
    Access, ApplyError, Change, Claimed, Db, DelayRecord, FailureRecord, Lease, MappingFilter,
    Selection, SuccessRecord, Suspect,
};
use chrono::{DateTime, Duration, Utc};
use kit::agira;
use kit::postgres_server::Database;
use postgres::Client;
use serde_json::Value;
use uuid::Uuid;

/// The five classes of a row (design.md, "Data").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    InWork,
    Due,
    BackingOff,
    Parked,
    Waiting,
}
use Class::*;

/// Classes of rows without a claim.
const UNCLAIMED: [Class; 4] = [Due, BackingOff, Parked, Waiting];

/// Minute at which rows are put into a class; any later check comes long after it.
const EARLY: i64 = 1;
const BACKOFF_ENDS: i64 = 60;
const RECHECK: i64 = 1000;

/// A database, the connection of one run, and the connection of a person.
struct Bench {
    database: Database,
    db: Db,
    hold: Lease,
    client: Client,
    project: i64,
    start: DateTime<Utc>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Database::create())
    }

    fn on(database: Database) -> Self {
        let mut client = database.client();
        let (db, now) = Db::connect(&database.worker_url(), Access::ReadWrite).unwrap();
        let project = agira::project(&mut client, "shop", "acme", "shop");
        let start = now + Duration::hours(1); // after everything that PostgreSQL's own clock will say
        let hold = Lease {
            run: Uuid::new_v4(),
            until: start + Duration::minutes(10),
        };
        Self {
            database,
            db,
            hold,
            client,
            project,
            start,
        }
    }

    /// Returns the time that is this many minutes after the start.
    fn at(&self, minute: i64) -> DateTime<Utc> {
        self.start + Duration::minutes(minute)
    }

    /// Returns another run, whose claims expire at that minute.
    fn other_run(&self, until: i64) -> (Db, Lease) {
        let (db, _) = Db::connect(&self.database.worker_url(), Access::ReadWrite).unwrap();
        (
            db,
            Lease {
                run: Uuid::new_v4(),
                until: self.at(until),
            },
        )
    }

    /// Inserts an issue with its own item, as Agira does.
    fn issue(&mut self) -> MappingId {
        self.issue_of(self.project)
    }

    fn issue_of(&mut self, project: i64) -> MappingId {
        let item = agira::item(&mut self.client, project, "Working");
        let number = i32::try_from(item).unwrap();
        MappingId(agira::issue(
            &mut self.client,
            item,
            1000 + item,
            "acme/shop",
            number,
            "open",
        ))
    }

    /// Executes a statement as a person at psql.
    fn execute(&mut self, sql: &str) {
        self.client
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn claim(&mut self, whole: &MappingFilter, limit: usize, minute: i64) -> Vec<MappingId> {
        let now = self.at(minute);
        let claimed = self
            .db
            .claim(whole, limit, MappingId(0), now, self.hold)
            .unwrap();
        claimed.iter().map(|claimed| claimed.mapping.id).collect()
    }

    /// Claims one mapping, due or not.
    #[track_caller]
    fn take(&mut self, id: MappingId, minute: i64) -> Claimed {
        let now = self.at(minute);
        let mut claimed = self
            .db
            .claim(&named(&[id]), 1, MappingId(0), now, self.hold)
            .unwrap();
        assert_eq!(claimed.len(), 1, "mapping {id} cannot be claimed");
        claimed.remove(0)
    }

    fn apply(
        &mut self,
        claimed: &Claimed,
        actions: Vec<Action>,
        outbox: Option<&Outbox>,
        minute: i64,
    ) {
        let now = self.at(minute);
        apply(&mut self.db, claimed, (actions, outbox), now, self.hold).unwrap();
    }

    fn finish(&mut self, claimed: &Claimed, minute: i64) {
        let finished = self.finished(claimed);
        let now = self.at(minute);
        self.db
            .record_success(self.hold.run, &[finished], now, now)
            .unwrap();
    }

    fn finished(&self, claimed: &Claimed) -> SuccessRecord {
        let mapping = &claimed.mapping;
        let (recheck_at, external_updated_at) = (self.at(RECHECK), self.at(-100));
        SuccessRecord {
            id: mapping.id,
            due_at: mapping.due_at,
            recheck_at,
            external_updated_at,
            pushed: !mapping.has_outbox,
        }
    }

    fn fail(&mut self, claimed: &Claimed, due: Option<i64>, minute: i64) {
        let failed = self.failed(claimed, due);
        let now = self.at(minute);
        self.db
            .record_failure(self.hold.run, &[failed], now, now)
            .unwrap();
    }

    fn failed(&self, claimed: &Claimed, due: Option<i64>) -> FailureRecord {
        FailureRecord {
            id: claimed.mapping.id,
            attempts: claimed.mapping.attempts + 1,
            error: "no repository".to_owned(),
            due_at: due.map(|minute| self.at(minute)),
            recheck_at: None,
            external_updated_at: None,
            was_checked: false,
        }
    }

    /// Returns a new row, which the program's own statements put into a class.
    fn row_in(&mut self, class: Class) -> MappingId {
        self.row_with(class, None)
    }

    /// Returns the same, with an outbox.
    fn row_with(&mut self, class: Class, outbox: Option<&Outbox>) -> MappingId {
        let id = self.issue();
        let mut claimed = self.take(id, EARLY);
        if outbox.is_some() {
            self.apply(&claimed, Vec::new(), outbox, EARLY);
            claimed.mapping.has_outbox = true;
        }
        match class {
            InWork => {}
            Due => self.db.release(self.hold.run, &[id]).unwrap(),
            BackingOff => self.fail(&claimed, Some(BACKOFF_ENDS), EARLY),
            Parked => self.fail(&claimed, None, EARLY),
            Waiting => self.finish(&claimed, EARLY),
        }
        self.check(id, class, EARLY);
        id
    }

    /// Marks this row as the check of an issue does if GitHub shows another state for it.
    fn mark(&mut self, id: MappingId, minute: i64) {
        let other = self.issue();
        let claimed = self.take(other, minute);
        self.apply(&claimed, vec![make_due(id)], None, minute);
        self.finish(&claimed, minute);
    }

    /// Returns the whole row.
    fn row(&mut self, id: MappingId) -> Value {
        let sql = "SELECT to_jsonb(m) FROM core_externalissuemapping m WHERE id = $1";
        self.client.query_one(sql, &[&id.0]).unwrap().get(0)
    }

    fn due_at(&mut self, id: MappingId) -> Option<DateTime<Utc>> {
        let sql = "SELECT worker_due_at FROM core_externalissuemapping WHERE id = $1";
        self.client.query_one(sql, &[&id.0]).unwrap().get(0)
    }

    /// Returns `worker_attempts` and `worker_error`.
    fn trouble(&mut self, id: MappingId) -> (i32, Option<String>) {
        let sql =
            "SELECT worker_attempts, worker_error FROM core_externalissuemapping WHERE id = $1";
        let row = self.client.query_one(sql, &[&id.0]).unwrap();
        (row.get(0), row.get(1))
    }

    /// Checks that the row is in that class and no other, and that `status` counts every row in exactly one class.
    #[track_caller]
    fn check(&mut self, id: MappingId, expected: Class, minute: i64) {
        let now = self.at(minute);
        let sql = "SELECT id, array_remove(ARRAY[
                CASE WHEN worker_claim IS NOT NULL THEN 0 END,
                CASE WHEN worker_claim IS NULL AND worker_due_at <= $1 THEN 1 END,
                CASE WHEN worker_claim IS NULL AND worker_due_at > $1 THEN 2 END,
                CASE WHEN worker_claim IS NULL AND num_nulls(worker_due_at, worker_recheck_at) = 2 AND worker_error IS NOT NULL THEN 3 END,
                CASE WHEN worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at IS NOT NULL THEN 4 END], NULL)
            FROM core_externalissuemapping";
        let mut counts = [0; 5];
        for row in self.client.query(sql, &[&now]).unwrap() {
            let (other, classes): (i64, Vec<i32>) = (row.get(0), row.get(1));
            let [class] = classes[..] else {
                panic!("mapping {other} is in {} classes", classes.len())
            };
            let class = [InWork, Due, BackingOff, Parked, Waiting][class as usize];
            counts[class as usize] += 1;
            assert!(
                other != id.0 || class == expected,
                "mapping {id} is {class:?}, not {expected:?}"
            );
        }
        let totals = self.db.overview(&[], &[], now).unwrap().counts.totals;
        let shown = [
            totals.in_work,
            totals.due,
            totals.backing_off,
            totals.parked,
            totals.waiting,
        ];
        assert_eq!((shown, totals.total), (counts, counts.iter().sum()));
    }
}

fn select(selection: Selection) -> MappingFilter {
    MappingFilter {
        selection,
        projects: Vec::new(),
        mappings: Vec::new(),
        excluded: Vec::new(),
    }
}

/// Returns the selection of `sync`.
fn due() -> MappingFilter {
    select(Selection::Due)
}

/// Returns the selection of due rows in one project.
fn of(project: i64) -> MappingFilter {
    MappingFilter {
        projects: vec![project],
        ..due()
    }
}

/// Returns the id of a suspect that was taken over and not parked.
fn taken(suspect: Option<Suspect>) -> Option<Claimed> {
    match suspect? {
        Suspect::Taken(claimed) => Some(claimed),
        Suspect::Parked(_) => None,
    }
}

fn named(ids: &[MappingId]) -> MappingFilter {
    MappingFilter {
        mappings: ids.iter().map(|id| id.0).collect(),
        ..select(Selection::Named)
    }
}

/// What one plan did.
#[derive(Debug)]
struct Applied {
    moved: Option<bool>,
    inserted: Vec<MappingId>,
    linked: u64,
}

/// Applies one plan alone.
fn apply(
    db: &mut Db,
    claimed: &Claimed,
    (actions, outbox): (Vec<Action>, Option<&Outbox>),
    now: DateTime<Utc>,
    hold: Lease,
) -> Result<Applied, ApplyError> {
    let plan = Plan {
        actions,
        notes: Vec::new(),
    };
    let change = Change {
        claimed,
        plan: &plan,
        outbox: outbox.cloned(),
    };
    let mut outcome = db.apply(&[change], true, now, hold)?;
    Ok(Applied {
        moved: outcome.plans.remove(0)?,
        inserted: outcome.inserted,
        linked: outcome.linked,
    })
}

fn make_due(row: MappingId) -> Action {
    Action::MakeDue {
        row,
        from: "open".to_owned(),
        to: "closed",
    }
}

/// Returns an outbox with only the item's object.
fn outbox(planned_at: DateTime<Utc>) -> Outbox {
    Outbox {
        planned_at,
        item: true,
        object: None,
    }
}
