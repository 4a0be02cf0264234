//! A batch write replaces whole objects, so the client sends an object's own vectors back. It does not send vectors
//! that the server computes.

use super::*;

/// Creates object 1 with these fields beside its properties.
fn filled(simulator: Simulator, beside: Value) -> Simulator {
    let mut object = json!({ "class": CLASS, "id": id(1), "properties": { "status": "closed" } });
    object
        .as_object_mut()
        .expect("an object")
        .extend(beside.as_object().expect("an object").clone());
    simulator.put_whole_object(object);
    simulator
}

/// Reads object 1 and writes it with the vectors that were read; returns the object that was sent.
#[track_caller]
fn rewrite(simulator: &Simulator) -> Value {
    let mut client = ready(simulator);
    let StoredObject { vectors, .. } = client
        .object_states(&ids(1..2))
        .expect("statuses")
        .remove(&id(1))
        .expect("object 1");
    assert_eq!(
        client.write(&[ObjectWrite {
            object: issue(1),
            vectors
        }]),
        Ok(vec![Some(Ok(()))])
    );
    let stored = simulator.object(&id(1).to_string()).expect("object 1");
    assert_eq!(stored["properties"]["status"], "open");
    let sent: Value =
        serde_json::from_slice(&simulator.requests().last().expect("a write").request.body)
            .expect("JSON");
    sent["objects"][0].clone()
}

fn named(vectorizers: &[(&str, &str)]) -> Value {
    let config = |(name, vectorizer): &(&str, &str)| {
        (
            (*name).to_owned(),
            json!({ "vectorIndexType": "hnsw", "vectorizer": { *vectorizer: {} } }),
        )
    };
    let config: Map<String, Value> = vectorizers.iter().map(config).collect();
    changed_class(|class| {
        let class = class.as_object_mut().expect("a class");
        class.retain(|key, _| key != "vectorizer" && key != "vectorIndexType");
        class.insert("vectorConfig".to_owned(), Value::Object(config));
    })
}

#[test]
fn named_own_vectors_are_kept() {
    let vectors = json!({ "title": [0.25, 1.5], "text": [2.5] });
    let class = named(&[("title", "none"), ("text", "none")]);
    let simulator = filled(with_class(class), json!({ "vectors": vectors }));
    rewrite(&simulator);
    assert_eq!(
        simulator.object(&id(1).to_string()).expect("object 1")["vectors"],
        vectors
    );
    let get = format!("GET /v1/objects/{CLASS}/{}", id(1));
    assert_eq!(
        asked(&simulator),
        [&get, "POST /v1/batch/objects"],
        "GraphQL knows vectors only by name"
    );
}

#[test]
fn the_vectorizer_is_that_of_all_vectors_or_the_first_of_the_named_ones() {
    let module = |name: &str| changed_class(|class| class["vectorizer"] = json!(name));
    for (class, vectorizer) in [
        (agira_class(), "none"),
        (module("text2vec-openai"), "text2vec-openai"),
        (named(&[("title", "none"), ("text", "none")]), "none"),
        (
            named(&[("own", "none"), ("made", "text2vec-cohere")]),
            "text2vec-cohere",
        ),
    ] {
        let simulator = with_class(class);
        let mut client = client(&simulator);
        assert_eq!(client.vectorizer(), None);
        assert_eq!(client.class(), Ok(ClassState::Fits));
        assert_eq!(client.vectorizer(), Some(vectorizer));
    }
    let simulator = Simulator::start();
    let mut client = client(&simulator);
    assert_eq!(client.class(), Ok(ClassState::Missing));
    assert_eq!(client.vectorizer(), None);
    assert_eq!(client.create_class(), Ok(()));
    assert_eq!(client.vectorizer(), Some("none"));
}

#[test]
fn an_own_vector_in_a_new_class_is_read() {
    let simulator = Simulator::start();
    let mut client = client(&simulator);
    assert_eq!(client.class(), Ok(ClassState::Missing));
    assert_eq!(client.create_class(), Ok(()));
    simulator.put_whole_object(
        json!({ "class": CLASS, "id": id(1), "properties": {}, "vector": [0.5] }),
    );
    let found = client
        .object_states(&ids(1..2))
        .expect("statuses")
        .remove(&id(1))
        .expect("object 1");
    assert_eq!(Value::Object(found.vectors), json!({ "vector": [0.5] }));
}

/// A real server would call a third-party API for these vectors.
mod simulated {
    use super::*;

    #[test]
    fn named_vectors_that_the_server_computes_are_not_sent() {
        let vectors = json!({ "own": [0.25], "made": [2.5] });
        let sent = |vectorizers: &[(&str, &str)]| {
            rewrite(&filled(
                with_class(named(vectorizers)),
                json!({ "vectors": vectors }),
            ))
        };
        assert_eq!(
            sent(&[("own", "none"), ("made", "text2vec-openai")])["vectors"],
            json!({ "own": [0.25] })
        );
        assert!(
            sent(&[("own", "text2vec-cohere"), ("made", "text2vec-openai")])
                .get("vectors")
                .is_none()
        );
    }

    #[test]
    fn a_vector_that_the_server_computes_is_not_sent() {
        for graphql in GRAPHQL {
            let class = changed_class(|class| class["vectorizer"] = json!("text2vec-openai"));
            let simulator = Simulator::start_with(Settings {
                graphql,
                ..Settings::default()
            });
            simulator.create_class(class);
            let simulator = filled(simulator, json!({ "vector": [0.25, 1.5] }));
            assert!(rewrite(&simulator).get("vector").is_none(), "{graphql:?}");
        }
    }
}

/// Tests that start their own server, because a running server cannot change these settings.
mod own_server {
    use super::*;

    #[test]
    fn an_own_vector_is_kept() {
        for graphql in GRAPHQL {
            let simulator = filled(
                with_graphql(graphql),
                json!({ "vector": [0.25, -1.5, 0.001953125] }),
            );
            rewrite(&simulator);
            let stored = simulator.object(&id(1).to_string()).expect("object 1");
            assert_eq!(
                stored["vector"],
                json!([0.25, -1.5, 0.001953125]),
                "{graphql:?}"
            );
        }
    }

    #[test]
    fn an_object_without_a_vector_is_written_without_one() {
        for graphql in GRAPHQL {
            let simulator = filled(with_graphql(graphql), json!({}));
            let sent = rewrite(&simulator);
            assert!(
                sent.get("vector").is_none() && sent.get("vectors").is_none(),
                "{sent}"
            );
        }
    }
}
