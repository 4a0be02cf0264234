//! Repositories that our credentials cannot see. Their mappings wait, so that they take no place of
//! others (design.md, "Failure model").

use std::collections::HashMap;

use super::stop::{Budget, Stop};
use crate::core::failure::hides_only_issues;
use crate::core::model::Kind;
use crate::db::{Claimed, Db, MappingFilter, Part, Selection};

/// The repositories that a run knows to be recorded as hidden (`owner/name`, lower case).
#[derive(Debug, Default)]
pub struct Hidden {
    /// True for one of which only the issues are hidden.
    names: HashMap<String, bool>,
    /// Mappings of some of them may not wait yet.
    is_new: bool,
}

impl Hidden {
    /// Adds a repository with the reason why it is hidden.
    pub fn insert(&mut self, name: &str, reason: &str) {
        let only_issues = hides_only_issues(reason);
        let before = self.names.insert(name.to_owned(), only_issues);
        self.is_new |= before != Some(only_issues);
    }

    /// Removes a repository that can be read again.
    pub fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Returns true if no repository is hidden.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns true if the repository of a mapping is hidden, or its issues are and the mapping
    /// means one.
    pub fn has(&self, Claimed { mapping, item }: &Claimed) -> bool {
        let address = mapping.address(item).ok();
        let name = address.map(|address| address.repository.to_string().to_lowercase());
        let only_issues = name.and_then(|name| self.names.get(&name));
        only_issues.is_some_and(|only_issues| !only_issues || mapping.kind == Kind::Issue)
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

/// Returns what a repository's mappings do that is hidden for this reason.
pub fn waits(reason: &str) -> &'static str {
    match hides_only_issues(reason) {
        true => "the mappings of its issues wait until GitHub shows them again",
        false => "its mappings wait, and it is polled again after an hour",
    }
}
