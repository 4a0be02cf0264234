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
