//! Small properties of the core that its other tests do not check.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::agira_object::{AgiraObject, ObjectKey, ObjectType};
use super::model::*;
use super::note::{Attention, Note, Question};
use super::outbox::Outbox;
use super::plan::{Action, Plan, WriteReason};
use super::records::{MappingRow, ObjectState, Records};

fn time() -> DateTime<Utc> {
    "2026-03-01T10:00:00.5Z".parse().unwrap()
}

fn repository() -> Repository {
    Repository::parse("Acme/shop").unwrap()
}

fn item() -> Item {
    Item {
        id: ItemId(7),
        title: "Cart".to_owned(),
        description: String::new(),
        solution_description: String::new(),
        status: ItemStatus("Working".to_owned()),
        project_id: 3,
        organisation_id: None,
        created_at: time(),
        updated_at: time(),
        project_repository: Some(repository()),
    }
}

fn mapping(html_url: &str) -> Mapping {
    Mapping {
        id: MappingId(42),
        item_id: ItemId(7),
        github_id: GithubId(1),
        number: 12,
        kind: Kind::Issue,
        state: "open".to_owned(),
        html_url: html_url.to_owned(),
        ..Mapping::default()
    }
}

fn row(number: i32, html_url: &str) -> MappingRow {
    MappingRow {
        id: MappingId(i64::from(number)),
        item_id: ItemId(7),
        github_id: GithubId(-1),
        kind: Kind::PullRequest,
        number,
        state: "open".to_owned(),
        html_url: html_url.to_owned(),
        is_confirmed: false,
        is_scheduled: false,
    }
}

fn pull_request() -> PullRequestRef {
    PullRequestRef {
        github_id: GithubId(9),
        address: Address {
            repository: repository(),
            number: 13,
        },
        url: String::new(),
        state: State::Merged,
        relation: Relation::Closes,
    }
}

#[test]
fn stored_and_shown_names_are_those_of_agira_and_github() {
    for (kind, stored, label) in [
        (Kind::Issue, "Issue", "issue"),
        (Kind::PullRequest, "PR", "pull request"),
        (Kind::Unknown, "unknown", "mapping of unknown kind"),
    ] {
        assert_eq!(
            (kind.as_str(), kind.label(), Kind::parse(stored)),
            (stored, label, kind)
        );
        assert_eq!(json!(kind), stored);
    }
    assert_eq!(
        [State::Open, State::Closed, State::Merged].map(State::as_str),
        ["open", "closed", "merged"]
    );
    let reasons = [
        CloseReason::Completed,
        CloseReason::NotPlanned,
        CloseReason::Duplicate,
    ];
    assert_eq!(
        reasons.map(CloseReason::as_str),
        ["completed", "not_planned", "duplicate"]
    );
    for relation in [Relation::Closes, Relation::Connected] {
        assert_eq!(Relation::parse(relation.as_str()), relation);
        assert_eq!(json!(relation), relation.as_str());
    }
    assert_eq!(
        [Relation::Closes, Relation::Connected].map(Relation::as_str),
        ["closes", "connected"]
    );
    assert_eq!(ItemStatus::testing().to_string(), "Testing");
    let types = [
        ObjectType::Item,
        ObjectType::GithubIssue,
        ObjectType::GithubPr,
    ];
    assert_eq!(
        types.map(ObjectType::as_str),
        ["item", "github_issue", "github_pr"]
    );
}

#[test]
fn ids_and_names_are_shown_as_they_are() {
    assert_eq!(
        (MappingId(42).to_string(), MappingId(1).to_string()),
        ("42".to_owned(), "1".to_owned())
    );
    assert_eq!(
        (MappingId(-1).to_string(), MappingId(0).to_string()),
        ("new".to_owned(), "new".to_owned())
    );
    assert_eq!(
        (ItemId(7).to_string(), GithubId(-13).to_string()),
        ("7".to_owned(), "-13".to_owned())
    );
    let repository = repository();
    assert_eq!(
        (repository.owner(), repository.name(), repository.as_str()),
        ("Acme", "shop", "Acme/shop")
    );
    assert_eq!(
        (repository.key(), repository.to_string()),
        ("acme/shop".to_owned(), "Acme/shop".to_owned())
    );
    assert_ne!(repository, Repository::parse("acme/shop2").unwrap());
    let key = ObjectKey {
        object_type: ObjectType::Item,
        object_id: "7".to_owned(),
    };
    assert_eq!(key.to_string(), "item:7");
}

#[test]
fn hosts_are_compared_without_case_and_path() {
    assert!(same_host("https://GitHub.com/a/b", "https://github.com/c"));
    assert!(!same_host(
        "https://github.com/a/b",
        "https://ghe.example/a/b"
    ));
    assert!(!same_host("https://github.com/a/b", "a/b"));
}

#[test]
fn a_failed_mapping_without_a_next_attempt_is_parked() {
    let healthy = || mapping("");
    let failed = || Mapping {
        error: Some("no luck".to_owned()),
        ..healthy()
    };
    assert!(failed().is_parked());
    assert!(!healthy().is_parked());
    assert!(
        !Mapping {
            due_at: Some(time()),
            ..failed()
        }
        .is_parked()
    );
    assert!(
        !Mapping {
            recheck_at: Some(time()),
            ..failed()
        }
        .is_parked()
    );
}

#[test]
fn the_address_is_html_url_or_a_number_in_the_projects_repository() {
    let named =
        |mapping: Mapping, item: Item| mapping.address(&item).map(|address| address.to_string());
    let elsewhere = "https://github.com/acme/docs/issues/5";
    assert_eq!(
        named(mapping(elsewhere), item()).as_deref(),
        Ok("acme/docs#5")
    );
    assert_eq!(named(mapping(""), item()).as_deref(), Ok("Acme/shop#12"));
    let error_of = |mapping: Mapping, item: Item| named(mapping, item).unwrap_err();
    assert!(
        error_of(
            Mapping {
                kind: Kind::Unknown,
                ..mapping(elsewhere)
            },
            item()
        )
        .contains("neither Issue nor PR")
    );
    assert!(error_of(mapping("nowhere"), item()).contains("\"nowhere\" is not the address"));
    assert!(
        error_of(
            mapping(""),
            Item {
                project_repository: None,
                ..item()
            }
        )
        .contains("project 3 names no repository")
    );
    for number in [0, -12] {
        assert!(
            error_of(
                Mapping {
                    number,
                    ..mapping("")
                },
                item()
            )
            .contains("is not the number of an issue")
        );
    }
    assert!(
        named(
            Mapping {
                number: 1,
                ..mapping("")
            },
            item()
        )
        .is_ok()
    );
}

#[test]
fn a_row_is_matched_by_address_or_in_the_projects_repository() {
    let address = |repository: &str, number| Address {
        repository: Repository::parse(repository).unwrap(),
        number,
    };
    let records_of = |row: MappingRow| {
        let items = [(ItemId(7), item())].into();
        Records {
            items,
            rows: vec![row],
            ..Records::default()
        }
    };
    let is_matched = |row: MappingRow, address: &Address| {
        records_of(row)
            .row_at_address(ItemId(7), Kind::PullRequest, address)
            .is_some()
    };
    let here = address("acme/shop", 13);
    assert!(is_matched(row(13, ""), &here));
    assert!(!is_matched(row(14, ""), &here));
    assert!(!is_matched(row(13, ""), &address("acme/docs", 13)));
    assert!(!is_matched(row(14, ""), &address("acme/docs", 13)));
    assert!(is_matched(
        row(14, "https://github.com/acme/shop/pull/13"),
        &here
    ));
    assert!(!is_matched(
        row(13, "https://github.com/acme/docs/pull/13"),
        &here
    ));
    assert!(!is_matched(
        MappingRow {
            item_id: ItemId(8),
            ..row(13, "")
        },
        &here
    ));
    assert!(!is_matched(
        MappingRow {
            kind: Kind::Issue,
            ..row(13, "")
        },
        &here
    ));

    let numbered = |row: MappingRow| {
        records_of(row)
            .row_with_number(ItemId(7), Kind::PullRequest, 13)
            .is_some()
    };
    assert!(numbered(row(13, "")));
    assert!(!numbered(row(14, "")));
    assert!(!numbered(MappingRow {
        item_id: ItemId(8),
        ..row(13, "")
    }));
    assert!(!numbered(MappingRow {
        kind: Kind::Issue,
        ..row(13, "")
    }));

    let two = Records {
        rows: vec![
            row(13, ""),
            MappingRow {
                github_id: GithubId(5),
                ..row(14, "")
            },
        ],
        ..Records::default()
    };
    assert_eq!(two.row(MappingId(14)).map(|row| row.number), Some(14));
    assert_eq!(
        two.row_with_github_id(GithubId(5)).map(|row| row.number),
        Some(14)
    );
    assert!(two.row(MappingId(15)).is_none() && two.row_with_github_id(GithubId(6)).is_none());
}

#[test]
fn overlay_puts_earlier_changes_over_what_was_read() {
    let key = ObjectKey {
        object_type: ObjectType::Item,
        object_id: "7".to_owned(),
    };
    let mut read = Records {
        rows: vec![row(13, ""), row(14, "")],
        ..Records::default()
    };
    read.objects.insert(key.uuid(), ObjectState::Missing);
    let present = ObjectState::Present {
        status: None,
        without_parent: true,
    };
    let moved = Item {
        status: ItemStatus::testing(),
        ..item()
    };
    let carried = Records {
        decisions: std::collections::HashMap::new(),
        items: [(ItemId(7), moved)].into(),
        rows: vec![
            MappingRow {
                state: "closed".to_owned(),
                ..row(14, "")
            },
            row(15, ""),
        ],
        links: Vec::new(),
        objects: [(key.uuid(), present.clone())].into(),
    };
    read.overlay(&carried);
    let rows: Vec<(i32, &str)> = read
        .rows
        .iter()
        .map(|row| (row.number, row.state.as_str()))
        .collect();
    assert_eq!(rows, [(13, "open"), (14, "closed"), (15, "open")]);
    assert_eq!(read.items[&ItemId(7)].status, ItemStatus::testing());
    assert_eq!(read.object_state(&key, true), Some(&present));
    assert_eq!(
        read.object_state(&key, false),
        Some(&ObjectState::Missing),
        "a row that is not stored has no object"
    );
    assert_eq!(Records::default().object_state(&key, true), None);
}

#[test]
fn an_outbox_counts_the_item_and_the_object() {
    let object = AgiraObject::of_item(&item());
    let outbox = |item, object: Option<&AgiraObject>| Outbox {
        planned_at: time(),
        item,
        object: object.cloned(),
    };
    for (outbox, len) in [
        (outbox(false, None), 0),
        (outbox(true, None), 1),
        (outbox(false, Some(&object)), 1),
        (outbox(true, Some(&object)), 2),
    ] {
        assert_eq!((outbox.len(), outbox.is_empty()), (len, len == 0));
    }
}

#[test]
fn each_action_is_shown_in_one_line_and_as_json() {
    let write = |change| Action::Write {
        object: Box::new(AgiraObject::of_item(&item())),
        change,
    };
    let address = Address {
        repository: repository(),
        number: 13,
    };
    let link = |from| Action::Link {
        pull_request: address.clone(),
        github_id: GithubId(9),
        relation: Relation::Closes,
        from,
    };
    let merge = |body: Option<&str>, commit: Option<&str>, merged_at| Action::RecordMerge {
        body: body.map(str::to_owned),
        commit: commit.map(str::to_owned),
        merged_at,
    };
    let (open, row) = ("open".to_owned(), MappingId(55));
    let table = [
        (
            Action::SetGithubId {
                row,
                from: GithubId(1),
                to: GithubId(2),
            },
            "GitHub id of row 55: 1 => 2",
        ),
        (
            Action::RecordState {
                from: open.clone(),
                to: "closed",
            },
            "state: open => closed",
        ),
        (merge(Some("text"), None, None), "merge data: body"),
        (
            merge(None, Some("abc"), Some(time())),
            "merge data: commit abc, merged at 2026-03-01T10:00:00Z",
        ),
        (
            Action::MoveItem {
                from: ItemStatus("a\nb".to_owned()),
                to: ItemStatus::testing(),
            },
            "item status: a\\nb => Testing",
        ),
        (
            Action::RememberClose { closed_at: time() },
            "remember close event of 2026-03-01T10:00:00Z",
        ),
        (
            Action::InsertPullRequest {
                pull_request: pull_request(),
            },
            "insert row for pull request Acme/shop#13 (merged)",
        ),
        (
            link(None),
            "link to pull request Acme/shop#13: none => closes",
        ),
        (
            link(Some(Relation::Connected)),
            "link to pull request Acme/shop#13: connected => closes",
        ),
        (
            Action::Unlink { row },
            "link to row 55: removed, GitHub no longer confirms it",
        ),
        (
            Action::MakeDue {
                row,
                from: open,
                to: "merged",
            },
            "row 55 becomes due: its state is open, but merged on GitHub",
        ),
        (
            write(WriteReason::Create),
            "Weaviate item:7: create (it is missing)",
        ),
        (
            write(WriteReason::Update { from: None }),
            "Weaviate item:7: update (Weaviate has no status of it)",
        ),
        (
            write(WriteReason::Update {
                from: Some("Inbox".to_owned()),
            }),
            "Weaviate item:7: update (Weaviate still has Inbox)",
        ),
        (
            write(WriteReason::Replace),
            "Weaviate item:7: replace (Agira wrote it with the item's text)",
        ),
        (
            write(WriteReason::Decide),
            "Weaviate item:7: decide at the push (what Weaviate has is unknown)",
        ),
    ];
    for (action, expected) in table {
        assert_eq!(action.to_string(), expected);
    }
    assert_eq!(
        json!(Action::InsertPullRequest {
            pull_request: pull_request()
        }),
        json!({ "action": "insert_pull_request", "pull_request": "Acme/shop#13" })
    );
    assert_eq!(json!(link(None))["pull_request"], "Acme/shop#13");
    assert_eq!(json!(write(WriteReason::Create))["object"], "item:7");
}

#[test]
fn an_answer_is_shown_alone_or_with_its_question() {
    let note = |question, answer| Note {
        question,
        answer,
        facts: "why".to_owned(),
        attention: Attention::None,
        kept: None,
    };
    let moves = note(Question::ItemMoves, true);
    assert_eq!(
        (moves.to_string(), moves.explain()),
        ("why".to_owned(), "item moves: yes, why".to_owned())
    );
    assert_eq!(
        note(Question::ItemMoves, false).explain(),
        "item moves: no, why"
    );
    assert_eq!(
        json!(moves),
        json!({ "question": "item_moves", "answer": "yes", "facts": "why" })
    );
    assert_eq!(json!(note(Question::State, false))["answer"], "no");
}

#[test]
fn only_writes_keeps_object_actions() {
    let note = |question, answer| Note {
        question,
        answer,
        facts: String::new(),
        attention: Attention::None,
        kept: None,
    };
    let left = note(Question::ObjectStatus, false);
    let plan = Plan {
        actions: vec![
            Action::Unlink { row: MappingId(5) },
            Action::Write {
                object: Box::new(AgiraObject::of_item(&item())),
                change: WriteReason::Create,
            },
        ],
        notes: vec![
            note(Question::Merge, false),
            note(Question::ObjectMissing, true),
            left.clone(),
            left,
        ],
    };
    assert_eq!(plan.unchanged_objects(), 2);
    let writes = plan.only_writes();
    assert!(matches!(writes.actions.as_slice(), [Action::Write { .. }]));
    let asked: Vec<Question> = writes.notes.iter().map(|note| note.question).collect();
    assert_eq!(
        asked,
        [
            Question::ObjectMissing,
            Question::ObjectStatus,
            Question::ObjectStatus
        ]
    );
    assert!(
        writes
            .outbox(time())
            .is_some_and(|outbox| outbox.item && outbox.object.is_none())
    );
    assert_eq!(Plan::default().outbox(time()), None);
}

/// GitHub's id identifies a pull request, whatever its address.
#[test]
fn pull_requests_are_equal_by_id_state_and_relation() {
    let moved = Address {
        repository: Repository::parse("acme/store").unwrap(),
        number: 1,
    };
    assert_eq!(
        PullRequestRef {
            address: moved,
            url: "elsewhere".to_owned(),
            ..pull_request()
        },
        pull_request()
    );
    assert_ne!(
        PullRequestRef {
            github_id: GithubId(10),
            ..pull_request()
        },
        pull_request()
    );
    assert_ne!(
        PullRequestRef {
            state: State::Open,
            ..pull_request()
        },
        pull_request()
    );
    assert_ne!(
        PullRequestRef {
            relation: Relation::Connected,
            ..pull_request()
        },
        pull_request()
    );
}
