//! Facts that PostgreSQL tells about itself and about our role.

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::connect::open;
use super::session::{Access, Db};

/// Facts about the server and the session.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Version of the server.
    pub version: String,
    /// Name of the database.
    pub database: String,
    /// Role of the session.
    pub role: String,
    /// The role may do everything, which this program does not need.
    pub is_superuser: bool,
    /// The server accepts no writes.
    pub is_read_only: bool,
    /// The session is encrypted.
    pub is_encrypted: bool,
}

impl Db {
    /// Connects without a check of the schema, for reading only; returns PostgreSQL's time (UTC),
    /// too.
    pub fn connect_for_facts(url: &str) -> Result<(Self, DateTime<Utc>, Facts)> {
        let (client, now) = open(url)?;
        let mut db = Self::new(client, url, Access::ReadOnly);
        let sql = "/* facts */ SELECT current_setting('server_version') AS version, current_database()::text AS database,
                current_user::text AS role,
                coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS is_superuser, pg_is_in_recovery() AS is_read_only,
                coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted";
        let row = db.row("reading the facts about the server", sql, &[])?;
        let facts = Facts {
            version: row.get("version")?,
            database: row.get("database")?,
            role: row.get("role")?,
            is_superuser: row.get("is_superuser")?,
            is_read_only: row.get("is_read_only")?,
            is_encrypted: row.get("is_encrypted")?,
        };
        Ok((db, now, facts))
    }

    /// Checks everything that a run needs of the database: schema, privileges, and a server that
    /// accepts writes.
    pub fn check_for_runs(&mut self, facts: &Facts) -> Result<()> {
        self.check_schema()?;
        self.check_privileges_for(Access::ReadWrite)?;
        if facts.is_read_only {
            bail!(
                "this server is read-only, so that only `status` works; point DATABASE_URL at the primary"
            );
        }
        Ok(())
    }
}
