//! The effect of a plan on the plans after it.

use super::*;

fn mapping() -> Mapping {
    Mapping {
        id: MappingId(42),
        item_id: ItemId(7),
        ..Mapping::default()
    }
}

fn carried(records: &mut Records, actions: Vec<Action>) {
    carry(
        records,
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
fn each_inserted_row_gets_an_id_of_its_own() {
    let mut records = Records::default();
    carried(&mut records, vec![insert(100)]);
    let stored = MappingRow {
        id: MappingId(5),
        ..records.rows[0].clone()
    };
    records.rows.push(stored);
    carried(&mut records, vec![insert(101), insert(102)]);
    let ids: Vec<i64> = records.rows.iter().map(|row| row.id.0).collect();
    assert_eq!(ids, [-1, 5, -2, -3]);
}

#[test]
fn an_undecided_object_stays_unknown() {
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
    let mut records = Records::default();
    carried(&mut records, vec![write(WriteReason::Decide)]);
    assert!(records.objects.is_empty());
    carried(&mut records, vec![write(WriteReason::Create)]);
    let expected = ObjectState::Present {
        status: Some("Working".to_owned()),
        without_parent: true,
    };
    assert_eq!(records.objects.get(&object.key().uuid()), Some(&expected));
}
