//! The plans of a slice are applied together. Those that cannot be applied drop out, and cost the others nothing.

use std::time::{Duration, Instant};

use kit::boundaries::{Boundaries, Side, Then};
use kit::weaviate::Settings;
use postgres::Client;

use crate::fixtures::{MOVED, closed_issues};
use crate::harness::{Run, World};

/// Makes a `sync` of everything. A person acts when all that plans depend on was read, and leaves after the run.
fn sync_with(world: &mut World, act: impl FnOnce(&mut Client) + Send + 'static) -> Run {
    let boundaries = Boundaries::new();
    world.weaviate.observe(&boundaries);
    let (mut person, mut act) = (world.database.client(), Some(act));
    boundaries.watch(move |place| {
        let is_there = place.side == Side::After && place.what.contains("/v1/graphql");
        if let Some(act) = act.take_if(|_| is_there) {
            act(&mut person);
        }
        Then::Pass
    });
    world.database.reset_statements();
    let run = world.run(&["sync", "--limit", "100", "--output", "json"]);
    boundaries.clear();
    run
}

// Parts of the statements: from version 18 on, PostgreSQL counts them without the tags at their starts.
const LOCK: &str = "needs_item";
const MOVE: &str = "UPDATE core_item i SET status";
const RECORD: &str = "outbox jsonb, verb text";

/// Returns how often a run has sent the statements that contain this.
fn sent(world: &World, part: &str) -> i64 {
    let statements = world.database.statements();
    let sent = statements.iter().filter(|(sql, _)| sql.contains(part));
    sent.map(|(_, calls)| calls).sum()
}

fn counts(run: &Run) -> [i64; 4] {
    let report = run.json();
    ["items_moved", "synced", "failed", "given_back"].map(|name| report[name].as_i64().unwrap())
}

/// Three of each: people hold a mapping's row, or an item, have changed a row, or have decided about an item.
#[test]
fn what_people_hold_change_or_decide_about_costs_the_others_no_statement() {
    let mut world = closed_issues(Settings::default(), 100);
    let run = sync_with(&mut world, |person| {
        for item in [7, 47, 97] {
            kit::agira::person_sets_status(person, item, "Testing");
            kit::agira::person_sets_status(person, item, "Working");
        }
        let sql =
            "UPDATE core_externalissuemapping SET worker_closed_at = now() WHERE id IN (3, 53, 93);
            BEGIN; SELECT FROM core_externalissuemapping WHERE id IN (1, 51, 91) FOR UPDATE;
            UPDATE core_item SET title = title WHERE id IN (5, 55, 95)";
        person.batch_execute(sql).unwrap();
    });
    let run = run.exits(0).logs("item left: somebody changed its status");
    assert_eq!(counts(&run), [88, 91, 0, 9], "{}", run.all());
    // One for all, and one for what is held for longer; PostgreSQL does not count the one that waited in vain.
    assert_eq!(sent(&world, LOCK), 2);
    assert_eq!(sent(&world, MOVE), 1);
    assert_eq!(sent(&world, RECORD), 1);
    assert_eq!(world.one::<i64>(MOVED), 88);
    world.expire_claims();
    world.sync();
    assert_eq!(
        world.one::<i64>(MOVED),
        97,
        "all but those that a person decided about"
    );
}

#[test]
fn a_plan_that_postgresql_refuses_is_found_by_halves() {
    let mut world = closed_issues(Settings::default(), 100);
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE OF state ON core_externalissuemapping FOR EACH ROW
            WHEN (OLD.id IN (3, 53, 93) AND NEW.state <> OLD.state) EXECUTE FUNCTION refuse();
         ALTER TABLE core_item ADD CONSTRAINT refuse CHECK (id <> 55 OR status = 'Working')",
    );
    let run = sync_with(&mut world, |_| {}).exits(3);
    assert_eq!(counts(&run), [96, 96, 4, 0], "{}", run.all());
    let failed = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM core_externalissuemapping
        WHERE worker_attempts = 1 AND worker_error LIKE 'the database refuses it: %'";
    assert_eq!(world.one::<String>(failed), "3 53 55 93");
    let tries = sent(&world, LOCK);
    assert!(tries <= 4 * 2 * 7, "{tries}");
}

/// A statement about one plan is too slow. Together with others it has ten seconds, so that these do not wait for long.
#[test]
fn a_plan_that_is_too_slow_is_found_by_halves() {
    let mut world = closed_issues(Settings::default(), 8);
    world.execute(
        "CREATE TABLE kit_seen (lock_timeout text, statement_timeout text);
         CREATE FUNCTION slow() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
            IF OLD.id = 5 THEN RAISE 'too slow' USING ERRCODE = '57014'; END IF;
            INSERT INTO kit_seen VALUES (current_setting('lock_timeout'), current_setting('statement_timeout'));
            RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON core_item FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let run = sync_with(&mut world, |_| {}).exits(3);
    assert_eq!(counts(&run), [7, 7, 1, 0], "{}", run.all());
    let seen =
        "SELECT string_agg(DISTINCT lock_timeout || ' ' || statement_timeout, ', ') FROM kit_seen";
    assert_eq!(world.one::<String>(seen), "10ms 10s, 10ms 1min");
}

/// Agira's list of activities is in the order of their times alone.
#[test]
fn the_activities_of_an_item_have_the_order_in_which_its_issues_were_closed() {
    let mut world = World::new();
    for number in 1..=3 {
        let key = format!("acme/shop#{number}");
        world.issue(&key, "Working");
        // The last one was closed first.
        world
            .github
            .close(&key, &format!("2026-03-0{}T10:00:00Z", 4 - number));
    }
    world.execute("UPDATE core_externalissuemapping SET item_id = 2");
    world.sync().prints("1 item moved");
    let times = "SELECT count(DISTINCT created_at) FROM core_activity WHERE target_object_id = '2'";
    assert_eq!(world.one::<i64>(times), 4);
    let order = "SELECT string_agg(summary, ', ' ORDER BY created_at) FROM core_activity WHERE target_object_id = '2'";
    assert_eq!(
        world.one::<String>(order),
        "GitHub issue #3 changed from open to closed, Status: Working → Testing, \
         GitHub issue #2 changed from open to closed, GitHub issue #1 changed from open to closed"
    );
}

/// A migration of Agira keeps a whole table. No half of the plans gets further than all of them.
#[test]
fn a_table_that_another_session_locks_uses_up_no_time_for_each_plan() {
    let mut world = closed_issues(Settings::default(), 8);
    let started = Instant::now();
    let run = sync_with(&mut world, |person| {
        person
            .batch_execute("BEGIN; LOCK TABLE core_item IN EXCLUSIVE MODE")
            .unwrap();
    });
    let time = started.elapsed();
    let run = run.exits(0);
    assert_eq!(counts(&run), [0, 0, 0, 8], "{}", run.all());
    assert!(time < Duration::from_secs(25), "{time:?}");
    world.expire_claims();
    world.sync();
    assert_eq!(world.one::<i64>(MOVED), 8);
}
