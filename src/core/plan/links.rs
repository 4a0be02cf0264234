//! The rows of the decision table about the pull requests of an issue.

use super::super::model::{Kind, MappingId, PullRequestRef};
use super::super::note::Question;
use super::super::records::MappingRow;
use super::super::text::Printable;
use super::action::{Action, Plan};
use super::input::PlanInput;

/// Longest address, in characters, that fits into `core_externalissuemapping.html_url`.
const LONGEST_URL: usize = 200;

/// Links the issue with its pull requests, and removes links that GitHub no longer confirms.
pub(super) fn links(
    input: &PlanInput<'_>,
    pull_requests: &[PullRequestRef],
    some_hidden: bool,
    plan: &mut Plan,
) {
    if pull_requests.is_empty() {
        plan.no(Question::PullRequest, "GitHub names none");
    }
    let linked = pull_requests.iter();
    let linked: Vec<MappingId> = linked.filter_map(|one| link(input, one, plan)).collect();
    if some_hidden {
        let facts = "GitHub hides a node from this token, so that a pull request may be missing";
        return plan.no(Question::Unlink, facts);
    }
    let unconfirmed = input
        .records
        .links
        .iter()
        .filter(|link| link.issue == input.mapping.id)
        .filter_map(|link| link.row);
    let unconfirmed: Vec<MappingId> = unconfirmed.filter(|row| !linked.contains(row)).collect();
    if unconfirmed.is_empty() {
        plan.no(Question::Unlink, "GitHub confirms every stored link");
    }
    for row in unconfirmed {
        let facts = format!("GitHub does not name the pull request of row {row}");
        plan.yes(Question::Unlink, facts);
        plan.actions.push(Action::Unlink { row });
    }
}

/// Links one pull request. Returns its row if that exists already.
fn link(
    input: &PlanInput<'_>,
    pull_request: &PullRequestRef,
    plan: &mut Plan,
) -> Option<MappingId> {
    let (address, relation) = (&pull_request.address, pull_request.relation);
    let (github_id, records) = (pull_request.github_id, input.records);
    let not_linked = |reason| format!("pull request {address} not linked: {reason}");
    let row = existing_row(input, pull_request);
    if row.is_none() && records.is_row_deleted(github_id) {
        let facts = "its row was deleted by a person; link it by hand in Agira to get it back";
        plan.surprise(Question::PullRequest, not_linked(facts.to_owned()));
        return None;
    }
    if let Some(reason) = refusal(input, pull_request, row) {
        plan.warn(Question::PullRequest, not_linked(reason));
        return None;
    }
    match row {
        Some(row) => correct_row(row, pull_request, plan),
        None => plan.actions.push(Action::InsertPullRequest {
            pull_request: pull_request.clone(),
        }),
    }
    let stored = records.link(input.mapping.id, github_id);
    let place = row.map_or("a new row".to_owned(), |row| format!("row {}", row.id));
    let from = stored.map_or("none", |link| link.relation.as_str());
    let label = relation.label();
    let facts = format!("{address} {label} ({place}); stored link: {from}");
    plan.yes(Question::PullRequest, facts);
    let item_id = input.mapping.item_id;
    let row_item_id = row.map_or(item_id, |row| row.item_id);
    let wanted = (item_id, row_item_id, relation);
    if stored.map(|link| (link.item_id, link.row_item_id, link.relation)) != Some(wanted) {
        plan.actions.push(Action::Link {
            pull_request: address.clone(),
            github_id,
            relation,
            from: stored.map(|link| link.relation),
        });
    }
    row.map(|row| row.id)
}

/// Returns the row of a pull request, if there is one.
fn existing_row<'a>(
    input: &PlanInput<'a>,
    pull_request: &PullRequestRef,
) -> Option<&'a MappingRow> {
    let (records, item_id) = (input.records, input.mapping.item_id);
    let at_address = || records.row_at_address(item_id, Kind::PullRequest, &pull_request.address);
    records
        .row_with_github_id(pull_request.github_id)
        .or_else(at_address)
}

/// Returns the reason why a pull request can have neither this row nor a new one.
fn refusal(
    input: &PlanInput<'_>,
    pull_request: &PullRequestRef,
    row: Option<&MappingRow>,
) -> Option<String> {
    let (kind, number) = (Kind::PullRequest, pull_request.address.number);
    if let Some(row) = row {
        let id = row.id;
        if row.kind != kind {
            return Some(format!("row {id} has its id, but is not a pull request"));
        }
        // Its own check decides about another id.
        let is_another = row.is_confirmed && row.github_id != pull_request.github_id;
        return is_another.then(|| {
            let github_id = row.github_id;
            format!("row {id} has its address, and {github_id}, which GitHub confirmed before")
        });
    }
    let item_id = input.mapping.item_id;
    if let Some(row) = input.records.row_with_number(item_id, kind, number) {
        return Some(format!("row {} of the item has that number", row.id));
    }
    let is_long = pull_request.url.chars().count() > LONGEST_URL;
    is_long.then(|| format!("its address is longer than {LONGEST_URL} characters"))
}

/// Corrects the GitHub id of a pull request's row, and marks the row if its state differs.
fn correct_row(row: &MappingRow, pull_request: &PullRequestRef, plan: &mut Plan) {
    let (id, from, to) = (row.id, row.github_id, pull_request.github_id);
    if from != to {
        let address = &pull_request.address;
        let facts = format!("row {id} of {address} has {from}, GitHub has {to}");
        plan.yes(Question::GithubId, facts);
        plan.actions.push(Action::SetGithubId { row: id, from, to });
    }
    let (from, to) = (&row.state, pull_request.state.as_str());
    if from == to {
        return plan.no(
            Question::MakeDue,
            format!("row {id} and GitHub both have {to}"),
        );
    }
    let facts = format!("row {id} has {}, GitHub has {to}", Printable(from));
    if row.is_scheduled {
        let facts = format!("{facts}, but its own check is scheduled");
        return plan.no(Question::MakeDue, facts);
    }
    plan.yes(Question::MakeDue, facts);
    let (row, from) = (id, from.clone());
    plan.actions.push(Action::MakeDue { row, from, to });
}
