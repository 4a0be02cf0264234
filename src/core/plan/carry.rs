//! The effect of a plan on the plans after it, for dry runs and real runs alike.

use super::super::agira_object::ObjectType;
use super::super::model::{Kind, Mapping, MappingId};
use super::super::records::{Link, MappingRow, ObjectState, Records};
use super::action::{Action, Plan, WriteReason};

/// Applies a plan's changes to the records. Rows that the plan inserts get ids that no stored row
/// has.
pub fn carry(records: &mut Records, mapping: &Mapping, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::SetGithubId { row, to, .. } => {
                records.change_row(*row, |row| row.github_id = *to);
            }
            Action::RecordState { to, .. } => {
                records.change_row(mapping.id, |row| row.state = (*to).to_owned());
            }
            Action::MoveItem { to, .. } => {
                if let Some(item) = records.items.get_mut(&mapping.item_id) {
                    item.status = to.clone();
                }
            }
            Action::InsertPullRequest { pull_request } => {
                let inserted = records.rows.iter().filter(|row| !row.id.is_stored());
                let id = MappingId(-1 - inserted.count() as i64);
                records.rows.push(MappingRow {
                    id,
                    item_id: mapping.item_id,
                    github_id: pull_request.github_id,
                    kind: Kind::PullRequest,
                    number: pull_request.address.number,
                    state: pull_request.state.as_str().to_owned(),
                    html_url: pull_request.url.clone(),
                    is_confirmed: false,
                    is_scheduled: true,
                });
            }
            Action::Link {
                github_id,
                relation,
                ..
            } => {
                let row = records.row_with_github_id(*github_id);
                if let Some((row, row_item_id)) = row.map(|row| (row.id, row.item_id)) {
                    records.remove_links(mapping.id, |link| link.github_id == *github_id);
                    records.links.push(Link {
                        issue: mapping.id,
                        github_id: *github_id,
                        row: Some(row),
                        item_id: mapping.item_id,
                        row_item_id,
                        relation: *relation,
                    });
                }
            }
            Action::Unlink { row } => {
                records.remove_links(mapping.id, |link| link.row == Some(*row));
            }
            Action::MakeDue { row, .. } => records.change_row(*row, |row| row.is_scheduled = true),
            Action::Write { object, change } if *change != WriteReason::Decide => {
                let state = ObjectState::Present {
                    status: Some(object.status.clone()),
                    without_parent: object.object_type == ObjectType::Item,
                };
                records.objects.insert(object.key().uuid(), state);
            }
            // The push decides about such an object, and no other plan reads
            // close event or merge data of the mapping.
            Action::Write { .. } | Action::RememberClose { .. } | Action::RecordMerge { .. } => {}
        }
    }
}
