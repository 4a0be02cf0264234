//! A Weaviate that fails in parts: single objects, single batches, single reasons. Nothing of it stops, starves or
//! hides the rest (design.md, "Failure model").

use agira_worker::core::agira_object::ObjectType::{GithubIssue, Item};
use serde_json::{Value, json};

use crate::fixtures::{closed_issues, seconds_from_now};
use crate::harness::{Run, World, uuid};
use kit::weaviate::{Fault, GraphQl, Settings};

const DELIVERY: &str = "SELECT concat_ws('|', worker_delivery_attempts, worker_delivery_error,
    worker_outbox IS NOT NULL, extract(epoch FROM worker_delivery_at - now())::int / 30 * 30)
    FROM core_externalissuemapping WHERE id = 1";

/// Moves all times that a mapping waits for into the past.
fn pass_backoffs(world: &mut World) {
    world.execute(
        "UPDATE core_externalissuemapping SET worker_delivery_at = now() - interval '1 second'
         WHERE worker_delivery_at IS NOT NULL",
    );
}

/// Returns the number of items in this status.
fn items(world: &mut World, status: &str) -> i64 {
    world.one(&format!(
        "SELECT count(*) FROM core_item WHERE status = '{status}'"
    ))
}

fn json_of(world: &World, args: &[&str], code: i32) -> Value {
    let args = [args, &["--output", "json"]].concat();
    world.run(&args).exits(code).json()
}

/// Fault 14: a rejected object delayed the look at its mapping, so that a closing waited for hours.
#[test]
fn a_rejected_object_delays_no_look_at_github() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#1", "Working");
    world.issue("acme/shop#2", "Working");
    let id = uuid(GithubIssue, linked.mapping);
    world.weaviate.reject_object(&id, "the text is too odd");
    let report = json_of(&world, &["sync"], 3);
    let entry = &report["mappings"][0];
    assert_eq!(
        (&entry["outcome"], &entry["error"], &entry["delivery_error"]),
        (
            &json!("synced"),
            &Value::Null,
            &json!("Weaviate rejects github_issue:1: the text is too odd")
        )
    );
    assert_eq!([&report["failed"], &report["weaviate"]["failed"]], [0, 1]);
    let looks = "SELECT count(*) FROM core_externalissuemapping WHERE worker_error IS NULL AND worker_attempts = 0
        AND worker_due_at IS NULL AND worker_recheck_at > now()";
    assert_eq!(world.one::<i64>(looks), 2);
    world.github.close("acme/shop#1", &seconds_from_now(30));
    world.github.settings().clock_ahead = 60;
    world.run(&["sync"]).exits(3);
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
}

#[test]
fn a_rejected_object_is_tried_again_with_backoff_and_heals_by_itself() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let id = uuid(GithubIssue, 1);
    world.weaviate.reject_object(&id, "not this one");
    world.run(&["sync"]).exits(3);
    let words = "Weaviate rejects github_issue:1: not this one";
    for attempt in 1..=3 {
        let [delivery, writes] = [world.one::<String>(DELIVERY), writes(&world).to_string()];
        assert!(
            delivery.starts_with(&format!("{attempt}|{words}|t|")),
            "{delivery}"
        );
        // Until the backoff ends, nothing is sent, and nothing has failed.
        world.sync();
        assert_eq!(writes, self::writes(&world).to_string());
        pass_backoffs(&mut world);
        world.run(&["sync"]).exits(3).logs(words);
    }
    world.execute("UPDATE core_externalissuemapping SET worker_delivery_attempts = 40");
    pass_backoffs(&mut world);
    world.run(&["sync"]).exits(3);
    let hours: i32 = world.one(
        "SELECT (extract(epoch FROM worker_delivery_at - now()) / 3600)::int FROM core_externalissuemapping",
    );
    assert!((17..=31).contains(&hours), "{hours} h");
    world.weaviate.allow_object(&id);
    pass_backoffs(&mut world);
    world.sync();
    assert_eq!(world.one::<String>(DELIVERY), "0|f");
    assert_eq!(world.properties(GithubIssue, 1)["status"], "open");
}

/// Returns the number of batches that Weaviate received.
fn writes(world: &World) -> usize {
    let requests = world.weaviate.requests();
    requests
        .iter()
        .filter(|one| one.request.path == "/v1/batch/objects")
        .count()
}

#[test]
fn a_new_plan_replaces_a_rejected_object_and_starts_anew() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.weaviate.reject_object(&uuid(GithubIssue, 1), "no");
    world.run(&["sync"]).exits(3);
    world.execute("UPDATE core_externalissuemapping SET worker_delivery_attempts = 7");
    world.github.close("acme/shop#1", &seconds_from_now(30));
    world.github.settings().clock_ahead = 60;
    world.run(&["sync"]).exits(3);
    let delivery: String = world.one(DELIVERY);
    assert!(delivery.starts_with("1|"), "{delivery}");
}

#[test]
fn retry_failed_and_a_named_sync_deliver_a_rejected_object_at_once() {
    for args in [&["retry-failed"][..], &["sync", "--mapping", "1"]] {
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        world.weaviate.reject_object(&uuid(GithubIssue, 1), "no");
        world.run(&["sync"]).exits(3);
        world.weaviate.allow_object(&uuid(GithubIssue, 1));
        world.run(args).exits(0);
        assert_eq!(world.one::<String>(DELIVERY), "0|f", "{args:?}");
    }
}

#[test]
fn status_and_metrics_show_what_weaviate_rejects() {
    let mut world = closed_issues(Settings::default(), 3);
    world.weaviate.reject_object(&uuid(GithubIssue, 2), "no");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    world.run(&["sync", "--metrics-file", path]).exits(3);
    let metrics = std::fs::read_to_string(path).unwrap();
    assert!(
        metrics.contains("agira_worker_rejected_mappings{command=\"sync\"} 1"),
        "{metrics}"
    );
    let status = json_of(&world, &["status"], 0);
    assert_eq!(status["weaviate"], json!({ "pending": 1, "rejected": 1 }));
    let rejected = &status["rejected_deliveries"][0];
    assert_eq!(
        [
            &rejected["mapping_id"],
            &rejected["attempts"],
            &rejected["number"]
        ],
        [2, 1, 2]
    );
    assert_eq!(rejected["error"], "Weaviate rejects github_issue:2: no");
    assert_eq!(status["failures"], json!([]));
    for args in [&["status"][..], &["status", "--failed"]] {
        world
            .run(args)
            .exits(0)
            .prints("rejected by Weaviate: 1")
            .prints("  mapping 2 (item 2, issue acme/shop#2): attempt 1, next delivery ");
    }
    let run: Run = world.run(&["status", "--mapping", "2"]).exits(0);
    run.prints("its delivery failed (attempt 1), the next one is at ")
        .prints("to try again now: agira-worker retry-failed --mapping 2");
    assert_eq!(items(&mut world, "Testing"), 3);
}

/// L4: rejected objects take no place from healthy ones, not even with a limit that is smaller than their number.
#[test]
fn healthy_outboxes_are_delivered_in_the_next_run_although_many_are_poisoned() {
    let mut world = closed_issues(Settings::default(), 60);
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "100"]).exits(75);
    world.weaviate.settings().down = false;
    for mapping in 1..=30 {
        world
            .weaviate
            .reject_object(&uuid(GithubIssue, mapping), "the text is too odd");
        world
            .weaviate
            .reject_object(&uuid(Item, mapping), "the text is too odd");
    }
    let report = json_of(&world, &["sync", "--limit", "10"], 3);
    assert_eq!(report["weaviate"]["created"], 60);
    let waiting = "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL AND id > 30";
    assert_eq!(world.one::<i64>(waiting), 0);
    let status = json_of(&world, &["status"], 0);
    assert_eq!(status["weaviate"], json!({ "pending": 30, "rejected": 30 }));
}

/// Returns a world in which this many issues wait in outboxes, because Weaviate was down.
fn waiting(settings: Settings, issues: i32) -> World {
    let world = closed_issues(settings, issues);
    world.weaviate.settings().down = true;
    world.run(&["sync", "--limit", "100"]).exits(75);
    world.weaviate.settings().down = false;
    world.weaviate.clear_log();
    world
}

/// Fault 13: one object that Weaviate answers with a 5xx kept all others waiting.
#[test]
fn an_object_that_breaks_its_batch_is_found_and_the_others_arrive() {
    for status in [500, 502, 504] {
        let world = waiting(Settings::default(), 60);
        world
            .weaviate
            .break_writes_of(&uuid(GithubIssue, 17), status);
        let report = json_of(&world, &["sync"], 3);
        assert_eq!(report["weaviate"]["created"], 119, "{status}");
        let status = json_of(&world, &["status"], 0);
        let rejected = &status["rejected_deliveries"];
        assert_eq!(
            (&rejected[0]["mapping_id"], &rejected[1]),
            (&json!(17), &Value::Null)
        );
        assert!(writes(&world) <= 3 * 8 + 8, "{} batches", writes(&world));
    }
}

#[test]
fn an_object_that_breaks_its_batch_during_a_push_is_found_too() {
    let mut world = closed_issues(Settings::default(), 30);
    world.weaviate.break_writes_of(&uuid(Item, 9), 500);
    let report = json_of(&world, &["sync"], 3);
    assert_eq!(report["weaviate"]["created"], 59);
    assert_eq!(items(&mut world, "Testing"), 30);
    world.weaviate.allow_object(&uuid(Item, 9));
    pass_backoffs(&mut world);
    let report = json_of(&world, &["sync"], 0);
    assert_eq!(report["weaviate"]["created"], 1);
}

#[test]
fn a_single_object_that_weaviate_cannot_write_is_its_own_failure() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    world.sync();
    world.weaviate.delete_object(&uuid(Item, 1));
    world.weaviate.break_writes_of(&uuid(Item, 1), 500);
    let report = json_of(&world, &["sync", "--recheck-now"], 3);
    assert_eq!(
        report["mappings"][0]["delivery_error"],
        "Weaviate rejects item:1: panic occurred: index out of range"
    );
}

#[test]
fn an_object_that_cannot_be_read_waits_alone() {
    for graphql in [GraphQl::On, GraphQl::Disabled422] {
        let settings = Settings {
            graphql,
            ..Settings::default()
        };
        let mut world = waiting(settings, 60);
        world.weaviate.break_reads_of(&uuid(GithubIssue, 17), 500);
        let report = json_of(&world, &["sync"], 3);
        assert_eq!(report["weaviate"]["created"], 119, "{graphql:?}");
        let status = json_of(&world, &["status"], 0);
        assert_eq!(
            status["rejected_deliveries"][0]["error"],
            "Weaviate cannot read github_issue:17: panic occurred: index out of range"
        );
        world.weaviate.allow_object(&uuid(GithubIssue, 17));
        pass_backoffs(&mut world);
        world.sync();
        assert_eq!(world.weaviate.objects().len(), 120);
    }
}

/// Fault 14: a failure of the service, reported by each object, parked every mapping.
#[test]
fn objects_that_all_fail_with_the_same_words_count_no_attempt() {
    for words in [
        "object {} is not possible today",
        "failed to vectorize batch of objects: connect: connection refused",
        "OpenAI API failed with status: 429",
    ] {
        let mut world = closed_issues(Settings::default(), 20);
        for mapping in 1..=20 {
            for id in [uuid(GithubIssue, mapping), uuid(Item, mapping)] {
                let words = words.replace("{}", &id);
                world.weaviate.reject_object(&id, &words);
            }
        }
        for run in 0..3 {
            let report = json_of(&world, &["sync", "--limit", "8"], 75);
            assert_eq!(report["stopped_by"], "weaviate", "{words}, {run}");
            assert_eq!(report["weaviate"]["failed"], 0);
        }
        assert_eq!(items(&mut world, "Testing"), 20);
        let untouched = "SELECT count(*) FROM core_externalissuemapping WHERE worker_attempts = 0
            AND worker_delivery_attempts = 0 AND worker_delivery_error IS NULL AND worker_outbox IS NOT NULL";
        assert_eq!(world.one::<i64>(untouched), 20);
        world.weaviate.recover();
        world.sync();
        assert_eq!(world.weaviate.objects().len(), 40);
    }
}

/// One object whose vectorizer always fails made a Weaviate that accepts all others count as down in every run.
#[test]
fn an_object_with_words_of_the_service_is_at_fault_if_others_are_accepted() {
    let mut world = waiting(Settings::default(), 60);
    let words = "failed to vectorize: status: 500";
    world.weaviate.reject_object(&uuid(GithubIssue, 1), words);
    for attempt in 1..=3 {
        let report = json_of(&world, &["sync"], 3);
        assert_eq!(report["stopped_by"], Value::Null);
        let delivery: String = world.one(DELIVERY);
        let expected = format!("{attempt}|Weaviate rejects github_issue:1: {words}|t|");
        assert!(delivery.starts_with(&expected), "{delivery}");
        assert_eq!(world.weaviate.objects().len(), 119);
        pass_backoffs(&mut world);
    }
    // Mappings that were never pushed do not wait for it either.
    world.closed_issue("acme/shop#61");
    let report = json_of(&world, &["push-weaviate"], 3);
    assert_eq!(report["weaviate"]["created"], 2);
}

/// When two objects that Weaviate rejects for one reason were due again alone, it counted as down, and their errors
/// were lost.
#[test]
fn rejected_objects_that_are_due_again_alone_are_not_a_weaviate_that_is_down() {
    let rejected = |weaviate: &kit::weaviate::Weaviate, id: &str| weaviate.reject_object(id, "odd");
    let unwritable =
        |weaviate: &kit::weaviate::Weaviate, id: &str| weaviate.break_writes_of(id, 500);
    let unreadable =
        |weaviate: &kit::weaviate::Weaviate, id: &str| weaviate.break_reads_of(id, 500);
    let ways: [fn(&kit::weaviate::Weaviate, &str); 3] = [rejected, unwritable, unreadable];
    for sicken in ways {
        let mut world = waiting(Settings::default(), 40);
        for mapping in 1..=3 {
            sicken(&world.weaviate, &uuid(GithubIssue, mapping));
        }
        for attempt in 1..=3 {
            let report = json_of(&world, &["sync"], 3);
            assert_eq!(report["stopped_by"], Value::Null, "{report}");
            let delivery: String = world.one(DELIVERY);
            assert!(
                delivery.starts_with(&format!("{attempt}|Weaviate ")),
                "{delivery}"
            );
            pass_backoffs(&mut world);
        }
        assert_eq!(json_of(&world, &["status"], 0)["weaviate"]["rejected"], 3);
    }
}

mod simulated {
    use super::*;

    /// A failure of Weaviate erased what it had rejected before.
    #[test]
    fn a_failure_of_weaviate_keeps_the_errors_of_rejected_objects() {
        let mut world = waiting(Settings::default(), 3);
        world.weaviate.reject_object(&uuid(GithubIssue, 1), "odd");
        world.run(&["sync"]).exits(3);
        world.closed_issue("acme/shop#4");
        world.weaviate.settings().down = true;
        world.run(&["sync"]).exits(75);
        world.weaviate.settings().down = false;
        world.weaviate.settings().shard_failure = Some("the shard is shutting down".to_owned());
        pass_backoffs(&mut world);
        let report = json_of(&world, &["sync"], 75);
        assert_eq!(report["weaviate"]["failed"], 0, "{report}");
        let delivery: String = world.one(DELIVERY);
        assert!(
            delivery.starts_with("1|Weaviate rejects github_issue:1: odd|t|"),
            "{delivery}"
        );
    }

    /// The time was used up by objects that Weaviate does not answer for, and healthy ones never arrived.
    #[test]
    fn healthy_objects_arrive_although_weaviate_is_silent_about_some_and_the_time_is_short() {
        let world = waiting(Settings::default(), 60);
        for mapping in [17, 42] {
            let id = uuid(GithubIssue, mapping);
            world
                .weaviate
                .break_writes_of(&id, kit::weaviate::NO_ANSWER);
        }
        let args = ["sync", "--request-timeout", "1s", "--time-budget", "10s"];
        let args = [&args[..], &["--output", "json"]].concat();
        let report = world.run(&args).json();
        assert!(
            report["weaviate"]["created"].as_u64() >= Some(110),
            "{report}"
        );
        for _ in 0..2 {
            world.run(&args);
        }
        assert_eq!(world.weaviate.objects().len(), 118);
        let status = json_of(&world, &["status"], 0);
        assert_eq!(status["weaviate"], json!({ "pending": 2, "rejected": 2 }));
    }
}

/// A batch that failed as a whole goes behind the others, so that it does not come first for ever.
#[test]
fn a_batch_that_failed_as_a_whole_does_not_come_first_again() {
    let mut world = waiting(Settings::default(), 60);
    world.execute(
        "UPDATE core_externalissuemapping SET worker_recheck_at = now() + interval '9 days'",
    );
    for mapping in 1..=10 {
        for id in [uuid(GithubIssue, mapping), uuid(Item, mapping)] {
            world.weaviate.reject_object(&id, "not possible today");
        }
    }
    let push = &["push-weaviate", "--limit", "10"];
    assert_eq!(json_of(&world, push, 75)["weaviate"]["created"], 0);
    let report = json_of(&world, push, 0);
    assert_eq!(report["weaviate"]["created"], 20);
}

/// Fault 15: a class that does not fit kept the item of a closed issue where it was. The objects wait.
#[test]
fn a_class_that_does_not_fit_stops_no_item() {
    let mut world = World::new();
    let linked = world.closed_issue("acme/shop#1");
    world.weaviate.lose_everything();
    let mut class = kit::weaviate::agira_class();
    class["multiTenancyConfig"] = json!({ "enabled": true });
    world.weaviate.create_class(class);
    for _ in 0..2 {
        world
            .run(&["sync"])
            .exits(1)
            .logs("multi-tenancy is on")
            .logs("objects have to wait");
    }
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(writes(&world), 0);
    world.weaviate.lose_everything();
    world.weaviate.create_agira_class();
    world.sync();
    assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
}

/// Fault 16 and invariant 11: a wait that Weaviate names lasts beyond the run, and GitHub is asked meanwhile.
#[test]
fn a_wait_that_weaviate_names_is_respected_by_later_runs() {
    let in_an_hour = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc2822();
    let in_an_hour = in_an_hour.replace("+0000", "GMT");
    for (status, wait) in [(429, "600"), (503, "31536000"), (503, &*in_an_hour)] {
        let mut world = closed_issues(Settings::default(), 2);
        world
            .weaviate
            .fail_next(1, &Fault::RetryAfter(status, wait.to_owned()));
        let report = json_of(&world, &["sync"], 75);
        assert_eq!(report["stopped_by"], "weaviate", "{status} {wait}");
        assert_eq!(items(&mut world, "Testing"), 2);
        let asked = world.weaviate.requests().len();
        assert_eq!(asked, 1);
        let third = world.closed_issue("acme/shop#3");
        world
            .run(&["sync"])
            .exits(75)
            .logs("Weaviate is not asked before ");
        let dry = &["sync", "--mapping", "1", "--dry-run"];
        for args in [&["push-weaviate"][..], dry] {
            world.run(args).exits(75);
        }
        assert_eq!(world.item_status(third.item), "Testing");
        assert_eq!(world.weaviate.requests().len(), asked, "{status} {wait}");
        world
            .run(&["status"])
            .exits(0)
            .prints("Weaviate is not asked before ");
        let status = json_of(&world, &["status"], 0);
        assert_eq!(
            (&status["weaviate_pause"]["scope"], &status["pause"]),
            (&json!("weaviate"), &Value::Null)
        );
        let longest = "SELECT until <= now() + interval '2 hours' FROM worker_pause";
        assert!(world.one::<bool>(longest), "{wait}");
        world.execute("UPDATE worker_pause SET until = now() - interval '1 second'");
        world.sync();
        assert_eq!(world.weaviate.objects().len(), 6);
    }
}
