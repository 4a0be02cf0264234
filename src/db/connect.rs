//! Connecting, and making sure that the database is one that we can work on.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use postgres::error::SqlState;
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use super::tls::Tls;
use super::{Db, PRIVILEGES};

impl Db {
    /// Connects, checks the schema and reads PostgreSQL's clock: the time that this run starts at (UTC).
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached or does not hold Agira with `sql/worker.sql`; says what to do.
    pub fn connect(url: &str) -> anyhow::Result<(Self, DateTime<Utc>)> {
        let (mut config, tls) = parameters(url)?;
        config
            .application_name("agira-worker")
            .connect_timeout(std::time::Duration::from_secs(10));
        let client = open(&mut config, &tls)?;
        let mut db = Self {
            client,
            prepared: HashMap::new(),
            statements: 0,
            is_repeating: false,
            suspects: HashSet::new(),
        };
        let now = db
            .query(
                "SELECT now(), set_config('lock_timeout', '5s', false), set_config('statement_timeout', '60s', false)",
                &[],
            )
            .context("PostgreSQL does not accept the settings of this session")?[0]
            .get(0);
        db.check_schema()?;
        Ok((db, now))
    }

    /// Whether every column that some statement needs is there.
    fn check_schema(&mut self) -> anyhow::Result<()> {
        let pairs = PRIVILEGES
            .iter()
            .flat_map(|(table, _, columns)| columns.iter().map(move |column| (*table, *column)));
        let (tables, columns): (Vec<&str>, Vec<&str>) = pairs.unzip();
        let rows = self
            .query(
                "SELECT t.name || '.' || t.col
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t(name, col, position)
                 LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attname = t.col AND NOT a.attisdropped
                 WHERE a.attnum IS NULL ORDER BY position",
                &[&tables, &columns],
            )
            .context("cannot read the database's catalogue")?;
        let is_ours = |name: &str| name.contains(".worker_") || name.starts_with("worker_");
        let (ours, agiras): (Vec<String>, Vec<String>) = rows
            .iter()
            .map(|row| row.get::<_, String>(0))
            .partition(|name| is_ours(name));
        if let Some(first) = agiras.first() {
            let needed = tables
                .iter()
                .zip(&columns)
                .filter(|(table, column)| !is_ours(&format!("{table}.{column}")));
            if agiras.len() == needed.count() {
                bail!(
                    "this is not Agira's database: it lacks {first}; check DATABASE_URL (database name, search_path)"
                );
            }
            bail!(
                "Agira's database lacks {first}: run Agira's migrations; if they took it away, use a version of agira-worker \
                 that knows this Agira"
            );
        }
        if let Some(first) = ours.first() {
            bail!(
                "the database lacks {first}; run: psql -v ON_ERROR_STOP=1 -d \"$DATABASE_URL\" -f sql/worker.sql"
            );
        }
        let item_type = self
            .query(
                "SELECT FROM django_content_type WHERE app_label = 'core' AND model = 'item'",
                &[],
            )
            .context("cannot read django_content_type")?;
        if item_type.is_empty() {
            bail!(
                "django_content_type has no row for core.item, which activities need; run Agira's migrations"
            );
        }
        Ok(())
    }
}

/// What DATABASE_URL says: the driver's part, and what is about TLS.
///
/// # Errors
/// Says what is wrong with it, without a value.
pub fn parameters(url: &str) -> anyhow::Result<(postgres::Config, Tls)> {
    let (url, tls) = Tls::split(url)?;
    let config = url.parse().map_err(|error: postgres::Error| {
        // The error names the bad part, the address stays out: it may hold a password. So may the name of what was
        // taken for an option, as in `postgresql:/user:password@host/agira?sslmode=disable`.
        let reason = Some(source(&error)).filter(|reason| !reason.starts_with("unknown option"));
        let reason = reason.unwrap_or_else(|| "what would be an option of it is none".to_owned());
        anyhow::anyhow!(
            "DATABASE_URL is not a PostgreSQL address ({reason}); write it like postgresql://user:password@host/agira"
        )
    })?;
    Ok((config, tls))
}

/// Tries what `sslmode` allows, one after the other.
fn open(config: &mut postgres::Config, tls: &Tls) -> anyhow::Result<postgres::Client> {
    use postgres::config::{Host, SslMode};
    // As with libpq, a socket of this machine has no TLS, whatever the mode.
    let is_local = config
        .get_hosts()
        .iter()
        .all(|host| matches!(host, Host::Unix(_)))
        && config.get_hostaddrs().is_empty();
    let mut refused = None;
    for (mode, client) in tls.attempts()? {
        // The driver wants a host's name for TLS even where it does not use it.
        let connected = match is_local || mode == SslMode::Disable {
            true => config.ssl_mode(SslMode::Disable).connect(postgres::NoTls),
            false => config
                .ssl_mode(mode)
                .connect(MakeRustlsConnect::new(client)),
        };
        match connected {
            Ok(client) => return Ok(client),
            Err(error) => {
                let may_differ = may_differ_with_tls(&error);
                // What the first attempt met is what the operator asked for.
                let error = refused.get_or_insert(error);
                if !may_differ {
                    return Err(cannot_connect(error));
                }
            }
        }
    }
    Err(refused.as_ref().map_or_else(
        || anyhow::anyhow!("no connection was tried"),
        cannot_connect,
    ))
}

/// Whether the other way, with or without TLS, could do better: the handshake failed, or `pg_hba.conf` refused this one.
fn may_differ_with_tls(error: &postgres::Error) -> bool {
    is_about_tls(error) || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// The driver has no other way to tell.
fn is_about_tls(error: &postgres::Error) -> bool {
    error.to_string().contains("TLS handshake")
}

fn cannot_connect(error: &postgres::Error) -> anyhow::Error {
    let check = match is_about_tls(error) {
        true => {
            "cannot connect to PostgreSQL with TLS; check sslmode and sslrootcert in DATABASE_URL, and the server's certificate"
        }
        false => "cannot connect to PostgreSQL; check DATABASE_URL and whether the server runs",
    };
    anyhow::anyhow!("{}", crate::core::text::Printable(&source(error))).context(check)
}

fn source(error: &postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_not_shown() {
        for bad in [
            "postgresql:/me:hunter2@host/agira?sslmode=disable",
            "host=host password=my hunter2=1",
        ] {
            let error = format!("{:#}", Db::connect(bad).err().unwrap());
            assert!(
                error.starts_with("DATABASE_URL is not a PostgreSQL address"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
