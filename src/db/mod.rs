//! Adapter to PostgreSQL: each file holds statements of one purpose, each beside the function that runs it.

mod apply;
mod claim;
mod connect;
mod deliver;
mod finish;
mod load;
mod overview;
mod privileges;
mod repositories;
mod run;

use std::collections::{HashMap, HashSet};

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Row, Statement};

use crate::core::model::MappingId;

pub use apply::{Applied, NotApplied, Recorded};
pub use claim::{Claimed, Hold, Selection, Suspect, WholeSelection};
pub use deliver::Waiting;
pub use finish::{Failed, Finished};
pub use overview::{Failure, Overview, RepositoryState, RunState, Shared, Totals};
pub use privileges::{Needed, PRIVILEGES};
pub use repositories::{Cursors, Polled};
pub use run::{Pause, RunRecord};

/// A connection that prepares each statement once and counts what it sends.
pub struct Db {
    client: postgres::Client,
    prepared: HashMap<String, Statement>,
    statements: u64,
    /// Taken over from runs that died: when these are given back, they stay suspects, whoever gives them back.
    suspects: HashSet<MappingId>,
}

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `READ ONLY`: PostgreSQL refuses every write.
    ReadOnly,
    /// As usual.
    ReadWrite,
}

/// What a statement's parameters look like.
type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Db {
    /// Statements sent so far, those of transaction control included.
    pub fn statements(&self) -> u64 {
        self.statements
    }

    fn query(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, postgres::Error> {
        let statement = self.prepare(sql)?;
        self.statements += 1;
        self.client.query(&statement, parameters)
    }

    fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, postgres::Error> {
        let statement = self.prepare(sql)?;
        self.statements += 1;
        self.client.execute(&statement, parameters)
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn control(&mut self, sql: &str) -> Result<(), postgres::Error> {
        self.statements += 1;
        self.client.batch_execute(sql)
    }

    /// Runs `work` in one transaction, which is rolled back when it fails.
    fn transaction<T, E: From<postgres::Error>>(
        &mut self,
        access: Access,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.control(match access {
            Access::ReadOnly => "BEGIN READ ONLY",
            Access::ReadWrite => "BEGIN",
        })?;
        match work(self) {
            Ok(done) => {
                self.control("COMMIT")?;
                Ok(done)
            }
            Err(error) => {
                // When even this fails the connection is gone, and PostgreSQL rolls back by itself.
                let _ = self.control("ROLLBACK");
                Err(error)
            }
        }
    }

    /// One reading statement; in a dry run as a READ ONLY transaction of its own.
    fn read(&mut self, access: Access, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, postgres::Error> {
        match access {
            Access::ReadWrite => self.query(sql, parameters),
            Access::ReadOnly => self.transaction(access, |db| db.query(sql, parameters)),
        }
    }
}

/// Whether repeating the transaction can help: somebody else was in the way.
pub fn is_conflict(error: &postgres::Error) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE]
        .iter()
        .any(|state| error.code() == Some(state))
}

/// Whether the connection, rather than the statement, failed: PostgreSQL named no reason of its own, or says that it is
/// shutting down or has no room (classes 08, 53, 57 of its error codes, "PostgreSQL Error Codes").
pub fn is_lost(error: &postgres::Error) -> bool {
    match error.code() {
        Some(state) => {
            let is_timeout = *state == SqlState::QUERY_CANCELED;
            !is_timeout && ["08", "53", "57"].iter().any(|class| state.code().starts_with(class))
        }
        None => {
            error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
        }
    }
}

/// What PostgreSQL says, in one line: message, detail and what it is about.
pub fn said(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return error.to_string() };
    let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    crate::core::text::Printable(&format!("{}{detail}", db.message())).to_string()
}
