//! That the simulator is as strict as it says.

use uuid::Uuid;

use super::*;

const ID: &str = "00a700b1-f9b6-5e47-9438-d49140cd8928";

/// Status and body of one request.
fn ask(weaviate: &Weaviate, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let agent =
        ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true).build().new_agent();
    let url = format!("{}{path}", weaviate.url());
    let mut answer = match body {
        Some(body) => {
            let request =
                ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
            agent.run(request.body(body.to_string()).unwrap()).unwrap()
        }
        None => agent.run(ureq::http::Request::builder().method(method).uri(url).body(()).unwrap()).unwrap(),
    };
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(json!(text)) })
}

fn with_class(settings: Settings) -> Weaviate {
    let weaviate = Weaviate::start_with(settings);
    weaviate.create_agira_class();
    weaviate
}

fn strict() -> Weaviate {
    with_class(Settings { auto_schema: false, ..Settings::default() })
}

fn batch_result(weaviate: &Weaviate, object: Value) -> Value {
    let (status, answer) = ask(weaviate, "POST", "/v1/batch/objects", Some(json!({ "objects": [object] })));
    assert_eq!(status, 200, "{answer}");
    answer[0]["result"].clone()
}

fn object(properties: Value) -> Value {
    json!({ "class": CLASS, "id": ID, "properties": properties })
}

#[test]
fn a_missing_object_is_404_without_a_body() {
    assert_eq!(ask(&strict(), "GET", &format!("/v1/objects/{CLASS}/{ID}"), None), (404, Value::Null));
}

#[test]
fn post_refuses_an_id_that_exists() {
    let weaviate = strict();
    assert_eq!(ask(&weaviate, "POST", "/v1/objects", Some(object(json!({ "status": "a" })))).0, 200);
    let (status, answer) = ask(&weaviate, "POST", "/v1/objects", Some(object(json!({ "status": "b" }))));
    assert_eq!((status, answer["error"][0]["message"].as_str()), (422, Some(&*format!("id '{ID}' already exists"))));
    assert_eq!(weaviate.object(ID).unwrap()["properties"]["status"], "a");
}

#[test]
fn put_never_creates() {
    let weaviate = strict();
    let path = format!("/v1/objects/{CLASS}/{ID}");
    assert_eq!(ask(&weaviate, "PUT", &path, Some(object(json!({})))).0, 404);
    weaviate.settings().put_missing = PutMissing::Error;
    assert_eq!(ask(&weaviate, "PUT", &path, Some(object(json!({})))).0, 500);
    assert_eq!(ask(&weaviate, "PUT", &path, Some(json!({ "properties": {} }))).0, 422);
    assert!(weaviate.objects().is_empty());
}

#[test]
fn a_batch_answers_200_and_tells_per_object() {
    let weaviate = strict();
    let unknown = batch_result(&weaviate, object(json!({ "colour": "red" })));
    assert_eq!(unknown["status"], "FAILED");
    assert!(unknown["errors"]["error"][0]["message"].as_str().unwrap().contains("no such prop with name 'colour'"));
    for bad in [
        json!({ "status": 1 }),
        json!({ "created_at": "2026-01-01" }),
        json!({ "size_bytes": 1.5 }),
        json!({ "size_bytes": "1" }),
    ] {
        assert_eq!(batch_result(&weaviate, object(bad.clone()))["status"], "FAILED", "{bad}");
    }
    let mut upper = object(json!({}));
    upper["id"] = json!(ID.to_uppercase());
    assert_eq!(batch_result(&weaviate, upper)["status"], "FAILED");
    assert!(weaviate.objects().is_empty());
    assert_eq!(ask(&weaviate, "POST", "/v1/batch/objects", Some(json!({ "objects": [] }))).0, 422);
}

#[test]
fn a_batch_replaces_whole_objects_vectors_included() {
    let weaviate = strict();
    let mut first = object(json!({ "status": "a", "title": "t" }));
    first["vector"] = json!([0.5, 1.0]);
    weaviate.put_whole_object(first);
    assert_eq!(batch_result(&weaviate, object(json!({ "status": "b", "title": null })))["status"], "SUCCESS");
    assert_eq!(weaviate.object(ID).unwrap(), object(json!({ "status": "b" })));
}

#[test]
fn auto_schema_adds_what_it_does_not_know() {
    let weaviate = with_class(Settings::default());
    assert_eq!(batch_result(&weaviate, object(json!({ "colour": "red", "count": 3 })))["status"], "SUCCESS");
    let class = weaviate.class().unwrap();
    let properties = class["properties"].as_array().unwrap();
    let added = |name: &str| {
        properties.iter().find(|property| property["name"] == name).map(|property| property["dataType"][0].clone())
    };
    assert_eq!((added("colour"), added("count")), (Some(json!("text")), Some(json!("number"))));
}

#[test]
fn dates_come_back_as_go_prints_them() {
    let weaviate = strict();
    weaviate.put_object(ID, json!({ "created_at": "2026-01-01T00:00:00.500+01:00" }));
    assert_eq!(weaviate.object(ID).unwrap()["properties"]["created_at"], "2025-12-31T23:00:00.5Z");
}

fn query(weaviate: &Weaviate, fields: &str, ids: &str) -> Value {
    let query = format!(
        "{{ Get {{ {CLASS}(limit: 10, where: {{path: [\"id\"], operator: ContainsAny, valueText: {ids}}}) {{ {fields} }} }} }}"
    );
    let (status, answer) = ask(weaviate, "POST", "/v1/graphql", Some(json!({ "query": query })));
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn graphql_finds_ids_and_says_what_it_does_not_know() {
    let weaviate = strict();
    weaviate.put_object(ID, json!({ "status": "open" }));
    let answer =
        query(&weaviate, "status org_id _additional { id vector }", &format!("[\"{ID}\", \"{}\"]", Uuid::nil()));
    assert_eq!(
        answer["data"]["Get"][CLASS],
        json!([{ "status": "open", "org_id": null, "_additional": { "id": ID, "vector": [] } }])
    );
    assert_eq!(query(&weaviate, "status", &format!("[\"{}\"]", ID.to_uppercase()))["data"]["Get"][CLASS], json!([]));
    let unknown = query(&weaviate, "colour", &format!("[\"{ID}\"]"));
    assert_eq!(unknown["errors"][0]["message"], "Cannot query field \"colour\" on type \"AgiraObject\".");
    assert!(
        query(&weaviate, "status", &format!("\"{ID}\""))["errors"][0]["message"].as_str().unwrap().contains("list")
    );
}

#[test]
fn graphql_can_be_off() {
    let weaviate = strict();
    let status = |graphql| {
        weaviate.settings().graphql = graphql;
        ask(&weaviate, "POST", "/v1/graphql", Some(json!({ "query": "{ Get { AgiraObject { status } } }" }))).0
    };
    assert_eq!(
        [GraphQl::Disabled422, GraphQl::Disabled410, GraphQl::Forbidden, GraphQl::On].map(status),
        [422, 410, 403, 200]
    );
    assert_eq!(ask(&Weaviate::start(), "POST", "/v1/graphql", Some(json!({ "query": "{ Get }" }))).0, 422);
}

#[test]
fn a_wrong_key_is_401_in_the_frameworks_shape() {
    let weaviate = with_class(Settings { api_key: Some("right".to_owned()), ..Settings::default() });
    let (status, answer) = ask(&weaviate, "GET", "/v1/meta", None);
    assert_eq!((status, answer["code"].as_u64()), (401, Some(401)));
    assert_eq!(ask(&weaviate, "GET", "/v1/.well-known/ready", None).0, 200);
}

#[test]
fn classes_are_checked() {
    let weaviate = strict();
    assert_eq!(ask(&weaviate, "POST", "/v1/schema", Some(agira_class())).0, 422);
    let with = |property: Value| {
        ask(&weaviate, "POST", "/v1/schema", Some(json!({ "class": "Other", "properties": [property] }))).0
    };
    assert_eq!(with(json!({ "name": "id", "dataType": ["text"] })), 422);
    assert_eq!(with(json!({ "name": "n", "dataType": ["int"], "tokenization": "word" })), 422);
    assert_eq!(
        with(json!({ "name": "n", "dataType": ["text"], "moduleConfig": { "text2vec-openai": { "skip": true } } })),
        422
    );
    assert_eq!(with(json!({ "name": "n", "dataType": ["text"] })), 200);
    assert_eq!(ask(&weaviate, "GET", "/v1/nothing", None).0, 404);
    assert_eq!(ask(&weaviate, "DELETE", "/v1/meta", None).0, 405);
}
