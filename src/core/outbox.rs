//! What of a mapping Weaviate has not answered for yet, as kept in `worker_outbox`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::agira_object::AgiraObject;

/// Objects of one mapping that wait for Weaviate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// When it was decided (UTC).
    pub planned_at: DateTime<Utc>,
    /// The item's object waits. Only a reference: it is composed when it is pushed, because Django may write a newer
    /// item meanwhile.
    pub item: bool,
    /// The issue or pull request object, as it will be written.
    pub object: Option<AgiraObject>,
}

impl Outbox {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        !self.item && self.object.is_none()
    }

    /// How many objects wait.
    pub fn len(&self) -> usize {
        usize::from(self.item) + usize::from(self.object.is_some())
    }
}
