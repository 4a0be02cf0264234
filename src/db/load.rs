//! Reads the rows and links that plans need, and the items that a push needs.

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use std::collections::HashMap;

use uuid::Uuid;

use super::row::{COLUMNS, Claimed, TABLES, column, item, numbers};
use super::session::Db;
use super::value::Row;
use crate::core::model::*;
use crate::core::records::{Decision, Link, MappingRow};

/// Number of waiting mappings among which an answer of GitHub is looked for.
const WITNESSES: i64 = 200;

impl Db {
    /// Reads waiting mappings without an error, those that are rechecked next. GitHub answered the
    /// last looks at them.
    pub fn healthy(&mut self, now: DateTime<Utc>) -> Result<Vec<Claimed>> {
        let sql = format!(
            "/* healthy */ SELECT {COLUMNS} FROM {TABLES} WHERE m.id = ANY(ARRAY(
                SELECT m.id FROM core_externalissuemapping m
                WHERE m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at > $1
                AND m.worker_error IS NULL ORDER BY m.worker_recheck_at, m.id LIMIT {WITNESSES}))
             ORDER BY m.worker_recheck_at, m.id"
        );
        Claimed::all(&self.rows("reading healthy mappings", &sql, &[&now])?)
    }

    /// Reads the rows and links that the plans of a slice depend on. The rows are those of the
    /// slice, those with these GitHub ids, and all pull request rows of these items. The links are
    /// those of the slice's issues, and those to pull requests with these GitHub ids. `run` holds
    /// the slice.
    pub fn related(
        &mut self,
        run: Uuid,
        slice: &[MappingId],
        items: &[ItemId],
        github_ids: &[GithubId],
    ) -> Result<(Vec<MappingRow>, Vec<Link>)> {
        let slice = numbers(slice);
        let (items, github_ids) = (column(items, |id| id.0), column(github_ids, |id| id.0));
        let sql = "/* related */ SELECT m.id, m.item_id, m.github_id, m.kind, m.number, m.state, m.html_url,
                m.worker_external_updated_at IS NOT NULL AND m.github_id > 0 AS is_confirmed,
                m.worker_due_at IS NOT NULL OR m.worker_claim IS NOT DISTINCT FROM $4 OR m.id = ANY($1::bigint[]) AS is_scheduled
             FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                SELECT unnest($1::bigint[])
                UNION SELECT id FROM core_externalissuemapping WHERE item_id = ANY($2::bigint[]) AND kind = 'PR'
                UNION SELECT id FROM core_externalissuemapping WHERE github_id = ANY($3::bigint[])))
             ORDER BY m.id";
        let rows = self.rows(
            "reading the rows of pull requests",
            sql,
            &[&slice, &items, &github_ids, &run],
        )?;
        let rows = rows.iter().map(|row| {
            Ok(MappingRow {
                id: MappingId(row.get("id")?),
                item_id: ItemId(row.get("item_id")?),
                github_id: GithubId(row.get("github_id")?),
                kind: Kind::parse(&row.get::<String>("kind")?),
                number: row.get("number")?,
                state: row.get("state")?,
                html_url: row.get("html_url")?,
                is_confirmed: row.get("is_confirmed")?,
                is_scheduled: row.get("is_scheduled")?,
            })
        });
        let sql = "/* links */ SELECT l.issue_mapping_id, l.github_id, m.id AS row_id, l.item_id, l.row_item_id, l.relation
             FROM worker_pull_request_link l LEFT JOIN core_externalissuemapping m ON m.github_id = l.github_id
             WHERE l.issue_mapping_id = ANY($1) OR l.github_id = ANY($2) ORDER BY 1, 2";
        let links = self.rows(
            "reading the links of pull requests",
            sql,
            &[&slice, &github_ids],
        )?;
        let links = links.iter().map(|row| {
            Ok(Link {
                issue: MappingId(row.get("issue_mapping_id")?),
                github_id: GithubId(row.get("github_id")?),
                row: row.get::<Option<i64>>("row_id")?.map(MappingId),
                item_id: ItemId(row.get("item_id")?),
                row_item_id: ItemId(row.get("row_item_id")?),
                relation: Relation::parse(&row.get::<String>("relation")?),
            })
        });
        Ok((rows.collect::<Result<_>>()?, links.collect::<Result<_>>()?))
    }

    /// Reads mappings with their items, in the order of their ids; ids without a row are left out.
    pub fn mappings(&mut self, ids: &[MappingId]) -> Result<Vec<Claimed>> {
        let sql = format!(
            "/* mappings */ SELECT {COLUMNS} FROM {TABLES} WHERE m.id = ANY($1::bigint[]) ORDER BY m.id"
        );
        let rows = self.rows("reading mappings", &sql, &[&numbers(ids)])?;
        Claimed::all(&rows)
    }

    /// Reads the latest status that a person set on each of these items after the time in `since`
    /// (UTC); items without one are left out. A person's change in Agira has an actor.
    pub fn decisions(
        &mut self,
        since: &HashMap<ItemId, DateTime<Utc>>,
    ) -> Result<HashMap<ItemId, Decision>> {
        let (items, times): (Vec<i64>, Vec<DateTime<Utc>>) =
            since.iter().map(|(item, time)| (item.0, *time)).unzip();
        let sql = "/* decisions */ SELECT t.item, a.id AS activity, a.created_at
             FROM unnest($1::bigint[], $2::timestamptz[]) AS t(item, since)
             CROSS JOIN LATERAL (SELECT id, created_at FROM core_activity
                WHERE verb = 'item.status_changed' AND actor_id IS NOT NULL AND target_object_id = t.item::text
                AND created_at > t.since ORDER BY created_at DESC LIMIT 1) a";
        let rows = self.rows("reading what people decided", sql, &[&items, &times])?;
        let decisions = rows.iter().map(|row| {
            let decision = Decision {
                activity: row.get("activity")?,
                at: row.get("created_at")?,
            };
            Ok((ItemId(row.get("item")?), decision))
        });
        decisions.collect()
    }

    /// Reads items as they are now, to compose their objects; ids without a row are left out.
    pub fn items(&mut self, ids: &[ItemId]) -> Result<HashMap<ItemId, Item>> {
        let sql = "/* items */ SELECT i.id, i.title, i.description, i.solution_description, i.status, i.project_id,
                i.organisation_id, i.created_at, i.updated_at
             FROM core_item i WHERE i.id = ANY($1::bigint[])";
        let rows = self.rows("reading items", sql, &[&column(ids, |id| id.0)])?;
        let items = rows.iter().map(|row| {
            let id = ItemId(row.get("id")?);
            Ok((id, item(row, id, None)?))
        });
        items.collect()
    }

    /// Checks that Agira's tables have these ids. The error names those that they lack, and the
    /// mappings of an item whose id was given in place of a mapping's.
    pub fn check_ids(&mut self, projects: &[i64], mappings: &[i64]) -> Result<()> {
        if projects.is_empty() && mappings.is_empty() {
            return Ok(());
        }
        let sql = "/* check_ids */ SELECT 'project ' || id AS what, NULL AS item, NULL AS mappings
                FROM unnest($1::bigint[]) AS t(id) WHERE NOT EXISTS (SELECT FROM core_project p WHERE p.id = t.id)
             UNION ALL
             SELECT 'mapping ' || t.id, i.id::text, (SELECT string_agg(m.id::text, ' ' ORDER BY m.id)
                FROM core_externalissuemapping m WHERE m.item_id = i.id)
                FROM unnest($2::bigint[]) AS t(id) LEFT JOIN core_item i ON i.id = t.id
                WHERE NOT EXISTS (SELECT FROM core_externalissuemapping m WHERE m.id = t.id)";
        let rows = self.rows(
            "checking --project and --mapping",
            sql,
            &[&projects, &mappings],
        )?;
        let (mut unknown, mut hints) = (Vec::new(), Vec::new());
        for row in &rows {
            unknown.push(row.get::<String>("what")?);
            if let Some(item) = row.get::<Option<String>>("item")? {
                let mappings: String = row.get("mappings")?;
                let mappings: Vec<&str> = mappings.split_whitespace().collect();
                hints.push(format!("; item {item} has {}", listed(&mappings)));
            }
        }
        let checks = [
            (
                "project ",
                "; check --project (the address of its page in Agira has the id)",
            ),
            (
                "mapping ",
                "; check --mapping (`SELECT id, html_url FROM core_externalissuemapping` lists the ids)",
            ),
        ];
        let checks = checks
            .into_iter()
            .filter(|(kind, _)| unknown.iter().any(|what| what.starts_with(kind)));
        let checks: String = checks.map(|(_, check)| check).collect();
        ensure!(
            unknown.is_empty(),
            "there is no {}{}{checks}",
            unknown.join(", no "),
            hints.concat()
        );
        Ok(())
    }

    /// Returns those of these mappings that did not fail.
    pub fn not_failed(&mut self, mappings: &[i64]) -> Result<Vec<i64>> {
        let sql = "/* not_failed */ SELECT m.id FROM core_externalissuemapping m WHERE m.id = ANY($1::bigint[])
                AND m.worker_error IS NULL AND m.worker_delivery_error IS NULL ORDER BY m.id";
        let rows = self.rows("reading the mappings of --mapping", sql, &[&mappings])?;
        let ids: Result<_, postgres::Error> = rows.iter().map(Row::first).collect();
        Ok(ids?)
    }
}

/// Returns ids of mappings in words, such as `mappings 7 and 8`.
fn listed(ids: &[&str]) -> String {
    match ids {
        [] => "no mapping".to_owned(),
        [only] => format!("mapping {only}"),
        [first @ .., last] => format!("mappings {} and {last}", first.join(", ")),
    }
}
