//! The two Agiras of a history: one for the runs, and one for the undisturbed twin.

use std::collections::HashMap;
use std::sync::Arc;

use kit::postgres_pool::PostgresPool;
use kit::postgres_server::{Cluster, Database, Dump, dumped, dumping};
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

/// Both databases. Many histories use them, one after the other.
pub struct Databases {
    pub real: Agira,
    pub twin: Agira,
    pub pool: Arc<PostgresPool>,
}

impl Databases {
    pub fn create() -> Self {
        let pool = Arc::new(PostgresPool::start(Cluster::shared()));
        Self {
            real: Agira::create(),
            twin: Agira::create(),
            pool,
        }
    }

    /// Resets both databases.
    pub fn reset(&mut self) {
        self.real.reset();
        self.twin.reset();
    }

    /// Returns the address of one database through the pool.
    pub fn pooled(&self, url: &str) -> String {
        self.pool.url(url)
    }
}

/// A database, and a connection for checks and for actions of people.
pub struct Agira {
    database: Database,
    client: Client,
    prepared: HashMap<String, Statement>,
    /// Dump statements by the prefix that they omit.
    dumps: HashMap<&'static str, String>,
}

impl Agira {
    fn create() -> Self {
        let database = Database::create();
        let mut client = database.client();
        client
            .batch_execute(include_str!("audit.sql"))
            .expect("the audit");
        Self {
            database,
            client,
            prepared: HashMap::new(),
            dumps: HashMap::new(),
        }
    }

    fn reset(&mut self) {
        self.query("SELECT kit_reset()", &[]);
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs a query that is prepared only once.
    pub fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        if !self.prepared.contains_key(sql) {
            let statement = self
                .client
                .prepare(sql)
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            self.prepared.insert(sql.to_owned(), statement);
        }
        self.client
            .query(&self.prepared[sql], parameters)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Runs statements as a person at psql would.
    pub fn execute(&mut self, sql: &str) {
        self.client
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Dumps the database like [`Database::dump`].
    pub fn dump(&mut self, without: &'static str) -> Dump {
        let client = &mut self.client;
        let sql = self
            .dumps
            .entry(without)
            .or_insert_with(|| dumping(client, without))
            .clone();
        dumped(&self.query(&sql, &[]))
    }
}
