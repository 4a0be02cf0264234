//! GitHub or Weaviate is unreachable, refuses the credentials, or is another server.

use std::process::Command;

use kit::github::{Fault, TOKEN};
use kit::http::Response;
use kit::postgres_server::Database;
use kit::weaviate::{self, agira_class};
use serde_json::{Value, json};

use super::{PASSWORD, ends};
use crate::fixtures::{one_closed_issue, one_closed_issue_with_key};
use crate::harness::{Run, World};

/// Address without a server.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Returns all columns of mappings and items.
fn rows(world: &mut World) -> (Value, Value) {
    let mappings = "SELECT json_agg(to_jsonb(m) ORDER BY id) FROM core_externalissuemapping m";
    let items = "SELECT json_agg(to_jsonb(i) ORDER BY id) FROM core_item i";
    (world.one(mappings), world.one(items))
}

/// Checks that `sync` ends with `code` and releases its claims without other changes.
#[track_caller]
fn gives_back(
    world: &mut World,
    change: &dyn Fn(&mut Command),
    code: i32,
    stopped_by: Value,
    parts: &[&str],
) {
    let before = rows(world);
    // A named mapping is fetched without a poll.
    let json = ends(world, &["sync", "--mapping", "1"], change, code, parts);
    assert_eq!(rows(world), before);
    assert_eq!(
        (&json["stopped_by"], &json["claimed"], &json["failed"]),
        (&stopped_by, &json!(1), &json!(0))
    );
    assert_eq!(world.weaviate.writes(), 0);
    assert_eq!(before.0[0]["worker_attempts"], 0);
    assert!(before.0[0]["worker_due_at"].is_string(), "{before:?}");
}

/// Checks that `sync` ends with `code` because of Weaviate, finishes everything else and keeps the objects in the
/// outboxes.
#[track_caller]
fn keeps_objects(
    world: &mut World,
    change: &dyn Fn(&mut Command),
    code: i32,
    stopped_by: Value,
    parts: &[&str],
) {
    let json = ends(
        world,
        &["sync"],
        change,
        code,
        &[parts, &["objects have to wait"]].concat(),
    );
    assert_eq!(json["stopped_by"], stopped_by);
    assert_eq!(
        world.one::<String>("SELECT status FROM core_item"),
        "Testing"
    );
    let (mappings, _) = rows(world);
    assert_eq!(
        (&mappings[0]["state"], &mappings[0]["worker_error"]),
        (&json!("closed"), &Value::Null)
    );
    assert_eq!(
        (
            &mappings[0]["worker_attempts"],
            &mappings[0]["worker_due_at"]
        ),
        (&json!(0), &Value::Null)
    );
    assert!(mappings[0]["worker_outbox"].is_object(), "{mappings}");
    assert_eq!(world.weaviate.objects().len(), 0);
}

#[test]
fn an_unreachable_or_garbled_github_is_tried_again_later() {
    let mut world = one_closed_issue();
    let nowhere = |command: &mut Command| {
        command.env("GITHUB_API_URL", NOWHERE);
    };
    gives_back(
        &mut world,
        &nowhere,
        75,
        json!("github"),
        &["GitHub: not available", "refused"],
    );
    for (status, body) in [
        (200, "<html>a login page</html>"),
        (200, ""),
        (200, "{\"data\":{\"r0\""),
        (200, "{}"),
        (200, "null"),
        (503, ""),
    ] {
        let answer = Response {
            body: body.as_bytes().to_vec(),
            ..Response::empty(status)
        };
        // Each of the two runs sends the request three times, asks three times for the required facts alone, and then
        // tests three times whether GitHub responds at all.
        world.github.fail_next(18, &Fault::Answer(answer));
        gives_back(
            &mut world,
            &|_| {},
            75,
            json!("github"),
            &["GitHub: not available"],
        );
    }
    world.sync().prints("1 mapping synced");
}

#[test]
fn a_token_that_github_refuses_needs_a_person() {
    let mut world = one_closed_issue();
    let wrong = |command: &mut Command| {
        command.env("GITHUB_TOKEN", PASSWORD);
    };
    let parts = [
        "GitHub refuses the token (Bad credentials)",
        "check GITHUB_TOKEN and its permissions",
    ];
    gives_back(&mut world, &wrong, 1, Value::Null, &parts);
    world.sync().prints("1 mapping synced");
}

#[test]
fn a_wrong_address_of_github_needs_a_person() {
    let mut world = one_closed_issue();
    let answer = Response {
        body: b"no such page".to_vec(),
        ..Response::empty(404)
    };
    world.github.fail_next(2, &Fault::Answer(answer));
    gives_back(
        &mut world,
        &|_| {},
        1,
        Value::Null,
        &["GitHub", "no such page", "check GITHUB_API_URL"],
    );
}

#[test]
fn an_unreachable_or_garbled_weaviate_delays_nothing_else() {
    let nowhere = |command: &mut Command| {
        command.env("WEAVIATE_URL", NOWHERE);
    };
    keeps_objects(
        &mut one_closed_issue(),
        &nowhere,
        75,
        json!("weaviate"),
        &["Weaviate: not available", "refused"],
    );
    let mut world = one_closed_issue();
    world.weaviate.settings().down = true;
    keeps_objects(
        &mut world,
        &|_| {},
        75,
        json!("weaviate"),
        &["Weaviate: not available", "503"],
    );
    world.weaviate.settings().down = false;
    world.weaviate.fail_next(6, &weaviate::Fault::Html);
    keeps_objects(
        &mut world,
        &|_| {},
        75,
        json!("weaviate"),
        &["is WEAVIATE_URL a Weaviate server?"],
    );
    world.sync().logs("Weaviate");
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn a_key_that_weaviate_refuses_needs_a_person_and_delays_nothing_else() {
    let mut world = one_closed_issue_with_key(Some("the-right-key"));
    for (key, said) in [
        (None, "anonymous access not enabled"),
        (Some(PASSWORD), "unauthorized: invalid api key"),
    ] {
        let change = |command: &mut Command| {
            key.map(|key| command.env("WEAVIATE_API_KEY", key));
        };
        let said = format!("Weaviate: credentials refused: {said}");
        let parts = [&*said, "check WEAVIATE_URL, WEAVIATE_API_KEY"];
        keeps_objects(&mut world, &change, 1, Value::Null, &parts);
    }
    Run::of(
        world
            .command(&["sync"])
            .env("WEAVIATE_API_KEY", "the-right-key"),
    )
    .exits(0)
    .logs("Weaviate");
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn a_wrong_address_of_weaviate_needs_a_person() {
    let mut world = one_closed_issue();
    // Each of the two runs reads the class, and creates it.
    world
        .weaviate
        .fail_next(4, &weaviate::Fault::Status(404, "no such page".to_owned()));
    keeps_objects(
        &mut world,
        &|_| {},
        1,
        Value::Null,
        &["Weaviate", "no such page", "check WEAVIATE_URL"],
    );
}

#[test]
fn a_class_that_does_not_fit_is_named_before_anything_is_written() {
    let check = |change: &dyn Fn(&mut Value), says: &str| {
        let mut world = World::on(Database::create());
        world.closed_issue("acme/shop#12");
        let mut class = agira_class();
        change(&mut class);
        world.weaviate.create_class(class);
        let class = world.weaviate.class();
        let parts = [
            "Weaviate: class AgiraObject",
            says,
            "nothing is written until the class is corrected",
        ];
        keeps_objects(&mut world, &|_| {}, 1, Value::Null, &parts);
        let before = rows(&mut world);
        let dry = &["sync", "--mapping", "1", "--dry-run"];
        for args in [&dry[..], &["push-weaviate"]] {
            ends(&world, args, &|_| {}, 1, &parts);
            assert_eq!(rows(&mut world), before, "{args:?}");
        }
        assert_eq!(
            (world.weaviate.writes(), world.weaviate.class()),
            (0, class)
        );
    };
    let properties = |class: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        change(class["properties"].as_array_mut().unwrap());
    };
    let without = |name: &'static str| {
        move |class: &mut Value| properties(class, &|all| all.retain(|one| one["name"] != name))
    };
    check(&without("status"), "property status (text) is missing");
    check(
        &without("parent_object_id"),
        "property parent_object_id (text) is missing",
    );
    let typed = |name: &'static str, wrong: &'static str| {
        move |class: &mut Value| {
            properties(class, &|all| {
                all.iter_mut()
                    .filter(|one| one["name"] == name)
                    .for_each(|one| one["dataType"] = json!([wrong]));
            });
        }
    };
    let tenants = |class: &mut Value| class["multiTenancyConfig"] = json!({ "enabled": true });
    check(&tenants, "multi-tenancy is on");
    check(
        &typed("object_id", "int"),
        "property object_id is int instead of text",
    );
    check(
        &typed("updated_at", "text"),
        "property updated_at is text instead of date",
    );
}

#[test]
fn no_secret_is_logged_however_much_is_logged() {
    let world = one_closed_issue_with_key(Some(PASSWORD));
    let url = world
        .database
        .worker_url()
        .replace("agira_worker@", &format!("agira_worker:{PASSWORD}@"));
    for token in [TOKEN, "another_token"] {
        let mut command = world.command(&["sync", "--recheck-now", "-vv"]);
        command
            .env("RUST_LOG", "trace")
            .env("DATABASE_URL", &url)
            .env("GITHUB_TOKEN", token);
        let run = Run::of(command.env("WEAVIATE_API_KEY", PASSWORD));
        assert_eq!(run.code, i32::from(token != TOKEN), "{}", run.all());
        assert!(run.stderr.contains("TRACE"), "everything is logged");
        for secret in [PASSWORD, token] {
            assert!(
                !run.all().contains(secret),
                "{secret} is shown\n{}",
                run.all()
            );
        }
    }
    for secret in [PASSWORD, TOKEN] {
        assert!(
            !format!("{:?}", world.database.dump("")).contains(secret),
            "{secret} is stored"
        );
    }
}
