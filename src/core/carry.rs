//! Keeps what is known current while a slice is planned: each plan's changes are carried to the plans after it, in a
//! dry run as in a real one (design, section 4).

use super::agira_object::ObjectType;
use super::known::{Known, Link, Row, Stored};
use super::model::{Kind, Mapping, MappingId};
use super::plan::{Action, Change, Plan};

/// Takes over what a plan changes. Rows that it inserts get ids that no stored row has.
pub fn carry(known: &mut Known, mapping: &Mapping, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::SetGithubId { row, to, .. } => change_row(known, *row, |row| row.github_id = *to),
            Action::RecordState { to, .. } => change_row(known, mapping.id, |row| row.state = (*to).to_owned()),
            Action::MoveItem { to, .. } => {
                if let Some(item) = known.items.get_mut(&mapping.item_id) {
                    item.status = to.clone();
                }
            }
            Action::InsertPullRequest { pull_request } => {
                let placeholders = known.rows.iter().filter(|row| !row.id.is_stored()).count();
                known.rows.push(Row {
                    id: MappingId(-1 - placeholders as i64),
                    item_id: mapping.item_id,
                    github_id: pull_request.github_id,
                    kind: Kind::PullRequest,
                    number: pull_request.address.number,
                    state: pull_request.state.as_str().to_owned(),
                    html_url: pull_request.url.clone(),
                    look_comes: true,
                });
            }
            Action::Link { github_id, relation, .. } => {
                let Some(pull_request) = known.row_of(*github_id).map(|row| row.id) else { continue };
                known.links.retain(|link| (link.issue, link.pull_request) != (mapping.id, pull_request));
                let link = Link { issue: mapping.id, pull_request, item_id: mapping.item_id, relation: *relation };
                known.links.push(link);
            }
            Action::Unlink { row } => {
                known.links.retain(|link| (link.issue, link.pull_request) != (mapping.id, *row));
            }
            Action::MakeDue { row, .. } => change_row(known, *row, |row| row.look_comes = true),
            Action::Write { object, change } if *change != Change::Decide => {
                let parentless = object.object_type == ObjectType::Item;
                let stored = Stored::Present { status: Some(object.status.clone()), parentless };
                known.objects.insert(object.key().uuid(), stored);
            }
            // Decided when it is pushed; the mapping's own facts, which no other plan reads.
            Action::Write { .. } | Action::RememberClose { .. } | Action::RecordMerge { .. } => {}
        }
    }
}

fn change_row(known: &mut Known, id: MappingId, change: impl FnOnce(&mut Row)) {
    if let Some(row) = known.rows.iter_mut().find(|row| row.id == id) {
        change(row);
    }
}

#[cfg(test)]
mod tests {
    use super::super::agira_object::AgiraObject;
    use super::super::model::{
        Address, GithubId, Item, ItemId, ItemStatus, PullRequestRef, Relation, Repository, State,
    };
    use super::*;

    fn mapping() -> Mapping {
        let url = "https://github.com/acme/shop/issues/12";
        Mapping::inserted(MappingId(42), ItemId(7), GithubId(1), 12, Kind::Issue, "open", url)
    }

    fn carried(known: &mut Known, actions: Vec<Action>) {
        carry(known, &mapping(), &Plan { actions, notes: Vec::new() });
    }

    fn insert(github_id: i64) -> Action {
        let repository = Repository::parse("acme/shop").unwrap();
        let pull_request = PullRequestRef {
            github_id: GithubId(github_id),
            address: Address { repository, number: 13 },
            url: "https://github.com/acme/shop/pull/13".to_owned(),
            state: State::Open,
            relation: Relation::Closes,
        };
        Action::InsertPullRequest { pull_request }
    }

    #[test]
    fn each_row_that_is_inserted_gets_an_id_that_no_stored_row_and_no_other_one_has() {
        let mut known = Known::default();
        carried(&mut known, vec![insert(100)]);
        let stored = Row { id: MappingId(5), ..known.rows[0].clone() };
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
        let write = |change| Action::Write { object: Box::new(object.clone()), change };
        let mut known = Known::default();
        carried(&mut known, vec![write(Change::Decide)]);
        assert!(known.objects.is_empty());
        carried(&mut known, vec![write(Change::Create)]);
        let expected = Stored::Present { status: Some("Working".to_owned()), parentless: true };
        assert_eq!(known.objects.get(&object.key().uuid()), Some(&expected));
    }
}
