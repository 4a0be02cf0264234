//! The two Agiras of a history: the one that the runs work on, and its twin that nothing disturbs.

use std::collections::HashMap;
use std::sync::Arc;

use kit::postgres_pool::PostgresPool;
use kit::postgres_server::{Cluster, Database, Dump, dumped, dumping};
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

/// Both databases, which many histories use one after the other.
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

    /// Nothing has happened yet.
    pub fn reset(&mut self) {
        self.real.reset();
        self.twin.reset();
    }

    /// An address of one of the two by way of the pool.
    pub fn pooled(&self, url: &str) -> String {
        self.pool.url(url)
    }
}

/// A database, and a connection for looking and for what people do.
pub struct Agira {
    database: Database,
    client: Client,
    prepared: HashMap<String, Statement>,
    /// The statements that dump it, by what they leave out.
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

    /// Reads with a statement that is prepared once.
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

    /// [`Database::dump`].
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
