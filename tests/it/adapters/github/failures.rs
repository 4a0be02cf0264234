//! The classification of failures of one issue or one repository; they never affect the others.

use kit::github::{Fault, NullAlias};
use serde_json::{Value, json};

use super::MappingErrorKind::{Failed, Gone, RepositoryHidden, Unanswered};
use super::*;

/// Checks that the fetch of the second of three issues fails like this, and that the others succeed.
#[track_caller]
fn check_middle(simulator: &Simulator, expected: MappingErrorKind, parts: &[&str]) {
    let mut fetched = fetch_all(simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
    assert!(fetched[0].is_ok() && fetched[2].is_ok(), "{fetched:?}");
    let MappingError { kind, message } = fetched.remove(1).expect_err("a failure");
    assert_eq!(kind, expected, "{message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

fn three() -> Simulator {
    with_issues(&["acme/shop#1", "acme/other#2", "acme/shop#3"])
}

/// Returns GitHub's response about three issues, after a change.
fn changed(simulator: &Simulator, change: impl FnOnce(&mut Value)) -> Fault {
    let answer = recorded(simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]).remove(0);
    let mut body = serde_json::from_slice(&answer.body).expect("JSON");
    change(&mut body);
    Fault::Answer(Response {
        body: body.to_string().into_bytes(),
        ..answer
    })
}

#[test]
fn a_deleted_issue_is_gone() {
    let simulator = three();
    simulator.delete("acme/other#2");
    check_middle(&simulator, Gone, &["acme/other#2", "deleted"]);
    assert_eq!(
        paths(&simulator.requests()),
        ["/graphql", "/repos/acme/other/issues/2"]
    );
}

#[test]
fn a_transferred_issue_is_gone_and_its_new_address_is_named() {
    let simulator = three();
    simulator.transfer("acme/other#2", "acme/shop#7");
    check_middle(
        &simulator,
        Gone,
        &[
            "acme/other#2",
            "https://github.com/acme/shop/issues/7",
            "html_url",
        ],
    );
}

#[test]
fn an_issue_transferred_twice_is_followed_to_its_last_address() {
    let simulator = three();
    simulator.transfer("acme/other#2", "acme/shop#7");
    simulator.transfer("acme/shop#7", "acme/last#1");
    check_middle(&simulator, Gone, &["https://github.com/acme/last/issues/1"]);
}

#[test]
fn an_issue_deleted_from_a_repository_that_was_renamed_is_deleted_and_not_moved() {
    let simulator = three();
    simulator.delete("acme/other#2");
    simulator.rename_repository("acme/other", "acme/another");
    check_middle(&simulator, Gone, &["deleted"]);
}

#[test]
fn an_issue_transferred_from_a_repository_that_was_renamed_is_named_with_its_new_address() {
    let simulator = three();
    simulator.transfer("acme/other#2", "acme/shop#7");
    simulator.rename_repository("acme/other", "acme/another");
    check_middle(&simulator, Gone, &["https://github.com/acme/shop/issues/7"]);
}

#[test]
fn an_issue_that_never_existed_is_gone() {
    let simulator = with_issues(&["acme/shop#1", "acme/other#1", "acme/shop#3"]);
    check_middle(&simulator, Gone, &["acme/other#2", "does not exist"]);
}

#[test]
fn a_token_never_goes_to_another_host() {
    let simulator = three();
    simulator.delete("acme/other#2");
    let other = Simulator::start();
    for location in [
        format!("{}/repositories/1/issues/7", other.url()),
        format!("{}@{}", simulator.url(), other.url()),
    ] {
        let answer =
            recorded(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]).remove(0);
        simulator.fail_next(1, &Fault::Answer(answer));
        simulator.fail_next(
            1,
            &Fault::Answer(Response::empty(301).header("location", &location)),
        );
        check_middle(&simulator, Failed, &["acme/other#2 gave status 301"]);
        assert_eq!(simulator.requests().len(), 2);
        assert!(other.requests().is_empty(), "{:?}", other.requests());
    }
}

#[test]
fn redirects_in_a_circle_are_abandoned() {
    let simulator = three();
    simulator.delete("acme/other#2");
    let answer = recorded(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]).remove(0);
    let location = format!("{}/repositories/1/issues/7", simulator.url());
    simulator.fail_next(1, &Fault::Answer(answer));
    simulator.fail_next(
        100,
        &Fault::Answer(Response::empty(301).header("location", &location)),
    );
    check_middle(&simulator, Gone, &[&location]);
    assert!(simulator.requests().len() < 10);
}

#[test]
fn a_repository_that_rest_cannot_read_is_hidden_and_stops_no_other() {
    let simulator = three();
    simulator.delete("acme/other#2");
    let answer = recorded(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]).remove(0);
    let said = json!({ "message": "Resource not accessible by personal access token" });
    let refusal = Response::json(403, &said).header("x-accepted-github-permissions", "issues=read");
    for answer in [answer, refusal] {
        simulator.fail_next(1, &Fault::Answer(answer));
    }
    check_middle(
        &simulator,
        RepositoryHidden,
        &["acme/other", "not accessible", "issues=read"],
    );
}

#[test]
fn an_issue_that_only_rest_can_read_is_fetched_again_later() {
    let simulator = three();
    let missing = changed(&simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"] = Value::Null;
        answer["errors"] = json!([{ "type": "NOT_FOUND", "path": ["t1", "issueOrPullRequest"], "message": "gone?" }]);
    });
    simulator.fail_next(1, &missing);
    check_middle(&simulator, Failed, &["but GraphQL does not"]);
}

#[test]
fn a_hidden_repository_differs_from_a_missing_issue() {
    let simulator = three();
    simulator.hide_repository("acme/other");
    check_middle(
        &simulator,
        RepositoryHidden,
        &["acme/other", "is hidden from", "token"],
    );
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn an_error_affects_only_the_issue_in_its_path() {
    for (kind, expected) in [
        ("FORBIDDEN", RepositoryHidden),
        ("SERVICE_UNAVAILABLE", Unanswered),
        ("SOMETHING_NEW", Unanswered),
    ] {
        let simulator = three();
        let null = NullAlias {
            message: Some("not for\nyou".to_owned()),
            kind: Some(kind.to_owned()),
            has_path: true,
        };
        simulator.nullify("acme/other#2", 9, null);
        check_middle(&simulator, expected, &[kind, "not for\\nyou"]);
    }
}

#[test]
fn a_forbidden_part_is_a_failure_of_the_repository() {
    let simulator = three();
    let forbidden = changed(&simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"]["timelineItems"] = Value::Null;
        let path = json!(["t1", "issueOrPullRequest", "timelineItems"]);
        answer["errors"] =
            json!([{ "type": "FORBIDDEN", "path": path, "message": "Resource not accessible" }]);
    });
    simulator.fail_next(1, &forbidden);
    check_middle(&simulator, RepositoryHidden, &["not accessible"]);
}

/// Returns GitHub's response about three issues, with an error instead of the only mention of the second one.
fn mention_failing(simulator: &Simulator, error: &Value) -> Fault {
    changed(simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"]["timelineItems"]["nodes"] = json!([null]);
        let mut error = error.clone();
        error["path"] = json!([
            "t1",
            "issueOrPullRequest",
            "timelineItems",
            "nodes",
            0,
            "source"
        ]);
        answer["errors"] = json!([error]);
    })
}

#[test]
fn a_hidden_mention_causes_no_failure() {
    let sign_on = json!({ "type": "FORBIDDEN", "message": "SAML enforcement", "extensions": { "saml_failure": true } });
    let said = "Resource not accessible by personal access token";
    let policy =
        json!({ "type": "FORBIDDEN", "message": said, "extensions": { "saml_failure": false } });
    for error in [
        sign_on,
        policy,
        json!({ "type": "NOT_FOUND", "message": "Could not resolve" }),
    ] {
        let simulator = three();
        let hidden = mention_failing(&simulator, &error);
        simulator.fail_next(1, &hidden);
        let fetched = fetch_all(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
        let hidden: Vec<bool> = fetched
            .iter()
            .map(
                |snapshot| match snapshot.as_ref().expect("an answer").details {
                    Details::Issue { some_hidden, .. } => some_hidden,
                    Details::PullRequest { .. } => false,
                },
            )
            .collect();
        assert_eq!(hidden, [false, true, false], "{error}");
        assert_eq!(simulator.requests().len(), 1);
    }
}

#[test]
fn a_mention_with_an_error_that_may_pass_is_asked_for_again() {
    let later = json!({ "type": "SERVICE_UNAVAILABLE", "message": "try later" });
    let simulator = three();
    let failing = mention_failing(&simulator, &later);
    simulator.fail_next(1, &failing);
    let fetched = fetch_all(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert_eq!(sizes(&simulator), [3, 1]);
}

#[test]
fn null_without_an_error_is_no_answer() {
    let simulator = three();
    let null = NullAlias {
        message: None,
        kind: None,
        has_path: false,
    };
    simulator.nullify("acme/other#2", 9, null);
    check_middle(&simulator, Unanswered, &["no answer about acme/other#2"]);
    let simulator = three();
    let null = changed(&simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"] = Value::Null;
    });
    simulator.fail_next(1, &null);
    let fetched = fetch_all(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
}

#[test]
fn an_issue_without_a_usable_id_is_a_failure() {
    for id in [Value::Null, json!("many"), json!("99999999999999999999")] {
        let simulator = three();
        let without = changed(&simulator, |answer| {
            answer["data"]["t1"]["issueOrPullRequest"]["fullDatabaseId"] = id
        });
        simulator.fail_next(1, &without);
        check_middle(&simulator, Failed, &["fullDatabaseId"]);
    }
}
