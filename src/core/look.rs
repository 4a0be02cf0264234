//! Whether what GitHub shows may be recorded for a mapping (design.md, "The decision table").

use chrono::{DateTime, Duration, Utc};

use super::model::{GithubId, Mapping, Snapshot};
use super::text::timestamp;

/// Longest time for which a server of GitHub is believed to lag behind the others.
const LAG: Duration = Duration::minutes(10);

/// Largest difference between GitHub's clock and its change times.
const SKEW: Duration = Duration::minutes(1);

/// Returns the reason not to record a snapshot that is older than what is stored: a server that
/// lags behind has answered. If this lasts, GitHub's time went back, and what it shows counts.
/// `answered_at` is GitHub's clock (UTC).
pub fn is_outdated(
    mapping: &Mapping,
    snapshot: &Snapshot,
    answered_at: DateTime<Utc>,
) -> Option<String> {
    let stored = mapping.external_updated_at?;
    // Each attempt of a failing mapping moves its check time.
    let last = match mapping.attempts {
        0 => mapping.checked_at?,
        _ => stored,
    };
    let is_same = snapshot.github_id == mapping.github_id;
    // A clock that was ahead has stored a later time.
    let is_believed = stored <= answered_at + SKEW;
    let is_recent = (answered_at - last).abs() < LAG;
    let is_older = snapshot.updated_at < stored;
    (is_older && is_same && is_believed && is_recent).then(|| {
        let (shown, stored) = (timestamp(snapshot.updated_at), timestamp(stored));
        format!(
            "GitHub shows its state of {shown}, which is older than the recorded one of {stored}"
        )
    })
}

/// Returns true if GitHub shows another id than the one that an earlier check confirmed.
pub fn has_new_id(mapping: &Mapping, snapshot: &Snapshot) -> bool {
    let is_confirmed = mapping.external_updated_at.is_some() && mapping.github_id.0 > 0;
    is_confirmed && snapshot.github_id != mapping.github_id
}

/// Returns the reason not to take up a new id: the address seems to have passed to another issue or
/// pull request, such as one of a stranger who took over the repository's name, and a person has to
/// decide. `known` is the id of the repository that had the name when it was first seen.
pub fn is_another(
    mapping: &Mapping,
    snapshot: &Snapshot,
    known: Option<GithubId>,
) -> Option<String> {
    let seen = mapping.external_updated_at?;
    let created_at = snapshot.created_at;
    let why = match (known, snapshot.repository_id) {
        _ if !has_new_id(mapping, snapshot) => return None,
        (Some(from), Some(to)) if from != to => {
            format!("its repository's id was {from} and is {to} now")
        }
        _ if created_at > seen => {
            let (created_at, seen) = (timestamp(created_at), timestamp(seen));
            format!("it was created {created_at}, after the last change of the former one ({seen})")
        }
        _ => return None,
    };
    let (kind, from, to) = (mapping.kind.label(), mapping.github_id, snapshot.github_id);
    Some(format!(
        "is another {kind} than before: the id was {from} and is {to} now, and {why}; correct html_url, delete the \
         mapping, or accept what GitHub shows now with: agira-worker retry-failed --mapping {}",
        mapping.id
    ))
}

#[cfg(test)]
mod tests;
