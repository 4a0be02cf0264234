//! Adapter to PostgreSQL: each file holds the statements of one purpose, each beside the function
//! that runs it.

mod apply;
mod change;
mod claim;
mod connect;
mod error;
mod facts;
mod finish;
mod hidden;
mod history;
mod load;
mod mark;
mod outbox;
mod overview;
mod parameters;
mod privileges;
mod rejected;
mod repositories;
mod row;
mod run;
mod schema;
mod select;
mod server;
mod session;
mod tls;
mod value;

pub use crate::core::pause::Pause;
pub use apply::{ApplyError, ApplyOutcome, BEHIND};
pub use change::Change;
pub use claim::{Lease, Suspect};
pub use connect::{parameters, places};
pub use error::{advice, classify, describe, is_conflict, is_transient};
pub use facts::Facts;
pub use finish::{DelayRecord, FailureRecord, SuccessRecord};
pub use hidden::{AsideBatch, HIDDEN_RECHECK, Part};
pub use history::{DuplicateMapping, MappingHistory};
pub use mark::RecheckBatch;
pub use outbox::ClaimedOutbox;
pub use overview::{
    Cause, Counts, FailedMapping, Overview, RepositoryState, RunState, SharedAddress, Totals,
};
pub use privileges::{Privilege, privileges};
pub use rejected::RejectedDelivery;
pub use repositories::{PollResult, RepositoryCursors};
pub use row::{Claimed, NamedMapping};
pub use run::{NAMED, RunRecord};
pub use select::{MappingFilter, Selection};
pub use session::{Access, Db};
