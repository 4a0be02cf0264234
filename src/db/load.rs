//! Reading what planning and pushing need besides the claimed rows.

use std::collections::HashMap;

use anyhow::Context;
use uuid::Uuid;

use super::claim::COLUMNS;
use super::{Access, Claimed, Db};
use crate::core::model::*;
use crate::core::records::{Link, MappingRow};

impl Db {
    /// The rows of the slice itself, of the pull requests with these ids, and all pull request rows of these items; and
    /// the links of these issues. `run` holds the slice.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn related(
        &mut self,
        access: Access,
        run: Uuid,
        slice: &[MappingId],
        items: &[ItemId],
        github_ids: &[GithubId],
    ) -> anyhow::Result<(Vec<MappingRow>, Vec<Link>)> {
        let slice: Vec<i64> = slice.iter().map(|id| id.0).collect();
        let items: Vec<i64> = items.iter().map(|id| id.0).collect();
        let github_ids: Vec<i64> = github_ids.iter().map(|id| id.0).collect();
        let rows = self
            .read(
                access,
                "SELECT m.id, m.item_id, m.github_id, m.kind, m.number, m.state, m.html_url,
                    m.worker_due_at IS NOT NULL OR m.worker_claim IS NOT DISTINCT FROM $4 OR m.id = ANY($1) AS look_comes
                 FROM core_externalissuemapping m WHERE m.id = ANY(ARRAY(
                    SELECT unnest($1::bigint[])
                    UNION SELECT id FROM core_externalissuemapping WHERE item_id = ANY($2) AND kind = 'PR'
                    UNION SELECT id FROM core_externalissuemapping WHERE github_id = ANY($3)))
                 ORDER BY m.id",
                &[&slice, &items, &github_ids, &run],
            )
            .context("reading the rows of pull requests failed")?;
        let rows = rows.iter().map(|row| MappingRow {
            id: MappingId(row.get("id")),
            item_id: ItemId(row.get("item_id")),
            github_id: GithubId(row.get("github_id")),
            kind: Kind::parse(row.get("kind")),
            number: row.get("number"),
            state: row.get("state"),
            html_url: row.get("html_url"),
            is_scheduled: row.get("look_comes"),
        });
        let links = self
            .read(
                access,
                "SELECT issue_mapping_id, mapping_id, item_id, relation FROM worker_pull_request_link
                 WHERE issue_mapping_id = ANY($1) ORDER BY issue_mapping_id, mapping_id",
                &[&slice],
            )
            .context("reading the links of pull requests failed")?;
        let links = links.iter().map(|row| Link {
            issue: MappingId(row.get("issue_mapping_id")),
            pull_request: MappingId(row.get("mapping_id")),
            item_id: ItemId(row.get("item_id")),
            relation: Relation::parse(row.get("relation")),
        });
        Ok((rows.collect(), links.collect()))
    }

    /// Mappings by id, with their items; ids without a row are left out.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn mappings(&mut self, access: Access, ids: &[MappingId]) -> anyhow::Result<Vec<Claimed>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY($1) ORDER BY m.id"
        );
        let rows = self
            .read(access, &sql, &[&ids])
            .context("reading mappings failed")?;
        Ok(rows.iter().map(Claimed::from_row).collect())
    }

    /// Items as they are now, for composing their objects; ids without a row are left out.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn items(&mut self, ids: &[ItemId]) -> anyhow::Result<HashMap<ItemId, Item>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = self
            .query(
                "SELECT i.id, i.title, i.description, i.solution_description, i.status, i.project_id, i.organisation_id,
                    i.created_at, i.updated_at
                 FROM core_item i WHERE i.id = ANY($1)",
                &[&ids],
            )
            .context("reading items failed")?;
        let items = rows.iter().map(|row| Item {
            id: ItemId(row.get("id")),
            title: row.get("title"),
            description: row.get("description"),
            solution_description: row.get("solution_description"),
            status: ItemStatus(row.get("status")),
            project_id: row.get("project_id"),
            organisation_id: row.get("organisation_id"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            project_repository: None,
        });
        Ok(items.map(|item| (item.id, item)).collect())
    }
}
