//! The rows of the decision table about a closed or reopened issue and its item.

use chrono::{DateTime, Utc};

use super::super::model::{CloseReason, ItemStatus, REOPENINGS, State};
use super::super::note::{Kept, Question};
use super::super::records::Decision;
use super::super::text::{Printable, timestamp};
use super::action::{Action, Plan};
use super::input::PlanInput;

/// The latest closing of an issue, as GitHub shows it. Times are UTC, of GitHub's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub closed_at: DateTime<Utc>,
    pub reason: Option<CloseReason>,
    /// Time of the latest reopening.
    pub reopened_at: Option<DateTime<Utc>>,
}

/// Decides what a close event does, and returns the status that the item gets if it moves.
pub(super) fn close_event(
    input: &PlanInput<'_>,
    closing: Option<Closing>,
    plan: &mut Plan,
) -> Option<ItemStatus> {
    let is_open = input.snapshot.state != State::Closed;
    if is_open && input.mapping.state != State::Open.as_str() {
        let kept = Kept {
            status: Printable(&input.item.status.0).to_string(),
            reason: "the issue is open again".to_owned(),
        };
        let facts = format!("issue is open again: item left in {}", kept.status);
        plan.keep(Question::Reopened, facts, kept);
    }
    let closing = match new_close_event(input, closing, plan) {
        Ok((closing, facts)) => {
            plan.yes(Question::CloseEvent, facts);
            closing
        }
        Err(facts) => {
            plan.no(Question::CloseEvent, facts);
            return None;
        }
    };
    let moved_to = move_item(input, closing, plan);
    let Closing { closed_at, .. } = closing;
    plan.actions.push(Action::RememberClose { closed_at });
    moved_to
}

/// Returns a close event that is not handled yet, with its facts. The error explains why there is
/// none.
fn new_close_event(
    input: &PlanInput<'_>,
    closing: Option<Closing>,
    plan: &Plan,
) -> Result<(Closing, String), String> {
    if input.snapshot.state != State::Closed {
        return Err("the issue is open".to_owned());
    }
    let closing = closing.ok_or("the issue is closed, but GitHub gives no time for it")?;
    let time = timestamp(closing.closed_at);
    let Some(handled) = input.mapping.handled_closed_at else {
        let facts = format!("closed {time}; last handled closing: none");
        return Ok((closing, facts));
    };
    if handled == closing.closed_at {
        return Err(format!("closing of {time} was handled before: item left"));
    }
    let handled_time = timestamp(handled);
    let was_open = match closing.reopened_at {
        Some(at) if handled < at && at <= closing.closed_at => {
            format!("reopened {}", timestamp(at))
        }
        _ if input.mapping.state == State::Open.as_str() => "its state was open".to_owned(),
        _ if is_another_issue(input, plan) => "it was another issue's".to_owned(),
        _ if input.snapshot.missing.contains(&REOPENINGS) => {
            return Err(format!(
                "closed {time}, but the reopenings since the handled closing of {handled_time} could not be read: item left until the next recheck"
            ));
        }
        // A changed reason moves the time of a closing. What a person decided since stays.
        _ => {
            return Err(format!(
                "closed {time}, but GitHub shows no reopening since the handled closing of {handled_time}: item left"
            ));
        }
    };
    let facts =
        format!("closed {time}; last handled closing: {handled_time}, and {was_open} since");
    Ok((closing, facts))
}

/// Returns true if the mapping gets the id of another issue.
fn is_another_issue(input: &PlanInput<'_>, plan: &Plan) -> bool {
    let own = input.mapping.id;
    let is_own = |action: &Action| matches!(action, Action::SetGithubId { row, .. } if *row == own);
    plan.actions.iter().any(is_own)
}

fn move_item(input: &PlanInput<'_>, closing: Closing, plan: &mut Plan) -> Option<ItemStatus> {
    let (from, to) = (&input.item.status, ItemStatus::testing());
    let status = Printable(&from.0);
    for (question, exception) in exceptions(input, closing) {
        match exception {
            Ok(facts) => plan.no(question, facts),
            Err(reason) => {
                let facts = format!("item left in {status}: {reason}");
                let status = status.to_string();
                plan.keep(question, facts, Kept { status, reason });
                return None;
            }
        }
    }
    let facts = format!("{status} => {to}, unless a person moves it before the run does");
    plan.yes(Question::ItemMoves, facts);
    let (from, moved_to) = (from.clone(), to.clone());
    plan.actions.push(Action::MoveItem { from, to });
    Some(moved_to)
}

/// Returns the exceptions from moving the item of a closed issue, in the order of the table. `Err`
/// is the reason to leave the item; `Ok` explains why the exception does not apply.
fn exceptions(
    input: &PlanInput<'_>,
    Closing {
        closed_at, reason, ..
    }: Closing,
) -> [(Question, Result<String, String>); 5] {
    let PlanInput { item, policy, .. } = input;
    let status = &item.status;
    let protected = ItemStatus::PROTECTED;
    let protected = match protected.contains(&status.0.as_str()) {
        true => Err("a closed issue does not change this status".to_owned()),
        false => Ok(format!(
            "{} is not one of {}",
            Printable(&status.0),
            protected.join(", ")
        )),
    };
    let kept = match policy.keep_status.as_slice() {
        [] => Ok("it is not set".to_owned()),
        named if named.contains(&status.0) => Err("--keep-status names this status".to_owned()),
        named => Ok(format!("it names {}", named.join(", "))),
    };
    let excluded = match (&policy.close_reasons, reason.map(CloseReason::as_str)) {
        (None, _) => Ok("it is not set".to_owned()),
        (Some(_), None) => Ok("GitHub gives no reason".to_owned()),
        (Some(named), Some(reason)) if named.iter().any(|named| named == reason) => {
            Ok(format!("it names {}", named.join(", ")))
        }
        (Some(_), Some(reason)) => Err(format!(
            "the issue was closed as {reason}, which --close-reason does not name"
        )),
    };
    let too_old = match policy.ignore_closed_before {
        None => Ok("it is not set".to_owned()),
        Some(limit) if closed_at < limit => {
            let closed_at = timestamp(closed_at);
            Err(format!("closed {closed_at}, before --ignore-closed-before"))
        }
        Some(limit) => Ok(format!("it is {}", timestamp(limit))),
    };
    let decision = input.records.decisions.get(&item.id);
    let decided = match decision.filter(|decision| decision.at > closed_at) {
        None => Ok("no person set its status since".to_owned()),
        Some(Decision { activity, at }) => Err(format!(
            "a person set its status at {}, after the closing (activity {activity})",
            timestamp(*at)
        )),
    };
    [
        (Question::ProtectedStatus, protected),
        (Question::KeepStatus, kept),
        (Question::CloseReason, excluded),
        (Question::ClosedBefore, too_old),
        (Question::DecidedAfter, decided),
    ]
}
