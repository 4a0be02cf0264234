//! The parameters of a connection string: finds them in both forms, and translates what libpq knows
//! and the driver does not ("Parameter Key Words" in PostgreSQL's manual).

use std::ops::Range;
use std::time::Duration;

use anyhow::{bail, ensure};
use percent_encoding::percent_decode_str;

/// The replacement that the driver gets for a parameter.
pub(super) enum Translated {
    /// The driver knows the parameter as it is.
    Kept,
    /// Another text, which is empty if the parameter means nothing here.
    Replaced(String),
    /// `tcp_user_timeout`, which libpq counts in milliseconds and the driver in seconds.
    TcpUserTimeout(Duration),
}

/// Parameters that the driver knows.
const DRIVERS: [&str; 16] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "sslnegotiation",
    "channel_binding",
    "load_balance_hosts",
];

/// Parameters of libpq that change nothing here: the driver always speaks UTF-8 and has no GSS,
/// no compression and no name of its own.
const HARMLESS: [&str; 7] = [
    "client_encoding",
    "fallback_application_name",
    "sslcompression",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "max_protocol_version",
];

/// Parameters of libpq that ask for something that this program does not have, each with a remedy.
const UNSUPPORTED: [(&str, &str); 17] = [
    (
        "passfile",
        "put the password into the file that DATABASE_URL_FILE names",
    ),
    ("service", "write out what the service file holds"),
    ("servicefile", "write out what the service file holds"),
    (
        "require_auth",
        "remove it; channel_binding=require protects the password",
    ),
    ("requirepeer", "remove it"),
    ("sslpassword", "use a key without a passphrase"),
    ("sslcrl", "remove it"),
    ("sslcrldir", "remove it"),
    ("sslkeylogfile", "remove it"),
    ("replication", "remove it"),
    ("min_protocol_version", "remove it"),
    ("requiressl", "write sslmode=require"),
    ("scram_client_key", "use a password"),
    ("scram_server_key", "use a password"),
    ("oauth_issuer", "use a password or a certificate"),
    ("oauth_client_id", "use a password or a certificate"),
    ("oauth_client_secret", "use a password or a certificate"),
];

/// Translates one parameter with its decoded value, which no error shows. `is_named` is false if the
/// name may be a part of a password.
pub(super) fn translated(name: &str, value: &str, is_named: bool) -> anyhow::Result<Translated> {
    let is = |names: &[&str]| names.contains(&value);
    let must_be = |names: &str| anyhow::anyhow!("DATABASE_URL: {name} must be one of {names}");
    let replaced = |text: &str| Ok(Translated::Replaced(text.to_owned()));
    match name {
        _ if HARMLESS.contains(&name) => replaced(""),
        "keepalives_count" => {
            let count = value.trim().parse::<u32>();
            let count =
                count.map_err(|_| anyhow::anyhow!("DATABASE_URL: {name} is not a number"))?;
            replaced(&format!("keepalives_retries={count}"))
        }
        "tcp_user_timeout" => {
            let time = value.trim().parse::<u64>();
            let time = time.map_err(|_| {
                anyhow::anyhow!("DATABASE_URL: {name} is not a number of milliseconds")
            })?;
            Ok(Translated::TcpUserTimeout(Duration::from_millis(time)))
        }
        // Of a server that takes writes, the driver also asks for a session that does.
        "target_session_attrs" => match value {
            "any" | "read-write" | "read-only" => Ok(Translated::Kept),
            "primary" => replaced("target_session_attrs=read-write"),
            "standby" => replaced("target_session_attrs=read-only"),
            "prefer-standby" => replaced("target_session_attrs=any"),
            _ => Err(must_be(
                "any, read-write, read-only, primary, standby, prefer-standby",
            )),
        },
        "gssencmode" if is(&["disable", "prefer"]) => replaced(""),
        "gssencmode" => {
            bail!("DATABASE_URL: {name} must be disable or prefer, because this program has no GSS")
        }
        "sslcertmode" if is(&["allow"]) => replaced(""),
        "sslcertmode" => bail!(
            "DATABASE_URL: {name} must be allow: without sslcert and sslkey, no certificate is sent"
        ),
        _ if DRIVERS.contains(&name) => Ok(Translated::Kept),
        _ => {
            let unsupported = UNSUPPORTED.iter().find(|(known, _)| *known == name);
            if let Some((_, remedy)) = unsupported {
                // An empty value counts as none, as in libpq.
                ensure!(
                    value.is_empty(),
                    "DATABASE_URL has the option {name}, which this program does not support: {remedy}"
                );
                return replaced("");
            }
            let name = if is_named && is_plain(name) {
                format!("the option {name}, which is unknown")
            } else {
                "an unknown option".to_owned()
            };
            bail!(
                "DATABASE_URL is not a PostgreSQL address (it has {name}); write it like postgresql://user:password@host/agira"
            )
        }
    }
}

/// Returns true if the name looks like that of an option.
fn is_plain(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// One parameter of a connection string: its place in the string, its name, and its encoded value.
pub(super) type Parameter<'a> = (Range<usize>, &'a str, &'a str);

/// Returns the parameters of either form of connection string, up to the first one that cannot be
/// read, and the function that decodes their values. The driver later reports a parameter that
/// cannot be read.
pub(super) fn parameters(url: &str) -> (Vec<Parameter<'_>>, fn(&str) -> String) {
    match is_address(url) {
        true => (in_address(url), percent_decoded),
        false => (in_pairs(url), unescaped),
    }
}

/// Returns true if the connection string is an address, and not a list of pairs.
pub(super) fn is_address(url: &str) -> bool {
    let schemes = ["postgresql://", "postgres://"];
    schemes.iter().any(|scheme| url.starts_with(scheme))
}

fn in_address(url: &str) -> Vec<Parameter<'_>> {
    // Like the driver, takes everything before an @ for user and password.
    let host = url.find('@').unwrap_or(0);
    let query = url.get(host..).and_then(|rest| rest.split_once('?'));
    let query = query.map(|(_, query)| query).unwrap_or_default();
    let mut start = url.len() - query.len();
    let parts = query.split_inclusive('&').filter_map(|part| {
        let range = start..start + part.len();
        start = range.end;
        let (name, value) = part.trim_end_matches('&').split_once('=')?;
        Some((range, name, value))
    });
    parts.collect()
}

fn percent_decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Parses `name = value` pairs, whose values may be in single quotes; a backslash escapes the next
/// character.
fn in_pairs(text: &str) -> Vec<Parameter<'_>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let start = text.len() - rest.len();
        let after = after.trim_start();
        let quoted = after.strip_prefix('\'');
        let value = quoted.unwrap_or(after);
        let mut is_escaped = false;
        let end = value.find(|character: char| {
            let ends = match quoted {
                Some(_) => character == '\'',
                None => character.is_whitespace(),
            };
            let is_end = ends && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        });
        if quoted.is_some() && end.is_none() {
            break;
        }
        let (value, after) = value.split_at(end.unwrap_or(value.len()));
        rest = after.strip_prefix('\'').unwrap_or(after).trim_start();
        parameters.push((start..text.len() - rest.len(), name.trim_end(), value));
    }
    parameters
}

fn unescaped(value: &str) -> String {
    let mut characters = value.chars();
    let next = || match characters.next() {
        Some('\\') => characters.next(),
        next => next,
    };
    std::iter::from_fn(next).collect()
}
