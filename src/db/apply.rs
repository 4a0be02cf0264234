//! Carrying out one mapping's plan in one short transaction (design, section 3, step 6). No HTTP happens inside.

use chrono::{DateTime, Utc};

use super::{Access, Claimed, Db, Lease, Repeatable, classify, describe};
use crate::core::failure::DatabaseFailure;
use crate::core::model::*;
use crate::core::outbox::Outbox;
use crate::core::plan::{Action, Plan};

/// What carrying out a plan did.
#[derive(Debug, Clone, Default)]
pub struct ApplyOutcome {
    /// The item's status was changed; `Some(false)`: a person was faster.
    pub moved: Option<bool>,
    /// Rows that were inserted for pull requests, held by this run.
    pub inserted: Vec<MappingId>,
    /// Links that were added or changed.
    pub linked: u64,
}

/// Why nothing of a plan was carried out.
#[derive(Debug)]
pub enum ApplyError {
    /// The mapping is not this run's any more, or somebody changed what the plan was made from: it is given back.
    GivenBack(String),
    /// Somebody holds its rows and did not let go of them: it is given back.
    Held(String),
    /// PostgreSQL refuses what this mapping needs.
    Refused(String),
    /// PostgreSQL cannot be reached, or takes nothing from us.
    Lost(postgres::Error),
}

impl From<postgres::Error> for ApplyError {
    fn from(error: postgres::Error) -> Self {
        match classify(&error) {
            DatabaseFailure::Lost | DatabaseFailure::Forbidden => Self::Lost(error),
            DatabaseFailure::Conflict => Self::Held(format!(
                "somebody else is working on its rows: {}",
                describe(&error)
            )),
            DatabaseFailure::Slow | DatabaseFailure::Refused => {
                Self::Refused(format!("the database refuses it: {}", describe(&error)))
            }
        }
    }
}

impl Repeatable for ApplyError {
    fn conflict(&self) -> Option<String> {
        match self {
            Self::Held(reason) => Some(reason.clone()),
            Self::GivenBack(_) | Self::Refused(_) | Self::Lost(_) => None,
        }
    }
}

/// The columns of the mapping's own row that a plan writes; `None` leaves a column as it is.
#[derive(Debug, Default)]
pub struct MappingColumns {
    github_id: Option<i64>,
    state: Option<&'static str>,
    closed_at: Option<DateTime<Utc>>,
    body: Option<String>,
    commit: Option<String>,
    merged_at: Option<DateTime<Utc>>,
    /// Summary of the activity row that goes with a change of state.
    activity: Option<String>,
}

impl Db {
    /// Carries out a plan; `outbox` replaces the mapping's own.
    ///
    /// # Errors
    /// See [`NotApplied`]; the database is then as it was.
    pub fn apply(
        &mut self,
        claimed: &Claimed,
        plan: &Plan,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
        hold: Lease,
    ) -> Result<ApplyOutcome, ApplyError> {
        self.transaction(Access::ReadWrite, |db| {
            db.apply_once(claimed, plan, outbox, now, hold)
        })
    }

    fn apply_once(
        &mut self,
        claimed: &Claimed,
        plan: &Plan,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
        hold: Lease,
    ) -> Result<ApplyOutcome, ApplyError> {
        let mapping = &claimed.mapping;
        self.lock(mapping, hold)?;
        let mut applied = ApplyOutcome::default();
        let mut recorded = MappingColumns::default();
        let (mut inserts, mut links, mut unlinks, mut marks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for action in &plan.actions {
            match action {
                Action::SetGithubId { row, to, .. } if *row == mapping.id => {
                    recorded.github_id = Some(to.0)
                }
                Action::SetGithubId { row, from, to } => self.set_github_id(*row, *from, *to)?,
                Action::RecordState { from, to } => {
                    recorded.state = Some(*to);
                    recorded.activity = Some(state_summary(mapping, from, to));
                }
                Action::RecordMerge {
                    body,
                    commit,
                    merged_at,
                } => {
                    recorded.body.clone_from(body);
                    recorded.commit.clone_from(commit);
                    recorded.merged_at = *merged_at;
                }
                Action::MoveItem { from, to } => {
                    applied.moved = Some(self.move_item(mapping.item_id, from, to, now)?)
                }
                Action::RememberClose { closed_at } => recorded.closed_at = Some(*closed_at),
                Action::InsertPullRequest { pull_request } => inserts.push(pull_request),
                Action::Link {
                    github_id,
                    relation,
                    ..
                } => links.push((github_id.0, relation.as_str())),
                Action::Unlink { row } => unlinks.push(row.0),
                Action::MakeDue { row, .. } => marks.push(*row),
                Action::Write { .. } => {} // the outbox has it
            }
        }
        if !inserts.is_empty() {
            applied.inserted = self.insert_pull_requests(mapping.item_id, &inserts, now, hold)?;
        }
        if !links.is_empty() {
            applied.linked = self.link(mapping, &links, now)?;
            if applied.linked < links.len() as u64 {
                let reason = "a pull request's row, which the plan of another mapping was to insert, is not there";
                return Err(ApplyError::GivenBack(reason.to_owned()));
            }
        }
        if !unlinks.is_empty() {
            self.unlink(mapping.id, &unlinks)?;
        }
        if !marks.is_empty() {
            self.mark(&marks, now)?;
        }
        self.record(mapping, &recorded, outbox, now)?;
        Ok(applied)
    }

    /// Locks the mapping's row, if it is still as the plan was made from.
    fn lock(&mut self, mapping: &Mapping, hold: Lease) -> Result<(), ApplyError> {
        let rows = self.query(
            "SELECT FROM core_externalissuemapping WHERE id = $1 AND worker_claim = $2 AND item_id = $3
             AND worker_closed_at IS NOT DISTINCT FROM $4 AND state = $5 FOR UPDATE",
            &[&mapping.id.0, &hold.run, &mapping.item_id.0, &mapping.handled_closed_at, &mapping.state],
        )?;
        match rows.is_empty() {
            true => Err(ApplyError::GivenBack(
                "its row was changed or taken over meanwhile".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn set_github_id(
        &mut self,
        row: MappingId,
        from: GithubId,
        to: GithubId,
    ) -> Result<(), postgres::Error> {
        self.execute(
            "UPDATE core_externalissuemapping SET github_id = $3 WHERE id = $1 AND github_id = $2",
            &[&row.0, &from.0, &to.0],
        )?;
        Ok(())
    }

    /// Whether the item still had the status that the plan was made from.
    fn move_item(
        &mut self,
        id: ItemId,
        from: &ItemStatus,
        to: &ItemStatus,
        now: DateTime<Utc>,
    ) -> Result<bool, postgres::Error> {
        let summary = format!("Status: {from} → {to}");
        let moved = self.execute(
            "WITH moved AS (
                UPDATE core_item SET status = $3, updated_at = $4 WHERE id = $1 AND status = $2 RETURNING id
             )
             INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
             SELECT t.id, moved.id::text, 'item.status_changed', $5, $4, NULL
             FROM moved, django_content_type t WHERE t.app_label = 'core' AND t.model = 'item'",
            &[&id.0, &from.0, &to.0, &now, &summary],
        )?;
        Ok(moved == 1)
    }

    fn insert_pull_requests(
        &mut self,
        item_id: ItemId,
        pull_requests: &[&PullRequestRef],
        now: DateTime<Utc>,
        hold: Lease,
    ) -> Result<Vec<MappingId>, postgres::Error> {
        let ids: Vec<i64> = pull_requests
            .iter()
            .map(|found| found.github_id.0)
            .collect();
        let numbers: Vec<i32> = pull_requests
            .iter()
            .map(|found| found.address.number)
            .collect();
        let states: Vec<&str> = pull_requests
            .iter()
            .map(|found| found.state.as_str())
            .collect();
        let urls: Vec<&str> = pull_requests
            .iter()
            .map(|found| found.url.as_str())
            .collect();
        let rows = self.query(
            "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id,
                pr_body, merge_commit_sha, merged_at, worker_due_at, worker_claim, worker_claimed_until)
             SELECT t.github_id, t.number, 'PR', t.state, t.url, $5, $6, '', '', NULL, $5, $7, $8
             FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[]) AS t(github_id, number, state, url)
             ON CONFLICT (github_id) DO NOTHING RETURNING id",
            &[&ids, &numbers, &states, &urls, &now, &item_id.0, &hold.run, &hold.until],
        )?;
        Ok(rows.iter().map(|row| MappingId(row.get(0))).collect())
    }

    fn link(
        &mut self,
        mapping: &Mapping,
        links: &[(i64, &str)],
        now: DateTime<Utc>,
    ) -> Result<u64, postgres::Error> {
        let (ids, relations): (Vec<i64>, Vec<&str>) = links.iter().copied().unzip();
        self.execute(
            "INSERT INTO worker_pull_request_link (issue_mapping_id, mapping_id, item_id, relation, linked_at)
             SELECT $1, m.id, $2, t.relation, $5
             FROM unnest($3::bigint[], $4::text[]) AS t(github_id, relation)
             JOIN core_externalissuemapping m ON m.github_id = t.github_id
             ON CONFLICT (issue_mapping_id, mapping_id) DO UPDATE SET item_id = EXCLUDED.item_id, relation = EXCLUDED.relation",
            &[&mapping.id.0, &mapping.item_id.0, &ids, &relations, &now],
        )
    }

    fn unlink(&mut self, issue: MappingId, pull_requests: &[i64]) -> Result<(), postgres::Error> {
        self.execute(
            "DELETE FROM worker_pull_request_link WHERE issue_mapping_id = $1 AND mapping_id = ANY($2)",
            &[&issue.0, &pull_requests],
        )?;
        Ok(())
    }

    /// Makes mappings due, in id order. Not where an unclaimed row already has a due time: older work keeps its place, a
    /// backoff its end. A parked row becomes due six hours after its error, or now (design, section 2, marks).
    pub(super) fn mark(
        &mut self,
        ids: &[MappingId],
        now: DateTime<Utc>,
    ) -> Result<(), postgres::Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.execute(
            "UPDATE core_externalissuemapping m SET worker_due_at = CASE
                WHEN m.worker_claim IS NULL AND m.worker_recheck_at IS NULL
                THEN GREATEST($2, m.worker_error_at + interval '6 hours') ELSE $2 END
             WHERE m.id = ANY(ARRAY(SELECT id FROM core_externalissuemapping WHERE id = ANY($1)
                AND (worker_claim IS NOT NULL OR worker_due_at IS NULL) ORDER BY id FOR UPDATE))",
            &[&ids, &now],
        )?;
        Ok(())
    }

    fn record(
        &mut self,
        mapping: &Mapping,
        recorded: &MappingColumns,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
    ) -> Result<(), postgres::Error> {
        let verb = match mapping.kind {
            Kind::PullRequest => "github.pr_state_changed",
            Kind::Issue | Kind::Unknown => "github.issue_state_changed",
        };
        let outbox = outbox.map(postgres_json);
        self.execute(
            "WITH own AS (
                UPDATE core_externalissuemapping SET github_id = coalesce($11, github_id), state = coalesce($2, state),
                    worker_closed_at = coalesce($3, worker_closed_at), pr_body = coalesce($4, pr_body),
                    merge_commit_sha = coalesce($5, merge_commit_sha), merged_at = coalesce($6, merged_at),
                    worker_outbox = $7
                WHERE id = $1 RETURNING item_id
             )
             INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
             SELECT t.id, own.item_id::text, $8, $9, $10, NULL
             FROM own, django_content_type t
             WHERE t.app_label = 'core' AND t.model = 'item' AND $9::text IS NOT NULL",
            &[
                &mapping.id.0,
                &recorded.state,
                &recorded.closed_at,
                &recorded.body,
                &recorded.commit,
                &recorded.merged_at,
                &outbox,
                &verb,
                &recorded.activity,
                &now,
                &recorded.github_id,
            ],
        )?;
        Ok(())
    }
}

fn postgres_json(outbox: &Outbox) -> serde_json::Value {
    serde_json::to_value(outbox).expect("an outbox has only text keys")
}

/// Agira's words for a change of state.
fn state_summary(mapping: &Mapping, from: &str, to: &str) -> String {
    let what = match mapping.kind {
        Kind::PullRequest => "PR",
        Kind::Issue | Kind::Unknown => "issue",
    };
    format!(
        "GitHub {what} #{} changed from {from} to {to}",
        mapping.number
    )
}
