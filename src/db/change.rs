//! The changes of plans that are applied together, and one statement for each kind of change.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use postgres::Error;
use postgres::types::Json;
use serde::Serialize;

use super::claim::Lease;
use super::row::Claimed;
use super::session::Db;
use crate::core::model::*;
use crate::core::outbox::Outbox;
use crate::core::plan::{Action, Plan};

/// A plan that is to be applied.
#[derive(Debug)]
pub struct Change<'a> {
    /// The mapping and its item as the plan knew them.
    pub claimed: &'a Claimed,
    /// The changes to make.
    pub plan: &'a Plan,
    /// The outbox that replaces the mapping's.
    pub outbox: Option<Outbox>,
}

impl Change<'_> {
    /// Returns the rows that the plan changes besides the mapping's own.
    pub(super) fn other_rows(&self) -> impl Iterator<Item = MappingId> {
        let own = self.claimed.mapping.id;
        let rows = self.plan.actions.iter().filter_map(|action| match action {
            Action::SetGithubId { row, .. } | Action::MakeDue { row, .. } => Some(*row),
            _ => None,
        });
        rows.filter(move |row| *row != own)
    }

    /// Returns true if the plan changes the item, or stores rows that refer to it.
    pub(super) fn needs_item(&self) -> bool {
        let mut actions = self.plan.actions.iter();
        actions.any(|action| {
            matches!(
                action,
                Action::MoveItem { .. } | Action::InsertPullRequest { .. } | Action::Link { .. }
            )
        })
    }

    /// Returns true if the plan moves the item.
    pub(super) fn moves_item(&self) -> bool {
        let mut actions = self.plan.actions.iter();
        actions.any(|action| matches!(action, Action::MoveItem { .. }))
    }
}

#[derive(Debug, Serialize)]
struct NewGithubId {
    id: MappingId,
    from: GithubId,
    to: GithubId,
}

#[derive(Debug, Serialize)]
struct Move<'a> {
    item: ItemId,
    from: &'a str,
    to: &'a str,
    closed_at: Option<DateTime<Utc>>,
    summary: String,
    at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct Insert<'a> {
    github_id: GithubId,
    number: i32,
    state: &'a str,
    url: &'a str,
    item: ItemId,
}

#[derive(Debug, Serialize)]
pub(super) struct NewLink {
    issue: MappingId,
    item: ItemId,
    github_id: GithubId,
    relation: &'static str,
}

#[derive(Debug, Serialize)]
struct OldLink {
    issue: MappingId,
    row: MappingId,
}

/// The columns of the mapping's own row that a plan writes; `None` leaves a column as it is, except
/// for the outbox.
#[derive(Debug, Serialize)]
struct OwnRow<'a> {
    id: MappingId,
    state: Option<&'a str>,
    closed_at: Option<DateTime<Utc>>,
    body: Option<&'a str>,
    commit: Option<&'a str>,
    merged_at: Option<DateTime<Utc>>,
    outbox: Option<&'a Outbox>,
    verb: &'static str,
    /// Summary of the activity that goes with a change of state.
    activity: Option<String>,
    at: DateTime<Utc>,
}

/// The changes of several plans, by statement.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    unlinks: Vec<OldLink>,
    github_ids: Vec<NewGithubId>,
    inserts: Vec<Insert<'a>>,
    pub(super) links: Vec<NewLink>,
    pub(super) marks: Vec<MappingId>,
    moves: Vec<Move<'a>>,
    own: Vec<OwnRow<'a>>,
}

impl<'a> Sets<'a> {
    /// Adds the changes of a plan, which are made at that time.
    pub(super) fn add(&mut self, change: &'a Change<'a>, at: DateTime<Utc>) {
        let (mapping, plan) = (&change.claimed.mapping, change.plan);
        let (id, item) = (mapping.id, mapping.item_id);
        let mut own = OwnRow::of(mapping, change.outbox.as_ref(), at);
        let mut changes_own = change.outbox.is_some() || mapping.has_outbox;
        for action in &plan.actions {
            changes_own |= matches!(
                action,
                Action::RecordState { .. }
                    | Action::RecordMerge { .. }
                    | Action::RememberClose { .. }
            );
            match action {
                Action::SetGithubId { row, from, to } => self.github_ids.push(NewGithubId {
                    id: *row,
                    from: *from,
                    to: *to,
                }),
                Action::RecordState { from, to } => {
                    own.state = Some(to);
                    own.activity = Some(state_summary(mapping, from, to));
                }
                Action::RecordMerge {
                    body,
                    commit,
                    merged_at,
                } => {
                    own.body = body.as_deref();
                    own.commit = commit.as_deref();
                    own.merged_at = *merged_at;
                }
                Action::MoveItem { from, to } => self.moves.push(Move {
                    item,
                    from: &from.0,
                    to: &to.0,
                    closed_at: closing(plan),
                    summary: format!("Status: {from} → {to}"),
                    at,
                }),
                Action::RememberClose { closed_at } => own.closed_at = Some(*closed_at),
                Action::InsertPullRequest { pull_request } => self.inserts.push(Insert {
                    github_id: pull_request.github_id,
                    number: pull_request.address.number,
                    state: pull_request.state.as_str(),
                    url: &pull_request.url,
                    item,
                }),
                Action::Link {
                    github_id,
                    relation,
                    ..
                } => self.links.push(NewLink {
                    issue: id,
                    item,
                    github_id: *github_id,
                    relation: relation.as_str(),
                }),
                Action::Unlink { row } => self.unlinks.push(OldLink {
                    issue: id,
                    row: *row,
                }),
                Action::MakeDue { row, .. } => self.marks.push(*row),
                Action::Write { .. } => {} // the outbox has it
            }
        }
        if changes_own {
            self.own.push(own);
        }
    }
}

impl<'a> OwnRow<'a> {
    /// Returns a row that only gets another outbox.
    fn of(mapping: &Mapping, outbox: Option<&'a Outbox>, at: DateTime<Utc>) -> Self {
        let verb = match mapping.kind {
            Kind::PullRequest => "github.pr_state_changed",
            Kind::Issue | Kind::Unknown => "github.issue_state_changed",
        };
        Self {
            id: mapping.id,
            state: None,
            closed_at: None,
            body: None,
            commit: None,
            merged_at: None,
            outbox,
            verb,
            activity: None,
            at,
        }
    }
}

impl Db {
    pub(super) fn unlink(&mut self, sets: &Sets<'_>) -> Result<(), Error> {
        if sets.unlinks.is_empty() {
            return Ok(());
        }
        let sql = "/* apply_unlink */ DELETE FROM worker_pull_request_link l
             USING jsonb_to_recordset($1) AS t(issue bigint, row bigint), core_externalissuemapping m
             WHERE m.id = t.row AND l.issue_mapping_id = t.issue AND l.github_id = m.github_id";
        self.execute(sql, &[&Json(&sets.unlinks)]).map(drop)
    }

    pub(super) fn set_github_ids(&mut self, sets: &Sets<'_>) -> Result<(), Error> {
        if sets.github_ids.is_empty() {
            return Ok(());
        }
        let sql = "/* apply_github_id */ UPDATE core_externalissuemapping m SET github_id = t.to
             FROM jsonb_to_recordset($1) AS t(id bigint, \"from\" bigint, \"to\" bigint)
             WHERE m.id = t.id AND m.github_id = t.from";
        self.execute(sql, &[&Json(&sets.github_ids)]).map(drop)
    }

    pub(super) fn insert_pull_requests(
        &mut self,
        sets: &Sets<'_>,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<Vec<MappingId>, Error> {
        if sets.inserts.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "/* apply_insert */ INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url,
                last_synced_at, item_id, pr_body, merge_commit_sha, merged_at, worker_due_at, worker_claim, worker_claimed_until)
             SELECT t.github_id, t.number, 'PR', t.state, t.url, $2, t.item, '', '', NULL, $2, $3, $4
             FROM jsonb_to_recordset($1) AS t(github_id bigint, number int, state text, url text, item bigint)
             ON CONFLICT (github_id) DO NOTHING RETURNING id";
        let Lease { run, until } = lease;
        let rows = self.query(sql, &[&Json(&sets.inserts), &now, &run, &until])?;
        rows.iter()
            .map(|row| row.first::<i64>().map(MappingId))
            .collect()
    }

    /// Returns the number of links whose pull requests have rows.
    pub(super) fn link(&mut self, sets: &Sets<'_>, now: DateTime<Utc>) -> Result<u64, Error> {
        if sets.links.is_empty() {
            return Ok(0);
        }
        let sql = "/* apply_link */ INSERT INTO worker_pull_request_link
                (issue_mapping_id, github_id, item_id, row_item_id, html_url, relation, linked_at)
             SELECT t.issue, m.github_id, t.item, m.item_id, coalesce(m.html_url, ''), t.relation, $2
             FROM jsonb_to_recordset($1) AS t(issue bigint, item bigint, github_id bigint, relation text)
             JOIN core_externalissuemapping m ON m.github_id = t.github_id
             ON CONFLICT (issue_mapping_id, github_id) DO UPDATE SET item_id = EXCLUDED.item_id,
                row_item_id = EXCLUDED.row_item_id, html_url = EXCLUDED.html_url, relation = EXCLUDED.relation";
        self.execute(sql, &[&Json(&sets.links), &now])
    }

    /// Moves the items that still have the first status and have got none from a person since the
    /// closing; returns them. The activity is a microsecond later than that of the state, because
    /// Agira's list sorts by time alone and the closing is the cause.
    pub(super) fn move_items(&mut self, sets: &Sets<'_>) -> Result<HashSet<ItemId>, Error> {
        if sets.moves.is_empty() {
            return Ok(HashSet::new());
        }
        // PostgreSQL would run NOT EXISTS as a join that may read the decisions about all items.
        let sql = "/* apply_move_item */ WITH t AS MATERIALIZED (
                SELECT * FROM jsonb_to_recordset($1) AS t(item bigint, \"from\" text, \"to\" text, closed_at timestamptz,
                    summary text, at timestamptz)
             ), moved AS (
                UPDATE core_item i SET status = t.to, updated_at = t.at FROM t
                WHERE i.id = t.item AND i.status = t.from AND (
                    SELECT a.id FROM core_activity a WHERE a.verb = 'item.status_changed' AND a.actor_id IS NOT NULL
                    AND a.target_object_id = t.item::text AND a.created_at > t.closed_at LIMIT 1) IS NULL
                RETURNING i.id
             ), recorded AS (
                INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
                SELECT c.id, t.item::text, 'item.status_changed', t.summary, t.at + interval '1 microsecond', NULL
                FROM moved JOIN t ON t.item = moved.id, django_content_type c WHERE c.app_label = 'core' AND c.model = 'item'
             ) SELECT id FROM moved";
        let rows = self.query(sql, &[&Json(&sets.moves)])?;
        rows.iter()
            .map(|row| row.first::<i64>().map(ItemId))
            .collect()
    }

    /// Records what the plans change in their own rows.
    pub(super) fn record(&mut self, sets: &Sets<'_>) -> Result<(), Error> {
        if sets.own.is_empty() {
            return Ok(());
        }
        let sql = "/* apply_record */ WITH t AS MATERIALIZED (
                SELECT * FROM jsonb_to_recordset($1) AS t(id bigint, state text, closed_at timestamptz, body text, commit text,
                    merged_at timestamptz, outbox jsonb, verb text, activity text, at timestamptz)
             ), own AS (
                UPDATE core_externalissuemapping m SET state = coalesce(t.state, m.state),
                    worker_closed_at = coalesce(t.closed_at, m.worker_closed_at), pr_body = coalesce(t.body, m.pr_body),
                    merge_commit_sha = coalesce(t.commit, m.merge_commit_sha), merged_at = coalesce(t.merged_at, m.merged_at),
                    worker_outbox = t.outbox, worker_delivery_attempts = 0, worker_delivery_error = NULL, worker_delivery_at = NULL
                FROM t WHERE m.id = t.id RETURNING m.id, m.item_id
             )
             INSERT INTO core_activity (target_content_type_id, target_object_id, verb, summary, created_at, actor_id)
             SELECT c.id, own.item_id::text, t.verb, t.activity, t.at, NULL
             FROM own JOIN t ON t.id = own.id, django_content_type c
             WHERE c.app_label = 'core' AND c.model = 'item' AND t.activity IS NOT NULL ORDER BY t.at";
        self.execute(sql, &[&Json(&sets.own)]).map(drop)
    }
}

/// Returns the time of the close event that a plan handles.
fn closing(plan: &Plan) -> Option<DateTime<Utc>> {
    plan.actions.iter().find_map(|action| match action {
        Action::RememberClose { closed_at } => Some(*closed_at),
        _ => None,
    })
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
