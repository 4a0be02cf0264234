//! The decision table: answers its questions about one mapping and notes every answer.

use chrono::{DateTime, Utc};

use super::super::agira_object::AgiraObject;
use super::super::model::{Details, Item, State};
use super::super::note::Question;
use super::super::text::Printable;
use super::action::{Action, Plan};
use super::closing::{Closing, close_event};
use super::input::PlanInput;
use super::links::links;
use super::objects::object;

/// Decides what one mapping needs. To add a row, add its question to `note.rs` and answer it here
/// or in `closing.rs`, `links.rs` or `objects.rs`.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let mut plan = Plan::default();
    identity(input, &mut plan);
    state(input, &mut plan);
    match &input.snapshot.details {
        Details::Issue {
            closed_at,
            close_reason,
            reopened_at,
            pull_requests,
            some_hidden,
        } => {
            let closing = closed_at.map(|closed_at| Closing {
                closed_at,
                reason: *close_reason,
                reopened_at: *reopened_at,
            });
            let moved_to = close_event(input, closing, &mut plan);
            links(input, pull_requests, *some_hidden, &mut plan);
            let item = Item {
                status: moved_to.unwrap_or_else(|| input.item.status.clone()),
                ..input.item.clone()
            };
            object(input, AgiraObject::of_item(&item), true, &mut plan);
        }
        Details::PullRequest {
            merged_at,
            merge_commit_sha,
            ..
        } => {
            plan.no(Question::CloseEvent, "a pull request never moves its item");
            merge(input, *merged_at, merge_commit_sha.as_deref(), &mut plan);
        }
    }
    let own = AgiraObject::of_mapping(input.mapping, input.item, input.snapshot);
    object(input, own, input.mapping.id.is_stored(), &mut plan);
    plan.notes.sort_by_key(|note| note.question);
    plan
}

fn identity(input: &PlanInput<'_>, plan: &mut Plan) {
    // The plan of its issue may have corrected the id in this very slice.
    let row = input.records.row(input.mapping.id);
    let from = row.map_or(input.mapping.github_id, |row| row.github_id);
    let to = input.snapshot.github_id;
    if from == to {
        return plan.no(Question::GithubId, format!("both are {to}"));
    }
    if let Some(row) = input.records.row_with_github_id(to) {
        let facts = format!("keeps its GitHub id: row {} has {to}", row.id);
        return plan.warn(Question::GithubId, facts);
    }
    let facts = format!("stored is {from}, GitHub has {to}, and no other row has it");
    plan.yes(Question::GithubId, facts);
    let row = input.mapping.id;
    plan.actions.push(Action::SetGithubId { row, from, to });
}

fn state(input: &PlanInput<'_>, plan: &mut Plan) {
    let (from, to) = (&input.mapping.state, input.snapshot.state.as_str());
    if from == to {
        return plan.no(Question::State, format!("both are {to}"));
    }
    let facts = format!("stored is {}, GitHub has {to}", Printable(from));
    plan.yes(Question::State, facts);
    let from = from.clone();
    plan.actions.push(Action::RecordState { from, to });
}

fn merge(
    input: &PlanInput<'_>,
    merged_at: Option<DateTime<Utc>>,
    commit: Option<&str>,
    plan: &mut Plan,
) {
    let state = input.snapshot.state;
    if state != State::Merged {
        return plan.no(Question::Merge, format!("it is {}", state.as_str()));
    }
    let missing = |stored: &str, github: &str| {
        (stored.is_empty() && !github.is_empty()).then(|| github.to_owned())
    };
    let body = missing(&input.mapping.pr_body, &input.snapshot.body);
    let commit = missing(&input.mapping.merge_commit_sha, commit.unwrap_or_default());
    let merged_at = merged_at.filter(|_| input.mapping.merged_at.is_none());
    if body.is_none() && commit.is_none() && merged_at.is_none() {
        return plan.no(Question::Merge, "GitHub has nothing that is not stored");
    }
    plan.yes(
        Question::Merge,
        "it is merged, and GitHub has data that is not stored",
    );
    plan.actions.push(Action::RecordMerge {
        body,
        commit,
        merged_at,
    });
}
