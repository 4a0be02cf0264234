//! Connects to PostgreSQL.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use secrecy::ExposeSecret;
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use super::error::is_transient;
use super::server::{addresses, set_timeouts};
use super::tls::Tls;
use super::value::Row;
use crate::core::text::Printable;

/// The settings of each session. `examples/sql/role.sql` sets them for the role, too, because a
/// pool in transaction mode may run a statement in a session that this program has not set up.
const SETTINGS: [(&str, &str); 6] = [
    ("lock_timeout", "5s"),
    ("statement_timeout", "60s"),
    // A run that is frozen inside a transaction must not hold its rows for longer.
    ("idle_in_transaction_session_timeout", "60s"),
    // With `serializable`, the statements would fail on conflicts that do not matter.
    ("default_transaction_isolation", "read committed"),
    // A run waits for GitHub and Weaviate between its statements. PostgreSQL has these two since
    // versions 14 and 17.
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
];

const CHECK: &str = "cannot connect to PostgreSQL; check DATABASE_URL and whether the server runs";

/// Splits DATABASE_URL into the driver's part and the part about TLS. An error shows no value of
/// it.
pub fn parameters(url: &str) -> Result<(postgres::Config, Tls)> {
    let (url, tls) = Tls::split(url)?;
    let config = url.expose_secret().parse();
    let config = config.map_err(|error: postgres::Error| {
        // The error names the bad part and not the address, which may hold a password. The name of
        // an unknown option may hold one, too:
        // `postgresql:/user:password@host/agira?sslmode=disable`.
        let reason = Some(source(&error)).filter(|reason| !reason.starts_with("unknown option"));
        let reason = reason.unwrap_or_else(|| "it contains an unknown option".to_owned());
        anyhow::anyhow!(
            "DATABASE_URL is not a PostgreSQL address ({reason}); write it like postgresql://user:password@host/agira"
        )
    })?;
    Ok((config, tls))
}

/// Returns the first session that begins, and PostgreSQL's time (UTC). Each address has its own
/// `connect_timeout`.
pub fn open(url: &str) -> Result<(postgres::Client, DateTime<Utc>)> {
    let (mut config, tls) = parameters(url)?;
    config.application_name("agira-worker");
    let limit = set_timeouts(&mut config);
    let client = tls.config()?;
    let mut result = Err(anyhow::anyhow!("DATABASE_URL names no server"));
    for mut server in addresses(&config) {
        let (mode, client) = (tls.mode(), client.clone());
        result = within(limit, move || begin(attempt(&mut server, mode, client)?));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Runs `work` in a thread, because the driver has no time limit for it. A thread that hangs ends
/// with the process.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        let silence = format!("no session began within {limit} (connect_timeout)");
        Err(io::Error::new(io::ErrorKind::TimedOut, silence)).context(CHECK)
    })
}

/// Applies `SETTINGS` to the session, and returns PostgreSQL's time (UTC).
fn begin(mut client: postgres::Client) -> Result<(postgres::Client, DateTime<Utc>)> {
    let sql = settings();
    let row = client
        .query_one(&sql, &[])
        .context("PostgreSQL does not accept the settings of this session")?;
    let now = Row::new(&sql, row).get("now")?;
    Ok((client, now))
}

/// Returns the statement that applies `SETTINGS`, except those that this PostgreSQL lacks.
fn settings() -> String {
    let values = SETTINGS.map(|(name, value)| format!("('{name}', '{value}')"));
    format!(
        "/* settings */ SELECT now() AS now, (SELECT count(set_config(name, value, false)) FROM (VALUES {}) AS t(name, value)
            WHERE current_setting(name, true) IS NOT NULL)",
        values.join(", ")
    )
}

/// Connects as `sslmode` demands; `prefer` may need two attempts.
fn attempt(
    config: &mut postgres::Config,
    mode: SslMode,
    client: rustls::ClientConfig,
) -> Result<postgres::Client> {
    // As with libpq, a local socket has no TLS, whatever the mode.
    let mut hosts = config.get_hosts().iter();
    let is_local =
        hosts.all(|host| matches!(host, Host::Unix(_))) && config.get_hostaddrs().is_empty();
    let mode = if is_local { SslMode::Disable } else { mode };
    let connected = match mode {
        // The driver wants a host name for TLS even where it does not use it.
        SslMode::Disable => config.ssl_mode(mode).connect(postgres::NoTls),
        mode => config
            .ssl_mode(mode)
            .connect(MakeRustlsConnect::new(client)),
    };
    let connected = match connected {
        Err(error) if mode == SslMode::Prefer && may_differ_without_tls(&error) => config
            .ssl_mode(SslMode::Disable)
            .connect(postgres::NoTls)
            // The first attempt is the one that the operator asked for.
            .map_err(|_| error),
        connected => connected,
    };
    connected.map_err(cannot_connect)
}

/// Returns true if a connection without TLS could succeed: the handshake failed, or `pg_hba.conf`
/// refused encryption.
fn may_differ_without_tls(error: &postgres::Error) -> bool {
    is_about_tls(error) || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// Returns true if the TLS handshake failed, which only the text of the driver's error reveals.
fn is_about_tls(error: &postgres::Error) -> bool {
    error.to_string().contains("TLS handshake")
}

/// Returns the error with its remedy. If a later run can succeed, the cause stays a
/// `postgres::Error`.
fn cannot_connect(error: postgres::Error) -> anyhow::Error {
    let is_about_tls = is_about_tls(&error);
    let check = if is_about_tls {
        "cannot connect to PostgreSQL with TLS; check sslmode and sslrootcert in DATABASE_URL, and the server's certificate"
    } else {
        CHECK
    };
    // A bad certificate and a forbidden socket look like a broken connection, but need a person.
    if is_transient(&error) && !is_about_tls && !is_forbidden(&error) {
        return anyhow::Error::new(error).context(check);
    }
    anyhow::anyhow!("{}", Printable(&source(&error))).context(check)
}

/// Returns true if the operating system forbids the connection.
fn is_forbidden(error: &postgres::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| source.kind() == std::io::ErrorKind::PermissionDenied)
}

fn source(error: &postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
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
            let error = format!("{:#}", open(bad).err().unwrap());
            assert!(
                error.starts_with("DATABASE_URL is not a PostgreSQL address"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
