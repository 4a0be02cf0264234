//! Claiming mappings for this run (design, section 2), and giving them back.

use anyhow::Context;
use chrono::{DateTime, Utc};
use postgres::Row;
use uuid::Uuid;

use super::{Access, Db};
use crate::core::model::*;

/// A mapping that this run works on (in a dry run: would work on), with its item.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The mapping as it was claimed.
    pub mapping: Mapping,
    /// Its item at that moment.
    pub item: Item,
}

/// A mapping whose run died.
#[derive(Debug, Clone)]
pub enum Suspect {
    /// This run holds it now.
    Taken(Claimed),
    /// That was its last attempt.
    Parked(Claimed),
}

/// Who holds what is claimed.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// This run.
    pub run: Uuid,
    /// Until when it is believed to be alive (UTC).
    pub until: DateTime<Utc>,
}

/// Which mappings a command works on, one batch at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Due, oldest first; in the room that is left, those whose recheck time has come.
    Due {
        /// Every waiting mapping counts as one whose recheck time has come (`--recheck-now` in a dry run).
        recheck_all: bool,
    },
    /// With an error, whether due or not; the claim makes them due and forgets their attempts.
    Failed,
    /// Never pushed to Weaviate, and without an error: what failed is `sync`'s to retry, and must not be in the way.
    NeverPushed,
    /// Those named by `--mapping`, due or not.
    Named,
}

/// A [`Selection`] with what narrows it down.
#[derive(Debug, Clone)]
pub struct MappingFilter {
    /// Which mappings.
    pub selection: Selection,
    /// Only of these projects; empty: of all.
    pub projects: Vec<i64>,
    /// Only these mappings; empty: all.
    pub mappings: Vec<i64>,
    /// Not these mappings: this run gave them back, and leaves them to the next one.
    pub excluded: Vec<i64>,
}

/// What is read of a mapping `m`, its item `i` and its project `p`; see [`Claimed::from_row`].
pub(super) const COLUMNS: &str = "m.id, m.item_id, m.github_id, m.number, m.kind, m.state, m.html_url, m.pr_body, m.merge_commit_sha, \
    m.merged_at, m.worker_due_at, m.worker_recheck_at, m.worker_attempts, m.worker_error, m.worker_closed_at, \
    m.worker_outbox IS NOT NULL AS has_outbox, m.worker_claimed_until, \
    i.title, i.description, i.solution_description, i.status, i.project_id, i.organisation_id, i.created_at, i.updated_at, \
    p.github_owner, p.github_repo";

/// What another run, or a person, holds is not waited for.
const LOCK: &str = "FOR UPDATE OF m SKIP LOCKED";

/// The rows `m` of $2 that run $1 holds, in id order; to be followed by how they are locked, and two brackets.
pub(super) const HELD: &str = "m.id = ANY(ARRAY(
    SELECT h.id FROM core_externalissuemapping h WHERE h.id = ANY($2) AND h.worker_claim = $1 ORDER BY h.id";

/// What is told of an attempt whose run died, behind its number.
const UNFINISHED: &str = "did not finish: the run that made it died";

/// The ids of mappings whose claim expired, in the order in which they are taken over; parameters: $1 how many, $2 now, $3
/// projects, $4 mappings, $5 run whose own claims are left out. To be followed by how they are locked.
const SUSPECTS: &str = "SELECT m.id FROM core_externalissuemapping m
    WHERE m.worker_claim IS NOT NULL AND m.worker_claimed_until < $2
    AND ($3::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($3)))
    AND ($4::bigint[] = '{}' OR m.id = ANY($4)) AND m.worker_claim <> $5
    ORDER BY m.worker_attempts, m.id LIMIT $1";

impl Claimed {
    pub(super) fn from_row(row: &Row) -> Self {
        let mapping = Mapping {
            id: MappingId(row.get("id")),
            item_id: ItemId(row.get("item_id")),
            github_id: GithubId(row.get("github_id")),
            number: row.get("number"),
            kind: Kind::parse(row.get("kind")),
            state: row.get("state"),
            html_url: row.get("html_url"),
            pr_body: row.get("pr_body"),
            merge_commit_sha: row.get("merge_commit_sha"),
            merged_at: row.get("merged_at"),
            due_at: row.get("worker_due_at"),
            recheck_at: row.get("worker_recheck_at"),
            attempts: row.get("worker_attempts"),
            error: row.get("worker_error"),
            handled_closed_at: row.get("worker_closed_at"),
            has_outbox: row.get("has_outbox"),
            claimed_until: row.get("worker_claimed_until"),
        };
        let (owner, name): (&str, &str) = (row.get("github_owner"), row.get("github_repo"));
        let item = Item {
            id: mapping.item_id,
            title: row.get("title"),
            description: row.get("description"),
            solution_description: row.get("solution_description"),
            status: ItemStatus(row.get("status")),
            project_id: row.get("project_id"),
            organisation_id: row.get("organisation_id"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            project_repository: Repository::parse(&format!("{owner}/{name}")),
        };
        Self { mapping, item }
    }

    /// Taken over as a suspect it would be parked: why. `None`: it would be looked at.
    pub fn parked_as_suspect(&self, max_attempts: i32) -> Option<String> {
        let attempt = self.mapping.attempts + 1;
        (attempt >= max_attempts).then(|| format!("attempt {attempt} {UNFINISHED}"))
    }

    /// Before which others it is worked on.
    fn order(&self) -> (bool, Option<DateTime<Utc>>, MappingId) {
        let mapping = &self.mapping;
        (
            mapping.due_at.is_none(),
            mapping.due_at.or(mapping.recheck_at),
            mapping.id,
        )
    }
}

impl MappingFilter {
    /// The ids of the next rows; parameters: $1 limit, $2 projects, $3 mappings, $4 after that id, $5 now, $6 whether all
    /// waiting rows count, $7 mappings that are left out. `lock` is empty or [`LOCK`].
    ///
    /// A computed LIMIT that is joined back to the table becomes a sequential scan; ids in an array do not.
    fn ids(&self, lock: &str) -> String {
        let of_project = "AND ($2::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2)))";
        let of_mapping = "AND ($3::bigint[] = '{}' OR m.id = ANY($3))";
        // A run with --recheck-now sets all these times to now, and then goes by id.
        let recheck_order = if self.recheck_all() {
            "LEAST(m.worker_recheck_at, $5)"
        } else {
            "m.worker_recheck_at"
        };
        let from = "SELECT m.id FROM core_externalissuemapping m WHERE m.worker_claim IS NULL AND m.id <> ALL($7::bigint[])";
        match self.selection {
            Selection::Due { .. } => format!(
                "WITH due AS MATERIALIZED (
                    {from} AND m.worker_due_at <= $5 {of_project} {of_mapping} AND m.id > $4
                    ORDER BY m.worker_due_at, m.id LIMIT $1 {lock}
                 ), recheck AS MATERIALIZED (
                    {from} AND m.worker_due_at IS NULL AND m.worker_recheck_at <= CASE WHEN $6 THEN 'infinity'::timestamptz ELSE $5 END
                    {of_project} {of_mapping} AND m.id > $4
                    ORDER BY {recheck_order}, m.id LIMIT $1 - (SELECT count(*) FROM due) {lock}
                 ) SELECT id FROM due UNION ALL SELECT id FROM recheck"
            ),
            Selection::Failed => format!(
                "{from} AND m.worker_error IS NOT NULL AND m.id > $4 {of_project} {of_mapping}
                 AND $5::timestamptz IS NOT NULL AND $6::bool IS NOT NULL ORDER BY m.id LIMIT $1 {lock}"
            ),
            Selection::NeverPushed => format!(
                "{from} AND m.worker_pushed_at IS NULL AND m.worker_error IS NULL AND m.id > $4 {of_project} {of_mapping}
                 AND $5::timestamptz IS NOT NULL AND $6::bool IS NOT NULL ORDER BY m.id LIMIT $1 {lock}"
            ),
            Selection::Named => format!(
                "{from} AND m.id = ANY($3) AND m.id > $4 {of_project}
                 AND $5::timestamptz IS NOT NULL AND $6::bool IS NOT NULL ORDER BY m.id LIMIT $1 {lock}"
            ),
        }
    }

    /// Whether batches follow each other by id, because being worked on does not take a row out of the selection.
    fn by_id(&self) -> bool {
        !matches!(self.selection, Selection::Due { .. })
    }

    /// The statement that claims; as [`Self::ids`], with $8 run and $9 until.
    fn claim(&self) -> String {
        let fresh = match self.selection {
            Selection::Failed => ", worker_due_at = $5, worker_attempts = 0",
            _ => "",
        };
        format!(
            "UPDATE core_externalissuemapping m SET worker_claim = $8, worker_claimed_until = $9{fresh}
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({})) AND i.id = m.item_id RETURNING {COLUMNS}",
            self.ids(LOCK)
        )
    }

    /// The same selection as it is explained in a test.
    #[doc(hidden)]
    pub fn explained(&self) -> String {
        self.claim()
    }

    fn recheck_all(&self) -> bool {
        matches!(self.selection, Selection::Due { recheck_all: true })
    }
}

impl Db {
    /// Claims up to `limit` mappings. `after`: the last id of the batch before, for selections that go by id.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn claim(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
        after: MappingId,
        now: DateTime<Utc>,
        hold: Lease,
    ) -> anyhow::Result<Vec<Claimed>> {
        let after = if whole.by_id() { after.0 } else { 0 };
        let (limit, all) = (limit as i64, whole.recheck_all());
        let rows = self
            .query(
                &whole.claim(),
                &[
                    &limit,
                    &whole.projects,
                    &whole.mappings,
                    &after,
                    &now,
                    &all,
                    &whole.excluded,
                    &hold.run,
                    &hold.until,
                ],
            )
            .context("claiming mappings failed")?;
        Ok(in_order(&rows))
    }

    /// What [`Db::claim`] would claim, without claiming it.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn preview(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
        after: MappingId,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<Claimed>> {
        let after = if whole.by_id() { after.0 } else { 0 };
        let sql = format!(
            "SELECT {COLUMNS} FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({}))",
            whole.ids("")
        );
        let (limit, all) = (limit as i64, whole.recheck_all());
        let rows = self
            .read(
                Access::ReadOnly,
                &sql,
                &[
                    &limit,
                    &whole.projects,
                    &whole.mappings,
                    &after,
                    &now,
                    &all,
                    &whole.excluded,
                ],
            )
            .context("selecting mappings failed")?;
        let mut claimed: Vec<Claimed> = rows.iter().map(Claimed::from_row).collect();
        if all {
            // As the run would find them, having set these times itself.
            claimed.iter_mut().for_each(|one| {
                one.mapping.recheck_at = one.mapping.recheck_at.map(|at| at.min(now))
            });
        }
        claimed.sort_by_key(Claimed::order);
        Ok(claimed)
    }

    /// The same, if the mappings in `marked` had been made due.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn preview_marked(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
        marked: &[i64],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<Claimed>> {
        let mut claimed = self.preview(whole, limit, MappingId(0), now)?;
        if marked.is_empty() || whole.by_id() {
            return Ok(claimed);
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY($1) AND m.id <> ALL($2) AND ($3::bigint[] = '{{}}' OR i.project_id = ANY($3))
             AND m.worker_claim IS NULL AND m.worker_due_at IS NULL
             AND (m.worker_recheck_at IS NOT NULL OR m.worker_error_at + interval '6 hours' <= $4)"
        );
        let rows = self
            .read(
                Access::ReadOnly,
                &sql,
                &[&marked, &whole.excluded, &whole.projects, &now],
            )
            .context("selecting mappings failed")?;
        for mut marked in rows.iter().map(Claimed::from_row) {
            marked.mapping.due_at = Some(now);
            claimed.retain(|claimed| claimed.mapping.id != marked.mapping.id);
            claimed.push(marked);
        }
        claimed.sort_by_key(Claimed::order);
        claimed.truncate(limit);
        Ok(claimed)
    }

    /// Takes over one mapping whose claim expired, fewest attempts first, and counts the attempt that did not finish; at
    /// `max_attempts` it is parked instead. `None`: there is none.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn claim_suspect(
        &mut self,
        whole: &MappingFilter,
        max_attempts: i32,
        now: DateTime<Utc>,
        hold: Lease,
    ) -> anyhow::Result<Option<Suspect>> {
        let sql = format!(
            "UPDATE core_externalissuemapping m SET
                worker_attempts = m.worker_attempts + 1,
                worker_error = 'attempt ' || m.worker_attempts + 1 || ' {UNFINISHED}',
                worker_error_at = $2,
                worker_claim = CASE WHEN m.worker_attempts + 1 < $7 THEN $5::uuid END,
                worker_claimed_until = CASE WHEN m.worker_attempts + 1 < $7 THEN $6::timestamptz END,
                worker_due_at = CASE WHEN m.worker_attempts + 1 < $7 THEN m.worker_due_at END,
                worker_recheck_at = CASE WHEN m.worker_attempts + 1 < $7 THEN m.worker_recheck_at END
             FROM core_item i JOIN core_project p ON p.id = i.project_id
             WHERE i.id = m.item_id AND m.id = ANY(ARRAY({SUSPECTS} {LOCK}))
             RETURNING {COLUMNS}, m.worker_claim IS NOT NULL AS taken"
        );
        let rows = self
            .query(
                &sql,
                &[
                    &1_i64,
                    &now,
                    &whole.projects,
                    &whole.mappings,
                    &hold.run,
                    &hold.until,
                    &max_attempts,
                ],
            )
            .context("taking over a mapping whose run died failed")?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let claimed = Claimed::from_row(row);
        Ok(Some(match row.get("taken") {
            true => {
                self.suspects.insert(claimed.mapping.id);
                Suspect::Taken(claimed)
            }
            false => Suspect::Parked(claimed),
        }))
    }

    /// The mappings that [`Db::claim_suspect`] would take over one after the other, as they are now.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn preview_suspects(
        &mut self,
        whole: &MappingFilter,
        limit: usize,
        now: DateTime<Utc>,
        run: Uuid,
    ) -> anyhow::Result<Vec<Claimed>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.id = ANY(ARRAY({SUSPECTS})) ORDER BY m.worker_attempts, m.id"
        );
        let rows = self
            .read(
                Access::ReadOnly,
                &sql,
                &[
                    &(limit as i64),
                    &now,
                    &whole.projects,
                    &whole.mappings,
                    &run,
                ],
            )
            .context("reading which mappings a dead run holds failed")?;
        Ok(rows.iter().map(Claimed::from_row).collect())
    }

    /// Mappings of the selection that are claimed: held by another run, or, when the claim is over, suspects. At most
    /// `limit`, fewest attempts first.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn claimed(
        &mut self,
        access: Access,
        whole: &MappingFilter,
        limit: usize,
    ) -> anyhow::Result<Vec<Claimed>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM core_externalissuemapping m
             JOIN core_item i ON i.id = m.item_id JOIN core_project p ON p.id = i.project_id
             WHERE m.worker_claim IS NOT NULL AND ($2::bigint[] = '{{}}' OR i.project_id = ANY($2))
             AND ($3::bigint[] = '{{}}' OR m.id = ANY($3)) ORDER BY m.worker_attempts, m.id LIMIT $1"
        );
        let rows = self
            .read(
                access,
                &sql,
                &[&(limit as i64), &whole.projects, &whole.mappings],
            )
            .context("reading which mappings are claimed failed")?;
        Ok(rows.iter().map(Claimed::from_row).collect())
    }

    /// Gives back what this run holds of `ids`; nothing else about them changes. A suspect was not looked at either: the
    /// attempt that taking it over counted is taken back, and its claim stays, expired, so that it stays a suspect.
    ///
    /// # Errors
    /// When PostgreSQL fails; the claims then expire by themselves.
    pub fn give_back(&mut self, run: Uuid, ids: &[MappingId]) -> anyhow::Result<()> {
        let (suspects, ids): (Vec<&MappingId>, Vec<&MappingId>) =
            ids.iter().partition(|id| self.suspects.contains(id));
        if !ids.is_empty() {
            let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
            let sql = |lock: &str| {
                format!(
                    "UPDATE core_externalissuemapping m SET worker_claim = NULL, worker_claimed_until = NULL
                     WHERE {HELD} {lock})) RETURNING m.id"
                )
            };
            self.end_claims(sql, &[&run, &ids])
                .context("giving mappings back failed")?;
        }
        if !suspects.is_empty() {
            let suspects: Vec<i64> = suspects.iter().map(|id| id.0).collect();
            // The claim stays this run's, which therefore does not take it over again. Its error's time is when it did.
            let sql = |lock: &str| {
                format!(
                    "UPDATE core_externalissuemapping m SET worker_attempts = m.worker_attempts - 1,
                        worker_claimed_until = m.worker_error_at
                     WHERE m.worker_claimed_until > m.worker_error_at AND {HELD} {lock})) RETURNING m.id"
                )
            };
            self.end_claims(sql, &[&run, &suspects])
                .context("giving mappings back failed")?;
        }
        Ok(())
    }

    /// Sets the recheck time of all waiting mappings (of `projects`, unless empty) to `now`, but for those that somebody
    /// holds; returns how many were set and how many were left.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub fn recheck_now(
        &mut self,
        projects: &[i64],
        now: DateTime<Utc>,
    ) -> anyhow::Result<(i64, i64)> {
        let waiting = "SELECT m.id FROM core_externalissuemapping m
             WHERE m.worker_claim IS NULL AND m.worker_due_at IS NULL AND m.worker_recheck_at > $1
             AND ($2::bigint[] = '{}' OR EXISTS (SELECT FROM core_item i WHERE i.id = m.item_id AND i.project_id = ANY($2)))";
        let sql = format!(
            "WITH done AS (
                UPDATE core_externalissuemapping SET worker_recheck_at = $1
                WHERE id = ANY(ARRAY({waiting} ORDER BY m.id {LOCK})) RETURNING id
             ) SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM ({waiting}) w WHERE w.id NOT IN (SELECT id FROM done))"
        );
        let rows = self
            .query(&sql, &[&now, &projects])
            .context("setting the recheck times failed")?;
        Ok((rows[0].get(0), rows[0].get(1)))
    }
}

fn in_order(rows: &[Row]) -> Vec<Claimed> {
    let mut claimed: Vec<Claimed> = rows.iter().map(Claimed::from_row).collect();
    claimed.sort_by_key(Claimed::order);
    claimed
}
