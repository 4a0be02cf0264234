//! The objects that a run leaves in Weaviate.

use super::*;

#[test]
fn issue_and_pull_request_are_in_weaviate_with_githubs_content() {
    let (mut world, linked) = merged();
    world.sync();
    let pull_request: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(
        world.properties(GithubIssue, linked.mapping),
        json!({
            "type": "github_issue", "object_id": linked.mapping.to_string(), "project_id": "1",
            "parent_object_id": linked.item.to_string(), "title": "Cart loses items",
            "text": "State: closed\n\nCart loses items\n\n1. Open the cart\n\n\nLabels: bug, ui", "status": "closed",
            "url": "https://github.com/acme/shop/issues/12", "source_system": "github", "external_key": ISSUE,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": CLOSED_AT,
        })
    );
    let object = world.properties(GithubPr, pull_request);
    assert_eq!(
        object["text"],
        "State: merged\n\nKeep the cart\n\nFixes #12\n\n\nChanged files:\n- src/cart.rs\n\n\nCommits:\n- Store the cart\n\n\nLabels: backend"
    );
    assert_eq!(
        (&object["title"], &object["status"], &object["external_key"]),
        (
            &json!("Keep the cart"),
            &json!("merged"),
            &json!(PULL_REQUEST)
        )
    );
    assert_eq!(world.properties(Item, linked.item)["status"], "Testing");
    assert_eq!(
        world.properties(Item, linked.item)["text"],
        "Status: Testing\n\nWhat the item says"
    );
}

/// Invariant 7: an object with the same status is not written.
#[test]
fn an_object_that_django_wrote_with_the_same_status_stays_byte_for_byte() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    let django = json!({ "type": "github_issue", "object_id": linked.mapping.to_string(), "title": "The item's title",
        "text": "State: open\n\nThe item's text", "status": "open", "url": "/items/1/" });
    world.weaviate.put_object(&issue, django);
    let before = world.weaviate.object(&issue);
    world.sync();
    assert_eq!(world.weaviate.object(&issue), before);
}

#[test]
fn an_object_that_django_wrote_with_another_status_gets_githubs_content() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    world.weaviate.put_object(
        &issue,
        json!({ "title": "The item's title", "status": "open", "mime_type": "text/plain" }),
    );
    world.github.close(ISSUE, CLOSED_AT);
    world.sync();
    let object = world.properties(GithubIssue, linked.mapping);
    assert_eq!(
        (&object["title"], &object["status"]),
        (&json!("Issue acme/shop#12"), &json!("closed"))
    );
    assert_eq!(object["mime_type"], Value::Null);
}

#[test]
fn an_existing_objects_own_vector_is_kept_by_an_update() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let issue = uuid(GithubIssue, linked.mapping);
    let object = json!({ "class": "AgiraObject", "id": issue, "properties": { "status": "open" }, "vector": [0.25, 0.5] });
    world.weaviate.put_whole_object(object);
    world.github.close(ISSUE, CLOSED_AT);
    world.sync();
    let object = world.weaviate.object(&issue).unwrap();
    assert_eq!(
        (&object["properties"]["status"], &object["vector"]),
        (&json!("closed"), &json!([0.25, 0.5]))
    );
}

/// Defect "content".
#[test]
fn an_issue_is_indexed_with_its_own_title_body_and_labels() {
    let (world, linked) = merged();
    world.sync();
    let text = world.properties(GithubIssue, linked.mapping)["text"].to_string();
    assert!(
        text.contains("Open the cart")
            && text.contains("Labels: bug, ui")
            && !text.contains("item says"),
        "{text}"
    );
}

/// Defect "Weaviate fails after the state was stored".
#[test]
fn objects_that_weaviate_did_not_accept_are_delivered_by_a_later_run() {
    let (mut world, linked) = merged();
    world.weaviate.settings().down = true;
    world.run(&["sync"]).exits(75);
    assert_eq!(
        (
            world.item_status(linked.item),
            world.weaviate.objects().len()
        ),
        ("Testing".to_owned(), 0)
    );
    world.weaviate.settings().down = false;
    world.github.clear_log();
    world.sync().logs("Weaviate github_issue");
    assert_eq!(world.weaviate.objects().len(), 3);
    assert_eq!(
        world.github.requests().len(),
        1,
        "the poll: the outbox says what to write"
    );
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_outbox IS NOT NULL"
        ),
        0
    );
}

#[test]
fn a_missing_class_is_created_with_agiras_definition() {
    let mut world = World::on(Database::create());
    world.issue(ISSUE, "Working");
    world
        .sync()
        .logs("Weaviate had no class AgiraObject; created it");
    let reference = kit::weaviate::Weaviate::start();
    reference.create_agira_class();
    let sorted = |class: Option<Value>| {
        let mut class = class.unwrap();
        class["properties"]
            .as_array_mut()
            .unwrap()
            .sort_by_key(|property| property["name"].to_string());
        class
    };
    assert_eq!(sorted(world.weaviate.class()), sorted(reference.class()));
    assert_eq!(world.weaviate.objects().len(), 2);
}

/// Invariant 6: for every type and id there is at most one object, and its id is the UUIDv5 of both.
#[test]
fn every_object_has_the_id_that_follows_from_its_type_and_id() {
    let (world, _) = merged();
    world.sync();
    for (id, object) in world.weaviate.objects() {
        let properties = &object["properties"];
        let object_type = match properties["type"].as_str().unwrap() {
            "item" => Item,
            "github_issue" => GithubIssue,
            "github_pr" => GithubPr,
            other => panic!("{other}"),
        };
        assert_eq!(
            id,
            uuid(
                object_type,
                properties["object_id"].as_str().unwrap().parse().unwrap()
            )
        );
    }
}
