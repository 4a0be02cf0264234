//! Adapter to PostgreSQL: each file holds statements of one purpose, each beside the function that runs it.

mod apply;
mod claim;
mod connect;
mod finish;
mod history;
mod load;
mod outbox;
mod overview;
mod privileges;
mod repositories;
mod run;
mod tls;

use std::collections::{HashMap, HashSet};

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Row, Statement};

use crate::core::failure::DatabaseFailure;
use crate::core::model::MappingId;

pub use apply::{ApplyError, ApplyOutcome, MappingColumns};
pub use claim::{Claimed, Lease, MappingFilter, Selection, Suspect};
pub use connect::parameters;
pub use finish::{FailureRecord, SuccessRecord};
pub use history::{ACTIVITIES, DuplicateMapping, MappingHistory, Moved};
pub use outbox::ClaimedOutbox;
pub use overview::{
    Counts, FailedMapping, Overview, RepositoryState, RunState, SharedAddress, Totals,
};
pub use privileges::{Needed, PRIVILEGES};
pub use repositories::{PollResult, RepositoryCursors};
pub use run::{Pause, RunRecord};

/// A connection that prepares each statement once and counts what it sends.
pub struct Db {
    client: postgres::Client,
    prepared: HashMap<String, Statement>,
    statements: u64,
    /// Within something that is repeated as a whole.
    is_repeating: bool,
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

/// How often a transaction is tried when somebody else is in the way (design, section 5).
const TRIES: usize = 3;

/// An error of a transaction that may be repeated.
trait Repeatable: From<postgres::Error> {
    /// Why repeating can help, if it can.
    fn conflict(&self) -> Option<String>;
}

impl Repeatable for postgres::Error {
    fn conflict(&self) -> Option<String> {
        is_conflict(self).then(|| describe(self))
    }
}

impl Db {
    /// Statements sent so far, those of transaction control included.
    pub fn statements(&self) -> u64 {
        self.statements
    }

    fn query(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, postgres::Error> {
        self.repeated(|db| {
            let statement = db.prepare(sql)?;
            db.statements += 1;
            db.client.query(&statement, parameters)
        })
    }

    fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, postgres::Error> {
        self.repeated(|db| {
            let statement = db.prepare(sql)?;
            db.statements += 1;
            db.client.execute(&statement, parameters)
        })
    }

    /// Repeats a whole transaction while somebody else is in the way. What is done inside of one is not repeated alone.
    fn repeated<T, E: Repeatable>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_repeating {
            return work(self);
        }
        self.is_repeating = true;
        let mut tries = 1;
        let result = loop {
            let result = work(self);
            match result.as_ref().err().and_then(Repeatable::conflict) {
                Some(reason) if tries < TRIES => log::debug!("{reason}; trying again"),
                _ => break result,
            }
            tries += 1;
        };
        self.is_repeating = false;
        result
    }

    /// Ends claims by an update with RETURNING, of the rows $2 that run $1 holds; `sql` makes it of how rows are locked. One
    /// row that somebody else has locked must not keep the others: those are dealt with first, and then it is waited for.
    /// When it is not let go, its claim is left to expire.
    fn end_claims(
        &mut self,
        sql: impl Fn(&str) -> String,
        parameters: Parameters<'_>,
    ) -> Result<(), postgres::Error> {
        let counting = |lock| {
            format!(
                "WITH ended AS ({}) SELECT (SELECT count(*) FROM core_externalissuemapping
                    WHERE id = ANY($2) AND worker_claim = $1) > (SELECT count(*) FROM ended)",
                sql(lock)
            )
        };
        let result = self.repeated(|db| {
            let are_left = db.query(&counting("FOR UPDATE SKIP LOCKED"), parameters)?[0].get(0);
            if are_left {
                db.query(&counting("FOR UPDATE"), parameters)?;
            }
            Ok(())
        });
        match result {
            Err(error) if is_conflict(&error) => {
                log::warn!(
                    "somebody holds rows of mappings ({}); their claims will expire",
                    describe(&error)
                );
                Ok(())
            }
            other => other,
        }
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

    /// Runs `work` in one transaction, which is rolled back when it fails, and repeated when somebody was in the way.
    fn transaction<T, E: Repeatable>(
        &mut self,
        access: Access,
        mut work: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.repeated(|db| {
            db.control(match access {
                Access::ReadOnly => "BEGIN READ ONLY",
                Access::ReadWrite => "BEGIN",
            })?;
            match work(db) {
                Ok(done) => {
                    db.control("COMMIT")?;
                    Ok(done)
                }
                Err(error) => {
                    // When even this fails the connection is gone, and PostgreSQL rolls back by itself.
                    let _ = db.control("ROLLBACK");
                    Err(error)
                }
            }
        })
    }

    /// One reading statement; in a dry run as a READ ONLY transaction of its own.
    fn read(
        &mut self,
        access: Access,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, postgres::Error> {
        match access {
            Access::ReadWrite => self.query(sql, parameters),
            Access::ReadOnly => self.transaction(access, |db| db.query(sql, parameters)),
        }
    }
}

/// What an error means, wherever it comes from.
pub fn classify(error: &postgres::Error) -> DatabaseFailure {
    let broken = error.is_closed()
        || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    crate::core::failure::postgres(error.code().map(SqlState::code), broken)
}

/// Whether repeating the transaction can help: somebody else was in the way.
pub fn is_conflict(error: &postgres::Error) -> bool {
    classify(error) == DatabaseFailure::Conflict
}

/// Whether another run may do better.
pub fn is_transient(error: &postgres::Error) -> bool {
    matches!(
        classify(error),
        DatabaseFailure::Lost | DatabaseFailure::Conflict | DatabaseFailure::Slow
    )
}

/// What an operator can do about an error that is not this program's.
pub fn advice(error: &postgres::Error) -> Option<&'static str> {
    let state = error.code()?;
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        Some("somebody holds what it needs for longer than 5 s; pg_stat_activity shows who")
    } else if *state == SqlState::QUERY_CANCELED {
        Some(
            "a statement may take 60 s, and takes milliseconds on a healthy server; look at its load",
        )
    } else if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        Some("PostgreSQL takes no writes there; let DATABASE_URL lead to the primary server")
    } else if *state == SqlState::DISK_FULL {
        Some("make room on PostgreSQL's disk")
    } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        Some("run examples/sql/role.sql again")
    } else if *state == SqlState::UNDEFINED_COLUMN || *state == SqlState::UNDEFINED_TABLE {
        Some("run sql/worker.sql, and examples/sql/role.sql again")
    } else {
        None
    }
}

/// What PostgreSQL says, in one line: message, detail and what it is about.
pub fn describe(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let detail = db
        .detail()
        .map(|detail| format!(" ({detail})"))
        .unwrap_or_default();
    crate::core::text::Printable(&format!("{}{detail}", db.message())).to_string()
}
