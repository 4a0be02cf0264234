//! The privileges that the role of `DATABASE_URL` needs; `examples/sql/role.sql` grants exactly
//! these.

use anyhow::{Context, Result, bail};

use super::error::INSTALLED;
use super::session::{Access, Db};

/// A privilege on a table.
#[derive(Debug)]
pub struct Privilege {
    /// Table of Agira or of the worker.
    pub table: &'static str,
    /// Its SQL keyword, such as `SELECT`.
    pub verb: &'static str,
    /// The columns for which it is needed; empty for the whole table.
    pub columns: Vec<&'static str>,
}

/// Table, privilege and columns of everything that the statements of this program need.
const PRIVILEGES: &str = "
    core_externalissuemapping SELECT id item_id github_id number kind state html_url pr_body merge_commit_sha merged_at
        worker_due_at worker_recheck_at worker_claim worker_claimed_until worker_attempts worker_error worker_error_at
        worker_checked_at worker_external_updated_at worker_closed_at worker_outbox worker_pushed_at
        worker_delivery_attempts worker_delivery_error worker_delivery_at;
    core_externalissuemapping INSERT item_id github_id number kind state html_url last_synced_at pr_body merge_commit_sha
        merged_at worker_due_at worker_claim worker_claimed_until;
    core_externalissuemapping UPDATE github_id state last_synced_at pr_body merge_commit_sha merged_at
        worker_due_at worker_recheck_at worker_claim worker_claimed_until worker_attempts worker_error worker_error_at
        worker_checked_at worker_external_updated_at worker_closed_at worker_outbox worker_pushed_at
        worker_delivery_attempts worker_delivery_error worker_delivery_at;
    core_item SELECT id title description solution_description status project_id organisation_id created_at updated_at;
    core_item UPDATE status updated_at;
    core_project SELECT id github_owner github_repo;
    django_content_type SELECT id app_label model;
    core_activity SELECT id verb actor_id target_object_id created_at;
    core_activity INSERT target_content_type_id target_object_id verb summary created_at actor_id;
    worker_pull_request_link SELECT issue_mapping_id github_id item_id row_item_id html_url relation;
    worker_pull_request_link INSERT issue_mapping_id github_id item_id row_item_id html_url relation linked_at;
    worker_pull_request_link UPDATE item_id row_item_id html_url relation;
    worker_pull_request_link DELETE;
    worker_repository SELECT name github_id issues_cursor pull_requests_cursor polled_at error error_at unreadable_since;
    worker_repository INSERT name github_id issues_cursor pull_requests_cursor polled_at error error_at unreadable_since;
    worker_repository UPDATE github_id issues_cursor pull_requests_cursor polled_at error error_at unreadable_since;
    worker_repository DELETE;
    worker_run SELECT id command started_at finished_at exit_code stopped_by counts;
    worker_run INSERT run command started_at finished_at exit_code stopped_by counts;
    worker_run DELETE;
    worker_pause SELECT scope until reason count;
    worker_pause INSERT scope until reason count;
    worker_pause UPDATE until reason count;
    worker_pause DELETE
";

/// Returns everything that the statements of this program need.
pub fn privileges() -> impl Iterator<Item = Privilege> {
    PRIVILEGES.split(';').filter_map(|entry| {
        let mut names = entry.split_whitespace();
        Some(Privilege {
            table: names.next()?,
            verb: names.next()?,
            columns: names.collect(),
        })
    })
}

impl Db {
    /// Checks that this role has the privileges that its session needs. The error names the first
    /// one that is missing, and the file that grants it.
    pub fn check_privileges(&mut self) -> Result<()> {
        self.check_privileges_for(self.access)
    }

    /// Checks the same for a session with this access.
    pub(super) fn check_privileges_for(&mut self, access: Access) -> Result<()> {
        let (mut tables, mut verbs, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let writes = access == Access::ReadWrite;
        for needed in privileges().filter(|one| writes || one.verb == "SELECT") {
            let mut named: Vec<Option<&str>> = needed.columns.into_iter().map(Some).collect();
            if named.is_empty() {
                named.push(None);
            }
            for column in named {
                tables.push(needed.table);
                verbs.push(needed.verb);
                columns.push(column);
            }
        }
        // Without a policy for this role, row-level security hides every row and reports no error.
        let sql = "/* check_privileges */ SELECT current_user::text AS role, t.privilege, concat_ws('.', t.name, t.col) AS subject,
                t.is_granted
             FROM (SELECT *, CASE WHEN t.col IS NULL THEN has_table_privilege(t.name, t.privilege)
                ELSE has_column_privilege(t.name, t.col, t.privilege) END AS is_granted
                FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t(name, privilege, col, position)) t
             WHERE NOT t.is_granted OR row_security_active(t.name) AND NOT EXISTS (
                SELECT FROM pg_policy p WHERE p.polrelid = t.name::regclass AND p.polpermissive
                AND p.polcmd::text IN ('*', CASE t.privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END)
                AND EXISTS (SELECT FROM unnest(p.polroles) AS r(id) WHERE CASE WHEN r.id = 0 THEN true ELSE pg_has_role(r.id, 'USAGE') END))
             ORDER BY t.is_granted, position LIMIT 1";
        let rows = self
            .query(sql, &[&tables, &verbs, &columns])
            .context("cannot read the privileges of this role of the database")?;
        if let Some(row) = rows.first() {
            let (role, verb): (String, String) = (row.get("role")?, row.get("privilege")?);
            let subject: String = row.get("subject")?;
            if row.get("is_granted")? {
                let table = subject.split('.').next().unwrap_or_default();
                bail!(
                    "row-level security hides the rows of {table} from the database role {role}, because no policy allows it \
                     {verb}; as the owner of the table, run: CREATE POLICY agira_worker ON {table} TO {role} USING (true)"
                );
            }
            bail!(
                "the database role {role} lacks {verb} on {subject}; examples/sql/role.sql, run as the owner of Agira's \
                 tables, grants everything that is needed to the role agira_worker; {INSTALLED}"
            );
        }
        Ok(())
    }
}
