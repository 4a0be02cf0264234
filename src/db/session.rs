//! The connection of a run: statements, transactions, and repeating them after a conflict.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use postgres::types::ToSql;
use postgres::{Error, Statement};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::connect::open;
use super::error::{describe, ends_session, is_conflict, is_lock_timeout, is_lost};
use super::value::Row;
use crate::core::model::MappingId;
use crate::signal::Signals;

/// A connection that prepares each statement once and counts what it sends.
pub struct Db {
    client: postgres::Client,
    /// DATABASE_URL, for another session; empty after its use.
    url: SecretString,
    pub(super) access: Access,
    prepared: HashMap<String, Statement>,
    /// After a signal, nothing is repeated.
    signals: Signals,
    statements: u64,
    /// A transaction is in progress, which is repeated as a whole: its statements are not repeated
    /// alone.
    is_repeating: bool,
    /// The server or the network has ended a session.
    has_lost: bool,
    /// Plans wait for rows that another session has locked.
    is_patient: bool,
    /// Mappings taken over from runs that died. They stay suspects when they are released.
    pub(super) suspects: HashSet<MappingId>,
}

/// Permission of a session to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every statement is in a `READ ONLY` transaction, in which PostgreSQL refuses every write.
    ReadOnly,
    /// Statements may write.
    ReadWrite,
}

/// Values for `$1`, `$2` and so on.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Largest number of attempts of a transaction that meets conflicts (design.md, "Failure model").
const TRIES: usize = 3;

/// An error of a transaction that may be repeated.
pub(super) trait Repeatable: From<Error> {
    /// Returns a description if the error is a conflict, which repeating the transaction can
    /// resolve.
    fn conflict(&self) -> Option<String>;

    /// Returns true if the session has ended.
    fn is_end(&self) -> bool;
}

impl Repeatable for Error {
    fn conflict(&self) -> Option<String> {
        is_conflict(self).then(|| describe(self))
    }

    fn is_end(&self) -> bool {
        ends_session(self)
    }
}

impl Db {
    pub(super) fn new(client: postgres::Client, url: &str, access: Access) -> Self {
        Self {
            client,
            url: url.into(),
            access,
            prepared: HashMap::new(),
            signals: Signals::default(),
            // The settings were the first statement.
            statements: 1,
            is_repeating: false,
            has_lost: false,
            is_patient: true,
            suspects: HashSet::new(),
        }
    }

    /// Begins another session, once, if the server or the network has ended this one. Nothing is
    /// wrong with the claims then, and a claim that expires counts an attempt.
    pub(super) fn again<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let result = work(self);
        let is_lost = self.client.is_closed() || result.as_ref().is_err_and(is_lost);
        let url = std::mem::take(&mut self.url);
        match result {
            Err(error) if is_lost && !url.expose_secret().is_empty() => {
                log::info!("{error:#}; connecting again to release the claims");
                let (client, _) = open(url.expose_secret())?;
                self.client = client;
                self.has_lost = true;
                self.prepared.clear();
                self.statements += 1;
                work(self)
            }
            result => {
                self.url = url;
                result
            }
        }
    }

    /// Returns true if the server or the network ended the first session.
    pub fn has_lost_its_session(&self) -> bool {
        // The connection may not have noticed yet what the server has said.
        self.has_lost || self.client.is_closed()
    }

    /// Makes these signals end the repeating after a conflict.
    pub fn stop_at(&mut self, signals: Signals) {
        self.signals = signals;
    }

    /// Returns true if plans wait for rows that another session has locked.
    pub fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// Makes later plans wait no longer for locked rows: a session that holds the rows of many
    /// plans would use up the time of the others.
    pub fn end_patience(&mut self) {
        self.is_patient = false;
    }

    /// Returns the number of statements sent so far, including those of transaction control.
    pub fn statements(&self) -> u64 {
        self.statements
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.repeated(|db| {
            let statement = db.prepare(sql)?;
            db.statements += 1;
            Ok(Row::all(sql, db.client.query(&statement, parameters)?))
        })
    }

    /// Returns the number of rows that were written.
    pub(super) fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
        self.repeated(|db| {
            let statement = db.prepare(sql)?;
            db.statements += 1;
            db.client.execute(&statement, parameters)
        })
    }

    /// Runs one statement outside of a transaction; in a READ ONLY session it gets one of its own.
    /// `doing` begins the error.
    pub(super) fn rows(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> anyhow::Result<Vec<Row>> {
        let rows = match self.access {
            Access::ReadWrite => self.query(sql, parameters),
            Access::ReadOnly => self.transaction(|db| db.query(sql, parameters)),
        };
        rows.with_context(|| format!("{doing} failed"))
    }

    /// Runs one statement like [`Db::rows`] that always returns a row.
    pub(super) fn row(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> anyhow::Result<Row> {
        let rows = self.rows(doing, sql, parameters)?.into_iter();
        let row = rows.last();
        row.with_context(|| format!("{doing} failed: PostgreSQL returned no row"))
    }

    /// Runs one statement like [`Db::rows`] whose only column is JSON, and decodes each row.
    pub(super) fn decoded<T: DeserializeOwned>(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> anyhow::Result<Vec<T>> {
        let rows = self.rows(doing, sql, parameters)?;
        let decoded: Result<Vec<T>, Error> = rows.iter().map(Row::decoded).collect();
        decoded.with_context(|| format!("{doing} failed"))
    }

    /// Runs one writing statement outside of a transaction; returns the number of rows. `doing`
    /// begins the error.
    pub(super) fn write(
        &mut self,
        doing: &str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> anyhow::Result<u64> {
        self.execute(sql, parameters)
            .with_context(|| format!("{doing} failed"))
    }

    /// Runs `work` in one transaction, which is rolled back when it fails and repeated after a
    /// conflict.
    pub(super) fn transaction<T, E: Repeatable>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.repeated(|db| {
            db.control(match db.access {
                Access::ReadOnly => "BEGIN READ ONLY",
                Access::ReadWrite => "BEGIN",
            })?;
            let result = work(db);
            match &result {
                Ok(_) => db.control("COMMIT")?,
                // If even this fails, the connection is lost, and PostgreSQL rolls back by itself.
                Err(_) => drop(db.control("ROLLBACK")),
            }
            result
        })
    }

    /// Ends claims of a run. `sql` gets the locking clause and returns an UPDATE with RETURNING of
    /// the rows $2 that run $1 holds. A first statement skips rows that another session has locked;
    /// a second one waits for them. The claim of a row that stays locked expires.
    pub(super) fn end_claims(
        &mut self,
        tag: &str,
        doing: &str,
        sql: impl Fn(&str) -> String,
        parameters: Parameters<'_>,
    ) -> anyhow::Result<()> {
        let counting = |tag: &str, lock: &str| {
            format!(
                "/* {tag} */ WITH ended AS ({}) SELECT (SELECT count(*) FROM core_externalissuemapping
                    WHERE id = ANY($2::bigint[]) AND worker_claim = $1) > (SELECT count(*) FROM ended)",
                sql(lock)
            )
        };
        let free = counting(tag, "FOR UPDATE SKIP LOCKED");
        let result = self.repeated(|db| {
            let rows = db.query(&free, parameters)?;
            if rows.first().map(Row::first).transpose()? == Some(true) {
                let waiting = counting(&format!("{tag}_locked"), "FOR UPDATE");
                match db.query(&waiting, parameters) {
                    // The wait was long enough.
                    Err(error) if is_lock_timeout(&error) => leave_to_expire(Err(error))?,
                    result => drop(result?),
                }
            }
            Ok(())
        });
        leave_to_expire(result).with_context(|| format!("{doing} failed"))
    }

    /// Repeats a whole transaction, or a statement outside of one, while it meets conflicts.
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
                Some(reason) if tries < TRIES && self.signals.caught().is_none() => {
                    log::debug!("{reason}; trying again")
                }
                _ => break result,
            }
            tries += 1;
        };
        self.is_repeating = false;
        self.has_lost |= result.as_ref().is_err_and(Repeatable::is_end);
        result
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) fn control(&mut self, sql: &str) -> Result<(), Error> {
        self.statements += 1;
        self.client.batch_execute(sql)
    }
}

/// Turns a conflict that outlasted all attempts into a warning: once the claims have expired, a
/// later run does the work again.
pub(super) fn leave_to_expire(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if is_conflict(&error) => {
            log::warn!(
                "another session holds rows of mappings ({}); their claims will expire",
                describe(&error)
            );
            Ok(())
        }
        result => result,
    }
}
