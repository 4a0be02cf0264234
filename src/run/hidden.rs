//! Repositories that our credentials cannot see. Their mappings wait, so that they take no place of
//! others (design.md, "Failure model").

use std::collections::HashSet;

use super::stop::{Budget, Stop};
use crate::db::{Claimed, Db, MappingFilter, Part, Selection};

/// The repositories that a run knows to be recorded as hidden (`owner/name`, lower case).
#[derive(Debug, Default)]
pub struct Hidden {
    names: HashSet<String>,
    /// Mappings of some of them may not wait yet.
    is_new: bool,
}

impl Hidden {
    /// Adds a repository.
    pub fn insert(&mut self, name: String) {
        self.is_new |= self.names.insert(name);
    }

    /// Returns true if the repository is hidden.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Returns true if no repository is hidden.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns true if the repository of a mapping is hidden.
    pub fn has(&self, Claimed { mapping, item }: &Claimed) -> bool {
        let address = mapping.address(item);
        address.is_ok_and(|address| self.contains(&address.repository.to_string().to_lowercase()))
    }

    /// Makes the mappings of hidden repositories wait that a claim of up to `limit` mappings would
    /// take.
    pub fn set_aside(
        &mut self,
        db: &mut Db,
        budget: &Budget,
        filter: &MappingFilter,
        limit: usize,
    ) -> Result<(), Stop> {
        if filter.selection != Selection::Due || !std::mem::take(&mut self.is_new) {
            return Ok(());
        }
        let mut count = 0;
        for part in [Part::Due, Part::Recheck] {
            while budget.exhausted().is_none() {
                let batch = db.set_aside(filter, part, limit, budget.now())?;
                count += batch.set;
                let is_enough = usize::try_from(batch.others).is_ok_and(|others| others >= limit);
                if batch.set == 0 || is_enough {
                    break;
                }
            }
        }
        if count > 0 {
            log::info!("{count} mappings wait until their hidden repositories can be read");
        }
        Ok(())
    }
}
