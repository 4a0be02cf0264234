//! What an operator learns about the vectorizer of Weaviate's class, and how a class gets one (README, "A vectorizer").

use kit::postgres_server::Database;
use serde_json::Value;

use crate::fixtures::CLOSED_AT;
use crate::harness::World;

const ISSUE: &str = "acme/shop#12";
const WITHOUT: &str =
    "Weaviate's class has no vectorizer: hybrid and near_text searches fail in Weaviate";

#[test]
fn a_run_that_creates_the_class_and_status_say_that_it_has_no_vectorizer() {
    let mut world = World::on(Database::create());
    let before = world.run(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(before["weaviate_vectorizer"], Value::Null);
    world.issue(ISSUE, "Working");
    world.run(&["sync", "--quiet"]).exits(0).logs(
        "class AgiraObject has no vectorizer: hybrid and near_text searches fail in Weaviate",
    );
    // A later run that does not ask Weaviate knows nothing new.
    let idle = world.run(&["sync", "--output", "json"]).exits(0).json();
    assert_eq!(idle["weaviate"]["vectorizer"], Value::Null);
    world.run(&["status"]).exits(0).prints(WITHOUT);
    let status = world.run(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(status["weaviate_vectorizer"], "none");
    // Agira's class, which exists already, is as it was, and the run says nothing about it.
    world.github.close(ISSUE, CLOSED_AT);
    let run = world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 item moved");
    assert!(!run.stderr.contains("vectorizer"), "{}", run.all());
}

mod simulated {
    use super::*;

    /// Returns the class that the README tells an operator to create.
    fn class() -> Value {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/weaviate/class.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    #[test]
    fn a_class_with_a_vectorizer_is_used_as_it_is_and_status_names_it() {
        let mut world = World::on(Database::create());
        world.weaviate.create_class(class());
        let created = world.weaviate.class();
        world.issue(ISSUE, "Working");
        world.sync();
        assert_eq!(
            (world.weaviate.class(), world.weaviate.objects().len()),
            (created, 2)
        );
        let status = world.run(&["status"]).exits(0);
        status.prints("Weaviate's class has the vectorizer text2vec-transformers");
    }

    #[test]
    fn the_class_of_the_readme_has_agiras_properties_and_their_types() {
        let properties = |class: &Value| -> Vec<String> {
            let properties = class["properties"].as_array().unwrap().iter();
            properties
                .map(|one| format!("{} {}", one["name"], one["dataType"]))
                .collect()
        };
        let (mut own, mut agiras) = (
            properties(&class()),
            properties(&kit::weaviate::agira_class()),
        );
        own.sort();
        agiras.sort();
        assert_eq!(own, agiras);
    }
}
