//! The state of one mapping in sentences: what is recorded, what comes next, and what a person can
//! do.

use chrono::{DateTime, Utc};

use crate::core::model::{GithubId, Kind};
use crate::core::outbox::Outbox;
use crate::core::text::{Printable, quoted};
use crate::db::{Claimed, DuplicateMapping, MappingHistory};
use crate::report::{schedule, when};

/// Returns the sentences about a mapping, the most important one first; `now` is in UTC.
pub fn sentences(claimed: &Claimed, history: &MappingHistory, now: DateTime<Utc>) -> Vec<String> {
    let Claimed { mapping, item } = claimed;
    let id = mapping.id;
    let address = mapping
        .address(item)
        .map_or_else(|reason| reason, |address| address.to_string());
    let mut sentences = vec![
        format!(
            "mapping {id} is the {} {address} (recorded as {}), for item {} ({}): {}",
            mapping.kind.label(),
            mapping.state,
            item.id,
            item.status,
            schedule(mapping, now)
        ),
        format!("  its item is called {}", quoted(&item.title)),
        checked(history, now),
    ];
    if mapping.kind == Kind::Issue {
        sentences.push(match mapping.handled_closed_at {
            None => "  no close event was handled so far".to_owned(),
            Some(at) => format!("  the close event of {} was handled", when(at, now)),
        });
    }
    sentences.push(pushed(claimed, history, now));
    if let Some(error) = &history.delivery_error {
        let next = history
            .delivery_at
            .map_or_else(|| "the next run".to_owned(), |at| when(at, now));
        sentences.push(format!(
            "  its delivery failed (attempt {}), the next one is at {next}: {error}",
            history.delivery_attempts
        ));
    }
    if !history.linked.is_empty() {
        let ids: Vec<String> = history.linked.iter().map(ToString::to_string).collect();
        sentences.push(format!("  it is linked with mapping {}", ids.join(", ")));
    }
    sentences.extend(history.deleted.iter().map(deleted));
    sentences.extend(history.duplicates.iter().map(duplicate));
    if let Some(error) = &mapping.error {
        let at = history
            .error_at
            .map_or_else(String::new, |at| format!(" at {}", when(at, now)));
        sentences.push(format!(
            "  it last failed{at} (attempt {}): {error}",
            mapping.attempts
        ));
    }
    if mapping.error.is_some() || history.delivery_error.is_some() {
        sentences.push(format!(
            "  to try again now: agira-worker retry-failed --mapping {id}"
        ));
    } else {
        sentences.push(format!(
            "  to see its plan: agira-worker sync --mapping {id} --dry-run"
        ));
    }
    sentences
}

fn checked(history: &MappingHistory, now: DateTime<Utc>) -> String {
    let Some(at) = history.checked_at.map(|at| when(at, now)) else {
        return "  it was never checked on GitHub".to_owned();
    };
    match history.external_updated_at.map(|at| when(at, now)) {
        None => format!("  it was last checked on GitHub at {at}"),
        Some(changed) => {
            format!("  it was last checked on GitHub at {at}; its last change was at {changed}")
        }
    }
}

fn pushed(claimed: &Claimed, history: &MappingHistory, now: DateTime<Utc>) -> String {
    match history.outbox.clone().map(serde_json::from_value::<Outbox>) {
        None => match history.pushed_at {
            Some(at) => format!(
                "  it was last pushed to Weaviate at {}; nothing waits",
                when(at, now)
            ),
            None => "  it was never pushed to Weaviate; nothing waits".to_owned(),
        },
        Some(Ok(outbox)) => {
            let own = outbox.object.iter().map(|object| object.key().to_string());
            let item = outbox.item.then(|| format!("item:{}", claimed.item.id));
            let keys: Vec<String> = item.into_iter().chain(own).collect();
            let since = when(outbox.planned_at, now);
            format!(
                "  objects wait for Weaviate since {since}: {}",
                keys.join(", ")
            )
        }
        Some(Err(_)) => {
            "  objects wait for Weaviate, but the outbox cannot be read; they are planned again"
                .to_owned()
        }
    }
}

fn deleted((github_id, url): &(GithubId, String)) -> String {
    let url = Printable(url);
    format!(
        "  a person deleted the row of its pull request {url} (GitHub's id {github_id}), which gets no new one; to get it \
         back, link it by hand in Agira"
    )
}

fn duplicate(duplicate: &DuplicateMapping) -> String {
    let reason = match duplicate.same_address {
        true => "has the same address",
        false => "has the same item, kind and number",
    };
    let (id, item) = (duplicate.id, duplicate.item_id);
    format!("  mapping {id} (item {item}) {reason}; only one row can have GitHub's id")
}
