-- Removes exactly what sql/worker.sql added. You can run it again at any time, as the owner of Agira's tables:
--
--     psql -q -v ON_ERROR_STOP=1 -d "$OWNER_URL" -f sql/uninstall.sql
--
-- Agira's own rows stay, and so do the pull request rows that agira-worker inserted and the statuses that it set.

BEGIN;

SET LOCAL lock_timeout = '5s';
-- That something is not there any longer is no news.
SET LOCAL client_min_messages = warning;

DROP TABLE IF EXISTS worker_pull_request_link;
DROP TABLE IF EXISTS worker_repository;
DROP TABLE IF EXISTS worker_run;
DROP TABLE IF EXISTS worker_pause;

DROP INDEX IF EXISTS worker_mapping_address_hash, worker_mapping_page, worker_mapping_url, worker_mapping_address, worker_activity_decision;
ALTER TABLE core_externalissuemapping
    DROP CONSTRAINT IF EXISTS worker_mapping_class,
    DROP CONSTRAINT IF EXISTS worker_mapping_finite,
    DROP CONSTRAINT IF EXISTS worker_mapping_outbox;

ALTER TABLE core_externalissuemapping RESET (fillfactor);

-- PostgreSQL drops each partial index together with the columns of its condition.
ALTER TABLE core_externalissuemapping
    DROP COLUMN IF EXISTS worker_due_at,
    DROP COLUMN IF EXISTS worker_recheck_at,
    DROP COLUMN IF EXISTS worker_claim,
    DROP COLUMN IF EXISTS worker_claimed_until,
    DROP COLUMN IF EXISTS worker_attempts,
    DROP COLUMN IF EXISTS worker_error,
    DROP COLUMN IF EXISTS worker_error_at,
    DROP COLUMN IF EXISTS worker_checked_at,
    DROP COLUMN IF EXISTS worker_external_updated_at,
    DROP COLUMN IF EXISTS worker_closed_at,
    DROP COLUMN IF EXISTS worker_outbox,
    DROP COLUMN IF EXISTS worker_pushed_at,
    DROP COLUMN IF EXISTS worker_delivery_attempts,
    DROP COLUMN IF EXISTS worker_delivery_error,
    DROP COLUMN IF EXISTS worker_delivery_at;

COMMIT;
