//! What the role of `DATABASE_URL` has to be allowed; `examples/sql/role.sql` grants exactly this.

use anyhow::{Context, bail};

use super::{Access, Db};

/// Table, privilege, and the columns that it is needed for; none: the whole table.
pub type Needed = (&'static str, &'static str, &'static [&'static str]);

/// Everything that the statements of this program need.
pub const PRIVILEGES: &[Needed] = &[
    (
        "core_externalissuemapping",
        "SELECT",
        &[
            "id",
            "item_id",
            "github_id",
            "number",
            "kind",
            "state",
            "html_url",
            "pr_body",
            "merge_commit_sha",
            "merged_at",
            "worker_due_at",
            "worker_recheck_at",
            "worker_claim",
            "worker_claimed_until",
            "worker_attempts",
            "worker_error",
            "worker_error_at",
            "worker_checked_at",
            "worker_external_updated_at",
            "worker_closed_at",
            "worker_outbox",
            "worker_pushed_at",
        ],
    ),
    (
        "core_externalissuemapping",
        "INSERT",
        &[
            "item_id",
            "github_id",
            "number",
            "kind",
            "state",
            "html_url",
            "last_synced_at",
            "pr_body",
            "merge_commit_sha",
            "merged_at",
            "worker_due_at",
            "worker_claim",
            "worker_claimed_until",
        ],
    ),
    (
        "core_externalissuemapping",
        "UPDATE",
        &[
            "github_id",
            "state",
            "last_synced_at",
            "pr_body",
            "merge_commit_sha",
            "merged_at",
            "worker_due_at",
            "worker_recheck_at",
            "worker_claim",
            "worker_claimed_until",
            "worker_attempts",
            "worker_error",
            "worker_error_at",
            "worker_checked_at",
            "worker_external_updated_at",
            "worker_closed_at",
            "worker_outbox",
            "worker_pushed_at",
        ],
    ),
    (
        "core_item",
        "SELECT",
        &[
            "id",
            "title",
            "description",
            "solution_description",
            "status",
            "project_id",
            "organisation_id",
            "created_at",
            "updated_at",
        ],
    ),
    ("core_item", "UPDATE", &["status", "updated_at"]),
    (
        "core_project",
        "SELECT",
        &["id", "github_owner", "github_repo"],
    ),
    (
        "django_content_type",
        "SELECT",
        &["id", "app_label", "model"],
    ),
    (
        "core_activity",
        "SELECT",
        &[
            "id",
            "target_content_type_id",
            "target_object_id",
            "verb",
            "summary",
            "created_at",
            "actor_id",
        ],
    ),
    (
        "core_activity",
        "INSERT",
        &[
            "target_content_type_id",
            "target_object_id",
            "verb",
            "summary",
            "created_at",
            "actor_id",
        ],
    ),
    (
        "worker_pull_request_link",
        "SELECT",
        &["issue_mapping_id", "mapping_id", "item_id", "relation"],
    ),
    (
        "worker_pull_request_link",
        "INSERT",
        &[
            "issue_mapping_id",
            "mapping_id",
            "item_id",
            "relation",
            "linked_at",
        ],
    ),
    (
        "worker_pull_request_link",
        "UPDATE",
        &["item_id", "relation"],
    ),
    ("worker_pull_request_link", "DELETE", &[]),
    (
        "worker_repository",
        "SELECT",
        &[
            "name",
            "issues_cursor",
            "pull_requests_cursor",
            "polled_at",
            "error",
            "error_at",
        ],
    ),
    (
        "worker_repository",
        "INSERT",
        &[
            "name",
            "issues_cursor",
            "pull_requests_cursor",
            "polled_at",
            "error",
            "error_at",
        ],
    ),
    (
        "worker_repository",
        "UPDATE",
        &[
            "issues_cursor",
            "pull_requests_cursor",
            "polled_at",
            "error",
            "error_at",
        ],
    ),
    ("worker_repository", "DELETE", &[]),
    (
        "worker_run",
        "SELECT",
        &[
            "id",
            "command",
            "started_at",
            "finished_at",
            "exit_code",
            "stopped_by",
            "counts",
        ],
    ),
    (
        "worker_run",
        "INSERT",
        &[
            "run",
            "command",
            "started_at",
            "finished_at",
            "exit_code",
            "stopped_by",
            "counts",
        ],
    ),
    ("worker_run", "DELETE", &[]),
    (
        "worker_pause",
        "SELECT",
        &["scope", "until", "reason", "count"],
    ),
    (
        "worker_pause",
        "INSERT",
        &["scope", "until", "reason", "count"],
    ),
    ("worker_pause", "UPDATE", &["until", "reason", "count"]),
    ("worker_pause", "DELETE", &[]),
];

impl Db {
    /// Makes sure that this role may do what a run does; for [`Access::ReadOnly`] only that it may read.
    ///
    /// # Errors
    /// Names the first privilege that is missing, and what grants it.
    pub fn check_privileges(&mut self, access: Access) -> anyhow::Result<()> {
        let (mut tables, mut privileges, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut need =
            |table: &'static str, privilege: &'static str, column: Option<&'static str>| {
                tables.push(table);
                privileges.push(privilege);
                columns.push(column);
            };
        for (table, privilege, of) in PRIVILEGES {
            if access == Access::ReadOnly && *privilege != "SELECT" {
                continue;
            }
            match of {
                [] => need(table, privilege, None),
                of => of
                    .iter()
                    .for_each(|column| need(table, privilege, Some(column))),
            }
        }
        let rows = self
            .query(
                "SELECT current_user::text, t.privilege, concat_ws('.', t.name, t.col)
                 FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t(name, privilege, col, position)
                 WHERE NOT CASE WHEN t.col IS NULL THEN has_table_privilege(t.name, t.privilege)
                    ELSE has_column_privilege(t.name, t.col, t.privilege) END
                 ORDER BY position LIMIT 1",
                &[&tables, &privileges, &columns],
            )
            .context("cannot read what this role of the database may do")?;
        if let Some(row) = rows.first() {
            let (role, privilege, what): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
            bail!(
                "the database role {role} lacks {privilege} on {what}; examples/sql/role.sql, run as the owner of Agira's \
                 tables, grants what is needed to the role agira_worker"
            );
        }
        Ok(())
    }
}
