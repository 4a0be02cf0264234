//! A batch write replaces whole objects: vectors of their own are sent back, those that the server makes are not.

use kit::weaviate::GraphQl;

use super::*;

/// Object 1 with this beside its properties.
fn simulator(class: Value, beside: Value) -> Simulator {
    let simulator = with_class(class);
    let mut object = json!({ "class": CLASS, "id": id(1), "properties": { "status": "closed" } });
    object.as_object_mut().expect("an object").extend(beside.as_object().expect("an object").clone());
    simulator.put_whole_object(object);
    simulator
}

/// Object 1 is read and written with what was read; returns what was sent.
#[track_caller]
fn rewrite(simulator: &Simulator) -> Value {
    let mut client = ready(simulator);
    let Found { vectors, .. } = client.statuses(&ids(1..2)).expect("statuses").remove(&id(1)).expect("object 1");
    assert_eq!(client.write(&[ToWrite { object: issue(1), vectors }]), Ok(vec![Ok(())]));
    let stored = simulator.object(&id(1).to_string()).expect("object 1");
    assert_eq!(stored["properties"]["status"], "open");
    let sent: Value =
        serde_json::from_slice(&simulator.requests().last().expect("a write").request.body).expect("JSON");
    sent["objects"][0].clone()
}

fn named(vectorizers: &[(&str, &str)]) -> Value {
    let config = |(name, vectorizer): &(&str, &str)| {
        ((*name).to_owned(), json!({ "vectorIndexType": "hnsw", "vectorizer": { *vectorizer: {} } }))
    };
    let config: Map<String, Value> = vectorizers.iter().map(config).collect();
    changed_class(|class| class["vectorConfig"] = Value::Object(config))
}

#[test]
fn an_own_vector_stays() {
    for graphql in [GraphQl::On, GraphQl::Disabled422] {
        let simulator = simulator(agira_class(), json!({ "vector": [0.25, -1.5, 0.001953125] }));
        simulator.settings().graphql = graphql;
        rewrite(&simulator);
        let stored = simulator.object(&id(1).to_string()).expect("object 1");
        assert_eq!(stored["vector"], json!([0.25, -1.5, 0.001953125]), "{graphql:?}");
    }
}

#[test]
fn own_vectors_with_names_stay() {
    let vectors = json!({ "title": [0.25, 1.5], "text": [2.5] });
    let simulator = simulator(named(&[("title", "none"), ("text", "none")]), json!({ "vectors": vectors }));
    rewrite(&simulator);
    assert_eq!(simulator.object(&id(1).to_string()).expect("object 1")["vectors"], vectors);
    let get = format!("GET /v1/objects/{CLASS}/{}", id(1));
    assert_eq!(asked(&simulator), [&get, "POST /v1/batch/objects"], "GraphQL knows vectors only by name");
}

#[test]
fn of_named_vectors_those_that_the_server_makes_are_left_to_it() {
    let vectors = json!({ "own": [0.25], "made": [2.5] });
    let class = named(&[("own", "none"), ("made", "text2vec-openai")]);
    assert_eq!(rewrite(&simulator(class, json!({ "vectors": vectors })))["vectors"], json!({ "own": [0.25] }));
    let class = named(&[("own", "text2vec-cohere"), ("made", "text2vec-openai")]);
    assert!(rewrite(&simulator(class, json!({ "vectors": vectors }))).get("vectors").is_none());
}

#[test]
fn a_vector_that_the_server_makes_is_left_to_it() {
    for graphql in [GraphQl::On, GraphQl::Disabled422] {
        let class = changed_class(|class| class["vectorizer"] = json!("text2vec-openai"));
        let simulator = simulator(class, json!({ "vector": [0.25, 1.5] }));
        simulator.settings().graphql = graphql;
        assert!(rewrite(&simulator).get("vector").is_none(), "{graphql:?}");
    }
}

#[test]
fn an_object_without_a_vector_is_written_without_one() {
    for graphql in [GraphQl::On, GraphQl::Disabled422] {
        let simulator = simulator(agira_class(), json!({}));
        simulator.settings().graphql = graphql;
        let sent = rewrite(&simulator);
        assert!(sent.get("vector").is_none() && sent.get("vectors").is_none(), "{sent}");
    }
}

#[test]
fn a_class_that_was_just_created_has_one_own_vector() {
    let simulator = strict();
    let mut client = client(&simulator);
    assert_eq!(client.class(), Ok(ClassState::Missing));
    assert_eq!(client.create_class(), Ok(()));
    simulator.put_whole_object(json!({ "class": CLASS, "id": id(1), "properties": {}, "vector": [0.5] }));
    let found = client.statuses(&ids(1..2)).expect("statuses").remove(&id(1)).expect("object 1");
    assert_eq!(Value::Object(found.vectors), json!({ "vector": [0.5] }));
}
