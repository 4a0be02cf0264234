//! The simulator is as strict as it claims, and the real server does the same: with `KIT_WEAVIATE=real`, these tests
//! run against that server, except those in `simulated`.

use uuid::Uuid;

use super::*;

const ID: &str = "00a700b1-f9b6-5e47-9438-d49140cd8928";

const OTHER: &str = "8f269b6e-47db-5157-9f1b-0ff2ee824feb";

/// Returns status and body of one request.
fn ask(weaviate: &Weaviate, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .new_agent();
    let url = format!("{}{path}", weaviate.url());
    let mut answer = match body {
        Some(body) => {
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(url)
                .header("content-type", "application/json");
            agent.run(request.body(body.to_string()).unwrap()).unwrap()
        }
        None => agent
            .run(
                ureq::http::Request::builder()
                    .method(method)
                    .uri(url)
                    .body(())
                    .unwrap(),
            )
            .unwrap(),
    };
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().unwrap();
    (
        status,
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(json!(text))
        },
    )
}

/// Returns the message of a handler.
fn message_of(answer: &Value) -> &str {
    answer["error"][0]["message"].as_str().unwrap_or_default()
}

fn with_class(settings: Settings) -> Weaviate {
    let weaviate = Weaviate::start_with(settings);
    weaviate.create_agira_class();
    weaviate
}

fn strict() -> Weaviate {
    with_class(Settings {
        auto_schema: false,
        ..Settings::default()
    })
}

fn batch_result(weaviate: &Weaviate, object: Value) -> Value {
    let (status, answer) = ask(
        weaviate,
        "POST",
        "/v1/batch/objects",
        Some(json!({ "objects": [object] })),
    );
    assert_eq!(status, 200, "{answer}");
    answer[0]["result"].clone()
}

fn object(properties: Value) -> Value {
    json!({ "class": CLASS, "id": ID, "properties": properties })
}

#[test]
fn a_missing_object_is_404_without_a_body() {
    assert_eq!(
        ask(&strict(), "GET", &format!("/v1/objects/{CLASS}/{ID}"), None),
        (404, Value::Null)
    );
}

#[test]
fn post_refuses_an_id_that_exists() {
    let weaviate = strict();
    assert_eq!(
        ask(
            &weaviate,
            "POST",
            "/v1/objects",
            Some(object(json!({ "status": "a" })))
        )
        .0,
        200
    );
    let (status, answer) = ask(
        &weaviate,
        "POST",
        "/v1/objects",
        Some(object(json!({ "status": "b" }))),
    );
    assert_eq!(
        (status, answer["error"][0]["message"].as_str()),
        (422, Some(&*format!("id '{ID}' already exists")))
    );
    assert_eq!(weaviate.object(ID).unwrap()["properties"]["status"], "a");
}

#[test]
fn put_never_creates_and_needs_the_same_id_twice() {
    let weaviate = strict();
    let path = format!("/v1/objects/{CLASS}/{ID}");
    let (status, answer) = ask(&weaviate, "PUT", &path, Some(object(json!({}))));
    let reason = json!({ "error": [{ "message": format!("no object with id '{ID}'") }] });
    assert!(
        [(404, Value::Null), (500, reason)].contains(&(status, answer.clone())),
        "{status} {answer}: which of them depends on the release"
    );
    for body in [
        json!({ "class": CLASS, "properties": {} }),
        json!({ "class": CLASS, "id": OTHER, "properties": {} }),
    ] {
        let (status, answer) = ask(&weaviate, "PUT", &path, Some(body));
        assert_eq!(
            (status, message_of(&answer)),
            (422, "invalid update: field 'id' is immutable")
        );
    }
    assert!(weaviate.objects().is_empty());
}

#[test]
fn put_replaces_and_patch_merges() {
    let weaviate = strict();
    let path = format!("/v1/objects/{CLASS}/{ID}");
    weaviate.put_object(ID, json!({ "status": "a", "title": "t", "url": "u" }));
    let patch = object(json!({ "status": "b", "url": null }));
    assert_eq!(
        ask(&weaviate, "PATCH", &path, Some(patch)),
        (204, Value::Null)
    );
    assert_eq!(
        weaviate.object(ID).unwrap()["properties"],
        json!({ "status": "b", "title": "t" })
    );
    assert_eq!(
        ask(&weaviate, "PUT", &path, Some(object(json!({ "url": "v" })))).0,
        200
    );
    assert_eq!(
        weaviate.object(ID).unwrap()["properties"],
        json!({ "url": "v" })
    );
    let missing = format!("/v1/objects/{CLASS}/{OTHER}");
    assert_eq!(
        ask(
            &weaviate,
            "PATCH",
            &missing,
            Some(json!({ "class": CLASS, "id": OTHER }))
        ),
        (404, Value::Null)
    );
}

#[test]
fn delete_of_a_missing_object_succeeds() {
    let weaviate = strict();
    weaviate.put_object(ID, json!({}));
    for _ in 0..2 {
        assert_eq!(
            ask(
                &weaviate,
                "DELETE",
                &format!("/v1/objects/{CLASS}/{ID}"),
                None
            ),
            (204, Value::Null)
        );
        assert!(weaviate.objects().is_empty());
    }
}

#[test]
fn a_batch_answers_200_with_a_result_per_object() {
    let weaviate = strict();
    for (bad, expected) in [
        (
            json!({ "colour": "red" }),
            "no such prop with name 'colour' found in class 'AgiraObject' in the schema",
        ),
        (
            json!({ "status": 1 }),
            "invalid text property 'status' on class 'AgiraObject': not a string, but json.Number",
        ),
        (
            json!({ "created_at": "2026-01-01" }),
            "requires a string with a RFC3339 formatted date, but the given value is",
        ),
        (
            json!({ "created_at": "2026-01-01T00:00:00" }),
            "requires a string with a RFC3339 formatted date",
        ),
        (
            json!({ "created_at": 5 }),
            "requires a string with a RFC3339 formatted date, but the given value is '5'",
        ),
        (
            json!({ "size_bytes": 1.5 }),
            "the JSON number '1.5' could not be converted to an int",
        ),
        (
            json!({ "size_bytes": 1.0 }),
            "the JSON number '1.0' could not be converted to an int",
        ),
        (
            json!({ "size_bytes": "1" }),
            "invalid integer property 'size_bytes' on class 'AgiraObject'",
        ),
    ] {
        let result = batch_result(&weaviate, object(bad.clone()));
        let reason = result["errors"]["error"][0]["message"]
            .as_str()
            .unwrap_or_default();
        assert!(
            result["status"] == "FAILED" && reason.contains(expected),
            "{bad}: {result}"
        );
    }
    assert!(weaviate.objects().is_empty());
    let with_tenant = json!({ "class": CLASS, "id": ID, "properties": {}, "tenant": "t" });
    assert_eq!(batch_result(&weaviate, with_tenant)["status"], "FAILED");
    let empty = ask(
        &weaviate,
        "POST",
        "/v1/batch/objects",
        Some(json!({ "objects": [] })),
    );
    assert_eq!(
        (empty.0, message_of(&empty.1).contains("cannot be empty")),
        (422, true)
    );
}

#[test]
fn an_invalid_id_rejects_the_whole_batch() {
    let weaviate = strict();
    let objects = json!({ "objects": [object(json!({})), { "class": CLASS, "id": "nonsense", "properties": {} }] });
    let (status, answer) = ask(&weaviate, "POST", "/v1/batch/objects", Some(objects));
    assert_eq!((status, answer["code"].as_u64()), (422, Some(601)));
    assert_eq!(
        answer["message"],
        "body.objects.1.id in body must be of type uuid: \"nonsense\""
    );
    assert!(weaviate.objects().is_empty());
    let (status, answer) = ask(
        &weaviate,
        "GET",
        &format!("/v1/objects/{CLASS}/nonsense"),
        None,
    );
    assert_eq!((status, answer["code"].as_u64()), (422, Some(601)));
}

#[test]
fn the_last_object_wins_if_an_id_is_twice_in_a_batch() {
    let weaviate = strict();
    let objects = json!({ "objects": [object(json!({ "status": "first" })), object(json!({ "status": "last" }))] });
    let (status, answer) = ask(&weaviate, "POST", "/v1/batch/objects", Some(objects));
    let results = [
        &answer[0]["result"]["status"],
        &answer[1]["result"]["status"],
    ];
    assert_eq!(
        (status, results),
        (200, [&json!("SUCCESS"), &json!("SUCCESS")])
    );
    assert_eq!(
        weaviate.objects(),
        BTreeMap::from([(ID.to_owned(), object(json!({ "status": "last" })))])
    );
}

/// The result for the other objects depends on the release; a client that believes it loses them.
#[test]
fn a_read_only_shard_reports_only_the_first_object_of_a_batch() {
    let weaviate = strict();
    weaviate.set_read_only(true);
    let other = json!({ "class": CLASS, "id": OTHER, "properties": {} });
    let objects = json!({ "objects": [object(json!({})), other] });
    let (status, answer) = ask(&weaviate, "POST", "/v1/batch/objects", Some(objects));
    assert_eq!(status, 200, "{answer}");
    let reason = &answer[0]["result"]["errors"]["error"][0]["message"];
    assert_eq!(reason, "store is read-only due to: manually set by user");
    assert!(weaviate.objects().is_empty());
    let (status, answer) = ask(&weaviate, "POST", "/v1/objects", Some(object(json!({}))));
    assert!(
        status == 500 && message_of(&answer).contains("store is read-only"),
        "{status} {answer}"
    );
    weaviate.set_read_only(false);
    assert_eq!(
        batch_result(&weaviate, object(json!({})))["status"],
        "SUCCESS"
    );
}

#[test]
fn a_batch_replaces_whole_objects_vectors_included() {
    let weaviate = strict();
    let mut first = object(json!({ "status": "a", "title": "t" }));
    first["vector"] = json!([0.5, 1.0]);
    weaviate.put_whole_object(first);
    assert_eq!(
        batch_result(&weaviate, object(json!({ "status": "b", "title": null })))["status"],
        "SUCCESS"
    );
    assert_eq!(
        weaviate.object(ID).unwrap(),
        object(json!({ "status": "b" }))
    );
}

#[test]
fn a_vector_has_to_fit_the_class() {
    let weaviate = strict();
    let result = |beside: Value| {
        let mut object = object(json!({}));
        object
            .as_object_mut()
            .unwrap()
            .extend(beside.as_object().unwrap().clone());
        let result = batch_result(&weaviate, object);
        result["errors"]["error"][0]["message"]
            .as_str()
            .unwrap_or("written")
            .to_owned()
    };
    assert_eq!(result(json!({ "vector": [0.5, 1.0, 0.25] })), "written");
    assert_eq!(result(json!({ "vector": [] })), "written");
    assert!(
        result(json!({ "vector": [0.5] }))
            .contains("vector with length 1. Existing nodes have vectors with length 3")
    );
    assert_eq!(
        result(json!({ "vectors": { "a": [1] } })),
        "collection AgiraObject does not have configuration for vector a"
    );
}

#[test]
fn ids_match_in_any_case_except_in_filters() {
    let weaviate = strict();
    let upper =
        json!({ "class": CLASS, "id": ID.to_uppercase(), "properties": { "status": "open" } });
    assert_eq!(batch_result(&weaviate, upper)["status"], "SUCCESS");
    for id in [ID.to_owned(), ID.to_uppercase()] {
        let (status, found) = ask(&weaviate, "GET", &format!("/v1/objects/{CLASS}/{id}"), None);
        assert_eq!((status, &found["id"]), (200, &json!(ID)));
    }
    let found =
        |id: &str| query(&weaviate, "status", &format!("[\"{id}\"]"))["data"]["Get"][CLASS].clone();
    assert_eq!(
        (found(ID), found(&ID.to_uppercase())),
        (json!([]), json!([{ "status": "open" }]))
    );
}

#[test]
fn auto_schema_adds_unknown_properties() {
    let weaviate = with_class(Settings::default());
    let given = json!({ "colour": "red", "count": 3, "at": "2026-01-01T00:00:00Z", "is": true, "nothing": null });
    assert_eq!(batch_result(&weaviate, object(given))["status"], "SUCCESS");
    let class = weaviate.class().unwrap();
    let properties = class["properties"].as_array().unwrap();
    let added = |name: &str| {
        properties
            .iter()
            .find(|property| property["name"] == name)
            .map(|property| property["dataType"][0].clone())
    };
    let added = ["colour", "count", "at", "is", "nothing"].map(added);
    assert_eq!(
        added,
        ["text", "number", "date", "boolean", "text"].map(|data_type| Some(json!(data_type)))
    );
}

#[test]
fn only_auto_schema_creates_a_missing_class() {
    let object = || json!({ "class": CLASS, "id": ID, "properties": { "created_at": "2026-01-01T00:00:00Z" } });
    let weaviate = Weaviate::start_with(Settings {
        auto_schema: false,
        ..Settings::default()
    });
    let result = batch_result(&weaviate, object());
    assert_eq!(
        result["errors"]["error"][0]["message"],
        "class 'AgiraObject' not present in schema"
    );
    let weaviate = Weaviate::start();
    assert_eq!(batch_result(&weaviate, object())["status"], "SUCCESS");
    assert_eq!(
        weaviate.class().unwrap()["properties"][0]["dataType"],
        json!(["date"])
    );
}

#[test]
fn dates_come_back_as_go_prints_them() {
    let weaviate = strict();
    for (sent, kept) in [
        (
            "2026-01-01T00:00:00.500+01:00",
            "2026-01-01T00:00:00.5+01:00",
        ),
        (
            "2026-01-24T19:52:40.473439+00:00",
            "2026-01-24T19:52:40.473439Z",
        ),
        ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z"),
    ] {
        weaviate.put_object(ID, json!({ "created_at": sent }));
        assert_eq!(
            weaviate.object(ID).unwrap()["properties"]["created_at"],
            kept
        );
    }
}

fn query(weaviate: &Weaviate, fields: &str, ids: &str) -> Value {
    let query = format!(
        "{{ Get {{ {CLASS}(limit: 10, where: {{path: [\"id\"], operator: ContainsAny, valueText: {ids}}}) {{ {fields} }} }} }}"
    );
    let (status, answer) = ask(
        weaviate,
        "POST",
        "/v1/graphql",
        Some(json!({ "query": query })),
    );
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn graphql_reads_ids_and_rejects_unknown_fields() {
    let weaviate = strict();
    weaviate.put_object(
        ID,
        json!({ "status": "open", "size_bytes": 3_000_000_000_u64 }),
    );
    let fields = "status org_id size_bytes _additional { id vector }";
    let answer = query(
        &weaviate,
        fields,
        &format!("[\"{ID}\", \"{}\"]", Uuid::nil()),
    );
    let expected = json!({
        "status": "open", "org_id": null, "size_bytes": null, "_additional": { "id": ID, "vector": [] }
    });
    assert_eq!(
        answer,
        json!({ "data": { "Get": { CLASS: [expected] } } }),
        "integers have 32 bits there"
    );
    let unknown = query(&weaviate, "colour", &format!("[\"{ID}\"]"));
    let said = unknown["errors"][0]["message"].as_str().unwrap();
    assert!(
        said.starts_with("Cannot query field \"colour\" on type \"AgiraObject\"."),
        "{said}"
    );
    let no_list = query(&weaviate, "status", &format!("\"{ID}\""));
    let said = no_list["errors"][0]["message"].as_str().unwrap();
    assert!(
        said.contains("value type should be []string but is string"),
        "{said}"
    );
    assert_eq!(no_list["data"]["Get"][CLASS], Value::Null);
}

#[test]
fn graphql_answers_have_a_default_and_a_highest_limit() {
    let weaviate = with_class(Settings {
        default_limit: 1,
        ..Settings::default()
    });
    weaviate.put_object(ID, json!({ "status": "open" }));
    weaviate.put_object(OTHER, json!({ "status": "open" }));
    let ask = |arguments: &str| {
        let query = format!("{{ Get {{ {CLASS}{arguments} {{ status }} }} }}");
        ask(
            &weaviate,
            "POST",
            "/v1/graphql",
            Some(json!({ "query": query })),
        )
        .1
    };
    let found = |arguments: &str| {
        ask(arguments)["data"]["Get"][CLASS]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(
        (found(""), found("(limit: 10000)"), found("(limit: 10001)")),
        (Some(1), Some(2), None)
    );
    let refused = ask("(limit: 10001)");
    assert!(
        refused["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("query maximum results exceeded"),
        "{refused}"
    );
}

#[test]
fn graphql_can_be_off_and_needs_a_class() {
    let graphql = |weaviate: &Weaviate| {
        let (status, answer) = ask(
            weaviate,
            "POST",
            "/v1/graphql",
            Some(json!({ "query": "{ Get { A { b } } }" })),
        );
        (status, message_of(&answer).to_owned())
    };
    let off = with_class(Settings {
        graphql: GraphQl::Disabled422,
        ..Settings::default()
    });
    assert_eq!(graphql(&off), (422, "graphql api is disabled".to_owned()));
    let (status, reason) = graphql(&Weaviate::start());
    assert!(
        status == 422 && reason.starts_with("no graphql provider present"),
        "{status} {reason}"
    );
}

#[test]
fn a_wrong_key_is_401_in_the_frameworks_shape() {
    let weaviate = with_class(Settings {
        api_key: Some("right".to_owned()),
        ..Settings::default()
    });
    let (status, answer) = ask(&weaviate, "GET", "/v1/meta", None);
    assert_eq!((status, answer["code"].as_u64()), (401, Some(401)));
    assert_eq!(ask(&weaviate, "GET", "/v1/.well-known/ready", None).0, 200);
}

#[test]
fn only_the_exact_path_reports_readiness() {
    assert_eq!(ask(&strict(), "GET", "/v1/.well-known/ready", None).0, 200);
    assert_eq!(
        ask(&strict(), "GET", "/v1/.well-known/ready?now", None).0,
        501
    );
}

#[test]
fn objects_are_listed_in_pages_after_an_id() {
    let weaviate = strict();
    weaviate.put_object(ID, json!({}));
    weaviate.put_object(OTHER, json!({}));
    let list = |parameters: &str| ask(&weaviate, "GET", &format!("/v1/objects?{parameters}"), None);
    let (status, page) = list(&format!("class={CLASS}&limit=5&after={ID}"));
    assert_eq!(
        (status, &page["totalResults"], &page["objects"][0]["id"]),
        (200, &json!(1), &json!(OTHER))
    );
    assert_eq!(list(&format!("class={CLASS}&offset=1&after={ID}")).0, 422);
    assert_eq!(list(&format!("class={CLASS}&limit=10001")).0, 422);
    assert_eq!(list("class=Nothing"), (404, Value::Null));
}

#[test]
fn classes_are_checked() {
    let weaviate = strict();
    let (status, answer) = ask(&weaviate, "POST", "/v1/schema", Some(agira_class()));
    assert_eq!(
        (status, message_of(&answer)),
        (422, "class name AgiraObject already exists")
    );
    let create = |mut class: Value| {
        class["class"] = json!("Other");
        ask(&weaviate, "POST", "/v1/schema", Some(class)).0
    };
    let with = |property: Value| create(json!({ "vectorizer": "none", "properties": [property] }));
    let for_a_module = |module: &str| {
        with(
            json!({ "name": "n", "dataType": ["text"], "moduleConfig": { module: { "skip": true } } }),
        )
    };
    assert_eq!(with(json!({ "name": "id", "dataType": ["text"] })), 422);
    assert_eq!(
        with(json!({ "name": "n", "dataType": ["int"], "tokenization": "word" })),
        422
    );
    assert_eq!(with(json!({ "name": "n n", "dataType": ["text"] })), 422);
    assert_eq!(with(json!({ "name": "n", "dataType": ["wrong"] })), 422);
    assert_eq!(for_a_module("text2vec-openai"), 422);
    assert_eq!(create(json!({ "vectorizer": "text2vec-nobody" })), 422);
    let named = json!({ "own": { "vectorizer": { "none": {} }, "vectorIndexType": "hnsw" } });
    assert_eq!(
        create(json!({ "vectorizer": "none", "vectorConfig": named })),
        422
    );
    assert_eq!(create(json!({ "vectorConfig": named })), 200);
    assert_eq!(
        ask(&weaviate, "GET", "/v1/schema/other", None).0,
        200,
        "the first letter's case is given"
    );
    assert_eq!(
        ask(&weaviate, "DELETE", "/v1/schema/Other", None),
        (200, Value::Null)
    );
    assert_eq!(
        for_a_module("text2vec-nobody"),
        200,
        "what it does not know it does not mind"
    );
}

#[test]
fn the_framework_has_its_own_shape_of_errors() {
    let weaviate = strict();
    for (method, path, status) in [("GET", "/v1/nothing", 404), ("DELETE", "/v1/meta", 405)] {
        let (answered, answer) = ask(&weaviate, method, path, None);
        assert_eq!(
            (answered, answer["code"].as_u64()),
            (status, Some(u64::from(status))),
            "{answer}"
        );
        assert!(answer["message"].is_string());
    }
    let (status, answer) = ask(
        &weaviate,
        "GET",
        &format!("/v1/objects/{CLASS}/{ID}?consistency_level=MOST"),
        None,
    );
    assert!(
        status == 400 && message_of(&answer).starts_with("unrecognized consistency level 'MOST'"),
        "{answer}"
    );
}

/// Behavior that no setting of a real server causes.
mod simulated {
    use super::*;

    #[test]
    fn graphql_can_be_off_in_other_ways() {
        let weaviate = strict();
        let status = |graphql| {
            weaviate.settings().graphql = graphql;
            ask(
                &weaviate,
                "POST",
                "/v1/graphql",
                Some(json!({ "query": "{ Get { AgiraObject { status } } }" })),
            )
            .0
        };
        assert_eq!(
            [GraphQl::Disabled410, GraphQl::Forbidden, GraphQl::On].map(status),
            [410, 403, 200]
        );
    }

    #[test]
    fn put_of_a_missing_object_is_answered_as_either_release_does() {
        let weaviate = strict();
        let status = |put_missing| {
            weaviate.settings().put_missing = put_missing;
            ask(
                &weaviate,
                "PUT",
                &format!("/v1/objects/{CLASS}/{ID}"),
                Some(object(json!({}))),
            )
            .0
        };
        assert_eq!(
            [PutMissing::NotFound, PutMissing::Error].map(status),
            [404, 500]
        );
    }

    #[test]
    fn endings_that_newer_releases_reserve_are_refused() {
        let class = json!({ "class": "Other", "properties": [{ "name": "a_searchable", "dataType": ["text"] }] });
        assert_eq!(ask(&strict(), "POST", "/v1/schema", Some(class)).0, 422);
    }
}
