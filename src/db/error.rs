//! Classification of PostgreSQL's errors, and advice about them.

use postgres::error::SqlState;

use crate::core::failure::DatabaseFailure;
use crate::core::text::Printable;

/// Classifies an error of a statement or of the connection.
pub fn classify(error: &postgres::Error) -> DatabaseFailure {
    crate::core::failure::postgres(error.code().map(SqlState::code), is_broken(error))
}

/// Returns true if repeating the transaction can help, because another session held its rows.
pub fn is_conflict(error: &postgres::Error) -> bool {
    classify(error) == DatabaseFailure::Conflict
}

/// Returns true if another session held rows for longer than the lock timeout.
pub fn is_lock_timeout(error: &postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Returns true if the server or the network ends the session with this error.
pub fn ends_session(error: &postgres::Error) -> bool {
    use postgres::error::Severity::{Fatal, Panic};
    let severity = error.as_db_error().map(|db| db.parsed_severity());
    is_broken(error) || matches!(severity, Some(Some(Fatal | Panic)))
}

fn is_broken(error: &postgres::Error) -> bool {
    error.is_closed()
        || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Returns true if the session has ended.
pub fn is_lost(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    let cause = causes.find_map(|cause| cause.downcast_ref::<postgres::Error>());
    cause.is_some_and(|error| classify(error) == DatabaseFailure::Lost)
}

/// Returns true if a later run can succeed without a person's help.
pub fn is_transient(error: &postgres::Error) -> bool {
    use DatabaseFailure::{Conflict, Lost, Slow};
    matches!(classify(error), Lost | Conflict | Slow)
}

/// The folders that have the SQL files outside a checkout.
pub(super) const INSTALLED: &str = "the Debian package has the file in /usr/share/agira-worker/sql, and the image in /usr/local/share/agira-worker/sql";

/// Returns the remedy for an error whose cause is outside this program.
pub fn advice(error: &postgres::Error) -> Option<String> {
    let advice = match error.code()?.code() {
        "55P03" => "another session holds the rows for longer than 5 s; pg_stat_activity shows it",
        "57014" => {
            "a statement took longer than 60 s, but takes milliseconds on a healthy server; check the server's load"
        }
        "25006" => "this server is read-only; point DATABASE_URL at the primary",
        "53100" => "make room on PostgreSQL's disk",
        "42501" => {
            return Some(format!(
                "run examples/sql/role.sql as the owner of Agira's tables, and let DATABASE_URL name the role agira_worker \
                 that it makes; {INSTALLED}"
            ));
        }
        "42P05" | "26000" => {
            "DATABASE_URL leads through a pool in transaction mode that mixes up the prepared statements of its clients; \
             use its session mode, or PgBouncer 1.21 or newer with max_prepared_statements"
        }
        "42703" | "42P01" => "run sql/worker.sql, and examples/sql/role.sql again",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Returns PostgreSQL's message with its detail, in one line.
pub fn describe(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let detail = db.detail().map(|detail| format!(" ({detail})"));
    let detail = detail.unwrap_or_default();
    Printable(&format!("{}{detail}", db.message())).to_string()
}
