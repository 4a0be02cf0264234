-- Creates the role agira_worker with exactly the rights that the program uses, per column where PostgreSQL supports it. Run it
-- after sql/worker.sql, and again after every upgrade, as an owner of Agira's tables who may create roles, such as the
-- administrator of a managed PostgreSQL:
--
--     psql -q -v ON_ERROR_STOP=1 -d "$OWNER_URL" -f examples/sql/role.sql
--
-- The role has no password yet. Set one with psql's \password agira_worker. To remove the role and its rights:
-- GRANT agira_worker TO CURRENT_USER; DROP OWNED BY agira_worker; DROP ROLE agira_worker;

BEGIN;

DO $$
BEGIN
    IF to_regclass('worker_pull_request_link') IS NULL THEN
        RAISE EXCEPTION 'the tables of agira-worker are missing' USING HINT = 'Run sql/worker.sql first.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'agira_worker') THEN
        CREATE ROLE agira_worker LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION '% may not create roles', current_user
        USING HINT = 'Run this file as an administrator, or let one run: ALTER ROLE ' || quote_ident(current_user) || ' CREATEROLE';
END
$$;

-- The settings that the program makes for its sessions. Behind a pool in transaction mode, a statement may meet a session that
-- it has not set; it has these nevertheless. Settings that this version of PostgreSQL does not have are left out.
DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN SELECT * FROM (VALUES
        ('lock_timeout', '5s'),
        ('statement_timeout', '60s'),
        ('idle_in_transaction_session_timeout', '60s'),
        ('default_transaction_isolation', 'read committed'),
        ('idle_session_timeout', '0'),
        ('transaction_timeout', '0')) AS t(name, value)
        WHERE current_setting(name, true) IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_roles WHERE rolname = 'agira_worker' AND name || '=' || value = ANY(rolconfig))
    LOOP
        EXECUTE format('ALTER ROLE agira_worker SET %I = %L', setting.name, setting.value);
    END LOOP;
END
$$;

-- Without USAGE on their schema, Agira's tables would seem to be missing. Everybody has it on PostgreSQL's own schema public.
DO $$
DECLARE
    agira regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'core_externalissuemapping'::regclass);
BEGIN
    IF NOT has_schema_privilege('agira_worker', agira::oid, 'USAGE') THEN
        EXECUTE 'GRANT USAGE ON SCHEMA ' || agira || ' TO agira_worker';
    END IF;
END
$$;

-- Rights that an earlier version of this file granted are revoked first.
REVOKE ALL ON core_externalissuemapping, core_item, core_project, core_activity, django_content_type,
    worker_pull_request_link, worker_repository, worker_run, worker_pause FROM agira_worker;

GRANT SELECT (id, item_id, github_id, number, kind, state, html_url, pr_body, merge_commit_sha, merged_at, worker_due_at,
        worker_recheck_at, worker_claim, worker_claimed_until, worker_attempts, worker_error, worker_error_at,
        worker_checked_at, worker_external_updated_at, worker_closed_at, worker_outbox, worker_pushed_at,
        worker_delivery_attempts, worker_delivery_error, worker_delivery_at),
    -- New rows are for pull requests. The role cannot update item_id, so that no row can move to another item.
    INSERT (item_id, github_id, number, kind, state, html_url, last_synced_at, pr_body, merge_commit_sha, merged_at,
        worker_due_at, worker_claim, worker_claimed_until),
    UPDATE (github_id, state, last_synced_at, pr_body, merge_commit_sha, merged_at, worker_due_at, worker_recheck_at,
        worker_claim, worker_claimed_until, worker_attempts, worker_error, worker_error_at, worker_checked_at,
        worker_external_updated_at, worker_closed_at, worker_outbox, worker_pushed_at, worker_delivery_attempts,
        worker_delivery_error, worker_delivery_at)
    ON core_externalissuemapping TO agira_worker;

GRANT SELECT (id, title, description, solution_description, status, project_id, organisation_id, created_at, updated_at),
    UPDATE (status, updated_at)
    ON core_item TO agira_worker;

GRANT SELECT (id, github_owner, github_repo) ON core_project TO agira_worker;
GRANT SELECT (id, app_label, model) ON django_content_type TO agira_worker;

-- Every change of a state or a status gets an activity row. Those of people show what a person decided after a closing.
GRANT SELECT (id, verb, actor_id, target_object_id, created_at),
    INSERT (target_content_type_id, target_object_id, verb, summary, created_at, actor_id) ON core_activity TO agira_worker;

GRANT SELECT (issue_mapping_id, github_id, item_id, row_item_id, html_url, relation),
    INSERT (issue_mapping_id, github_id, item_id, row_item_id, html_url, relation, linked_at),
    UPDATE (item_id, row_item_id, html_url, relation), DELETE
    ON worker_pull_request_link TO agira_worker;
GRANT SELECT (name, github_id, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since),
    INSERT (name, github_id, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since),
    UPDATE (github_id, issues_cursor, pull_requests_cursor, polled_at, error, error_at, unreadable_since), DELETE
    ON worker_repository TO agira_worker;
GRANT SELECT (id, command, started_at, finished_at, exit_code, stopped_by, counts),
    INSERT (run, command, started_at, finished_at, exit_code, stopped_by, counts), DELETE
    ON worker_run TO agira_worker;
GRANT SELECT (scope, until, reason, count), INSERT (scope, until, reason, count), UPDATE (until, reason, count), DELETE
    ON worker_pause TO agira_worker;

COMMIT;
