//! The objects of a mapping that wait for Weaviate, as stored in `worker_outbox`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::agira_object::AgiraObject;

/// Objects of one mapping that wait for Weaviate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// Time of the plan (UTC).
    pub planned_at: DateTime<Utc>,
    /// The item's object waits. It is composed when it is pushed, because Django may write a newer
    /// item until then.
    pub item: bool,
    /// Issue or pull request object, as it will be written.
    pub object: Option<AgiraObject>,
}

impl Outbox {
    /// Returns true if no object waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the objects that wait.
    pub fn len(&self) -> usize {
        usize::from(self.item) + usize::from(self.object.is_some())
    }
}
