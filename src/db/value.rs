//! Values of columns. Reading one returns an error and never panics, whatever types and values the
//! database has.

use std::error::Error;
use std::fmt::Display;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use postgres::row::RowIndex;
use postgres::types::{FromSql, Json, Type, WasNull};
use serde::de::DeserializeOwned;

/// A row of a result.
pub(super) struct Row {
    row: postgres::Row,
    /// Name of the statement, for errors.
    statement: String,
}

/// A type of a column's value: integers of every width, and times that Rust can represent.
pub(super) trait Column: Sized {
    fn accepts(kind: &Type) -> bool;

    fn read(kind: &Type, bytes: &[u8]) -> Read<Self>;

    fn null() -> Read<Self> {
        Err(Box::new(WasNull))
    }
}

type Read<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// A value for the driver, which knows another trait.
struct Value<T>(T);

impl<'a, T: Column> FromSql<'a> for Value<T> {
    fn from_sql(kind: &Type, bytes: &'a [u8]) -> Read<Self> {
        T::read(kind, bytes).map(Value)
    }

    fn from_sql_null(_: &Type) -> Read<Self> {
        T::null().map(Value)
    }

    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }
}

impl Row {
    /// Returns a row of the statement `sql`.
    pub(super) fn new(sql: &str, row: postgres::Row) -> Self {
        let name = sql.split("/* ").nth(1);
        let name = name.and_then(|rest| rest.split(" */").next());
        let statement = name.unwrap_or("without a name").to_owned();
        Self { row, statement }
    }

    /// Returns the rows of the statement `sql`.
    pub(super) fn all(sql: &str, rows: Vec<postgres::Row>) -> Vec<Self> {
        rows.into_iter().map(|row| Self::new(sql, row)).collect()
    }

    /// Reads a column by its name. The error names the statement and the column.
    pub(super) fn get<T: Column>(&self, column: &str) -> anyhow::Result<T> {
        self.at(column).with_context(|| {
            format!(
                "cannot read column {column} of the statement {}; this version of agira-worker does not know such a value",
                self.statement
            )
        })
    }

    /// Reads the first column.
    pub(super) fn first<T: Column>(&self) -> Result<T, postgres::Error> {
        self.at(0)
    }

    /// Decodes the first column, which is JSON.
    pub(super) fn decoded<T: DeserializeOwned>(&self) -> Result<T, postgres::Error> {
        Ok(self.row.try_get::<_, Json<T>>(0)?.0)
    }

    fn at<T: Column>(&self, column: impl RowIndex + Display) -> Result<T, postgres::Error> {
        Ok(self.row.try_get::<_, Value<T>>(column)?.0)
    }
}

/// Reads an integer; a migration of Agira may change its width.
fn integer(kind: &Type, bytes: &[u8]) -> Result<i64, Box<dyn Error + Sync + Send>> {
    match *kind {
        Type::INT2 => i16::from_sql(kind, bytes).map(i64::from),
        Type::INT4 => i32::from_sql(kind, bytes).map(i64::from),
        _ => i64::from_sql(kind, bytes),
    }
}

fn is_integer(kind: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8].contains(kind)
}

impl Column for i64 {
    fn read(kind: &Type, bytes: &[u8]) -> Read<i64> {
        integer(kind, bytes)
    }

    fn accepts(kind: &Type) -> bool {
        is_integer(kind)
    }
}

impl Column for i32 {
    /// Reads a small integer. One that is too large becomes the largest, so that a single absurd
    /// row does not stop a batch.
    fn read(kind: &Type, bytes: &[u8]) -> Read<i32> {
        let integer = integer(kind, bytes)?;
        Ok(integer.try_into().unwrap_or(i32::MAX))
    }

    fn accepts(kind: &Type) -> bool {
        is_integer(kind)
    }
}

/// The years that every reader of a time can represent: PostgreSQL, Rust, and JSON's RFC 3339.
const YEARS: (i32, i32) = (1, 9999);

impl Column for DateTime<Utc> {
    /// Reads a time. `-infinity`, `infinity` and other times beyond `YEARS` become the first or
    /// last moment of these years, so that they stay before or after every real time.
    fn read(kind: &Type, bytes: &[u8]) -> Read<DateTime<Utc>> {
        let edge = |year, month, day, time: NaiveTime| {
            let date = NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
            date.and_time(time).and_utc()
        };
        let last_second = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
        let (first, last) = (
            edge(YEARS.0, 1, 1, NaiveTime::MIN),
            edge(YEARS.1, 12, 31, last_second),
        );
        let time = DateTime::<Utc>::from_sql(kind, bytes).or_else(|error| {
            // The value is a number of microseconds that is too large for Rust.
            match i64::from_sql(&Type::INT8, bytes)? {
                ..0 => Ok(first),
                1.. => Ok(last),
                0 => Err(error),
            }
        });
        time.map(|time| time.clamp(first, last))
    }

    fn accepts(kind: &Type) -> bool {
        <DateTime<Utc> as FromSql>::accepts(kind)
    }
}

impl<T: Column> Column for Option<T> {
    fn read(kind: &Type, bytes: &[u8]) -> Read<Option<T>> {
        T::read(kind, bytes).map(Some)
    }

    fn null() -> Read<Option<T>> {
        Ok(None)
    }

    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }
}

impl Column for String {
    /// Reads a text. A database whose encoding is `SQL_ASCII` may hold bytes that are not UTF-8.
    /// PostgreSQL pads a `character(n)` with spaces that mean nothing, and compares it with a text
    /// as if it had none.
    fn read(kind: &Type, bytes: &[u8]) -> Read<String> {
        let text = String::from_utf8_lossy(bytes);
        Ok(match *kind {
            Type::BPCHAR => text.trim_end_matches(' ').to_owned(),
            _ => text.into_owned(),
        })
    }

    /// Agira stores empty texts and no NULL, and gives them the same meaning.
    fn null() -> Read<String> {
        Ok(String::new())
    }

    fn accepts(kind: &Type) -> bool {
        <String as FromSql>::accepts(kind)
    }
}

/// Implements the reading of types that the driver reads in every case.
macro_rules! as_the_driver {
    ($($type:ty),*) => { $(
        impl Column for $type {
            fn read(kind: &Type, bytes: &[u8]) -> Read<$type> {
                <$type>::from_sql(kind, bytes)
            }

            fn accepts(kind: &Type) -> bool {
                <$type as FromSql>::accepts(kind)
            }
        }
    )* };
}

as_the_driver!(bool, serde_json::Value);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_are_read() {
        for (kind, bytes) in [
            (Type::INT2, &[0, 7][..]),
            (Type::INT4, &[0, 0, 0, 7]),
            (Type::INT8, &[0, 0, 0, 0, 0, 0, 0, 7]),
        ] {
            assert_eq!(i64::read(&kind, bytes).unwrap(), 7);
            assert_eq!(i32::read(&kind, bytes).unwrap(), 7);
        }
        let large = i64::MAX.to_be_bytes();
        assert_eq!(i32::read(&Type::INT8, &large).unwrap(), i32::MAX);
        assert!(i64::read(&Type::INT8, &large[1..]).is_err());
        assert!(!<i64 as Column>::accepts(&Type::TEXT));
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_read() {
        let text = String::read(&Type::TEXT, b"a\xff").unwrap();
        assert_eq!(text, "a\u{fffd}");
        assert_eq!(String::null().unwrap(), "");
        let missing = Option::<String>::null().unwrap();
        assert_eq!(missing, None);
    }

    #[test]
    fn a_time_beyond_all_calendars_is_the_first_or_the_last_one() {
        for (value, expected) in [
            (i64::MIN, "0001-01-01 00:00:00 UTC"),
            (i64::MAX, "9999-12-31 23:59:59 UTC"),
            (i64::MAX - 1, "9999-12-31 23:59:59 UTC"),
            (9_223_371_331_199_999_999, "9999-12-31 23:59:59 UTC"),
            (0, "2000-01-01 00:00:00 UTC"),
        ] {
            let time = DateTime::read(&Type::TIMESTAMPTZ, &value.to_be_bytes());
            assert_eq!(time.unwrap().to_string(), expected, "{value}");
        }
    }
}
