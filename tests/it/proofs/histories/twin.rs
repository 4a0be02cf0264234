//! Comparison of the final state with the twin that saw only the end.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::agira::Agira;
use super::world::HistoryWorld;

impl HistoryWorld<'_> {
    /// Compares both Agiras, and the index with its expected content.
    pub fn compare(&mut self) {
        // The error of a parked row may be from an earlier fetch than the twin's; both rows only have to be parked.
        let rows = "SELECT m.id, m.item_id, m.github_id, m.state, m.worker_error IS NULL, m.worker_closed_at
            FROM core_externalissuemapping m WHERE m.kind = 'Issue' ORDER BY m.id";
        type Row = (i64, i64, i64, String, bool, Option<DateTime<Utc>>);
        let read = |agira: &mut Agira| -> Vec<Row> {
            let rows = agira.query(rows, &[]);
            rows.iter()
                .map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4), r.get(5)))
                .collect()
        };
        let (mut real, mut twin) = (
            read(&mut self.databases.real),
            read(&mut self.databases.twin),
        );
        for (one, other) in real.iter_mut().zip(&mut twin) {
            // The twin never saw an issue that was closed and reopened, or one that was deleted.
            if other.5.is_none() {
                one.5 = None;
            }
            // A deleted issue keeps its last fetched state.
            if !other.4 {
                (one.2, other.2) = (0, 0);
                (one.3, other.3) = (String::new(), String::new());
            }
        }
        assert_eq!(
            real, twin,
            "mapping, item, id, state, healthy, close event (left: disturbed, right: twin)"
        );
        let links = "SELECT l.issue_mapping_id, p.github_id, l.item_id, l.relation FROM worker_pull_request_link l
            JOIN core_externalissuemapping p ON p.github_id = l.github_id
            JOIN core_externalissuemapping m ON m.id = l.issue_mapping_id WHERE m.worker_error IS NULL ORDER BY 1, 2";
        let read = |agira: &mut Agira| -> Vec<(i64, i64, i64, String)> {
            agira
                .query(links, &[])
                .iter()
                .map(|r| (r.get(0), r.get(1), r.get(2), r.get(3)))
                .collect()
        };
        assert_eq!(
            read(&mut self.databases.real),
            read(&mut self.databases.twin),
            "links (left: disturbed, right: twin)"
        );
        let pulls =
            "SELECT github_id, number, state, html_url, merge_commit_sha, merged_at, worker_error
            FROM core_externalissuemapping WHERE kind = 'PR'";
        type Pull = (
            i32,
            String,
            String,
            String,
            Option<DateTime<Utc>>,
            Option<String>,
        );
        let read = |agira: &mut Agira| -> std::collections::BTreeMap<i64, Pull> {
            let rows = agira.query(pulls, &[]);
            let pull =
                |r: &postgres::Row| (r.get(1), r.get(2), r.get(3), r.get(4), r.get(5), r.get(6));
            rows.iter().map(|r| (r.get(0), pull(r))).collect()
        };
        let (real, twin) = (
            read(&mut self.databases.real),
            read(&mut self.databases.twin),
        );
        for (id, pull) in &twin {
            // The row keeps the address at which the pull request was first read; the repository may have a new name.
            let known = |pull: &Pull| {
                (
                    pull.0,
                    pull.1.clone(),
                    pull.3.clone(),
                    pull.4,
                    pull.5.clone(),
                )
            };
            assert_eq!(
                real.get(id).map(known),
                Some(known(pull)),
                "pull request {id} (left: disturbed, right: twin)"
            );
        }
        for (id, pull) in &real {
            assert_eq!(pull.5, None, "pull request {id} is not healthy: {pull:?}");
        }
        self.compare_index();
    }

    fn compare_index(&mut self) {
        let expected = "SELECT CASE m.kind WHEN 'PR' THEN 'github_pr:' ELSE 'github_issue:' END || m.id, m.state
            FROM core_externalissuemapping m WHERE m.worker_error IS NULL
            UNION SELECT 'item:' || i.id, i.status FROM core_item i WHERE EXISTS (
                SELECT FROM core_externalissuemapping m WHERE m.item_id = i.id AND m.kind = 'Issue' AND m.worker_error IS NULL)";
        let objects = self.weaviate.objects();
        for row in self.databases.real.query(expected, &[]) {
            let (key, status): (String, String) = (row.get(0), row.get(1));
            let there = objects.values().find(|object| {
                let properties = &object["properties"];
                let of = |name: &str| properties[name].as_str().unwrap_or_default();
                format!("{}:{}", of("type"), of("object_id")) == key
            });
            assert_eq!(
                there.map(|object| &object["properties"]["status"]),
                Some(&Value::from(status)),
                "{key}"
            );
        }
    }
}
