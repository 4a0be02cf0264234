//! Rows of mappings as the statements read them, and the pieces of SQL that several statements
//! share.

use std::fmt;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::value::Row;
use crate::core::model::*;

/// A mapping with its item, which this run has claimed or, in a dry run, would claim.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The mapping as it was when it was claimed.
    pub mapping: Mapping,
    /// Its item at the same moment.
    pub item: Item,
}

/// The columns of a mapping `m`, its item `i` and its project `p` that [`Claimed::from_row`] reads.
pub(super) const COLUMNS: &str = "m.id, m.item_id, m.github_id, m.number, m.kind, m.state, m.html_url, m.pr_body, m.merge_commit_sha, \
    m.merged_at, m.worker_due_at, m.worker_recheck_at, m.worker_attempts, m.worker_error, m.worker_closed_at, \
    m.worker_external_updated_at, m.worker_checked_at, \
    m.worker_outbox IS NOT NULL AS has_outbox, m.worker_claimed_until, \
    i.title, i.description, i.solution_description, i.status, i.project_id, i.organisation_id, i.created_at, i.updated_at, \
    p.github_owner, p.github_repo";

/// The names by which a person knows a mapping.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct NamedMapping {
    pub mapping_id: i64,
    pub item_id: i64,
    /// `Issue` or `PR`.
    pub kind: Kind,
    /// `owner/name` of its address, or else of its project; null without either.
    pub repository: Option<String>,
    /// Number in that repository.
    pub number: i32,
}

/// The columns that [`NamedMapping::from_row`] reads.
pub(super) const NAMES: &str =
    "m.id, m.item_id, m.kind, m.html_url, m.number, p.github_owner, p.github_repo";

/// The tables of [`COLUMNS`] and [`NAMES`].
pub(super) const TABLES: &str = "core_externalissuemapping m JOIN core_item i ON i.id = m.item_id \
    JOIN core_project p ON p.id = i.project_id";

/// The condition on `m` for projects $2 and mappings $3; an empty array stands for all of them.
pub(super) const NARROWED: &str = "($2::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2::bigint[])))
    AND ($3::bigint[] = '{}' OR m.id = ANY($3::bigint[]))";

/// The repository of a mapping `m`, `owner/name` in lower case.
pub(super) const REPOSITORY: &str =
    "CASE WHEN m.html_url = '' THEN (SELECT lower((p.github_owner || '/' || p.github_repo) COLLATE \"C\")
        FROM core_item i JOIN core_project p ON p.id = i.project_id WHERE i.id = m.item_id)
    ELSE lower((split_part(m.html_url, '/', 4) || '/' || split_part(m.html_url, '/', 5)) COLLATE \"C\") END";

/// Returns an expression for the hash of an address, as the index has it. The hashes of different
/// addresses can be equal, so that a condition on the address itself must follow.
pub(super) fn hashed(address: &str) -> String {
    format!("hashtextextended(lower({address} COLLATE \"C\"), 0)")
}

/// The locking clause of a claim, which does not wait for rows that another session has locked.
pub(super) const LOCK: &str = "FOR UPDATE OF m SKIP LOCKED";

/// The delivery time of a row `m` whose claim ends: an outbox that was not tried yet comes first.
pub(super) const DELIVERY_AT: &str =
    "CASE WHEN m.worker_outbox IS NOT NULL THEN coalesce(m.worker_delivery_at, 'epoch') END";

/// The condition on `m` for the rows $2 that run $1 holds, in id order; a locking clause and two
/// brackets must follow.
pub(super) const HELD: &str = "m.id = ANY(ARRAY(
    SELECT h.id FROM core_externalissuemapping h WHERE h.id = ANY($2::bigint[]) AND h.worker_claim = $1 ORDER BY h.id";

/// Returns the condition on `m` for projects $1 and mappings $2. Each case has its own condition,
/// because PostgreSQL could not use an index for a common one.
pub(super) fn narrowed(projects: &[i64], mappings: &[i64]) -> &'static str {
    match (projects.is_empty(), mappings.is_empty()) {
        (true, true) => "$1::bigint[] = '{}' AND $2::bigint[] = '{}'",
        (true, false) => "$1::bigint[] = '{}' AND m.id = ANY($2::bigint[])",
        (false, true) => {
            "m.item_id IN (SELECT id FROM core_item WHERE project_id = ANY($1::bigint[])) AND $2::bigint[] = '{}'"
        }
        (false, false) => {
            "m.item_id IN (SELECT id FROM core_item WHERE project_id = ANY($1::bigint[])) AND m.id = ANY($2::bigint[])"
        }
    }
}

impl NamedMapping {
    pub(super) fn from_row(row: &Row) -> Result<Self> {
        let address = Address::parse(&row.get::<String>("html_url")?);
        let owner: String = row.get("github_owner")?;
        let name: String = row.get("github_repo")?;
        let has_project = !owner.is_empty() && !name.is_empty();
        let (repository, number) = match address {
            Some(address) => (Some(address.repository.to_string()), address.number),
            None => (
                has_project.then(|| format!("{owner}/{name}")),
                row.get("number")?,
            ),
        };
        Ok(Self {
            mapping_id: row.get("id")?,
            item_id: row.get("item_id")?,
            kind: Kind::parse(&row.get::<String>("kind")?),
            repository,
            number,
        })
    }
}

/// Displays all of it, for lists.
impl fmt::Display for NamedMapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, repository) = (self.kind.label(), self.repository.as_deref());
        let (id, item, repository) = (self.mapping_id, self.item_id, repository.unwrap_or("?"));
        let number = self.number;
        write!(
            out,
            "mapping {id} (item {item}, {kind} {repository}#{number})"
        )
    }
}

impl Claimed {
    pub(super) fn from_row(row: &Row) -> Result<Self> {
        let mapping = Mapping {
            id: MappingId(row.get("id")?),
            item_id: ItemId(row.get("item_id")?),
            github_id: GithubId(row.get("github_id")?),
            number: row.get("number")?,
            kind: Kind::parse(&row.get::<String>("kind")?),
            state: row.get("state")?,
            html_url: row.get("html_url")?,
            pr_body: row.get("pr_body")?,
            merge_commit_sha: row.get("merge_commit_sha")?,
            merged_at: row.get("merged_at")?,
            due_at: row.get("worker_due_at")?,
            recheck_at: row.get("worker_recheck_at")?,
            attempts: row.get("worker_attempts")?,
            error: row.get("worker_error")?,
            external_updated_at: row.get("worker_external_updated_at")?,
            checked_at: row.get("worker_checked_at")?,
            handled_closed_at: row.get("worker_closed_at")?,
            has_outbox: row.get("has_outbox")?,
            claimed_until: row.get("worker_claimed_until")?,
        };
        let owner: String = row.get("github_owner")?;
        let name: String = row.get("github_repo")?;
        let project_repository = Repository::parse(&format!("{owner}/{name}"));
        let item = item(row, mapping.item_id, project_repository)?;
        Ok(Self { mapping, item })
    }

    /// Reads rows.
    pub(super) fn all(rows: &[Row]) -> Result<Vec<Self>> {
        rows.iter().map(Self::from_row).collect()
    }

    /// Reads rows and sorts them in the order of work.
    pub(super) fn in_order(rows: &[Row]) -> Result<Vec<Self>> {
        let mut claimed = Self::all(rows)?;
        claimed.sort_by_key(Self::order);
        Ok(claimed)
    }

    pub(super) fn order(&self) -> (bool, Option<DateTime<Utc>>, MappingId) {
        let mapping = &self.mapping;
        let time = mapping.due_at.or(mapping.recheck_at);
        (mapping.due_at.is_none(), time, mapping.id)
    }
}

/// Reads an item's columns, except for its id, which has another name in each statement.
pub(super) fn item(row: &Row, id: ItemId, project_repository: Option<Repository>) -> Result<Item> {
    Ok(Item {
        id,
        title: row.get("title")?,
        description: row.get("description")?,
        solution_description: row.get("solution_description")?,
        status: ItemStatus(row.get("status")?),
        project_id: row.get("project_id")?,
        organisation_id: row.get("organisation_id")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        project_repository,
    })
}

/// Returns one value of each record, as an array parameter of a statement.
pub(super) fn column<'a, T, V>(records: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    records.iter().map(value).collect()
}

/// Returns ids as an array parameter of a statement.
pub(super) fn numbers(ids: &[MappingId]) -> Vec<i64> {
    column(ids, |id| id.0)
}
