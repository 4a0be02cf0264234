//! Objects and their texts, compared with Agira's form.

use serde_json::json;

use super::super::model::*;
use super::*;

#[track_caller]
fn check_uuid(object_type: ObjectType, expected: &str) {
    assert_eq!(
        ObjectKey {
            object_type,
            object_id: "1".to_owned()
        }
        .uuid()
        .to_string(),
        expected
    );
}

#[test]
fn uuids_are_agiras() {
    check_uuid(ObjectType::Item, "00a700b1-f9b6-5e47-9438-d49140cd8928");
    check_uuid(
        ObjectType::GithubIssue,
        "8f269b6e-47db-5157-9f1b-0ff2ee824feb",
    );
    check_uuid(ObjectType::GithubPr, "4dd76b06-64a2-5478-bb06-3c80f473017e");
}

fn item() -> Item {
    Item {
        id: ItemId(1),
        title: "Add Crud Operation to Entity Project in User UI ".to_owned(),
        description: "Betrifft UI /items/inbox/\n\n## ListView\n1. ...".to_owned(),
        solution_description: String::new(),
        status: ItemStatus("Working".to_owned()),
        project_id: 1,
        organisation_id: Some(1),
        created_at: "2026-01-24T19:52:40.473439Z".parse().unwrap(),
        updated_at: "2026-01-25T10:08:59.748469Z".parse().unwrap(),
        project_repository: None,
    }
}

fn mapping(kind: Kind) -> Mapping {
    Mapping {
        id: MappingId(42),
        item_id: ItemId(1),
        kind,
        ..Mapping::default()
    }
}

fn snapshot(details: Details) -> Snapshot {
    Snapshot {
        github_id: GithubId(4_000_000_001),
        repository_id: Some(GithubId(1)),
        address: Address {
            repository: Repository::parse("acme/shop").unwrap(),
            number: 12,
        },
        url: "https://github.com/acme/shop/issues/12".to_owned(),
        state: State::Closed,
        title: "Cart loses items".to_owned(),
        body: "Steps".to_owned(),
        labels: vec!["bug".to_owned(), "ui".to_owned()],
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        updated_at: "2026-01-02T00:00:00Z".parse().unwrap(),
        missing: Vec::new(),
        details,
    }
}

/// Agira's sample for item 1, as it goes over the wire: RFC 3339 dates, nulls left out.
#[test]
fn the_object_of_item_1_equals_agiras_sample() {
    assert_eq!(
        serde_json::to_value(AgiraObject::of_item(&item())).unwrap(),
        json!({
            "type": "item", "object_id": "1", "project_id": "1", "org_id": "1",
            "title": "Add Crud Operation to Entity Project in User UI ",
            "text": "Status: Working\n\nBetrifft UI /items/inbox/\n\n## ListView\n1. ...",
            "status": "Working", "url": "/items/1/", "source_system": "agira",
            "created_at": "2026-01-24T19:52:40.473439Z", "updated_at": "2026-01-25T10:08:59.748469Z",
        })
    );
}

#[test]
fn a_solution_follows_two_blank_lines() {
    let solved = Item {
        description: "Seeded description.".to_owned(),
        solution_description: "Fixed it.".to_owned(),
        status: ItemStatus::testing(),
        ..item()
    };
    assert_eq!(
        AgiraObject::of_item(&solved).text,
        "Status: Testing\n\nSeeded description.\n\n\nSolution:\nFixed it."
    );
}

#[test]
fn an_item_without_organisation_has_no_org_id() {
    let alone = Item {
        organisation_id: None,
        ..item()
    };
    assert!(
        serde_json::to_value(AgiraObject::of_item(&alone))
            .unwrap()
            .get("org_id")
            .is_none()
    );
}

#[test]
fn an_issue_has_githubs_content_and_the_items_place() {
    let details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    assert_eq!(
        serde_json::to_value(AgiraObject::of_mapping(
            &mapping(Kind::Issue),
            &item(),
            &snapshot(details)
        ))
        .unwrap(),
        json!({
            "type": "github_issue", "object_id": "42", "project_id": "1", "org_id": "1", "title": "Cart loses items",
            "text": "State: closed\n\nCart loses items\n\nSteps\n\n\nLabels: bug, ui", "status": "closed",
            "url": "https://github.com/acme/shop/issues/12", "source_system": "github",
            "external_key": "acme/shop#12", "parent_object_id": "1",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z",
        })
    );
}

#[test]
fn a_pull_request_names_files_and_commits_and_how_many_more_there_are() {
    let details = Details::PullRequest {
        merged_at: None,
        merge_commit_sha: None,
        files: TruncatedList {
            first: vec!["src/cart.rs".to_owned()],
            total: 3,
        },
        commits: TruncatedList {
            first: vec!["Keep the cart".to_owned()],
            total: 1,
        },
    };
    let object = AgiraObject::of_mapping(&mapping(Kind::PullRequest), &item(), &snapshot(details));
    assert_eq!(object.object_type, ObjectType::GithubPr);
    assert_eq!(
        object.text,
        "State: closed\n\nCart loses items\n\nSteps\n\n\nChanged files:\n- src/cart.rs\n- and 2 more\n\n\nCommits:\n- Keep the cart\n\n\nLabels: bug, ui"
    );
}

fn issue(title: &str, body: &str, labels: &[&str]) -> String {
    text_of(&Snapshot {
        title: title.to_owned(),
        body: body.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..snapshot(Details::Issue {
            closed_at: None,
            close_reason: None,
            pull_requests: Vec::new(),
            reopened_at: None,
            some_hidden: false,
        })
    })
}

/// Agira joins the parts that exist with one line break; a part begins with two of its own.
#[test]
fn texts_have_agiras_form_whatever_is_empty() {
    for (description, solution, expected) in [
        ("", "", "Status: Working\n\n"),
        ("Text", "", "Status: Working\n\nText"),
        ("", "Done", "Status: Working\n\n\n\nSolution:\nDone"),
        (
            "Text",
            "Done",
            "Status: Working\n\nText\n\n\nSolution:\nDone",
        ),
    ] {
        let item = Item {
            description: description.to_owned(),
            solution_description: solution.to_owned(),
            ..item()
        };
        assert_eq!(AgiraObject::of_item(&item).text, expected);
    }
    for (title, body, labels, expected) in [
        ("", "", &[][..], "State: closed\n\n"),
        ("", "", &["a", "b"], "State: closed\n\n\n\nLabels: a, b"),
        ("", "Text", &[], "State: closed\n\nText"),
        ("", "Text", &["a"], "State: closed\n\nText\n\n\nLabels: a"),
        ("Title", "", &[], "State: closed\n\nTitle"),
        ("Title", "", &["a"], "State: closed\n\nTitle\n\n\nLabels: a"),
        ("Title", "Text", &[], "State: closed\n\nTitle\n\nText"),
        (
            "Title",
            "Text",
            &["a"],
            "State: closed\n\nTitle\n\nText\n\n\nLabels: a",
        ),
    ] {
        assert_eq!(issue(title, body, labels), expected);
    }
}

#[track_caller]
fn check_bound(body: &str, kept: usize, more: usize) {
    let beginning: String = body.chars().take(kept).collect();
    let url = "https://github.com/acme/shop/issues/12";
    let expected = match more {
        0 => beginning,
        _ => format!("{beginning}\n... and {more} more characters: {url}"),
    };
    assert_eq!(bounded(body, url), expected);
}

#[test]
fn a_long_body_ends_at_a_line_or_a_character_and_says_how_much_more_there_is() {
    check_bound(&"ü".repeat(24_000), 24_000, 0);
    check_bound(&"ü".repeat(24_001), 24_000, 1);
    check_bound(
        &format!("{}\n{}", "ü".repeat(23_000), "a".repeat(2_000)),
        23_000,
        2_001,
    );
    check_bound(&format!("ü\n{}", "a".repeat(30_000)), 24_000, 6_002);
}
