//! Applies one mapping's plan in one short transaction, without HTTP in it (design.md, "The
//! pipeline").

use chrono::{DateTime, Utc};
use postgres::Error;

use super::claim::Lease;
use super::error::{classify, describe, is_lock_timeout};
use super::row::{Claimed, column};
use super::session::{Db, Parameters, Repeatable};
use crate::core::failure::DatabaseFailure;
use crate::core::model::*;
use crate::core::outbox::Outbox;
use crate::core::plan::{Action, Plan};

/// Replaces the session's `lock_timeout` in a transaction.
const NO_PATIENCE: &str = "SET LOCAL lock_timeout = '10ms'";

/// The effect of an applied plan.
#[derive(Debug, Clone, Default)]
pub struct ApplyOutcome {
    /// The item's status was changed; `Some(false)` when a person changed it first.
    pub moved: Option<bool>,
    /// Rows that were inserted for pull requests, which this run holds.
    pub inserted: Vec<MappingId>,
    /// Number of links that were added or changed.
    pub linked: u64,
}

/// The reason why nothing of a plan was applied.
#[derive(Debug)]
pub enum ApplyError {
    /// The plan is stale: this run lost its claim, or another session changed data that the plan
    /// depends on. The mapping is released.
    Stale(String),
    /// Another session changes the same rows. The mapping is released if repeating does not help.
    Conflict(String),
    /// Another session keeps rows of the plan locked for too long. The mapping is released.
    Locked(String),
    /// PostgreSQL refuses a change of this plan.
    Refused(String),
    /// PostgreSQL cannot be reached, or refuses every change.
    Lost(Error),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        match classify(&error) {
            DatabaseFailure::Lost | DatabaseFailure::Forbidden => Self::Lost(error),
            DatabaseFailure::Conflict => {
                let kind = match is_lock_timeout(&error) {
                    true => Self::Locked,
                    false => Self::Conflict,
                };
                kind(format!(
                    "another session is working on its rows: {}",
                    describe(&error)
                ))
            }
            DatabaseFailure::Slow | DatabaseFailure::Refused => {
                Self::Refused(format!("the database refuses it: {}", describe(&error)))
            }
        }
    }
}

impl Repeatable for ApplyError {
    fn conflict(&self) -> Option<String> {
        match self {
            Self::Conflict(reason) => Some(reason.clone()),
            // The wait was long enough.
            Self::Locked(_) | Self::Stale(_) | Self::Refused(_) | Self::Lost(_) => None,
        }
    }
}

/// The columns of the mapping's own row that a plan writes; `None` leaves a column as it is.
#[derive(Debug, Default)]
struct OwnRow {
    github_id: Option<i64>,
    state: Option<&'static str>,
    closed_at: Option<DateTime<Utc>>,
    body: Option<String>,
    commit: Option<String>,
    merged_at: Option<DateTime<Utc>>,
    /// Summary of the activity that goes with a change of state.
    activity: Option<String>,
}

impl Db {
    /// Applies a plan; `outbox` replaces the mapping's outbox. An error leaves the database
    /// unchanged.
    pub fn apply(
        &mut self,
        claimed: &Claimed,
        plan: &Plan,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<ApplyOutcome, ApplyError> {
        let result = self.transaction(|db| {
            if !db.is_patient {
                db.control(NO_PATIENCE)?;
            }
            db.apply_once(claimed, plan, outbox, now, lease)
        });
        if matches!(result, Err(ApplyError::Locked(_))) {
            self.end_patience();
        }
        result
    }

    /// Makes later plans wait no longer for locked rows: a session that holds the rows of many
    /// plans would use up the time of the others.
    pub fn end_patience(&mut self) {
        self.is_patient = false;
    }

    fn apply_once(
        &mut self,
        claimed: &Claimed,
        plan: &Plan,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<ApplyOutcome, ApplyError> {
        let mapping = &claimed.mapping;
        self.lock(mapping, lease)?;
        let mut outcome = ApplyOutcome::default();
        let mut own = OwnRow::default();
        let (mut inserts, mut links) = (Vec::new(), Vec::new());
        let (mut unlinks, mut marks) = (Vec::new(), Vec::new());
        for action in &plan.actions {
            match action {
                Action::SetGithubId { row, to, .. } if *row == mapping.id => {
                    own.github_id = Some(to.0)
                }
                Action::SetGithubId { row, from, to } => self.set_github_id(*row, *from, *to)?,
                Action::RecordState { from, to } => {
                    own.state = Some(*to);
                    own.activity = Some(state_summary(mapping, from, to));
                }
                Action::RecordMerge {
                    body,
                    commit,
                    merged_at,
                } => {
                    own.body.clone_from(body);
                    own.commit.clone_from(commit);
                    own.merged_at = *merged_at;
                }
                Action::MoveItem { from, to } => {
                    let closed_at = closing(plan);
                    outcome.moved =
                        Some(self.move_item(mapping.item_id, [from, to], closed_at, now)?)
                }
                Action::RememberClose { closed_at } => own.closed_at = Some(*closed_at),
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
            outcome.inserted = self.insert_pull_requests(mapping.item_id, &inserts, now, lease)?;
        }
        if !links.is_empty() {
            outcome.linked = self.link(mapping, &links, now)?;
            if outcome.linked < links.len() as u64 {
                let reason = "a pull request has no row, because the plan that was to insert it was not applied";
                return Err(ApplyError::Stale(reason.to_owned()));
            }
        }
        if !unlinks.is_empty() {
            self.unlink(mapping.id, &unlinks)?;
        }
        if !marks.is_empty() {
            self.mark(&marks, now)?;
        }
        self.record(mapping, &own, outbox, now)?;
        Ok(outcome)
    }

    /// Locks the mapping's row. Fails if the row has changed since the plan was made.
    fn lock(&mut self, mapping: &Mapping, lease: Lease) -> Result<(), ApplyError> {
        let (id, item, closed_at) = (mapping.id.0, mapping.item_id.0, &mapping.handled_closed_at);
        let sql = "/* apply_lock */ SELECT FROM core_externalissuemapping WHERE id = $1::bigint AND worker_claim = $2 AND item_id = $3::bigint
             AND worker_closed_at IS NOT DISTINCT FROM $4 AND state = $5 FOR UPDATE";
        let state = &mapping.state;
        let rows = self.query(sql, &[&id, &lease.run, &item, closed_at, state])?;
        if rows.is_empty() {
            let reason = "its row was changed or taken over in the meantime";
            return Err(ApplyError::Stale(reason.to_owned()));
        }
        Ok(())
    }

    fn set_github_id(&mut self, row: MappingId, from: GithubId, to: GithubId) -> Result<(), Error> {
        let sql =
            "/* apply_github_id */ UPDATE core_externalissuemapping SET github_id = $3::bigint
             WHERE id = $1::bigint AND github_id = $2::bigint";
        self.execute(sql, &[&row.0, &from.0, &to.0]).map(drop)
    }

    /// Moves the item if it still has the first status and no person has set one since the closing;
    /// returns true if it moved. The activity is a
    /// microsecond later than that of the state, because Agira's list sorts by time alone and the
    /// closing is the cause.
    fn move_item(
        &mut self,
        id: ItemId,
        [from, to]: [&ItemStatus; 2],
        closed_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let summary = format!("Status: {from} → {to}");
        let sql = "/* apply_move_item */ WITH moved AS (
                UPDATE core_item SET status = $3, updated_at = $4 WHERE id = $1::bigint AND status = $2 AND NOT EXISTS (
                    SELECT FROM core_activity WHERE verb = 'item.status_changed' AND actor_id IS NOT NULL
                    AND target_object_id = $1::bigint::text AND created_at > $6) RETURNING id
             )
             INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
             SELECT t.id, moved.id::text, 'item.status_changed', $5, $4 + interval '1 microsecond', NULL
             FROM moved, django_content_type t WHERE t.app_label = 'core' AND t.model = 'item'";
        let moved = self.execute(sql, &[&id.0, &from.0, &to.0, &now, &summary, &closed_at])?;
        Ok(moved == 1)
    }

    fn insert_pull_requests(
        &mut self,
        item_id: ItemId,
        pull_requests: &[&PullRequestRef],
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<Vec<MappingId>, Error> {
        let ids = column(pull_requests, |one| one.github_id.0);
        let numbers = column(pull_requests, |one| one.address.number);
        let states = column(pull_requests, |one| one.state.as_str());
        let urls = column(pull_requests, |one| one.url.as_str());
        let sql = "/* apply_insert */ INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url,
                last_synced_at, item_id, pr_body, merge_commit_sha, merged_at, worker_due_at, worker_claim, worker_claimed_until)
             SELECT t.github_id, t.number, 'PR', t.state, t.url, $5, $6::bigint, '', '', NULL, $5, $7, $8
             FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[]) AS t(github_id, number, state, url)
             ON CONFLICT (github_id) DO NOTHING RETURNING id";
        let (item, Lease { run, until }) = (item_id.0, lease);
        let rows = self.query(
            sql,
            &[&ids, &numbers, &states, &urls, &now, &item, &run, &until],
        )?;
        rows.iter()
            .map(|row| row.first::<i64>().map(MappingId))
            .collect()
    }

    fn link(
        &mut self,
        mapping: &Mapping,
        links: &[(i64, &str)],
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let (ids, relations): (Vec<i64>, Vec<&str>) = links.iter().copied().unzip();
        let sql = "/* apply_link */ INSERT INTO worker_pull_request_link
                (issue_mapping_id, github_id, item_id, row_item_id, html_url, relation, linked_at)
             SELECT $1, m.github_id, $2, m.item_id, coalesce(m.html_url, ''), t.relation, $5
             FROM unnest($3::bigint[], $4::text[]) AS t(github_id, relation)
             JOIN core_externalissuemapping m ON m.github_id = t.github_id
             ON CONFLICT (issue_mapping_id, github_id) DO UPDATE SET item_id = EXCLUDED.item_id,
                row_item_id = EXCLUDED.row_item_id, html_url = EXCLUDED.html_url, relation = EXCLUDED.relation";
        let (issue, item) = (mapping.id.0, mapping.item_id.0);
        self.execute(sql, &[&issue, &item, &ids, &relations, &now])
    }

    fn unlink(&mut self, issue: MappingId, pull_requests: &[i64]) -> Result<(), Error> {
        let sql = "/* apply_unlink */ DELETE FROM worker_pull_request_link
             WHERE issue_mapping_id = $1 AND github_id = ANY(ARRAY(
                SELECT github_id FROM core_externalissuemapping WHERE id = ANY($2::bigint[])))";
        self.execute(sql, &[&issue.0, &pull_requests]).map(drop)
    }

    fn record(
        &mut self,
        mapping: &Mapping,
        own: &OwnRow,
        outbox: Option<&Outbox>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let verb = match mapping.kind {
            Kind::PullRequest => "github.pr_state_changed",
            Kind::Issue | Kind::Unknown => "github.issue_state_changed",
        };
        let outbox = outbox.map(postgres_json);
        let sql = "/* apply_record */ WITH own AS (
                UPDATE core_externalissuemapping SET github_id = coalesce($11::bigint, github_id), state = coalesce($2, state),
                    worker_closed_at = coalesce($3, worker_closed_at), pr_body = coalesce($4, pr_body),
                    merge_commit_sha = coalesce($5, merge_commit_sha), merged_at = coalesce($6, merged_at),
                    worker_outbox = $7, worker_delivery_attempts = 0, worker_delivery_error = NULL, worker_delivery_at = NULL
                WHERE id = $1::bigint RETURNING item_id
             )
             INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
             SELECT t.id, own.item_id::text, $8, $9, $10, NULL
             FROM own, django_content_type t
             WHERE t.app_label = 'core' AND t.model = 'item' AND $9::text IS NOT NULL";
        let parameters: Parameters<'_> = &[
            &mapping.id.0,
            &own.state,
            &own.closed_at,
            &own.body,
            &own.commit,
            &own.merged_at,
            &outbox,
            &verb,
            &own.activity,
            &now,
            &own.github_id,
        ];
        self.execute(sql, parameters).map(drop)
    }
}

/// Returns the time of the close event that a plan handles.
fn closing(plan: &Plan) -> Option<DateTime<Utc>> {
    plan.actions.iter().find_map(|action| match action {
        Action::RememberClose { closed_at } => Some(*closed_at),
        _ => None,
    })
}

fn postgres_json(outbox: &Outbox) -> serde_json::Value {
    serde_json::to_value(outbox).expect("an outbox has only text keys")
}

/// Returns the summary that Agira's own activities have for a change of state.
fn state_summary(mapping: &Mapping, from: &str, to: &str) -> String {
    let noun = match mapping.kind {
        Kind::PullRequest => "PR",
        Kind::Issue | Kind::Unknown => "issue",
    };
    format!(
        "GitHub {noun} #{} changed from {from} to {to}",
        mapping.number
    )
}
