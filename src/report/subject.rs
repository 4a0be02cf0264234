//! The name of a mapping in logs, reports and text.

use std::fmt;

use log::Level;

use crate::core::model::{Address, Item, ItemId, Kind, Mapping, MappingId};
use crate::core::text::shortened;

/// The number of characters of a title that a name keeps.
const TITLE: usize = 200;

/// A mapping as logs and reports name it. It displays as `mapping=1 item=7 acme/shop#12`, so that
/// grep finds it.
#[derive(Debug, Clone)]
pub struct Subject {
    pub mapping: MappingId,
    pub item: ItemId,
    pub kind: Kind,
    /// Title of the item, at most [`TITLE`] characters of it.
    pub item_title: String,
    /// Number as stored, for a mapping without a usable address.
    stored_number: i32,
    address: Option<Address>,
}

impl Subject {
    /// Names a mapping by the address that its row has.
    pub fn new(mapping: &Mapping, item: &Item) -> Self {
        Self {
            mapping: mapping.id,
            item: mapping.item_id,
            kind: mapping.kind,
            item_title: shortened(&item.title, TITLE),
            stored_number: mapping.number,
            address: mapping.address(item).ok(),
        }
    }

    /// Names a mapping by the address that GitHub returned, which follows renames.
    pub fn at(mapping: &Mapping, item: &Item, address: &Address) -> Self {
        Self {
            address: Some(address.clone()),
            ..Self::new(mapping, item)
        }
    }

    /// Returns `owner/name`, unless the mapping has no usable address.
    pub fn repository(&self) -> Option<String> {
        self.address
            .as_ref()
            .map(|address| address.repository.to_string())
    }

    /// Returns the number on GitHub.
    pub fn number(&self) -> i32 {
        self.address
            .as_ref()
            .map_or(self.stored_number, |address| address.number)
    }

    /// Returns `owner/name#number`, or `#number` without a usable address.
    pub fn reference(&self) -> String {
        match &self.address {
            Some(address) => address.to_string(),
            None => format!("#{}", self.stored_number),
        }
    }

    /// Returns the name for a person: `mapping 1 (item 7, issue acme/shop#12)`.
    pub fn title(&self) -> String {
        format!(
            "mapping {} (item {}, {} {})",
            self.mapping,
            self.item,
            self.kind.label(),
            self.reference()
        )
    }

    /// Logs a line about the mapping. The line's JSON form has the ids as keys.
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        log::log!(level, mapping = self.mapping.0, item = self.item.0; "{self}: {message}");
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "mapping={} item={} {}",
            self.mapping,
            self.item,
            self.reference()
        )
    }
}
