-- Adds the columns and tables of agira-worker to a real Agira database. You can run it again at any time, as the owner of
-- Agira's tables:
--
--     psql -q -v ON_ERROR_STOP=1 -d "$OWNER_URL" -f sql/worker.sql
--
-- Every added name starts with worker_. Every added column is nullable or has a database default, so that Django's own
-- statements still work. sql/uninstall.sql removes exactly what this file adds.

-- The first transaction keeps Agira out of its table for milliseconds. The second one builds indexes: meanwhile Agira can read
-- the table, and writes to it wait. If a part fails, the program does not start, because the version is set last.

BEGIN;

-- An ALTER TABLE that waits for a lock blocks every later statement on the table. It is better to give up and try again later.
SET LOCAL lock_timeout = '5s';
-- That something is there already, or is not there any longer, is no news.
SET LOCAL client_min_messages = warning;

-- Rows that exist now get a recheck time but no due time, so that new changes go before the backlog.
ALTER TABLE core_externalissuemapping
    ADD COLUMN IF NOT EXISTS worker_due_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_recheck_at timestamptz DEFAULT now(),
    ADD COLUMN IF NOT EXISTS worker_claim uuid,
    ADD COLUMN IF NOT EXISTS worker_claimed_until timestamptz,
    ADD COLUMN IF NOT EXISTS worker_attempts int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS worker_error text,
    ADD COLUMN IF NOT EXISTS worker_error_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_checked_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_external_updated_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_closed_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_outbox jsonb,
    ADD COLUMN IF NOT EXISTS worker_pushed_at timestamptz,
    ADD COLUMN IF NOT EXISTS worker_delivery_attempts int NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS worker_delivery_error text,
    ADD COLUMN IF NOT EXISTS worker_delivery_at timestamptz;

-- A run writes a row three times. Room beside it spares the second time an entry in each index.
ALTER TABLE core_externalissuemapping SET (fillfactor = 70);

-- Rows that are inserted later are due at once. Django inserts them and does not know these columns.
ALTER TABLE core_externalissuemapping
    ALTER COLUMN worker_due_at SET DEFAULT now(),
    ALTER COLUMN worker_recheck_at DROP DEFAULT;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'core_externalissuemapping'::regclass AND conname = 'worker_mapping_class') THEN
        -- A row is in work, due or backing off, waiting, or parked. A row in no class would never be checked again.
        ALTER TABLE core_externalissuemapping
            ADD CONSTRAINT worker_mapping_class CHECK (
                (worker_claim IS NOT NULL OR worker_due_at IS NOT NULL OR worker_recheck_at IS NOT NULL OR worker_error IS NOT NULL)
                AND (worker_claim IS NULL) = (worker_claimed_until IS NULL)
                AND (worker_error IS NULL) = (worker_error_at IS NULL)
                AND worker_attempts >= 0
            ) NOT VALID;
    END IF;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'core_externalissuemapping'::regclass AND conname = 'worker_mapping_finite') THEN
        -- A row with -infinity or infinity gets a time that a person may have meant. What was recorded is asked for again. Before
        -- the first installation is complete, there is none, and reading the whole table would only keep Agira waiting.
        UPDATE core_externalissuemapping SET
            worker_due_at = CASE WHEN NOT isfinite(worker_due_at) THEN now() ELSE worker_due_at END,
            worker_recheck_at = CASE WHEN NOT isfinite(worker_recheck_at) THEN now() ELSE worker_recheck_at END,
            worker_claimed_until = CASE WHEN NOT isfinite(worker_claimed_until) THEN now() ELSE worker_claimed_until END,
            worker_error_at = CASE WHEN NOT isfinite(worker_error_at) THEN now() ELSE worker_error_at END,
            worker_checked_at = CASE WHEN isfinite(worker_checked_at) THEN worker_checked_at END,
            worker_external_updated_at = CASE WHEN isfinite(worker_external_updated_at) THEN worker_external_updated_at END,
            worker_closed_at = CASE WHEN isfinite(worker_closed_at) THEN worker_closed_at END,
            worker_pushed_at = CASE WHEN isfinite(worker_pushed_at) THEN worker_pushed_at END,
            worker_delivery_at = CASE WHEN isfinite(worker_delivery_at) THEN worker_delivery_at END
        WHERE to_regclass('worker_run') IS NOT NULL
            AND (NOT isfinite(worker_due_at) OR NOT isfinite(worker_recheck_at) OR NOT isfinite(worker_claimed_until)
            OR NOT isfinite(worker_error_at) OR NOT isfinite(worker_checked_at) OR NOT isfinite(worker_external_updated_at)
            OR NOT isfinite(worker_closed_at) OR NOT isfinite(worker_pushed_at) OR NOT isfinite(worker_delivery_at));
        -- A claim without an end would never become a suspect, and a due time without an end would never come.
        ALTER TABLE core_externalissuemapping
            ADD CONSTRAINT worker_mapping_finite CHECK (
                isfinite(worker_due_at) AND isfinite(worker_recheck_at) AND isfinite(worker_claimed_until)
                AND isfinite(worker_error_at) AND isfinite(worker_checked_at) AND isfinite(worker_external_updated_at)
                AND isfinite(worker_closed_at) AND isfinite(worker_pushed_at) AND isfinite(worker_delivery_at)
            ) NOT VALID;
    END IF;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'core_externalissuemapping'::regclass AND conname = 'worker_mapping_outbox') THEN
        -- In earlier versions, an outbox that was not tried yet had no time.
        UPDATE core_externalissuemapping SET worker_delivery_at = CASE WHEN worker_outbox IS NOT NULL THEN 'epoch'::timestamptz END
        WHERE to_regclass('worker_run') IS NOT NULL AND (worker_outbox IS NULL) <> (worker_delivery_at IS NULL);
        -- The time finds the outbox. A run that replaces the outbox of a row sets the time together with the end of its claim.
        ALTER TABLE core_externalissuemapping
            ADD CONSTRAINT worker_mapping_outbox CHECK (worker_claim IS NOT NULL OR (worker_outbox IS NULL) = (worker_delivery_at IS NULL))
            NOT VALID;
    END IF;
END
$$;

-- Indexes of earlier versions.
DROP INDEX IF EXISTS worker_mapping_claimed, worker_mapping_held, worker_mapping_outbox, worker_mapping_delivery,
    worker_mapping_failed, worker_mapping_never_pushed, worker_mapping_never_synced, worker_mapping_address, worker_mapping_url,
    worker_mapping_page;

COMMIT;

BEGIN;

SET LOCAL lock_timeout = '5s';
SET LOCAL client_min_messages = warning;

-- One partial index for each part of the claim, and one for each other set of rows that a run or `status` selects.
CREATE INDEX IF NOT EXISTS worker_mapping_due ON core_externalissuemapping (worker_due_at, id)
    WHERE worker_claim IS NULL AND worker_due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS worker_mapping_recheck ON core_externalissuemapping (worker_recheck_at, id)
    WHERE worker_claim IS NULL AND worker_due_at IS NULL AND worker_recheck_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS worker_mapping_lease ON core_externalissuemapping (worker_claimed_until, id)
    WHERE worker_claim IS NOT NULL;
-- The order of delivery: outboxes that were never tried come first. The outbox itself is in no condition of an index, so that
-- PostgreSQL can store the result of a plan without new entries in all indexes (a heap-only update).
CREATE INDEX IF NOT EXISTS worker_mapping_delivery_at ON core_externalissuemapping (worker_delivery_at, id)
    WHERE worker_delivery_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS worker_mapping_rejected ON core_externalissuemapping (worker_delivery_at, id)
    WHERE worker_delivery_error IS NOT NULL;
CREATE INDEX IF NOT EXISTS worker_mapping_failed_at ON core_externalissuemapping (worker_error_at, id)
    WHERE worker_error IS NOT NULL;
-- `status` counts the rows without a successful fetch in the same index, and those of them that `push-weaviate` pushed in the
-- next one, which is nearly empty.
CREATE INDEX IF NOT EXISTS worker_mapping_unpushed ON core_externalissuemapping (id) INCLUDE (worker_external_updated_at)
    WHERE worker_pushed_at IS NULL;
CREATE INDEX IF NOT EXISTS worker_mapping_unsynced ON core_externalissuemapping (id)
    WHERE worker_pushed_at IS NOT NULL AND worker_external_updated_at IS NULL;
-- Discovery finds rows with a wrong github_id by their address; an index of hashes has a fifth of the size of one of addresses.
-- Names and addresses are in lower case as the program makes it, whatever the collation of the database is: in Turkish, the
-- lower case of I is another letter.
CREATE INDEX IF NOT EXISTS worker_mapping_address_hash ON core_externalissuemapping (hashtextextended(lower(html_url COLLATE "C"), 0));

-- The rows that were there before the constraints.
ALTER TABLE core_externalissuemapping
    VALIDATE CONSTRAINT worker_mapping_class,
    VALIDATE CONSTRAINT worker_mapping_finite,
    VALIDATE CONSTRAINT worker_mapping_outbox;

-- What people decided about an item: their changes of its status have an actor.
CREATE INDEX IF NOT EXISTS worker_activity_decision ON core_activity (target_object_id, created_at)
    WHERE verb = 'item.status_changed' AND actor_id IS NOT NULL;

-- Links: the last check of the issue showed that the pull request with that github_id belongs to it. item_id is the issue's
-- item, and row_item_id is the item of the pull request's row. A link whose pull request has no row says that a person deleted
-- the row. If the row's item was deleted, the row went with it, and nobody decided anything about the pull request.
CREATE TABLE IF NOT EXISTS worker_pull_request_link (
    issue_mapping_id bigint NOT NULL REFERENCES core_externalissuemapping (id) ON DELETE CASCADE,
    github_id bigint NOT NULL,
    item_id bigint NOT NULL REFERENCES core_item (id) ON DELETE CASCADE,
    row_item_id bigint NOT NULL REFERENCES core_item (id) ON DELETE CASCADE,
    html_url text NOT NULL DEFAULT '',
    relation text NOT NULL CHECK (relation IN ('closes', 'connected')),
    linked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issue_mapping_id, github_id)
);
DO $$
BEGIN
    -- Earlier versions named the row of the pull request, and so forgot the link together with the row.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'worker_pull_request_link'::regclass AND attname = 'mapping_id' AND NOT attisdropped) THEN
        ALTER TABLE worker_pull_request_link
            ADD COLUMN github_id bigint,
            ADD COLUMN row_item_id bigint REFERENCES core_item (id) ON DELETE CASCADE,
            ADD COLUMN html_url text NOT NULL DEFAULT '';
        UPDATE worker_pull_request_link l SET github_id = m.github_id, row_item_id = m.item_id, html_url = coalesce(m.html_url, '')
            FROM core_externalissuemapping m WHERE m.id = l.mapping_id;
        ALTER TABLE worker_pull_request_link
            DROP COLUMN mapping_id,
            ALTER COLUMN github_id SET NOT NULL,
            ALTER COLUMN row_item_id SET NOT NULL,
            ADD PRIMARY KEY (issue_mapping_id, github_id);
    END IF;
END
$$;
CREATE INDEX IF NOT EXISTS worker_pull_request_link_github ON worker_pull_request_link (github_id);
CREATE INDEX IF NOT EXISTS worker_pull_request_link_item ON worker_pull_request_link (item_id);
CREATE INDEX IF NOT EXISTS worker_pull_request_link_row_item ON worker_pull_request_link (row_item_id);

-- The cursors are GitHub's updatedAt up to which the changes of a repository were read.
CREATE TABLE IF NOT EXISTS worker_repository (
    name text COLLATE "C" PRIMARY KEY CHECK (name = lower(name) AND name LIKE '%_/_%'),
    issues_cursor timestamptz NOT NULL,
    pull_requests_cursor timestamptz NOT NULL,
    polled_at timestamptz,
    error text,
    error_at timestamptz
);
DO $$
BEGIN
    -- Earlier versions used the collation of the database.
    IF EXISTS (SELECT FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
        WHERE a.attrelid = 'worker_repository'::regclass AND a.attname = 'name' AND c.collname <> 'C') THEN
        ALTER TABLE worker_repository ALTER COLUMN name TYPE text COLLATE "C";
    END IF;
END
$$;
-- GitHub's id of the repository that had the name when it was first seen.
ALTER TABLE worker_repository ADD COLUMN IF NOT EXISTS github_id bigint;
-- The time of the first failure since it was last read.
ALTER TABLE worker_repository ADD COLUMN IF NOT EXISTS unreadable_since timestamptz;
UPDATE worker_repository SET unreadable_since = coalesce(error_at, polled_at) WHERE error IS NOT NULL AND unreadable_since IS NULL;

-- One row per run; the last 1,000 of each command are kept.
CREATE TABLE IF NOT EXISTS worker_run (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run uuid NOT NULL UNIQUE,
    command text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    exit_code int NOT NULL,
    stopped_by text,
    counts jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS worker_run_command ON worker_run (command, id);

-- A pause is stored, because GitHub's rate limit lasts longer than the run that reaches it.
CREATE TABLE IF NOT EXISTS worker_pause (
    scope text PRIMARY KEY,
    until timestamptz NOT NULL,
    reason text NOT NULL,
    count int NOT NULL DEFAULT 1
);

COMMENT ON COLUMN core_externalissuemapping.worker_due_at IS
    'agira-worker: when the row is to be checked (UTC); NULL without a reason';
COMMENT ON COLUMN core_externalissuemapping.worker_recheck_at IS
    'agira-worker: when the row is checked again without a reason (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_claim IS
    'agira-worker: id of the run that works on the row now; NULL if none does';
COMMENT ON COLUMN core_externalissuemapping.worker_claimed_until IS
    'agira-worker: when that run counts as dead (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_attempts IS
    'agira-worker: number of failures since the last success';
COMMENT ON COLUMN core_externalissuemapping.worker_error IS
    'agira-worker: the last failure; NULL if the last check succeeded';
COMMENT ON COLUMN core_externalissuemapping.worker_error_at IS
    'agira-worker: time of the last failure (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_checked_at IS
    'agira-worker: when GitHub was last asked about the row (UTC, GitHub''s clock)';
COMMENT ON COLUMN core_externalissuemapping.worker_external_updated_at IS
    'agira-worker: updatedAt on GitHub at the last successful check (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_closed_at IS
    'agira-worker: closedAt on GitHub of the last closing that was handled (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_outbox IS
    'agira-worker: the objects that Weaviate has not confirmed; NULL if there are none';
COMMENT ON COLUMN core_externalissuemapping.worker_pushed_at IS
    'agira-worker: when Weaviate last confirmed all objects of the row (UTC)';
COMMENT ON COLUMN core_externalissuemapping.worker_delivery_attempts IS
    'agira-worker: number of times that Weaviate rejected worker_outbox';
COMMENT ON COLUMN core_externalissuemapping.worker_delivery_error IS
    'agira-worker: why Weaviate rejected worker_outbox; NULL if it did not';
COMMENT ON COLUMN core_externalissuemapping.worker_delivery_at IS
    'agira-worker: when worker_outbox is delivered (UTC); 1970 if that was not tried yet; NULL without one';

-- The program reads the version, which is that of src/db/schema.rs, and does not start with another one.
COMMENT ON TABLE worker_run IS 'agira-worker schema 1: one row per run, the last 1,000 of each command';

COMMIT;
