//! What one issue's or one repository's failure means, and that it never spoils the others.

use kit::github::Fault;
use serde_json::{Value, json};

use super::*;

/// The look at the one in the middle of three fails like this; the others are seen.
#[track_caller]
fn check_middle(simulator: &Simulator, expected: impl FnOnce(&str) -> LookError, said: &[&str]) {
    let mut looks = looks(simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
    assert!(looks[0].is_ok() && looks[2].is_ok(), "{looks:?}");
    let error = looks.remove(1).expect_err("a failure");
    let (LookError::Gone(reason) | LookError::RepositoryHidden(reason) | LookError::Failed(reason)) =
        error.clone();
    assert_eq!(error, expected(&reason));
    assert!(said.iter().all(|part| reason.contains(part)), "{reason}");
}

fn gone(reason: &str) -> LookError {
    LookError::Gone(reason.to_owned())
}

fn hidden(reason: &str) -> LookError {
    LookError::RepositoryHidden(reason.to_owned())
}

fn failed(reason: &str) -> LookError {
    LookError::Failed(reason.to_owned())
}

fn three() -> Simulator {
    with_issues(&["acme/shop#1", "acme/other#2", "acme/shop#3"])
}

/// GitHub's answer to the three, changed.
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
    check_middle(&simulator, gone, &["acme/other#2", "deleted"]);
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
        gone,
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
    check_middle(&simulator, gone, &["https://github.com/acme/last/issues/1"]);
}

#[test]
fn an_issue_deleted_from_a_repository_that_was_renamed_is_deleted_and_not_moved() {
    let simulator = three();
    simulator.delete("acme/other#2");
    simulator.rename_repository("acme/other", "acme/another");
    check_middle(&simulator, gone, &["deleted"]);
}

#[test]
fn an_issue_transferred_from_a_repository_that_was_renamed_is_named_with_its_new_address() {
    let simulator = three();
    simulator.transfer("acme/other#2", "acme/shop#7");
    simulator.rename_repository("acme/other", "acme/another");
    check_middle(&simulator, gone, &["https://github.com/acme/shop/issues/7"]);
}

#[test]
fn an_issue_that_never_was_is_gone() {
    let simulator = with_issues(&["acme/shop#1", "acme/other#1", "acme/shop#3"]);
    check_middle(&simulator, gone, &["acme/other#2", "not found"]);
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
        check_middle(&simulator, failed, &["acme/other#2 gave status 301"]);
        assert_eq!(simulator.requests().len(), 2);
        assert!(other.requests().is_empty(), "{:?}", other.requests());
    }
}

#[test]
fn addresses_that_lead_in_a_circle_are_left() {
    let simulator = three();
    simulator.delete("acme/other#2");
    let answer = recorded(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]).remove(0);
    let location = format!("{}/repositories/1/issues/7", simulator.url());
    simulator.fail_next(1, &Fault::Answer(answer));
    simulator.fail_next(
        100,
        &Fault::Answer(Response::empty(301).header("location", &location)),
    );
    check_middle(&simulator, gone, &[&location]);
    assert!(simulator.requests().len() < 10);
}

#[test]
fn a_repository_that_rest_does_not_open_is_hidden_and_stops_nobody() {
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
        hidden,
        &["acme/other", "not accessible", "issues=read"],
    );
}

#[test]
fn an_issue_that_only_rest_finds_is_looked_at_again() {
    let simulator = three();
    let missing = changed(&simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"] = Value::Null;
        answer["errors"] = json!([{ "type": "NOT_FOUND", "path": ["t1", "issueOrPullRequest"], "message": "gone?" }]);
    });
    simulator.fail_next(1, &missing);
    check_middle(&simulator, failed, &["by REST but not by GraphQL"]);
}

#[test]
fn a_hidden_repository_is_told_from_a_missing_issue() {
    let simulator = three();
    simulator.hide_repository("acme/other");
    check_middle(
        &simulator,
        hidden,
        &["acme/other", "cannot be seen", "token"],
    );
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn errors_go_to_the_issue_that_their_path_names() {
    for (kind, expected) in [
        ("FORBIDDEN", hidden as fn(&str) -> LookError),
        ("SERVICE_UNAVAILABLE", failed),
        ("SOMETHING_NEW", failed),
    ] {
        let simulator = three();
        let (alias, message) = ("t1".to_owned(), "not for\nyou".to_owned());
        simulator.fail_next(
            1,
            &Fault::Alias {
                alias,
                kind: kind.to_owned(),
                message,
            },
        );
        check_middle(&simulator, expected, &[kind, "not for\\nyou"]);
    }
}

#[test]
fn a_part_that_is_forbidden_is_the_repositorys_failure() {
    let simulator = three();
    let forbidden = changed(&simulator, |answer| {
        answer["data"]["t1"]["issueOrPullRequest"]["timelineItems"] = Value::Null;
        let path = json!(["t1", "issueOrPullRequest", "timelineItems"]);
        answer["errors"] =
            json!([{ "type": "FORBIDDEN", "path": path, "message": "Resource not accessible" }]);
    });
    simulator.fail_next(1, &forbidden);
    check_middle(&simulator, hidden, &["not accessible"]);
}

/// GitHub's answer to the three, with an error in the place of the middle one's only mention.
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
fn a_mention_that_is_hidden_spoils_nothing() {
    let sign_on = json!({ "type": "FORBIDDEN", "message": "SAML enforcement", "extensions": { "saml_failure": true } });
    for error in [
        sign_on,
        json!({ "type": "NOT_FOUND", "message": "Could not resolve" }),
    ] {
        let simulator = three();
        let hidden = mention_failing(&simulator, &error);
        simulator.fail_next(1, &hidden);
        let looks = looks(&simulator, &["acme/shop#1", "acme/other#2", "acme/shop#3"]);
        assert!(looks.iter().all(Result::is_ok), "{looks:?}");
        assert_eq!(simulator.requests().len(), 1);
    }
}

#[test]
fn a_mention_that_failed_otherwise_is_not_taken_for_none() {
    let said = "Resource not accessible by personal access token";
    let lacking =
        json!({ "type": "FORBIDDEN", "message": said, "extensions": { "saml_failure": false } });
    let later = json!({ "type": "SERVICE_UNAVAILABLE", "message": "try later" });
    for (error, expected, said) in [
        (lacking, hidden as fn(&str) -> LookError, said),
        (later, failed, "try later"),
    ] {
        let simulator = three();
        let failing = mention_failing(&simulator, &error);
        simulator.fail_next(1, &failing);
        check_middle(&simulator, expected, &[said]);
    }
}

#[test]
fn null_without_an_error_hides_the_repository_or_is_a_failure() {
    let null = |path: &str| {
        let simulator = three();
        let null = changed(&simulator, |answer| {
            *answer.pointer_mut(path).expect(path) = Value::Null
        });
        simulator.fail_next(1, &null);
        simulator
    };
    check_middle(
        &null("/data/t1"),
        hidden,
        &["GitHub says nothing about repository"],
    );
    check_middle(
        &null("/data/t1/issueOrPullRequest"),
        failed,
        &["GitHub answered unexpectedly"],
    );
}

#[test]
fn an_issue_without_a_usable_id_is_a_failure() {
    for id in [Value::Null, json!("many"), json!("99999999999999999999")] {
        let simulator = three();
        let without = changed(&simulator, |answer| {
            answer["data"]["t1"]["issueOrPullRequest"]["fullDatabaseId"] = id
        });
        simulator.fail_next(1, &without);
        check_middle(&simulator, failed, &["fullDatabaseId"]);
    }
}
