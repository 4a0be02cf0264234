//! The rows, links, items and Weaviate objects that the plans of a slice depend on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::agira_object::ObjectKey;
use super::model::{Address, GithubId, Item, ItemId, Kind, Mapping, MappingId, Relation};

/// State of one object in Weaviate. An id that is not in [`Records::objects`] has an unknown state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub enum ObjectState {
    /// Weaviate does not have the object.
    Missing,
    /// Weaviate has the object.
    Present {
        status: Option<String>,
        /// Agira wrote the object, with the item's text: it has no `parent_object_id`.
        without_parent: bool,
    },
}

/// The part of a mapping row that planning another mapping needs.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct MappingRow {
    pub id: MappingId,
    pub item_id: ItemId,
    /// GitHub's id as stored; Agira may have stored a wrong one.
    pub github_id: GithubId,
    pub kind: Kind,
    pub number: i32,
    /// State as stored: free text.
    pub state: String,
    /// Address of the page; may be empty.
    pub html_url: String,
    /// A check confirmed the GitHub id.
    pub is_confirmed: bool,
    /// The row has a due time or this run holds it, so that it is checked anyway.
    pub is_scheduled: bool,
}

impl MappingRow {
    /// Returns the mapping as it is before its first check, for a row that a dry run would insert.
    pub fn to_mapping(&self) -> Mapping {
        Mapping {
            id: self.id,
            item_id: self.item_id,
            github_id: self.github_id,
            kind: self.kind,
            number: self.number,
            state: self.state.clone(),
            html_url: self.html_url.clone(),
            ..Mapping::default()
        }
    }
}

/// A row of `worker_pull_request_link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct Link {
    /// The issue's mapping.
    pub issue: MappingId,
    /// The pull request.
    pub github_id: GithubId,
    /// The pull request's mapping; `None` if a person deleted it.
    pub row: Option<MappingId>,
    /// The issue's item.
    pub item_id: ItemId,
    /// The item of the pull request's mapping when the link was stored.
    pub row_item_id: ItemId,
    pub relation: Relation,
}

/// The latest status that a person set on an item after its issue was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Primary key of the activity.
    pub activity: i64,
    /// Time of the activity (UTC).
    pub at: DateTime<Utc>,
}

/// The rows, links, items and Weaviate objects that the plans of a slice depend on.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Items of the slice's mappings.
    pub items: HashMap<ItemId, Item>,
    /// The slice's own rows, and those of the pull requests that its issues name.
    pub rows: Vec<MappingRow>,
    /// Links of the slice's issues, and all links to the pull requests that these name.
    pub links: Vec<Link>,
    /// Decisions of people since the close events of the slice.
    pub decisions: HashMap<ItemId, Decision>,
    /// Objects in Weaviate; empty if Weaviate cannot be asked.
    pub objects: HashMap<Uuid, ObjectState>,
}

impl Records {
    fn find(&self, matches: impl Fn(&MappingRow) -> bool) -> Option<&MappingRow> {
        self.rows.iter().find(|row| matches(row))
    }

    /// Returns the row with this primary key.
    pub fn row(&self, id: MappingId) -> Option<&MappingRow> {
        self.find(|row| row.id == id)
    }

    /// Returns the row that stores this GitHub id.
    pub fn row_with_github_id(&self, github_id: GithubId) -> Option<&MappingRow> {
        self.find(|row| row.github_id == github_id)
    }

    /// Returns the item's row for this address, whatever GitHub id it stores: Agira stores
    /// `-number` if it lacks the id.
    pub fn row_at_address(
        &self,
        item_id: ItemId,
        kind: Kind,
        address: &Address,
    ) -> Option<&MappingRow> {
        let item = self.items.get(&item_id);
        let home = item.and_then(|item| item.project_repository.as_ref());
        self.find(|row| {
            let has_address = match row.html_url.is_empty() {
                true => row.number == address.number && home == Some(&address.repository),
                false => Address::parse(&row.html_url).as_ref() == Some(address),
            };
            row.item_id == item_id && row.kind == kind && has_address
        })
    }

    /// Returns the item's row with this kind and number, whatever its repository. Agira identifies
    /// rows by these three values.
    pub fn row_with_number(&self, item_id: ItemId, kind: Kind, number: i32) -> Option<&MappingRow> {
        self.find(|row| row.item_id == item_id && row.kind == kind && row.number == number)
    }

    /// Changes the row with this primary key, if there is one.
    pub fn change_row(&mut self, id: MappingId, change: impl FnOnce(&mut MappingRow)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            change(row);
        }
    }

    /// Returns the link between an issue and a pull request.
    pub fn link(&self, issue: MappingId, pull_request: GithubId) -> Option<&Link> {
        let pair = (issue, pull_request);
        self.links
            .iter()
            .find(|link| (link.issue, link.github_id) == pair)
    }

    /// Returns true if a person deleted the row of a pull request, which some issue still links.
    pub fn is_row_deleted(&self, pull_request: GithubId) -> bool {
        self.links
            .iter()
            .any(|link| link.github_id == pull_request && link.row.is_none())
    }

    /// Removes the links of an issue that the condition names.
    pub fn remove_links(&mut self, issue: MappingId, is_removed: impl Fn(&Link) -> bool) {
        self.links
            .retain(|link| link.issue != issue || !is_removed(link));
    }

    /// Replaces records that were read by those that earlier plans changed.
    pub fn overlay(&mut self, carried: &Self) {
        // Items of earlier slices are included, because a later slice may come back to them.
        self.items.extend(carried.items.clone());
        for row in &carried.rows {
            match self.rows.iter_mut().find(|read| read.id == row.id) {
                Some(read) => read.clone_from(row),
                None => self.rows.push(row.clone()),
            }
        }
        self.objects.extend(carried.objects.clone());
    }

    /// Returns the state of an object; `None` if it is unknown. A row that is not stored yet cannot
    /// have an object.
    pub fn object_state(&self, key: &ObjectKey, is_row_stored: bool) -> Option<&ObjectState> {
        match is_row_stored {
            true => self.objects.get(&key.uuid()),
            false => Some(&ObjectState::Missing),
        }
    }
}
