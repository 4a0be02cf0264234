//! The client reads and checks the class, creates it if it is missing, and never changes it.

use super::*;

#[track_caller]
fn check_unfit(class: Value, said: &[&str]) {
    let simulator = with_class(class);
    let before = simulator.class();
    let Ok(ClassState::Unfit(problems)) = client(&simulator).class() else {
        panic!("it fits")
    };
    assert!(
        said.iter().all(|part| problems.contains(part)),
        "{problems}"
    );
    assert_eq!(
        (simulator.class(), asked(&simulator)),
        (before, vec![format!("GET /v1/schema/{CLASS}")])
    );
}

#[track_caller]
fn check_fits(class: Value) {
    assert_eq!(client(&with_class(class)).class(), Ok(ClassState::Fits));
}

/// Returns the properties of a class by name.
fn by_name(class: &Value) -> Map<String, Value> {
    let properties = class["properties"].as_array().expect("properties").iter();
    properties
        .map(|property| {
            (
                property["name"].as_str().expect("a name").to_owned(),
                property.clone(),
            )
        })
        .collect()
}

#[test]
fn agiras_own_class_fits() {
    check_fits(agira_class());
}

#[test]
fn the_class_is_read_from_the_leader() {
    let simulator = with_class(agira_class());
    client(&simulator).class().expect("an answer");
    assert_eq!(
        simulator.requests()[0].request.header("consistency"),
        Some("true")
    );
}

#[test]
fn a_missing_class_is_created_exactly_as_agira_defines_it() {
    let agiras = with_class(agira_class()).class().expect("a class");
    let simulator = Simulator::start();
    let mut client = client(&simulator);
    assert_eq!(client.class(), Ok(ClassState::Missing));
    assert_eq!(client.create_class(), Ok(()));
    let ours = simulator.class().expect("a class");
    assert_eq!(by_name(&ours), by_name(&agiras));
    let without_properties = |mut class: Value| {
        properties(&mut class).clear();
        class
    };
    assert_eq!(without_properties(ours), without_properties(agiras));
    assert_eq!(client.class(), Ok(ClassState::Fits));
}

#[test]
fn a_class_that_another_client_creates_meanwhile_is_used() {
    let simulator = Simulator::start();
    let mut client = client(&simulator);
    assert_eq!(client.class(), Ok(ClassState::Missing));
    simulator.create_agira_class();
    assert_eq!(client.create_class(), Ok(()));
}

#[test]
fn a_failure_to_create_the_class_quotes_weaviate() {
    let simulator = Simulator::start();
    let said = json!({ "error": [{ "message": "module \"none\" is not known" }] }).to_string();
    simulator.fail_next(1, &kit::weaviate::Fault::Status(422, said));
    let message = "module \"none\" is not known".to_owned();
    assert_eq!(
        client(&simulator).create_class(),
        Err(ServiceError {
            kind: FailureKind::Rejected,
            status: Some(422),
            message
        })
    );
}

#[test]
fn every_written_property_must_exist_with_its_type() {
    let not_written = ["mime_type", "size_bytes", "sha256"];
    for (name, property) in by_name(&agira_class()) {
        let without =
            changed_class(|class| properties(class).retain(|property| property["name"] != *name));
        let other = if property["dataType"][0] == "int" {
            "text"
        } else {
            "int"
        };
        let mistyped = changed_class(|class| {
            let property = properties(class)
                .iter_mut()
                .find(|property| property["name"] == *name);
            property.expect("a property")["dataType"] = json!([other]);
        });
        if not_written.contains(&&*name) {
            check_fits(without);
            check_fits(mistyped);
            continue;
        }
        let wanted = property["dataType"][0].as_str().expect("a type");
        check_unfit(
            without,
            &[
                &format!("property {name} ({wanted}) is missing"),
                "nothing is written",
            ],
        );
        check_unfit(
            mistyped,
            &[&format!("property {name} is int instead of {wanted}")],
        );
    }
}

#[test]
fn all_mismatches_of_a_class_are_reported_together() {
    let class = json!({ "class": CLASS, "properties": [{ "name": "title", "dataType": ["int"] }] });
    check_unfit(
        class,
        &[
            "type (text) is missing",
            "title is int instead of text",
            "updated_at (date) is missing",
        ],
    );
}

#[test]
fn additional_properties_of_a_class_are_accepted() {
    check_fits(changed_class(|class| {
        properties(class).push(json!({ "name": "colour", "dataType": ["text"] }))
    }));
    check_fits(changed_class(|class| {
        class["vectorizer"] = json!("text2vec-openai")
    }));
    check_fits(changed_class(|class| {
        for property in properties(class)
            .iter_mut()
            .filter(|property| property["dataType"][0] == "text")
        {
            property["tokenization"] = json!("field");
        }
    }));
}
