//! Reading the state of many ids, with GraphQL and without.

use kit::weaviate::Fault;

use super::*;

/// Creates an object for every second one of these mappings, with the number of the mapping in the status.
fn simulator(mappings: std::ops::Range<i64>) -> Simulator {
    filled(Settings::default(), mappings)
}

/// Creates the same on a server with these settings.
fn filled(settings: Settings, mappings: std::ops::Range<i64>) -> Simulator {
    let simulator = with_settings(settings);
    for mapping in mappings.step_by(2) {
        let properties = json!({ "status": format!("status {mapping}"), "parent_object_id": "7" });
        simulator.put_object(&id(mapping).to_string(), properties);
    }
    simulator
}

/// Checks that every second one of these mappings has its object, and that the others have none.
#[track_caller]
fn check_every_second(client: &mut Weaviate, mappings: std::ops::Range<i64>) {
    let found = client
        .object_states(&ids(mappings.clone()))
        .expect("statuses");
    assert_eq!(found.len(), mappings.clone().count());
    for (index, mapping) in mappings.enumerate() {
        let present = ObjectState::Present {
            status: Some(format!("status {mapping}")),
            without_parent: false,
        };
        let expected = if index % 2 == 0 {
            present
        } else {
            ObjectState::Missing
        };
        assert_eq!(found[&id(mapping)].state, expected, "{mapping}");
    }
}

#[test]
fn the_statuses_of_250_ids_take_two_requests() {
    let simulator = simulator(0..250);
    check_every_second(&mut ready(&simulator), 0..250);
    assert_eq!(asked(&simulator), ["POST /v1/graphql"; 2]);
    check_one_connection(&simulator);
}

#[track_caller]
fn check_graphql_tried_once(graphql: GraphQl) {
    let simulator = filled(
        Settings {
            graphql,
            ..Settings::default()
        },
        0..5,
    );
    let mut client = ready(&simulator);
    check_every_second(&mut client, 0..5);
    check_every_second(&mut client, 0..5);
    let gets = ids(0..5)
        .into_iter()
        .map(|id| format!("GET /v1/objects/{CLASS}/{id}"));
    let twice: Vec<String> = gets.clone().chain(gets).collect();
    assert_eq!(
        asked(&simulator),
        [vec!["POST /v1/graphql".to_owned()], twice].concat(),
        "{graphql:?}"
    );
    check_one_connection(&simulator);
}

/// Behavior that no setting of a real server causes.
mod simulated {
    use super::*;

    #[test]
    fn graphql_can_be_off_in_other_ways_too() {
        for graphql in [GraphQl::Disabled410, GraphQl::Forbidden] {
            check_graphql_tried_once(graphql);
        }
    }
}

#[test]
fn if_graphql_rejects_the_query_each_object_is_read_by_get() {
    let simulator = simulator(0..5);
    let said = json!({ "data": null, "errors": [{ "message": "Unknown argument \"where\"" }] })
        .to_string();
    let mut client = ready(&simulator);
    simulator.fail_next(1, &Fault::Status(200, said));
    check_every_second(&mut client, 0..5);
    assert_eq!(simulator.requests().len(), 6);
}

#[test]
fn a_busy_graphql_does_not_count_as_disabled() {
    let simulator = simulator(0..5);
    let said = json!({ "data": { "Get": { CLASS: null } }, "errors": [{ "message": "429 Too many requests" }] });
    let mut client = ready(&simulator);
    simulator.fail_next(1, &Fault::Status(200, said.to_string()));
    let error = client.object_states(&ids(0..5)).expect_err("too busy");
    assert_eq!(
        error,
        ServiceError {
            kind: FailureKind::Unavailable,
            status: Some(200),
            message: "429 Too many requests".to_owned()
        }
    );
    simulator.clear_log();
    check_every_second(&mut client, 0..5);
    assert_eq!(asked(&simulator), ["POST /v1/graphql"]);
}

#[test]
fn a_graphql_response_without_objects_is_a_failure() {
    let simulator = simulator(0..5);
    let mut client = ready(&simulator);
    simulator.fail_next(
        1,
        &Fault::Status(200, json!({ "data": { "Get": null } }).to_string()),
    );
    let error = client.object_states(&ids(0..5)).expect_err("no objects");
    assert!(error.kind == FailureKind::Unavailable, "{error:?}");
}

#[test]
fn reading_no_ids_sends_no_request() {
    let simulator = simulator(0..0);
    assert!(
        ready(&simulator)
            .object_states(&[])
            .expect("nothing")
            .is_empty()
    );
    assert!(simulator.requests().is_empty());
}

#[test]
fn a_whole_object_is_read_or_reported_missing() {
    let simulator = simulator(0..2);
    let mut client = ready(&simulator);
    let object = client.object(id(0)).expect("an answer").expect("an object");
    assert_eq!(object["properties"]["status"], "status 0");
    assert_eq!(client.object(id(1)), Ok(None));
}

/// Tests that start their own server, because a running server cannot change these settings.
mod own_server {
    use super::*;

    #[test]
    fn the_servers_default_limit_does_not_shorten_a_response() {
        for limit in [1, 10, 100] {
            let simulator = filled(
                Settings {
                    default_limit: limit,
                    ..Settings::default()
                },
                0..100,
            );
            check_every_second(&mut ready(&simulator), 0..100);
        }
    }

    #[test]
    fn ids_are_sent_in_lower_case() {
        for graphql in GRAPHQL {
            let simulator = filled(
                Settings {
                    graphql,
                    ..Settings::default()
                },
                0..10,
            );
            check_every_second(&mut ready(&simulator), 0..10);
            for exchange in simulator.requests() {
                let sent = exchange.request.path + &String::from_utf8_lossy(&exchange.request.body);
                let in_upper_case = |id: &Uuid| sent.contains(&id.to_string().to_uppercase());
                assert!(!ids(0..10).iter().any(in_upper_case), "{sent}");
            }
        }
    }

    #[test]
    fn if_graphql_is_disabled_each_object_is_read_by_get_and_graphql_is_tried_once() {
        check_graphql_tried_once(GraphQl::Disabled422);
    }

    #[test]
    fn an_object_without_status_or_parent_is_not_a_missing_object() {
        for graphql in GRAPHQL {
            let simulator = with_graphql(graphql);
            simulator.put_object(&id(1).to_string(), json!({ "title": "By Agira" }));
            let found = ready(&simulator)
                .object_states(&ids(1..3))
                .expect("statuses");
            assert_eq!(
                found[&id(1)].state,
                ObjectState::Present {
                    status: None,
                    without_parent: true
                }
            );
            assert_eq!(found[&id(2)].state, ObjectState::Missing);
        }
    }
}
