//! Discovery makes exactly those mappings due that changed on GitHub, so the cost of a run depends on how much changed.

use chrono::{DateTime, Duration, Utc};
use kit::agira;
use serde_json::{Value, json};

use crate::fixtures::seconds_from_now;
use crate::harness::World;

/// Returns issues that were checked, each with an open pull request that will close it. Nothing is due.
fn settled(issues: i32) -> World {
    let mut world = World::new();
    for number in 1..=issues {
        let (key, pull_request) = (
            format!("acme/shop#{number}"),
            format!("acme/shop#{}", 1000 + number),
        );
        world.issue(&key, "Working");
        world.closing_pull_request(&key, &pull_request);
    }
    world.run(&["sync", "--limit", "1000"]).exits(0);
    world.github.clear_log();
    world.weaviate.clear_log();
    world
}

/// Returns the numbers of the issues and pull requests that `sync` checked.
#[track_caller]
fn fetched_numbers(world: &World, args: &[&str]) -> Vec<i64> {
    let report = world
        .run(&[&["sync", "--output", "json"], args].concat())
        .exits(0)
        .json();
    let mappings = report["mappings"].as_array().unwrap();
    let mut numbers: Vec<i64> = mappings
        .iter()
        .map(|mapping| mapping["number"].as_i64().unwrap())
        .collect();
    numbers.sort();
    numbers
}

fn cursors(world: &mut World) -> Vec<(String, DateTime<Utc>, DateTime<Utc>)> {
    let sql =
        "SELECT name, issues_cursor, pull_requests_cursor FROM worker_repository ORDER BY name";
    world
        .client
        .query(sql, &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[test]
fn an_issue_that_is_closed_moves_its_item_in_the_next_run() {
    let mut world = settled(3);
    world.github.close("acme/shop#2", &seconds_from_now(5));
    assert_eq!(fetched_numbers(&world, &[]), [2]);
    assert_eq!(world.item_status(2), "Testing");
    // GitHub reports it again within the overlap, but its row already has that `updatedAt`.
    world.execute("UPDATE core_externalissuemapping SET worker_checked_at = worker_checked_at + interval '1 minute'");
    assert_eq!(fetched_numbers(&world, &[]), [] as [i64; 0]);
}

#[test]
fn nothing_changed_costs_one_request_and_writes_no_mapping() {
    let world = settled(30);
    let before = world.database.dump("worker_");
    assert_eq!(fetched_numbers(&world, &[]), [] as [i64; 0]);
    assert_eq!(
        (
            world.github.requests().len(),
            world.weaviate.requests().len()
        ),
        (1, 0)
    );
    assert_eq!(world.database.dump("worker_"), before);
}

#[test]
fn one_request_polls_50_repositories() {
    let mut world = World::new();
    for number in 1..=60 {
        world.issue(&format!("acme/repo-{number}#1"), "Working");
    }
    world.run(&["sync", "--limit", "100"]).exits(0);
    world.github.clear_log();
    assert_eq!(fetched_numbers(&world, &[]), [] as [i64; 0]);
    assert_eq!(world.github.requests().len(), 2);
}

#[test]
fn a_pull_request_that_is_merged_without_touching_its_issue_is_followed() {
    let mut world = settled(3);
    world.github.pull_request("acme/shop#1002", |pull_request| {
        pull_request.state = "MERGED";
        pull_request.merged_at = Some(seconds_from_now(5));
        pull_request.updated_at = seconds_from_now(5);
    });
    assert_eq!(fetched_numbers(&world, &[]), [2, 1002]);
    let state: String =
        world.one("SELECT state FROM core_externalissuemapping WHERE number = 1002");
    assert_eq!(state, "merged");
    // One request polls, one asks what the pull request closes, and one fetches both.
    assert_eq!(world.github.requests().len(), 3);
}

#[test]
fn a_new_pull_request_marks_the_issue_that_it_closes() {
    let mut world = settled(3);
    world.github.pull_request("acme/backend#7", |_| {});
    world.github.pull_request("acme/shop#2000", |pull_request| {
        pull_request.updated_at = seconds_from_now(5)
    });
    world.github.issue("acme/shop#3", |issue| {
        issue.references.push("acme/shop#2000".to_owned())
    });
    assert_eq!(fetched_numbers(&world, &[]), [3, 2000]);
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM worker_pull_request_link WHERE item_id = 3"),
        2
    );
}

#[test]
fn a_row_with_a_wrong_id_is_matched_by_its_address() {
    let mut world = settled(2);
    world.execute("UPDATE core_externalissuemapping SET github_id = -2, html_url = upper(html_url) WHERE number = 2");
    world.execute(
        "UPDATE core_externalissuemapping SET html_url = 'https://github.com/ACME/shop/issues/2' WHERE number = 2",
    );
    world.github.close("acme/shop#2", &seconds_from_now(5));
    assert_eq!(fetched_numbers(&world, &[]), [2]);
}

#[test]
fn cursors_follow_the_polls_and_never_go_back() {
    let mut world = settled(2);
    let before = cursors(&mut world);
    let (closed, merged) = (seconds_from_now(300), seconds_from_now(200));
    world.github.settings().clock_ahead = 400;
    world.github.close("acme/shop#1", &closed);
    world.github.pull_request("acme/shop#1002", |pull_request| {
        pull_request.updated_at = merged.clone()
    });
    world.sync();
    let after = cursors(&mut world);
    assert_eq!(
        after,
        [(
            "acme/shop".to_owned(),
            closed.parse().unwrap(),
            merged.parse().unwrap()
        )]
    );
    assert!(before[0].1 < after[0].1);
    world.sync();
    assert_eq!(cursors(&mut world), after);
}

#[test]
fn a_change_in_the_far_future_hides_no_other() {
    let mut world = settled(3);
    world.github.issue("acme/shop#1", |issue| {
        issue.updated_at = "+12345-01-01T00:00:00Z".to_owned()
    });
    world.github.issue("acme/shop#2", |issue| {
        issue.updated_at = "9999-12-31T23:59:59Z".to_owned()
    });
    world.sync().exits(0);
    let (_, cursor, _) = cursors(&mut world).remove(0);
    assert!(cursor < Utc::now() + Duration::minutes(10), "{cursor}");
    world.github.close("acme/shop#3", &seconds_from_now(300));
    world.sync().exits(0);
    assert_eq!(world.item_status(3), "Testing");
}

#[test]
fn a_clock_that_is_ten_minutes_off_loses_nothing() {
    for ahead in [-600, 600] {
        let mut world = World::new();
        world.github.settings().clock_ahead = ahead;
        world.issue("acme/shop#1", "Working");
        world.sync();
        world
            .github
            .close("acme/shop#1", &seconds_from_now(ahead + 5));
        assert_eq!(
            fetched_numbers(&world, &[]),
            [1],
            "GitHub's clock is {ahead} s ahead"
        );
    }
}

#[test]
fn all_pages_of_changes_are_read() {
    let mut world = settled(120);
    for number in 1..=120 {
        world.github.close(
            &format!("acme/shop#{number}"),
            &seconds_from_now(i64::from(number)),
        );
        world
            .github
            .pull_request(&format!("acme/shop#{}", 1000 + number), |found| {
                found.updated_at = seconds_from_now(i64::from(number))
            });
    }
    let expected: Vec<i64> = (1..=120).chain(1001..=1120).collect();
    assert_eq!(fetched_numbers(&world, &["--limit", "500"]), expected);
    assert_eq!(
        world.one::<i64>("SELECT count(*) FROM core_item WHERE status = 'Testing'"),
        120
    );
}

/// An issue that changes between two pages moves to the end, and the issues behind it move up.
#[test]
fn an_issue_that_changes_page_between_two_pages_hides_no_other() {
    let mut world = settled(70);
    world.github.settings().clock_ahead = 400;
    for number in 1..=70 {
        world.github.issue(&format!("acme/shop#{number}"), |issue| {
            issue.updated_at = seconds_from_now(i64::from(number))
        });
    }
    world
        .github
        .close_between_pages("acme/shop#10", &seconds_from_now(200));
    let numbers = fetched_numbers(&world, &["--limit", "200"]);
    let issues: Vec<i64> = numbers.into_iter().filter(|number| *number <= 70).collect();
    assert_eq!(issues, (1..=70).collect::<Vec<_>>());
    assert_eq!(world.item_status(10), "Testing");
    let cursor: DateTime<Utc> = world.one("SELECT issues_cursor FROM worker_repository");
    assert!(cursor > Utc::now() + Duration::seconds(150), "{cursor}");
}

#[test]
fn a_repository_of_two_projects_is_polled_once_for_both() {
    let mut world = settled(2);
    let other = agira::project(&mut world.client, "The same shop", "Acme", "SHOP");
    let item = agira::item(&mut world.client, other, "Working");
    agira::issue(&mut world.client, item, 77, "acme/shop", 2, "open");
    world.sync();
    world.github.clear_log();
    world.github.close("acme/shop#2", &seconds_from_now(5));
    // Two rows name that issue; only one has GitHub's id.
    assert_eq!(fetched_numbers(&world, &[]), [2, 2]);
    assert_eq!(
        (world.item_status(2), world.item_status(item)),
        ("Testing".to_owned(), "Testing".to_owned())
    );
    assert_eq!(world.github.variables()[0]["n1"], Value::Null);
}

#[test]
fn a_repository_that_is_far_behind_is_rechecked_instead_of_read_page_by_page() {
    let mut world = settled(3);
    world.execute("UPDATE worker_repository SET issues_cursor = issues_cursor - interval '1 day'");
    for number in 1..=1001 {
        world
            .github
            .issue(&format!("acme/shop#{}", 5000 + number), |issue| {
                issue.updated_at = seconds_from_now(-3600)
            });
    }
    world.github.close("acme/shop#2", &seconds_from_now(-3600));
    let run = world
        .run(&["sync", "--limit", "2", "--output", "json"])
        .exits(0);
    let run = run
        .logs("acme/shop: too many changes to read one by one; its mappings are rechecked instead");
    assert_eq!(run.json()["claimed"], 2);
    assert!(
        world.github.requests().len() <= 21,
        "{}",
        world.github.requests().len()
    );
    world.github.clear_log();
    world.run(&["sync"]).exits(0);
    assert_eq!(world.item_status(2), "Testing");
    assert!(
        world.github.requests().len() <= 3,
        "the cursor jumped: {}",
        world.github.requests().len()
    );
}

#[test]
fn an_inaccessible_repository_is_polled_again_after_an_hour_and_stops_no_other() {
    let mut world = settled(2);
    world.issue("secret/plans#1", "Working");
    world.sync();
    world.github.hide_repository("secret/plans");
    world.github.close("acme/shop#2", &seconds_from_now(5));
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    assert_eq!(
        (&run.json()["failed"], &run.json()["items_moved"]),
        (&json!(0), &json!(1))
    );
    run.logs("secret/plans: repository secret/plans cannot be read with this token: GitHub says: Could not resolve");
    world.github.clear_log();
    world.run(&["sync"]).exits(0);
    assert!(
        world
            .github
            .variables()
            .iter()
            .all(|variables| variables["n1"] == Value::Null),
        "it is left out"
    );
    world
        .run(&["status", "--output", "json"])
        .exits(0)
        .prints("cannot be read with this token");
    world.execute(
        "UPDATE worker_repository SET error_at = now() - interval '61 minutes', unreadable_since = now() - interval '3 hours 1 minute'
         WHERE error IS NOT NULL",
    );
    world.run(&["sync"]).exits(3);
    // It was asked again just now, and the first failure counts.
    let verdict = "secret/plans cannot be read since 3 h";
    world.run(&["status"]).exits(0).prints(verdict);
    world.github.show_repository("secret/plans");
    world.execute("UPDATE worker_repository SET error_at = now() - interval '61 minutes' WHERE error IS NOT NULL");
    world.run(&["sync"]).exits(0);
    let unreadable = "SELECT count(unreadable_since) FROM worker_repository";
    assert_eq!(world.one::<i64>(unreadable), 0);
}

#[test]
fn a_person_is_needed_when_no_repository_is_accessible() {
    let world = settled(1);
    world.github.hide_repository("acme/shop");
    world
        .run(&["sync"])
        .exits(1)
        .logs("no repository can be read: repository acme/shop cannot be read");
}

#[test]
fn a_renamed_repository_is_followed_under_both_names() {
    let mut world = settled(2);
    world.github.rename_repository("acme/shop", "acme/store");
    world.github.close("acme/store#2", &seconds_from_now(-10));
    assert_eq!(fetched_numbers(&world, &[]), [2]);
    let names: Vec<String> = cursors(&mut world)
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["acme/shop", "acme/store"]);
    world.github.close("acme/store#1", &seconds_from_now(-9));
    assert_eq!(fetched_numbers(&world, &[]), [1]);
}

#[test]
fn empty_repositories_are_polled_without_errors() {
    let mut world = World::new();
    world.github.issue("acme/shop#1", |_| {});
    world.github.delete("acme/shop#1");
    world.project("acme/shop");
    assert_eq!(fetched_numbers(&world, &[]), [] as [i64; 0]);
    assert_eq!(cursors(&mut world).len(), 1);
}

#[test]
fn a_change_between_a_fetch_and_the_first_poll_is_discovered() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    // The fetch adds the repository; later runs poll it.
    world
        .run(&["sync", "--mapping", &linked.mapping.to_string()])
        .exits(0);
    world.github.close("acme/shop#1", &seconds_from_now(0));
    assert_eq!(fetched_numbers(&world, &[]), [1]);
    assert_eq!(world.item_status(linked.item), "Testing");
}

#[test]
fn a_poll_that_dies_before_it_is_recorded_is_repeated() {
    let mut world = settled(2);
    world.github.close("acme/shop#2", &seconds_from_now(5));
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON worker_repository EXECUTE FUNCTION refuse()",
    );
    let before = cursors(&mut world);
    world.run(&["sync"]).exits(1);
    assert_eq!(cursors(&mut world), before);
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_due_at IS NOT NULL"
        ),
        0
    );
    world.execute("DROP TRIGGER refuse ON worker_repository");
    assert_eq!(fetched_numbers(&world, &[]), [2]);
}

#[test]
fn a_dry_run_shows_the_marks_of_discovery_and_stores_nothing() {
    let mut world = settled(3);
    world.github.close("acme/shop#2", &seconds_from_now(5));
    let before = world.database.dump("");
    let run = world
        .run(&["sync", "--dry-run"])
        .exits(0)
        .prints("Working → Testing");
    assert_eq!(world.database.dump(""), before, "{}", run.all());
    assert_eq!(fetched_numbers(&world, &[]), [2]);
    assert_eq!(world.item_status(2), "Testing");
}

#[test]
fn a_change_revives_a_parked_mapping_after_six_hours_and_ends_no_backoff() {
    let mut world = settled(3);
    let failed = "UPDATE core_externalissuemapping SET worker_recheck_at = NULL, worker_error = 'it broke', worker_attempts = 10";
    world.execute(&format!(
        "{failed}, worker_error_at = now() - interval '7 hours' WHERE number = 1"
    ));
    world.execute(&format!(
        "{failed}, worker_error_at = now() - interval '1 hour' WHERE number = 2"
    ));
    world.execute(&format!(
        "{failed}, worker_error_at = now(), worker_due_at = now() + interval '1 hour' WHERE number = 3"
    ));
    for number in 1..=3 {
        world
            .github
            .close(&format!("acme/shop#{number}"), &seconds_from_now(5));
    }
    assert_eq!(fetched_numbers(&world, &[]), [1]);
    let later: bool =
        world.one("SELECT worker_due_at > now() + interval '4 hours' FROM core_externalissuemapping WHERE number = 2");
    assert!(later, "five hours are left of the six");
}

#[test]
fn the_change_that_parked_a_mapping_does_not_revive_it_poll_after_poll() {
    let mut world = settled(2);
    world.github.settings().clock_ahead = 5;
    world.github.transfer("acme/shop#1", "acme/docs#7");
    world.github.issue("acme/docs#7", |issue| {
        issue.updated_at = seconds_from_now(5)
    });
    world.project("acme/docs");
    world.sync();
    world
        .execute("UPDATE core_externalissuemapping SET worker_recheck_at = now() WHERE number = 1");
    world.run(&["sync"]).exits(3);
    let parked = "SELECT count(*) FROM core_externalissuemapping WHERE number = 1 AND worker_error IS NOT NULL
        AND worker_due_at IS NULL";
    assert_eq!(world.one::<i64>(parked), 1, "the issue was moved");
    world.execute("UPDATE core_externalissuemapping SET worker_checked_at = worker_checked_at + interval '5 s'");
    for _ in 0..2 {
        world.sync();
        assert_eq!(
            world.one::<i64>(parked),
            1,
            "the same change, seen again by the overlap"
        );
    }
    world.github.issue("acme/docs#7", |issue| {
        issue.updated_at = seconds_from_now(60)
    });
    world.sync();
    assert_eq!(world.one::<i64>(parked), 0, "another change");
}

#[test]
fn new_changes_come_before_the_backlog_of_rechecks() {
    let mut world = settled(40);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = now() - interval '1 day'",
    );
    world.github.close("acme/shop#33", &seconds_from_now(5));
    let first = fetched_numbers(&world, &["--limit", "1"]);
    assert_eq!(first, [33]);
    assert_eq!(world.item_status(33), "Testing");
}

#[test]
fn an_unused_repository_is_deleted_the_next_day() {
    let mut world = settled(1);
    world.execute(
        "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES ('acme/gone', now(), now());
         UPDATE core_project SET github_owner = '', github_repo = ''",
    );
    world.run(&["sync"]).exits(3);
    assert_eq!(cursors(&mut world).len(), 2, "not yet");
    world.execute("UPDATE worker_repository SET polled_at = polled_at - interval '1 day'");
    world.run(&["sync"]).exits(0);
    let names: Vec<String> = cursors(&mut world)
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["acme/shop"], "a mapping still names it");
}

#[test]
fn an_invalid_repository_name_is_reported_and_stops_nothing() {
    let mut world = settled(1);
    agira::project(&mut world.client, "Odd", "ac me", "shop/s");
    world.github.close("acme/shop#1", &seconds_from_now(5));
    world
        .run(&["sync"])
        .exits(0)
        .logs("ac me/shop/s is not the name of a repository")
        .prints("1 item moved");
}

/// Repeatable source of random choices (xorshift).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Plays changes, polls and runs that die before they record a poll, in random order and with any difference between
/// GitHub's clock and ours. In the end, every row must have GitHub's state.
#[test]
fn no_order_of_changes_polls_and_crashes_loses_a_change() {
    for seed in 1..=8 {
        let mut choices = Choices(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut world = World::new();
        let mut ahead = choices.below(1200) as i64 - 600;
        world.github.settings().clock_ahead = ahead;
        for number in 1..=4 {
            world.issue(&format!("acme/shop#{number}"), "Working");
        }
        world.sync();
        world.execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF EXISTS (SELECT FROM pg_tables WHERE tablename = 'dies_now') THEN RAISE 'dies'; END IF; RETURN NULL; END $$;
             CREATE TRIGGER die BEFORE INSERT ON worker_repository FOR EACH STATEMENT EXECUTE FUNCTION die()",
        );
        let mut story = Vec::new();
        for _ in 0..14 {
            ahead += choices.below(100) as i64;
            world.github.settings().clock_ahead = ahead;
            let number = 1 + choices.below(4);
            let key = format!("acme/shop#{number}");
            match choices.below(5) {
                0 | 1 => {
                    world.github.close(&key, &seconds_from_now(ahead));
                    story.push(format!("close {number} at {ahead}"));
                }
                2 => {
                    world.github.reopen(&key, &seconds_from_now(ahead));
                    story.push(format!("reopen {number} at {ahead}"));
                }
                3 => {
                    world.run(&["sync", "--limit", "1"]).exits(0);
                    story.push(format!("poll at {ahead}"));
                }
                _ => {
                    world.execute("CREATE TABLE dies_now ()");
                    world.run(&["sync"]).exits(1);
                    world.execute("DROP TABLE dies_now");
                    story.push(format!("die at {ahead}"));
                }
            }
        }
        world.sync();
        world.sync();
        for number in 1..=4 {
            let mut real = "";
            world
                .github
                .issue(&format!("acme/shop#{number}"), |issue| real = issue.state);
            let stored: String = world.one(&format!(
                "SELECT upper(state) FROM core_externalissuemapping WHERE number = {number}"
            ));
            assert_eq!(stored, real, "issue {number}, seed {seed}: {story:#?}");
        }
        let due: i64 = world
            .one("SELECT count(*) FROM core_externalissuemapping WHERE worker_due_at <= now()");
        assert_eq!(due, 0, "seed {seed}: {story:#?}");
    }
}
