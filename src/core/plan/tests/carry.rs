//! What a plan changes for the plans after it.

use super::*;

fn mapping() -> Mapping {
    let url = "https://github.com/acme/shop/issues/12";
    Mapping::inserted(
        MappingId(42),
        ItemId(7),
        GithubId(1),
        12,
        Kind::Issue,
        "open",
        url,
    )
}

fn carried(known: &mut Records, actions: Vec<Action>) {
    carry(
        known,
        &mapping(),
        &Plan {
            actions,
            notes: Vec::new(),
        },
    );
}

fn insert(github_id: i64) -> Action {
    let repository = Repository::parse("acme/shop").unwrap();
    let pull_request = PullRequestRef {
        github_id: GithubId(github_id),
        address: Address {
            repository,
            number: 13,
        },
        url: "https://github.com/acme/shop/pull/13".to_owned(),
        state: State::Open,
        relation: Relation::Closes,
    };
    Action::InsertPullRequest { pull_request }
}

#[test]
fn each_row_that_is_inserted_gets_an_id_that_no_stored_row_and_no_other_one_has() {
    let mut known = Records::default();
    carried(&mut known, vec![insert(100)]);
    let stored = MappingRow {
        id: MappingId(5),
        ..known.rows[0].clone()
    };
    known.rows.push(stored);
    carried(&mut known, vec![insert(101), insert(102)]);
    let ids: Vec<i64> = known.rows.iter().map(|row| row.id.0).collect();
    assert_eq!(ids, [-1, 5, -2, -3]);
}

#[test]
fn what_is_decided_when_it_is_pushed_stays_unknown() {
    let time = "2026-03-01T10:00:00Z".parse().unwrap();
    let item = Item {
        id: ItemId(7),
        title: "Cart".to_owned(),
        description: String::new(),
        solution_description: String::new(),
        status: ItemStatus("Working".to_owned()),
        project_id: 1,
        organisation_id: None,
        created_at: time,
        updated_at: time,
        project_repository: None,
    };
    let object = AgiraObject::of_item(&item);
    let write = |change| Action::Write {
        object: Box::new(object.clone()),
        change,
    };
    let mut known = Records::default();
    carried(&mut known, vec![write(WriteReason::Decide)]);
    assert!(known.objects.is_empty());
    carried(&mut known, vec![write(WriteReason::Create)]);
    let expected = ObjectState::Present {
        status: Some("Working".to_owned()),
        without_parent: true,
    };
    assert_eq!(known.objects.get(&object.key().uuid()), Some(&expected));
}
