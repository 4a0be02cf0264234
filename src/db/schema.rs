//! Opens the database: checks that it is Agira's, has our schema, and has columns of the types that
//! the statements read and write.

use anyhow::{Context, Result, bail};

use chrono::{DateTime, Utc};

use super::connect::open;
use super::error::INSTALLED;
use super::privileges::privileges;
use super::session::{Access, Db};

/// Returns the types that a column of this name may have, separated by `|`.
fn types(column: &str) -> &'static str {
    match column {
        "target_object_id" => TEXT,
        "id" | "number" | "count" | "exit_code" => INTEGER,
        "worker_claim" | "run" => "uuid",
        "worker_outbox" | "counts" => "jsonb|json",
        "until" => TIME,
        _ if column.ends_with("_id") || column.ends_with("_attempts") => INTEGER,
        _ if ["_at", "_until", "_cursor", "_since"]
            .iter()
            .any(|end| column.ends_with(end)) =>
        {
            TIME
        }
        _ => TEXT,
    }
}

const INTEGER: &str = "bigint|integer|smallint";
const TEXT: &str = "text|character varying|character|citext";
const TIME: &str = "timestamp with time zone";

/// The version of `sql/worker.sql` with which this program works. A change of that file that a
/// database must have raises both.
const VERSION: u32 = 1;

/// The beginning of the comment on `worker_run`; the version follows.
const MARK: &str = "agira-worker schema ";

/// The command that brings a database up to date.
const INSTALL: &str = "run as the owner of Agira's tables: psql -q -v ON_ERROR_STOP=1 -d \"$OWNER_URL\" -f sql/worker.sql";

impl Db {
    /// Connects, checks the schema and returns PostgreSQL's time (UTC) as the start of the run. The
    /// error names the remedy if PostgreSQL is unreachable, or lacks Agira's tables or
    /// `sql/worker.sql`.
    pub fn connect(url: &str, access: Access) -> Result<(Self, DateTime<Utc>)> {
        let (client, now) = open(url)?;
        let mut db = Self::new(client, url, access);
        db.check_schema()?;
        Ok((db, now))
    }

    /// Checks that the database has every column that a statement needs, with a type that it knows,
    /// and the version of our schema that this program knows.
    pub(super) fn check_schema(&mut self) -> Result<()> {
        let pairs = privileges().flat_map(|needed| {
            let pair = move |column| (needed.table, column);
            needed.columns.into_iter().map(pair)
        });
        let (tables, columns): (Vec<&str>, Vec<&str>) = pairs.unzip();
        let expected: Vec<&str> = columns.iter().map(|column| types(column)).collect();
        // A domain is read like the type on which it is based. The first row has the version, and
        // names nothing.
        let sql = "/* check_schema */ SELECT NULL AS name, obj_description(to_regclass('worker_run'), 'pg_class') AS type, NULL AS expected,
                0 AS position
             UNION ALL SELECT t.name || '.' || t.col, format_type(y.type, NULL), t.expected, t.position
             FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t(name, col, expected, position)
             LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attname = t.col AND NOT a.attisdropped
             LEFT JOIN LATERAL (SELECT CASE WHEN typtype = 'd' THEN typbasetype ELSE oid END AS type
                FROM pg_type WHERE oid = a.atttypid) y ON true
             WHERE a.attnum IS NULL OR format_type(y.type, NULL) <> ALL(string_to_array(t.expected, '|'))
             ORDER BY position";
        let rows = self
            .query(sql, &[&tables, &columns, &expected])
            .context("cannot read the database's catalogue")?;
        let (mut missing, mut unfit, mut comment) = (Vec::new(), Vec::new(), None);
        for row in &rows {
            let kind: Option<String> = row.get("type")?;
            match (row.get::<Option<String>>("name")?, kind) {
                (None, found) => comment = found,
                (Some(name), None) => missing.push(name),
                (Some(name), Some(kind)) => {
                    unfit.push((name, kind, row.get::<String>("expected")?));
                }
            }
        }
        let names = tables.iter().zip(&columns);
        let names = names.map(|(table, column)| format!("{table}.{column}"));
        let agiras = names.filter(|name| !is_ours(name)).count();
        if missing.len() >= agiras {
            self.check_usage()?;
        }
        check_missing(&missing, agiras)?;
        check_version(comment.as_deref(), &missing)?;
        if let Some((name, kind, expected)) = unfit.first() {
            let (table, column) = name.split_once('.').unwrap_or_default();
            let (expected, whose) = (expected.replace('|', " or "), owner(name));
            bail!(
                "column {column} of table {table} has type {kind}, expected {expected}: this version of agira-worker does not \
                 know that version of {whose}"
            );
        }
        self.check_content_type()
    }

    /// Checks that this role may use the schema of Agira's tables, without which they seem to be
    /// missing.
    fn check_usage(&mut self) -> Result<()> {
        let sql = "/* check_usage */ SELECT current_user::text AS role, n.oid::regnamespace::text AS schema
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname = 'core_externalissuemapping' AND NOT has_schema_privilege(n.oid, 'USAGE')";
        let rows = self.query(sql, &[]);
        let rows = rows.context("cannot read the database's catalogue")?;
        if let Some(row) = rows.first() {
            let (role, schema): (String, String) = (row.get("role")?, row.get("schema")?);
            bail!(
                "the database role {role} lacks USAGE on schema {schema}; examples/sql/role.sql, run as the owner of \
                 Agira's tables, grants it to the role agira_worker; {INSTALLED}"
            );
        }
        Ok(())
    }

    fn check_content_type(&mut self) -> Result<()> {
        let sql = "/* check_content_type */ SELECT FROM django_content_type WHERE app_label = 'core' AND model = 'item'";
        let item_type = self
            .query(sql, &[])
            .context("cannot read django_content_type")?;
        if item_type.is_empty() {
            bail!(
                "django_content_type has no row for core.item, which activities need; run Agira's migrations"
            );
        }
        Ok(())
    }
}

fn is_ours(name: &str) -> bool {
    name.contains(".worker_") || name.starts_with("worker_")
}

fn owner(name: &str) -> &'static str {
    match is_ours(name) {
        true => "its own columns; use the version that made them",
        false => "Agira's schema; use a version of agira-worker that does",
    }
}

/// Reports the first missing column of Agira; `agiras` is the number of its columns that are
/// needed.
fn check_missing(missing: &[String], agiras: usize) -> Result<()> {
    let lacking: Vec<&String> = missing.iter().filter(|name| !is_ours(name)).collect();
    if let Some(first) = lacking.first() {
        if lacking.len() == agiras {
            bail!(
                "this is not Agira's database: it lacks {first}; check DATABASE_URL (database name, search_path)"
            );
        }
        bail!(
            "Agira's database lacks {first}: run Agira's migrations; if they removed it, use a version of agira-worker \
             that supports this version of Agira"
        );
    }
    Ok(())
}

/// Compares the version of our schema with the program's; `missing` are columns that are missing.
fn check_version(comment: Option<&str>, missing: &[String]) -> Result<()> {
    let version = comment.and_then(version);
    match version {
        Some(found) if found > VERSION => bail!(
            "this program is older than the database: sql/worker.sql of version {found} was run, and this program knows \
             version {VERSION}; use the version of agira-worker that came with that file"
        ),
        Some(VERSION) if missing.is_empty() => Ok(()),
        Some(found) if missing.is_empty() => bail!(
            "the database has version {found} of our tables, and this program needs version {VERSION}; {INSTALL}; {INSTALLED}"
        ),
        None if missing.is_empty() => bail!(
            "the comment on the table worker_run names no version of our tables, because they are older than this \
             program, or were restored without comments; {INSTALL}; {INSTALLED}"
        ),
        Some(_) | None => {
            let first = missing.first().map_or("", String::as_str);
            bail!("the database lacks {first}; {INSTALL}; {INSTALLED}")
        }
    }
}

/// Returns the version that a comment names.
fn version(comment: &str) -> Option<u32> {
    let rest = comment.strip_prefix(MARK)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_sql_sets_the_version_of_this_program_last() {
        let file = include_str!("../../sql/worker.sql");
        let (before, last) = file
            .rsplit_once("COMMENT ON TABLE worker_run IS '")
            .unwrap();
        assert_eq!(version(last), Some(VERSION));
        assert!(!before.contains(MARK), "it is set once");
        assert_eq!(last.matches(';').count(), 2, "only COMMIT follows: {last}");
    }

    #[test]
    fn package_and_image_have_the_files_where_the_messages_say() {
        let package = include_str!("../../Cargo.toml");
        let image = include_str!("../../examples/container/Containerfile");
        for (file, folder) in [
            (package, "usr/share/agira-worker/sql"),
            (image, "/usr/local/share/agira-worker/sql"),
        ] {
            assert!(file.contains(&format!("{folder}/")) && INSTALLED.contains(folder));
        }
    }

    #[test]
    fn a_version_is_read_from_a_comment() {
        for (comment, expected) in [
            ("agira-worker schema 12: one row per run", Some(12)),
            ("agira-worker schema 7", Some(7)),
            ("agira-worker schema 99999999999999999999", None),
            ("agira-worker schema ", None),
            ("the runs", None),
        ] {
            assert_eq!(version(comment), expected, "{comment:?}");
        }
    }
}
