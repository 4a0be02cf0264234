//! The final state, in a form in which two worlds can be compared: every table and every object.

use std::collections::{BTreeMap, BTreeSet};

use agira_worker::core::agira_object::{ObjectKey, ObjectType};
use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use crate::harness::World;

/// Age of everything that a scene dates itself.
const OLD: Duration = Duration::days(7);

/// State of a world, without legitimate differences:
///
/// - the times of this test itself: only past and future are distinguished;
/// - the ids of rows that runs inserted, as a sequence does not take numbers back: mappings are named by GitHub's id;
/// - `worker_attempts` of a mapping that fails in the end, since a run that died in it counts as an attempt;
/// - `worker_run`, since it holds a row per run.
#[derive(Debug)]
pub struct Level {
    tables: BTreeMap<String, Vec<String>>,
    objects: BTreeMap<String, String>,
    /// Number of object writes. A lower number is also accepted, because an object may have changed before the next run
    /// writes it.
    writes: usize,
}

impl Level {
    /// Reads the state of a world.
    pub fn of(world: &mut World) -> Self {
        let mut words = Words {
            names: BTreeMap::new(),
            now: Utc::now(),
        };
        let mappings = "SELECT id, kind || ' ' || github_id FROM core_externalissuemapping";
        for row in world.client.query(mappings, &[]).unwrap() {
            words.names.insert(row.get::<_, i64>(0), row.get(1));
        }
        let tables = "SELECT relname::text FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'worker_run'";
        let tables: Vec<String> = world
            .client
            .query(tables, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let rows = |table: String| {
            let sql = format!("SELECT to_jsonb(t) FROM {table} t");
            let rows = world.client.query(&sql, &[]).unwrap();
            let mut rows: Vec<String> = rows
                .iter()
                .map(|row| words.row(&table, row.get(0)))
                .collect();
            rows.sort();
            (table, rows)
        };
        let tables = tables.into_iter().map(rows).collect();
        let objects = world
            .weaviate
            .objects()
            .into_iter()
            .map(|(id, object)| words.object(&id, object))
            .collect();
        Self {
            tables,
            objects,
            writes: world.weaviate.writes(),
        }
    }

    /// Returns the differences from `expected`; empty if there are none.
    pub fn differences(&self, expected: &Self) -> String {
        let lines = |level: &Self| -> BTreeSet<String> {
            let rows = level.tables.iter().flat_map(|(table, rows)| {
                // Equal rows get different numbers.
                rows.iter().enumerate().map(move |(index, row)| {
                    let same = rows[..index].iter().filter(|other| *other == row).count();
                    format!("{table} {same} {row}")
                })
            });
            let objects = level
                .objects
                .iter()
                .map(|(key, object)| format!("{key}: {object}"));
            let more = (level.writes > expected.writes)
                .then(|| format!("{} objects written", level.writes));
            rows.chain(objects).chain(more).collect()
        };
        let (own, expected) = (lines(self), lines(expected));
        let (more, less) = (own.difference(&expected), expected.difference(&own));
        more.map(|line| format!("  + {line}\n"))
            .chain(less.map(|line| format!("  - {line}\n")))
            .collect()
    }
}

struct Words {
    /// Stable names of mappings by their ids.
    names: BTreeMap<i64, String>,
    now: DateTime<Utc>,
}

impl Words {
    fn row(&self, table: &str, mut row: Value) -> String {
        match table {
            "core_externalissuemapping" => {
                row["id"] = self.name(&row["id"]);
                if !row["worker_error"].is_null() {
                    row["worker_attempts"] = "some".into();
                }
            }
            "worker_pull_request_link" => {
                row["issue_mapping_id"] = self.name(&row["issue_mapping_id"]);
            }
            "core_activity" => row["id"] = Value::Null,
            _ => {}
        }
        self.timeless(&mut row);
        row.to_string()
    }

    /// Returns type and number of an object with its content, and checks invariant 6: its id follows from both.
    fn object(&self, id: &str, mut object: Value) -> (String, String) {
        let properties = &mut object["properties"];
        let number = properties["object_id"]
            .as_str()
            .expect("a number")
            .to_owned();
        let (object_type, key) = match properties["type"].as_str() {
            Some("item") => (ObjectType::Item, number.clone()),
            Some("github_issue") => (ObjectType::GithubIssue, self.named(&number)),
            Some("github_pr") => (ObjectType::GithubPr, self.named(&number)),
            other => panic!("an object of type {other:?}"),
        };
        assert_eq!(
            ObjectKey {
                object_type,
                object_id: number
            }
            .uuid()
            .to_string(),
            id
        );
        properties["object_id"] = Value::Null;
        object["id"] = Value::Null;
        self.timeless(&mut object);
        (format!("{object_type:?} {key}"), object.to_string())
    }

    fn name(&self, id: &Value) -> Value {
        self.named(&id.to_string()).into()
    }

    fn named(&self, id: &str) -> String {
        let id: i64 = id.parse().expect("an id");
        self.names
            .get(&id)
            .cloned()
            .unwrap_or_else(|| format!("no mapping {id}"))
    }

    fn timeless(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.timeless(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.timeless(value)),
            Value::String(text) => {
                if let Ok(time) = DateTime::parse_from_rfc3339(text) {
                    match time.to_utc() {
                        time if time > self.now => *value = "later".into(),
                        time if time > self.now - OLD => *value = "meanwhile".into(),
                        _ => {}
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
