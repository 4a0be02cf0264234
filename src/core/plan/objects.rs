//! The rows of the decision table about the objects in Weaviate.

use super::super::agira_object::AgiraObject;
use super::super::note::Question;
use super::super::records::ObjectState;
use super::super::text::Printable;
use super::action::{Action, Plan, WriteReason};
use super::input::{PlanInput, Policy};

/// Decides whether an object is written. `is_row_stored` is false for the object of a row that a
/// dry run would insert.
pub(super) fn object(
    input: &PlanInput<'_>,
    object: AgiraObject,
    is_row_stored: bool,
    plan: &mut Plan,
) {
    let (key, status) = (object.key(), Printable(&object.status).to_string());
    let state = input.records.object_state(&key, is_row_stored);
    let change = write_reason(state, &object, input.policy);
    if matches!(state, Some(ObjectState::Present { .. })) {
        plan.no(Question::ObjectMissing, format!("{key} exists"));
    }
    let (question, facts) = match &change {
        Some(WriteReason::Decide) => (
            Question::ObjectUnknown,
            format!("Weaviate could not be asked about {key}"),
        ),
        Some(WriteReason::Create) => (Question::ObjectMissing, format!("{key} is missing")),
        Some(WriteReason::Update { from }) => {
            let from = Printable(from.as_deref().unwrap_or("none"));
            let facts = format!("{key} has {from} instead of {status}");
            (Question::ObjectStatus, facts)
        }
        Some(WriteReason::Replace) => (
            Question::ObjectForeign,
            format!("Agira wrote {key}, and --replace-foreign is set"),
        ),
        None => {
            let facts = format!("{key} has {status} already");
            return plan.no(Question::ObjectStatus, facts);
        }
    };
    plan.yes(question, facts);
    plan.actions.extend(change.map(|change| Action::Write {
        object: Box::new(object),
        change,
    }));
}

/// Returns the reason to write an object: it is missing, or its status differs. `None` leaves it as
/// it is.
pub fn write_reason(
    stored: Option<&ObjectState>,
    object: &AgiraObject,
    policy: &Policy,
) -> Option<WriteReason> {
    match stored {
        None => Some(WriteReason::Decide),
        Some(ObjectState::Missing) => Some(WriteReason::Create),
        Some(ObjectState::Present { status, .. }) if status.as_deref() != Some(&object.status) => {
            let from = status.clone();
            Some(WriteReason::Update { from })
        }
        Some(ObjectState::Present { without_parent, .. }) => {
            let is_foreign = *without_parent && object.parent_object_id.is_some();
            (policy.replace_foreign && is_foreign).then_some(WriteReason::Replace)
        }
    }
}
