//! Connects to PostgreSQL.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use super::error::is_transient;
use super::parameters::{Translated, is_address, translated};
use super::server::{add_default_host, addresses, names, set_timeouts};
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

/// A server could not be reached, or refuses the login.
const CANNOT: &str = "cannot connect to PostgreSQL";

/// Splits DATABASE_URL into the driver's part and the part about TLS. An error shows no value of
/// it.
pub fn parameters(url: &str) -> Result<(postgres::Config, Tls)> {
    check_signs(url)?;
    let (mut tls, mut kept, mut end) = (Tls::default(), Vec::new(), 0);
    let (mut user_timeout, mut has_password) = (None, false);
    // Only values whose meaning is needed are decoded, so that no copy of the password is made.
    let (found, decode) = super::parameters::parameters(url);
    for (range, name, value) in found {
        let is_password = name == "password";
        // What follows a password may be a part of it.
        let is_named = !has_password && may_name(url);
        has_password |= is_password;
        if is_password {
            continue;
        }
        let value = decode(value);
        let translated = match tls.take(name, value.clone())? {
            true => Translated::Replaced(String::new()),
            false => translated(name, &value, is_named)?,
        };
        let mut text = match translated {
            Translated::Kept => continue,
            Translated::Replaced(text) => text,
            Translated::TcpUserTimeout(time) => {
                user_timeout = Some(time).filter(|time| !time.is_zero());
                String::new()
            }
        };
        let is_last = range.end == url.len();
        if !text.is_empty() && !is_last {
            text.push(if is_address(url) { '&' } else { ' ' });
        }
        kept.extend([
            url.get(end..range.start).unwrap_or_default().to_owned(),
            text,
        ]);
        end = range.end;
    }
    kept.push(url.get(end..).unwrap_or_default().to_owned());
    // The text may have a password: its copies are wiped, and `concat` makes only one.
    let kept: Vec<SecretString> = kept.into_iter().map(SecretString::from).collect();
    let parts: Vec<&str> = kept.iter().map(ExposeSecret::expose_secret).collect();
    let rest = SecretString::from(parts.concat());
    let config = rest.expose_secret().parse();
    let mut config: postgres::Config = config.map_err(|error: postgres::Error| {
        // The error names the bad part and not the address, which may hold a password. The name of
        // an unknown option may hold one, too:
        // `postgresql:/user:password@host/agira?sslmode=disable`.
        let reason = Some(source(&error)).filter(|reason| !reason.starts_with("unknown option"));
        let reason = reason.unwrap_or_else(|| "it has an unknown option".to_owned());
        anyhow::anyhow!(
            "DATABASE_URL is not a PostgreSQL address ({reason}); write it like postgresql://user:password@host/agira"
        )
    })?;
    user_timeout.map(|time| config.tcp_user_timeout(time));
    add_default_host(&mut config);
    Ok((config, tls.complete()?))
}

/// Fails if an address has an @ too many: what is behind the first one would be taken for the
/// host, although it belongs to the password.
fn check_signs(url: &str) -> Result<()> {
    let authority = url.split('?').next().unwrap_or_default();
    if is_address(url) && authority.matches('@').count() > 1 {
        bail!(
            "DATABASE_URL has more than one @: write an @ in the password (or user) as %40, and likewise : as %3A, / as %2F, \
             ? as %3F and % as %25"
        );
    }
    Ok(())
}

/// Returns false if a part of the connection string that seems to be the name of an option may
/// belong to a password.
fn may_name(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://").filter(|_| is_address(url)) else {
        return true;
    };
    // Without an @, a password would stand where the port does.
    let servers = rest.split(['/', '?']).next().unwrap_or_default();
    let is_port = |server: &str| match server.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    };
    servers.contains('@') || servers.split(',').all(is_port)
}

/// Returns the servers that DATABASE_URL names, as `host:port`, without asking them.
pub fn places(url: &str) -> Result<String> {
    let (config, _) = parameters(url)?;
    Ok(names(&config).join(", "))
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
        let place = names(&server).join(", ");
        let begun = within(limit, move || begin(attempt(&mut server, mode, client)?));
        result = begun.map_err(|error| error.at(&place));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Reason why no session began: the remedy, which may name the likeliest cause, and the error.
struct Refused {
    check: &'static str,
    error: anyhow::Error,
}

impl Refused {
    /// Returns the error about the server at this place.
    fn at(self, place: &str) -> anyhow::Error {
        let Self { check, error } = self;
        match check.is_empty() {
            true => error.context(format!(
                "PostgreSQL at {place} does not accept the settings of this session"
            )),
            false => error.context(format!("{CANNOT} at {place}; {check}")),
        }
    }
}

/// Runs `work` in a thread, because the driver has no time limit for it. A thread that hangs ends
/// with the process.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        let silence = format!("no session began within {limit} (connect_timeout)");
        Err(Refused {
            check: "check DATABASE_URL, whether the server runs, and whether a firewall is in between",
            error: io::Error::new(io::ErrorKind::TimedOut, silence).into(),
        })
    })
}

/// Applies `SETTINGS` to the session, and returns PostgreSQL's time (UTC).
fn begin(mut client: postgres::Client) -> Result<(postgres::Client, DateTime<Utc>), Refused> {
    let refused = |error: anyhow::Error| Refused { check: "", error };
    let sql = settings();
    let row = client.query_one(&sql, &[]);
    let row = row.map_err(|error| refused(error.into()))?;
    let now = Row::new(&sql, row).get("now").map_err(refused)?;
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
) -> Result<postgres::Client, Refused> {
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
fn cannot_connect(error: postgres::Error) -> Refused {
    let is_about_tls = is_about_tls(&error);
    let check = match is_about_tls {
        true => {
            "check sslmode and sslrootcert in DATABASE_URL, and the server's certificate for TLS"
        }
        false => likely(&error),
    };
    // A bad certificate and a forbidden socket look like a broken connection, but need a person.
    if is_transient(&error) && !is_about_tls && !is_forbidden(&error) {
        let error = anyhow::Error::new(error);
        return Refused { check, error };
    }
    let error = anyhow::anyhow!("{}", Printable(&source(&error)));
    Refused { check, error }
}

/// Returns what to check about an error, and its likeliest cause.
fn likely(error: &postgres::Error) -> &'static str {
    let said = source(error);
    match error.code().map(SqlState::code) {
        Some("28P01") => {
            "check DATABASE_URL: user or password is wrong; in an address, @ : / ? # % in a password are %40 %3A %2F %3F %23 %25"
        }
        Some("28000") => "check DATABASE_URL: the user, and the server's pg_hba.conf",
        Some("3D000") => "check DATABASE_URL: the name of the database",
        Some("53300") => "the server has no free connection; the next run tries again",
        _ if said.contains("password missing") => {
            "check DATABASE_URL: it has no password, and PGPASSWORD and ~/.pgpass are not read"
        }
        _ if said.contains("lookup") => "check DATABASE_URL: this host name is not known here",
        _ if said.contains("refused") => {
            "check DATABASE_URL and whether the server runs: nothing listens there (in a container, localhost is the container)"
        }
        _ if said.contains("No such file") => {
            "check DATABASE_URL and whether the server runs: it has no socket there"
        }
        _ => "check DATABASE_URL and whether the server runs",
    }
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
mod tests;
