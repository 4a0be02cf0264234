//! Selects the mappings that a command works on, and reads them without a claim.

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::row::{COLUMNS, Claimed, NARROWED, REPOSITORY, TABLES, numbers};
use super::session::Db;
use crate::core::model::MappingId;

/// A class of mappings that a command works on, one batch at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Due mappings, the oldest first; within the rest of the limit, those whose recheck time has
    /// come.
    Due,
    /// Mappings with an error, due or not, the one that failed longest ago first. Their claim makes
    /// them due and resets their attempts.
    Failed,
    /// Mappings that were never pushed to Weaviate and have neither an error nor an outbox: failed
    /// ones are left to `sync`, and outboxes are delivered.
    NeverPushed,
    /// Mappings named by `--mapping`, due or not.
    Named,
}

/// A [`Selection`] with further restrictions.
#[derive(Debug, Clone)]
pub struct MappingFilter {
    /// The class of mappings.
    pub selection: Selection,
    /// Projects to select; an empty list stands for all.
    pub projects: Vec<i64>,
    /// Mappings to select; an empty list stands for all.
    pub mappings: Vec<i64>,
    /// Mappings that this run does not claim again: it released them, or tried them and they may
    /// have failed again.
    pub excluded: Vec<i64>,
}

impl MappingFilter {
    /// Returns a query for the ids of the next rows. Parameters: $1 limit, $2 projects, $3
    /// mappings, $4 the last id of the previous batch, $5 now, $6 excluded mappings. `lock` is
    /// empty or [`super::row::LOCK`].
    ///
    /// Callers must put the ids into an array, because PostgreSQL would run a join with a computed
    /// LIMIT as a sequential scan.
    pub(super) fn ids(&self, lock: &str) -> String {
        let may_ask = self.may_ask("$5");
        let unclaimed = format!(
            "SELECT m.id FROM core_externalissuemapping m WHERE m.worker_claim IS NULL AND m.id <> ALL($6::bigint[])
             AND m.id > $4::bigint AND $5::timestamptz IS NOT NULL AND {NARROWED}{may_ask}"
        );
        let condition = match self.selection {
            Selection::Due => {
                return format!(
                    "WITH due AS MATERIALIZED (
                        {unclaimed} AND m.worker_due_at <= $5 ORDER BY m.worker_due_at, m.id LIMIT $1 {lock}
                     ), recheck AS MATERIALIZED (
                        {unclaimed} AND m.worker_due_at IS NULL AND m.worker_recheck_at <= $5
                        ORDER BY m.worker_recheck_at, m.id LIMIT $1 - (SELECT count(*) FROM due) {lock}
                     ) SELECT id FROM due UNION ALL SELECT id FROM recheck"
                );
            }
            Selection::Failed => {
                return format!(
                    "{unclaimed} AND m.worker_error IS NOT NULL ORDER BY m.worker_error_at, m.id LIMIT $1 {lock}"
                );
            }
            Selection::NeverPushed => {
                "m.worker_pushed_at IS NULL AND m.worker_error IS NULL AND m.worker_outbox IS NULL"
            }
            // Unlike the condition of NARROWED, this one has an index.
            Selection::Named => "m.id = ANY($3::bigint[])",
        };
        format!("{unclaimed} AND {condition} ORDER BY m.id LIMIT $1 {lock}")
    }

    /// Returns the condition that leaves out the mappings of owners that GitHub must not be asked
    /// about at that time: they would take the places of others. What a person names is not left
    /// out silently.
    pub(super) fn may_ask(&self, now: &str) -> String {
        if !self.mappings.is_empty() {
            return String::new();
        }
        format!(
            " AND coalesce(split_part({REPOSITORY}, '/', 1), '') <> ALL(ARRAY(
                SELECT substr(w.scope, 8) FROM worker_pause w WHERE w.scope LIKE 'github:%' AND w.until > {now}))"
        )
    }

    /// Returns the id after which a batch begins. Batches that go by time do not follow each other
    /// by id: a check takes a row out of [`Selection::Due`], and [`MappingFilter::excluded`] takes
    /// it out of [`Selection::Failed`].
    pub(super) fn after(&self, last: MappingId) -> i64 {
        match self.selection {
            Selection::Due | Selection::Failed => 0,
            Selection::NeverPushed | Selection::Named => last.0,
        }
    }
}

impl Db {
    /// Reads up to `limit` mappings that a run would work on now, in its order, for a dry run.
    /// These are the named mappings in any class, even claimed ones, or else those that a claim
    /// would take. Mappings in `marked` count as marked at `now`.
    pub fn select(
        &mut self,
        filter: &MappingFilter,
        limit: usize,
        marked: &[MappingId],
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>> {
        let mut selected = match filter.selection {
            Selection::Named => return self.named_in_order(filter, limit, now),
            Selection::Due => self.unclaimed(filter, limit, &numbers(marked), now)?,
            Selection::Failed | Selection::NeverPushed => {
                self.unclaimed(filter, limit, &[], now)?
            }
        };
        selected.retain(|one| !filter.excluded.contains(&one.mapping.id.0));
        selected.sort_by_key(Claimed::order);
        selected.truncate(limit);
        Ok(selected)
    }

    fn unclaimed(
        &mut self,
        filter: &MappingFilter,
        limit: usize,
        marked: &[i64],
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>> {
        // The second array has the rows that `Db::mark` would make due.
        let may_ask = filter.may_ask("$5");
        let sql = format!(
            "/* select */ SELECT {COLUMNS} FROM {TABLES} WHERE m.id = ANY(ARRAY({}) || ARRAY(
                SELECT m.id FROM core_externalissuemapping m
                WHERE m.id = ANY($7::bigint[]) AND m.id <> ALL($6::bigint[]) AND m.worker_claim IS NULL AND m.worker_due_at IS NULL
                AND (m.worker_recheck_at IS NOT NULL OR m.worker_error_at + interval '6 hours' <= $5) AND {NARROWED}{may_ask}))",
            filter.ids("")
        );
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let (limit, after, excluded) = (limit as i64, 0_i64, &filter.excluded);
        let rows = self.rows(
            "selecting mappings",
            &sql,
            &[&limit, projects, mappings, &after, &now, excluded, &marked],
        )?;
        let mut unclaimed: Vec<Claimed> = Claimed::all(&rows)?;
        for Claimed { mapping, .. } in &mut unclaimed {
            if marked.contains(&mapping.id.0) {
                mapping.due_at = mapping.due_at.or(Some(now));
            }
        }
        Ok(unclaimed)
    }

    /// Reads the named mappings as a run takes them: up to `limit` unclaimed ones and suspects, and
    /// then all that another run holds, which a run only reports.
    fn named_in_order(
        &mut self,
        filter: &MappingFilter,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>> {
        let is_held = |one: &Claimed| one.mapping.claimed_until.is_some_and(|until| until >= now);
        let (held, mut free): (Vec<_>, Vec<_>) = self.named(filter)?.into_iter().partition(is_held);
        free.sort_by_key(|one| (one.mapping.claimed_until, one.mapping.id));
        free.truncate(limit);
        free.extend(held);
        Ok(free)
    }

    /// Returns true if a claim would take another mapping.
    pub fn has_more(
        &mut self,
        filter: &MappingFilter,
        after: MappingId,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let (projects, mappings) = (&filter.projects, &filter.mappings);
        let excluded = &filter.excluded;
        let sql = format!(
            "/* has_more */ SELECT cardinality(ARRAY({})) > 0",
            filter.ids("")
        );
        let after = filter.after(after);
        let row = self.row(
            "selecting mappings",
            &sql,
            &[&1_i64, projects, mappings, &after, &now, excluded],
        )?;
        Ok(row.first()?)
    }

    /// Reads the named mappings that another run holds, or held when it died.
    pub fn claimed(&mut self, filter: &MappingFilter) -> Result<Vec<Claimed>> {
        let mut claimed = self.named(filter)?;
        claimed.retain(|one| one.mapping.claimed_until.is_some());
        Ok(claimed)
    }

    fn named(&mut self, filter: &MappingFilter) -> Result<Vec<Claimed>> {
        let ids: Vec<MappingId> = filter.mappings.iter().copied().map(MappingId).collect();
        let mut named = self.mappings(&ids)?;
        let projects = &filter.projects;
        named.retain(|one| projects.is_empty() || projects.contains(&one.item.project_id));
        Ok(named)
    }
}
