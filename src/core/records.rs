//! What was read about a slice of mappings besides the mappings themselves and what GitHub said.

use std::collections::HashMap;

use uuid::Uuid;

use super::agira_object::ObjectKey;
use super::model::{Address, GithubId, Item, ItemId, Kind, MappingId, Relation};

/// What Weaviate holds under one id. An id that is not in [`Known::objects`] is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectState {
    /// Nothing.
    Missing,
    /// An object.
    Present {
        /// Its status.
        status: Option<String>,
        /// It has no `parent_object_id`: Agira wrote it, with the item's text.
        without_parent: bool,
    },
}

/// A mapping row as far as planning another mapping needs it.
#[derive(Debug, Clone)]
pub struct MappingRow {
    /// Primary key.
    pub id: MappingId,
    /// The item it belongs to.
    pub item_id: ItemId,
    /// GitHub's id as stored.
    pub github_id: GithubId,
    /// Issue or pull request.
    pub kind: Kind,
    /// Number as stored.
    pub number: i32,
    /// State as stored.
    pub state: String,
    /// Address of the page.
    pub html_url: String,
    /// It has a due time or this run holds it: its own look comes anyway.
    pub is_scheduled: bool,
}

/// A row of `worker_pull_request_link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The issue's mapping.
    pub issue: MappingId,
    /// The pull request's mapping.
    pub pull_request: MappingId,
    /// The issue's item.
    pub item_id: ItemId,
    /// How they belong together.
    pub relation: Relation,
}

/// Everything read about a slice.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The items of the slice's mappings.
    pub items: HashMap<ItemId, Item>,
    /// The slice's own rows, and those of the pull requests that its issues name.
    pub rows: Vec<MappingRow>,
    /// The links of the slice's issues.
    pub links: Vec<Link>,
    /// What Weaviate holds; what it was not asked about, or did not answer, is unknown.
    pub objects: HashMap<Uuid, ObjectState>,
}

impl Records {
    /// The row that has this id of GitHub's.
    pub fn row_with_github_id(&self, github_id: GithubId) -> Option<&MappingRow> {
        self.rows.iter().find(|row| row.github_id == github_id)
    }

    /// A row of this item for the same pull request under another id: Agira stores `-number` where it does not know
    /// GitHub's id.
    pub fn row_at_address(
        &self,
        item_id: ItemId,
        kind: Kind,
        address: &Address,
    ) -> Option<&MappingRow> {
        let home = self
            .items
            .get(&item_id)
            .and_then(|item| item.project_repository.as_ref());
        self.rows.iter().find(|row| {
            let is_there = match row.html_url.is_empty() {
                true => row.number == address.number && home == Some(&address.repository),
                false => Address::parse(&row.html_url).as_ref() == Some(address),
            };
            row.item_id == item_id && row.kind == kind && is_there
        })
    }

    /// A row of this item with that kind and number, from whatever repository: Agira looks rows up that way.
    pub fn row_with_number(&self, item_id: ItemId, kind: Kind, number: i32) -> Option<&MappingRow> {
        self.rows
            .iter()
            .find(|row| row.item_id == item_id && row.kind == kind && row.number == number)
    }

    /// The row with that primary key.
    pub fn row(&self, id: MappingId) -> Option<&MappingRow> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Puts what earlier plans changed over what was read.
    pub fn overlay(&mut self, carried: &Self) {
        // Items of earlier slices, too: a later slice may come back to them.
        self.items
            .extend(carried.items.iter().map(|(id, item)| (*id, item.clone())));
        for row in &carried.rows {
            match self.rows.iter_mut().find(|read| read.id == row.id) {
                Some(read) => read.clone_from(row),
                None => self.rows.push(row.clone()),
            }
        }
        self.objects.extend(
            carried
                .objects
                .iter()
                .map(|(id, stored)| (*id, stored.clone())),
        );
    }

    /// What Weaviate holds for an object; `None`: unknown. A row that is not stored yet cannot have an object.
    pub fn object_state(&self, key: &ObjectKey, of_stored_row: bool) -> Option<&ObjectState> {
        if of_stored_row {
            self.objects.get(&key.uuid())
        } else {
            Some(&ObjectState::Missing)
        }
    }
}
