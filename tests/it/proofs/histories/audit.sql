-- A clock that can be moved, and what happened to each row in order, for the property test. A run that is told when to die
-- dies before its n-th writing statement.
CREATE SCHEMA clock;
GRANT USAGE ON SCHEMA clock TO agira_worker;
CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql AS
    $$ SELECT pg_catalog.now() + coalesce(nullif(current_setting('kit.ahead', true), ''), '0')::interval $$;

-- To plan costs more than to execute what finds so few rows.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database()); END $$;

CREATE TABLE kit_audit (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, id bigint, old text, new text, item bigint, status text,
    by_worker boolean DEFAULT current_setting('application_name') = 'agira-worker', xid text DEFAULT pg_current_xact_id()::text
);
-- Which run of the history each claim belongs to; a run whose session ended has another one.
CREATE TABLE kit_session (claim uuid PRIMARY KEY, run text);

CREATE FUNCTION kit_item() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO kit_audit (what, id, old, new) VALUES ('status', NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER kit_item AFTER UPDATE ON core_item FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION kit_item();

CREATE FUNCTION kit_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO kit_session VALUES (NEW.worker_claim, current_setting('kit.run', true)) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER kit_claim AFTER INSERT OR UPDATE OF worker_claim ON core_externalissuemapping FOR EACH ROW
    WHEN (NEW.worker_claim IS NOT NULL) EXECUTE FUNCTION kit_claim();

CREATE FUNCTION kit_mapping() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF OLD.item_id <> NEW.item_id THEN
        INSERT INTO kit_audit (what, id, old, new) VALUES ('moved', NEW.id, OLD.item_id, NEW.item_id);
    END IF;
    IF OLD.worker_closed_at IS DISTINCT FROM NEW.worker_closed_at THEN
        INSERT INTO kit_audit (what, id, old, new, item, status) SELECT 'dealt', NEW.id, OLD.worker_closed_at,
            NEW.worker_closed_at, i.id, i.status FROM core_item i WHERE i.id = NEW.item_id;
    END IF;
    -- Making a row due is everybody's right; the rest belongs to the run that holds it.
    IF OLD.worker_claimed_until >= clock.now() + interval '5 s'
        AND current_setting('application_name') = 'agira-worker'
        AND to_jsonb(OLD) - 'worker_due_at' <> to_jsonb(NEW) - 'worker_due_at'
        AND NOT EXISTS (SELECT FROM kit_session WHERE claim = OLD.worker_claim AND run = current_setting('kit.run', true))
    THEN
        INSERT INTO kit_audit (what, id, old, new) VALUES ('foreign', NEW.id, to_jsonb(OLD), to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER kit_mapping AFTER UPDATE ON core_externalissuemapping FOR EACH ROW EXECUTE FUNCTION kit_mapping();

CREATE FUNCTION kit_dies() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE dies_at int := nullif(current_setting('kit.dies_at', true), ''); BEGIN
    IF dies_at IS NOT NULL THEN
        PERFORM set_config('kit.dies_at', (dies_at - 1)::text, false);
        -- The pool cuts the connection then, as PostgreSQL would.
        IF dies_at <= 1 THEN RAISE EXCEPTION USING ERRCODE = 'admin_shutdown'; END IF;
    END IF;
    RETURN NULL;
END $$;
DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY ARRAY['core_externalissuemapping', 'core_item', 'worker_pull_request_link', 'worker_repository',
        'worker_run', 'worker_pause'] LOOP
        EXECUTE format('CREATE TRIGGER kit_dies BEFORE INSERT OR UPDATE OR DELETE ON %I EXECUTE FUNCTION kit_dies()', name);
    END LOOP;
END $$;

-- Empties everything; TRUNCATE would make a new file for each table and index.
CREATE FUNCTION kit_reset() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    SET LOCAL session_replication_role = replica;
    DELETE FROM worker_pull_request_link;
    DELETE FROM core_externalissuemapping;
    DELETE FROM core_item;
    DELETE FROM core_project;
    DELETE FROM core_activity;
    DELETE FROM worker_repository;
    DELETE FROM worker_run;
    DELETE FROM worker_pause;
    DELETE FROM kit_audit;
    DELETE FROM kit_session;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
END $$;
