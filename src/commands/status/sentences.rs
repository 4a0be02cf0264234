//! One mapping in sentences: what is known, what comes next, and what a person can do.

use chrono::{DateTime, Utc};

use crate::commands::preview;
use crate::core::model::Kind;
use crate::core::outbox::Outbox;
use crate::core::plan::time;
use crate::core::text::quoted;
use crate::db::{ACTIVITIES, Claimed, MappingHistory, Moved};

/// The sentences about a mapping; the first one is what matters most.
pub fn about(claimed: &Claimed, story: &MappingHistory, now: DateTime<Utc>) -> Vec<String> {
    let Claimed { mapping, item } = claimed;
    let address = mapping
        .address(item)
        .map_or_else(|reason| reason, |address| address.to_string());
    let mut said = vec![format!(
        "mapping {} is the {} {} ({} there), for item {} ({}): {}",
        mapping.id,
        mapping.kind.label(),
        address,
        mapping.state,
        item.id,
        item.status,
        preview::due(mapping, now)
    )];
    said.push(format!("  its item is called {}", quoted(&item.title)));
    said.push(match (story.checked_at, story.external_updated_at) {
        (None, _) => "  GitHub was never looked at for it".to_owned(),
        (Some(at), None) => format!("  GitHub was last looked at {}", time(at)),
        (Some(at), Some(changed)) => {
            format!(
                "  GitHub was last looked at {}; it had last changed there {}",
                time(at),
                time(changed)
            )
        }
    });
    if mapping.kind == Kind::Issue {
        said.push(match mapping.handled_closed_at.zip(story.moved.as_ref()) {
            None => "  no close event was dealt with so far".to_owned(),
            Some((closed, moved)) => {
                let became = match moved {
                    Moved::At(at, summary) => {
                        format!("the item was moved {}: {}", time(*at), summary)
                    }
                    Moved::Left => "the item was left where it was".to_owned(),
                    Moved::Unknown => {
                        format!("that is longer ago than Agira's last {ACTIVITIES} activities")
                    }
                };
                format!(
                    "  the close event of {} was dealt with; {became}",
                    time(closed)
                )
            }
        });
    }
    said.push(
        match story.outbox.clone().map(serde_json::from_value::<Outbox>) {
            None => match story.pushed_at {
                Some(at) => format!(
                    "  Weaviate was last brought level {}; nothing waits",
                    time(at)
                ),
                None => "  Weaviate was never brought level; nothing waits".to_owned(),
            },
            Some(Ok(outbox)) => {
                let keys = outbox.object.iter().map(|object| object.key().to_string());
                let item = outbox.item.then(|| format!("item:{}", item.id));
                let keys: Vec<String> = item.into_iter().chain(keys).collect();
                format!(
                    "  objects wait for Weaviate since {}: {}",
                    time(outbox.planned_at),
                    keys.join(", ")
                )
            }
            Some(Err(_)) => {
                "  objects wait for Weaviate, but the outbox cannot be read; they are planned again"
                    .to_owned()
            }
        },
    );
    if !story.linked.is_empty() {
        let ids: Vec<String> = story.linked.iter().map(ToString::to_string).collect();
        said.push(format!("  it is linked with mapping {}", ids.join(", ")));
    }
    for twin in &story.duplicates {
        let why = if twin.same_address {
            "means the same page"
        } else {
            "has the same item, kind and number"
        };
        said.push(format!(
            "  mapping {} (item {}) {why}; GitHub's id can be in one row only",
            twin.id, twin.item_id
        ));
    }
    if let Some(error) = &mapping.error {
        let at = story
            .error_at
            .map_or_else(String::new, |at| format!(" at {}", time(at)));
        said.push(format!(
            "  it last failed{at} (attempt {}): {}",
            mapping.attempts, error
        ));
        said.push(format!(
            "  to try again now: agira-worker retry-failed --mapping {}",
            mapping.id
        ));
    } else {
        said.push(format!(
            "  to see what a run would do: agira-worker sync --mapping {} --dry-run",
            mapping.id
        ));
    }
    said
}
