//! Batch writes, with a result for each object.

use kit::weaviate::Fault;

use super::*;

const MIB: usize = 1024 * 1024;

/// Returns the number of objects in each batch.
fn sizes(simulator: &Simulator) -> Vec<usize> {
    let objects = |exchange: &kit::http::Exchange| {
        let body: Value = serde_json::from_slice(&exchange.request.body).expect("JSON");
        body["objects"].as_array().expect("objects").len()
    };
    let batches = simulator.requests();
    batches
        .iter()
        .filter(|exchange| exchange.request.path == "/v1/batch/objects")
        .map(objects)
        .collect()
}

fn of_bytes(mapping: i64, bytes: usize) -> ObjectWrite {
    let mut large = to_write(mapping);
    large.object.text = "x".repeat(bytes);
    large
}

/// Returns the failed results with their reasons.
fn failures(results: &[Option<Result<(), String>>]) -> Vec<(usize, &str)> {
    let failures = results
        .iter()
        .enumerate()
        .map(|(index, result)| Some((index, result.as_ref()?.as_ref().err()?.as_str())));
    failures.flatten().collect()
}

#[test]
fn an_object_is_stored_with_every_field_and_without_nulls() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    let mut second = to_write(2);
    second.object.org_id = Some("3".to_owned());
    second.object.external_key = None;
    assert_eq!(
        client.write(&[to_write(1), second]),
        Ok(vec![Some(Ok(())); 2])
    );
    let expected = json!({
        "type": "github_issue", "object_id": "1", "project_id": "1", "title": "Issue 1",
        "text": "State: open\n\nIt is broken.", "status": "open", "url": "https://github.com/acme/shop/issues/1",
        "source_system": "github", "external_key": "acme/shop#1", "parent_object_id": "7",
        "created_at": "2026-01-24T19:52:40.473439Z", "updated_at": "2026-01-25T00:00:00Z",
    });
    assert_eq!(
        simulator.object(&id(1).to_string()).expect("object 1")["properties"],
        expected
    );
    let second = simulator.object(&id(2).to_string()).expect("object 2")["properties"].clone();
    assert_eq!(
        (&second["org_id"], second.get("external_key")),
        (&json!("3"), None)
    );
    let sent = String::from_utf8(simulator.requests()[0].request.body.clone()).expect("UTF-8");
    assert!(!sent.contains("null"), "{sent}");
}

#[test]
fn a_write_never_changes_the_class() {
    let without_optional = changed_class(|class| {
        properties(class).retain(|property| {
            !["mime_type", "size_bytes", "sha256"]
                .contains(&property["name"].as_str().expect("a name"))
        });
    });
    for class in [agira_class(), without_optional] {
        let simulator = Simulator::start();
        assert!(
            simulator.settings().auto_schema,
            "the server would add what it does not know"
        );
        simulator.create_class(class);
        let before = simulator.class();
        let mut all = to_write(1);
        all.object.org_id = Some("3".to_owned());
        assert_eq!(ready(&simulator).write(&[all]), Ok(vec![Some(Ok(()))]));
        assert_eq!(simulator.class(), before);
    }
}

#[test]
fn an_existing_object_is_replaced_completely() {
    let simulator = with_class(agira_class());
    simulator.put_object(
        &id(1).to_string(),
        json!({ "status": "closed", "mime_type": "text/plain" }),
    );
    assert_eq!(
        ready(&simulator).write(&[to_write(1)]),
        Ok(vec![Some(Ok(()))])
    );
    let stored = simulator.object(&id(1).to_string()).expect("object 1")["properties"].clone();
    assert_eq!(
        (&stored["status"], stored.get("mime_type")),
        (&json!("open"), None)
    );
}

#[test]
fn writing_250_objects_takes_two_requests() {
    let simulator = with_class(agira_class());
    assert_eq!(
        ready(&simulator).write(&all_to_write(0..250)),
        Ok(vec![Some(Ok(())); 250])
    );
    assert_eq!(sizes(&simulator), [200, 50]);
    assert_eq!(simulator.objects().len(), 250);
    check_one_connection(&simulator);
}

#[test]
fn writing_no_objects_sends_no_request() {
    let simulator = with_class(agira_class());
    assert_eq!(ready(&simulator).write(&[]), Ok(Vec::new()));
    assert!(simulator.requests().is_empty());
}

#[test]
fn a_batch_has_at_most_4_mb_unless_one_object_is_larger() {
    let simulator = with_class(agira_class());
    let mut objects: Vec<ObjectWrite> = (0..10)
        .map(|mapping| of_bytes(mapping, MIB * 9 / 10))
        .collect();
    objects.push(of_bytes(10, 5 * MIB));
    objects.push(to_write(11));
    assert_eq!(
        ready(&simulator).write(&objects),
        Ok(vec![Some(Ok(())); 12])
    );
    assert_eq!(sizes(&simulator), [4, 4, 2, 1, 1]);
    let bytes = simulator
        .requests()
        .into_iter()
        .map(|exchange| exchange.request.body.len());
    let largest = bytes.filter(|bytes| *bytes < 5 * MIB);
    assert!(largest.max() <= Some(4 * MIB));
}

#[test]
fn a_batch_that_a_proxy_rejects_as_too_large_is_halved() {
    let simulator = with_class(agira_class());
    simulator.settings().most_bytes = 64 * 1024;
    let objects: Vec<ObjectWrite> = (0..40).map(|mapping| of_bytes(mapping, 5000)).collect();
    assert_eq!(
        ready(&simulator).write(&objects),
        Ok(vec![Some(Ok(())); 40])
    );
    assert_eq!(sizes(&simulator), [40, 20, 10, 10, 10, 10]);
    assert_eq!(simulator.objects().len(), 40);
}

#[test]
fn an_object_that_is_too_large_on_its_own_fails_alone() {
    let simulator = with_class(agira_class());
    simulator.settings().most_bytes = 64 * 1024;
    let objects = [to_write(0), to_write(1), of_bytes(2, 70_000), to_write(3)];
    let results = ready(&simulator).write(&objects).expect("results");
    assert_eq!(
        failures(&results),
        [(2, "<html><body>a proxy</body></html>")]
    );
    assert_eq!(simulator.objects().len(), 3);
}

/// Behavior that no setting of a real server causes.
mod simulated {
    use super::*;

    #[test]
    fn a_read_only_shard_is_a_failure_of_weaviate_even_if_it_reports_one_object() {
        for graphql in GRAPHQL {
            let simulator = with_graphql(graphql);
            // One object exists with another status, and one exists with the same status, as Agira writes it.
            simulator.put_object(&id(1).to_string(), json!({ "status": "closed" }));
            simulator.put_object(&id(2).to_string(), json!({ "status": "open" }));
            let before = simulator.objects();
            for objects in [0..4, 0..2, 1..3] {
                simulator.settings().shard_failure = Some("the shard is shutting down".to_owned());
                let mut client = ready(&simulator);
                let error = client
                    .write(&all_to_write(objects))
                    .expect_err("nothing is kept");
                let said = "objects were not kept: the shard is shutting down";
                assert_eq!(
                    (error.kind, &*error.message),
                    (FailureKind::Unavailable, said)
                );
                assert_eq!(simulator.objects(), before);
            }
            simulator.settings().shard_failure = None;
            assert_eq!(
                ready(&simulator).write(&all_to_write(0..4)),
                Ok(vec![Some(Ok(())); 4])
            );
        }
    }
}

#[test]
fn the_reason_for_a_failed_object_is_one_line() {
    let simulator = with_class(agira_class());
    simulator.reject_object(&id(1).to_string(), "not this\none");
    let results = client(&simulator)
        .write(&all_to_write(0..3))
        .expect("results");
    assert_eq!(failures(&results), [(1, "not this\\none")]);
}

#[test]
fn a_failure_without_a_reason_is_still_a_failure() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    for result in [
        json!({ "status": "FAILED" }),
        json!({}),
        json!({ "status": "PENDING", "errors": null }),
    ] {
        simulator.fail_next(
            1,
            &Fault::Status(200, json!([{ "result": result }]).to_string()),
        );
        assert_eq!(
            client.write(&[to_write(1)]),
            Ok(vec![Some(Err("no reason given".to_owned()))]),
            "{result}"
        );
    }
}

#[test]
fn a_full_disk_is_a_failure_of_weaviate_and_not_of_an_object() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    simulator.set_read_only(true);
    let error = client.write(&all_to_write(0..3)).expect_err("a full disk");
    assert!(
        error.kind == FailureKind::Unavailable && error.message.contains("read-only"),
        "{error:?}"
    );
    simulator.set_read_only(false);
    assert_eq!(client.write(&all_to_write(0..3)), Ok(vec![Some(Ok(())); 3]));
}

#[test]
fn a_rejected_batch_is_halved_until_the_bad_object_is_alone() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    let said =
        json!({ "code": 602, "message": "objects.1.id in body must be of type uuid" }).to_string();
    simulator.fail_next(3, &Fault::Status(422, said));
    let results = client.write(&all_to_write(0..3)).expect("results");
    assert_eq!(
        failures(&results),
        [(2, "objects.1.id in body must be of type uuid")]
    );
    assert_eq!(sizes(&simulator), [3, 2, 1, 1, 1]);
}

#[test]
fn a_write_with_a_lost_response_gives_the_same_objects() {
    let undisturbed = {
        let simulator = with_class(agira_class());
        assert_eq!(
            ready(&simulator).write(&all_to_write(0..3)),
            Ok(vec![Some(Ok(())); 3])
        );
        simulator.objects()
    };
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    simulator.fail_next(1, &Fault::LoseAnswer);
    assert_eq!(client.write(&all_to_write(0..3)), Ok(vec![Some(Ok(())); 3]));
    assert_eq!((sizes(&simulator), simulator.writes()), (vec![3, 3], 6));
    assert_eq!(simulator.objects(), undisturbed);
}

#[test]
fn a_batch_response_without_a_result_for_each_object_is_a_failure() {
    let simulator = with_class(agira_class());
    let mut client = ready(&simulator);
    let success = json!({ "result": { "status": "SUCCESS" } });
    for answer in [
        json!([]),
        json!({}),
        json!([success]),
        json!([success, success, success]),
    ] {
        simulator.fail_next(1, &Fault::Status(200, answer.to_string()));
        let error = client.write(&all_to_write(0..2)).expect_err("no results");
        assert!(
            error.kind == FailureKind::Unavailable,
            "{answer}: {error:?}"
        );
    }
}

/// Tests that start their own server, because a running server cannot change these settings.
mod own_server {
    use super::*;

    #[test]
    fn each_object_has_its_own_result() {
        // With auto-schema, the server would add the missing parts of the class.
        let simulator = Simulator::start_with(Settings {
            auto_schema: false,
            ..Settings::default()
        });
        simulator.create_class(changed_class(|class| {
            properties(class).retain(|property| property["name"] != "org_id")
        }));
        // All vectors of a class have the length of the first one.
        simulator.put_whole_object(
            json!({ "class": CLASS, "id": id(9), "properties": {}, "vector": [0.5, 1.0] }),
        );
        let mut objects = all_to_write(0..4);
        objects[1].vectors.insert("vector".to_owned(), json!([0.5]));
        objects[2].object.org_id = Some("3".to_owned());
        let results = client(&simulator).write(&objects).expect("results");
        let failures = failures(&results);
        assert!(
            failures.len() == 2 && failures[0].0 == 1 && failures[1].0 == 2,
            "{failures:?}"
        );
        assert!(
            failures[0].1.contains("vector with length 1"),
            "{failures:?}"
        );
        assert!(
            failures[1].1.contains("no such prop with name 'org_id'"),
            "{failures:?}"
        );
        let kept: Vec<String> = simulator.objects().into_keys().collect();
        let mut expected = [id(0), id(3), id(9)].map(|id| id.to_string());
        expected.sort();
        assert_eq!(kept, expected);
    }
}
