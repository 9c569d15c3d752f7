-- The journal's ops: 'k' a row's key, 'r' a row of a table without a key, 't' the whole table: all three announced to the ledger by
-- the session that called. What no session can count is written in capitals, and counted by the link: 'K', 'R' and 'T' by triggers, 'T'
-- by counters, 'E' for a table that was emptied or rewritten, 'D' for a statement.

-- Capture: called in the RETURNING list of a client's own statement, in its own transaction, as whoever it is. A forged call
-- can do no more than have a row copied again.
CREATE OR REPLACE FUNCTION pgduet.capture(rel oid, VARIADIC key text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'k', $2); END $$;

-- The whole row of an INSERT into a table without a key, its columns in the order of their names: appended once.
CREATE OR REPLACE FUNCTION pgduet.capture_row(rel oid, VARIADIC "row" text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'r', $2); END $$;

-- The table was changed in a way that no key describes: all of it is carried.
CREATE OR REPLACE FUNCTION pgduet.capture_table(rel oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 't', '{}'); END $$;

-- What a transaction changes out of sight (in a function, a DO block, a rule, a COPY) is told by the server's own counters of
-- the transaction, and by the locks that it holds. The counters also count what was captured row by row, and what earlier
-- transactions of the session did a moment ago; so the difference between two looks is what counts:
--
--   SELECT pgduet.capture_before();   -- a transaction begins, or goes on
--   <the statement>                   -- in the same transaction
--   SELECT pgduet.capture_changed();  -- in the same transaction
--
-- Without the first look everything that the counters hold counts as changed: too much is carried, never too little.
-- A table's line is `inserted/updated/deleted/file`; the file is told only while the table is locked for this transaction alone,
-- which is what TRUNCATE needs: counters do not show it.
-- ALTER TABLE ... DISABLE TRIGGER ALL (or USER) silences the triggers that capture a table as well: `fires` says whether they are all
-- there and fire whatever session_replication_role is.
CREATE OR REPLACE FUNCTION pgduet.fires(rel oid) RETURNS bool
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT count(*) = 4 FROM pg_trigger t
    WHERE t.tgrelid = $1 AND t.tgfoid = to_regproc('pgduet.capture_trigger') AND t.tgenabled = 'A'
    $$;

CREATE OR REPLACE FUNCTION pgduet.changes() RETURNS TABLE (rel oid, counts text)
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH locked AS (
        SELECT l.relation FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
            AND (l.mode = 'AccessExclusiveLock'
                OR current_setting('track_counts') = 'off' AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock')))
    SELECT c.oid, concat_ws('/', t.inserted, t.updated, t.deleted, coalesce(l.file, ''))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN LATERAL (SELECT c.relfilenode::text FROM locked WHERE locked.relation = c.oid LIMIT 1) AS l (file) ON true
        CROSS JOIN LATERAL (SELECT pg_stat_get_xact_tuples_inserted(c.oid), pg_stat_get_xact_tuples_updated(c.oid),
            pg_stat_get_xact_tuples_deleted(c.oid)) AS t (inserted, updated, deleted)
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet')
        AND (l.file IS NOT NULL OR t.inserted <> 0 OR t.updated <> 0 OR t.deleted <> 0)
        AND NOT EXISTS (SELECT FROM pgduet.captures m WHERE m.rel = c.oid AND (m.method = 'n' OR m.method = 't' AND pgduet.fires(c.oid)))
    $$;

CREATE OR REPLACE FUNCTION pgduet.capture_before() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM set_config('pgduet.before', coalesce((SELECT string_agg(c.rel || '=' || c.counts, ' ') FROM pgduet.changes() c),
        ''), true);
END $$;

-- Journals 'T' for each table that was changed since the last look, 'E' for one that was truncated or rewritten; neither
-- twice in a transaction, unless it is serializable: the journal is not read in one, for what is read there makes others fail
-- that write. What triggers capture, or nobody carries, is left out.
CREATE OR REPLACE FUNCTION pgduet.capture_changed() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    former text[] := string_to_array(current_setting('pgduet.before', true), ' ');
    known text[];
BEGIN
    -- Nothing was written, and nothing may be.
    IF current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    END IF;
    WITH changed AS MATERIALIZED (
        SELECT c.rel, c.counts, split_part(c.counts, '/', 4) AS file, split_part(split_part(f.line, '=', 2), '/', 4) AS former_file
        FROM pgduet.changes() c LEFT JOIN unnest(former) AS f (line) ON f.line LIKE c.rel || '=%'
        WHERE f.line IS DISTINCT FROM c.rel || '=' || c.counts),
    noted AS MATERIALIZED (
        SELECT j.rel FROM pgduet.journal j WHERE j.xid = pg_current_xact_id_if_assigned() AND j.op IN ('t', 'T', 'E')
            AND EXISTS (SELECT FROM changed) AND current_setting('transaction_isolation') <> 'serializable'),
    journalled AS (
        INSERT INTO pgduet.journal (rel, op, key)
        SELECT c.rel, CASE WHEN c.file IS DISTINCT FROM coalesce(c.former_file, '') THEN 'E' ELSE 'T' END::"char", '{}'
        FROM changed c WHERE c.rel NOT IN (SELECT n.rel FROM noted n))
    SELECT NULL INTO known;
    IF former IS NOT NULL THEN
        PERFORM pgduet.capture_before();
    END IF;
END $$;

-- A number that no other statement has, greater than that of every statement whose locks this one had to wait for: its end is in the log
-- before. Not nextval(): that would be what the client's own lastval() finds.
CREATE OR REPLACE FUNCTION pgduet.next_statement() RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT setval('pgduet.statement_number', ((pg_current_wal_insert_lsn() - '0/0')::bigint << 12) | (pg_backend_pid() & 4095))
    $$;
REVOKE EXECUTE ON FUNCTION pgduet.next_statement() FROM PUBLIC;

-- A statement that the link runs on the secondary: DDL. `kind` is 'd', or 'a' where the statement makes a table out of a
-- query (CREATE TABLE AS, SELECT INTO): that table's definition is written down instead of the text. Rows that the statement
-- computed are for capture_changed() to note. The role is found here, not told: it is whom the statement will run as.
CREATE OR REPLACE FUNCTION pgduet.capture_statement_in(kind "char", statement text, search_path text, settings jsonb)
    RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    caller text := CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END;
    affected text;
    made oid;
BEGIN
    SELECT string_agg(DISTINCT l.relation::text, ' ') INTO affected FROM pg_locks l
        WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.relation >= 16384
            AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock');
    IF kind = 'a' THEN
        SELECT c.oid INTO made FROM pg_class c
            WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid::text = ANY (string_to_array(affected, ' '))
            ORDER BY c.cmin::text::bigint DESC, c.oid DESC LIMIT 1;
        IF made IS NULL THEN
            RETURN;
        END IF;
        statement := pgduet.definition(made);
    END IF;
    INSERT INTO pgduet.journal (rel, op, key) VALUES (coalesce(made, 0), 'D', ARRAY[kind::text, statement, caller, search_path,
        settings::text, coalesce(affected, ''), pgduet.next_statement()::text]);
    -- What this transaction writes while the triggers are silent is carried with the whole table.
    INSERT INTO pgduet.journal (rel, op, key) SELECT c.rel, 'T', '{}' FROM pgduet.captures c
        WHERE c.method = 't' AND c.rel::text = ANY (string_to_array(affected, ' ')) AND NOT pgduet.fires(c.rel);
END $$;

-- As whoever calls it, with the settings that a text's meaning hangs on.
CREATE OR REPLACE FUNCTION pgduet.capture_statement(kind "char", statement text) RETURNS void
    LANGUAGE sql VOLATILE
    AS $$
    SELECT pgduet.capture_statement_in($1, $2, pg_catalog.current_setting('search_path'), (
        SELECT pg_catalog.jsonb_object_agg(s.name, pg_catalog.current_setting(s.name, true)) FROM pg_catalog.unnest(ARRAY[
            'standard_conforming_strings', 'backslash_quote', 'array_nulls', 'transform_null_equals', 'xmloption', 'DateStyle',
            'IntervalStyle', 'TimeZone', 'timezone_abbreviations', 'lc_monetary', 'default_text_search_config',
            'check_function_bodies'
        ]::pg_catalog.text[]) AS s (name)))
    $$;

-- A table that was made out of a query, as a statement: nothing but its columns.
CREATE OR REPLACE FUNCTION pgduet.definition(rel oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT format('CREATE %s IF NOT EXISTS %I.%I (%s)', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED TABLE' ELSE 'TABLE' END,
        n.nspname, c.relname, (
            SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)) || CASE
                    WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %s', a.attcollation::regcollation) ELSE '' END,
                ', ' ORDER BY a.attnum)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
    $$;

-- A value's text that says exactly the same whatever the caller's settings are: its type's output under pinned settings.
CREATE OR REPLACE FUNCTION pgduet.exact(value anyelement) RETURNS text
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
    SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C'
    AS $$ BEGIN RETURN pg_catalog.format('%s', $1); END $$;

-- Moves the marker, on the secondary, as the first thing that a cycle's transaction does: the row's lock makes a second
-- holder wait, and then fail, because the marker is no longer where that one began.
CREATE OR REPLACE FUNCTION pgduet.advance(former text, latter text, applied bigint, superseded bigint)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE pgduet.applied a SET snapshot = $2, applied_total = a.applied_total + $3,
        superseded_total = a.superseded_total + $4, replayed = '{}'
        WHERE a.only_row AND a.snapshot = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the marker has moved' USING ERRCODE = '40001', HINT = 'Another instance holds the link.';
    END IF;
END $$;

REVOKE ALL ON FUNCTION pgduet.advance(text, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION pgduet.changes(), pgduet.fires(oid), pgduet.definition(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgduet.capture(oid, text[]), pgduet.capture_row(oid, text[]), pgduet.capture_table(oid),
    pgduet.capture_before(), pgduet.capture_changed(), pgduet.capture_statement("char", text),
    pgduet.capture_statement_in("char", text, text, jsonb), pgduet.exact(anyelement) TO PUBLIC;

-- Capture by triggers: statement triggers with transition tables, which also see what bypasses the proxy.

-- Which unique index is a table's key, as the analysis chooses it; 0: none.
CREATE OR REPLACE FUNCTION pgduet.key_index(rel oid) RETURNS oid
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce((
        SELECT i.indexrelid FROM pg_index i
        WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indislive AND (i.indisprimary OR i.indimmediate)
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (
                SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                WHERE k.place <= i.indnkeyatts AND (NOT a.attnotnull OR a.attgenerated <> ''))
        ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1), 0)
    $$;

-- What a touch names: the columns of the key, or all that are stored where there is no key. NULL: the index is no key any more.
CREATE OR REPLACE FUNCTION pgduet.captured_columns(rel oid, index oid) RETURNS name[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE $2 WHEN 0 THEN (
            SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute a
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
        ELSE (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place), pg_attribute a
            WHERE i.indexrelid = $2 AND i.indrelid = $1 AND i.indisvalid AND k.place <= i.indnkeyatts
                AND a.attrelid = $1 AND a.attnum = k.number)
        END
    $$;

-- Arguments: the key's index (0: none), the captured columns, and their values as expressions. Where the table is no longer what they
-- say, all of it is touched; so are the tables below one that others inherit from, whose rows cannot be told from its own.
CREATE OR REPLACE FUNCTION pgduet.capture_trigger() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = 'postgres' SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C'
    AS $$
DECLARE
    keyed bool := TG_ARGV[0] <> '0';
    known bool;
    inherited bool;
    touched bool;
    source text := CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT ARRAY[%1$s] FROM pgduet_new t'
        WHEN 'DELETE' THEN 'SELECT ARRAY[%1$s] FROM pgduet_old t'
        ELSE 'SELECT ARRAY[%1$s] FROM pgduet_old t UNION SELECT ARRAY[%1$s] FROM pgduet_new t' END;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO pgduet.journal (rel, op, key) VALUES (TG_RELID, 'E', '{}');
        RETURN NULL;
    END IF;
    SELECT pgduet.captured_columns(c.oid, TG_ARGV[0]::oid) = TG_ARGV[1]::name[], c.relkind = 'r' AND c.relhassubclass
        INTO known, inherited FROM pg_class c WHERE c.oid = TG_RELID;
    IF known AND (keyed AND NOT inherited OR TG_OP = 'INSERT') THEN
        EXECUTE format('INSERT INTO pgduet.journal (rel, op, key) SELECT $1, $2, s.key FROM (' || source || ') AS s (key)', TG_ARGV[2])
            USING TG_RELID, CASE WHEN keyed THEN 'K' ELSE 'R' END::"char";
        RETURN NULL;
    END IF;
    EXECUTE 'SELECT EXISTS (SELECT FROM ' || CASE TG_OP WHEN 'INSERT' THEN 'pgduet_new' ELSE 'pgduet_old' END || ')' INTO touched;
    IF touched THEN
        INSERT INTO pgduet.journal (rel, op, key)
        WITH RECURSIVE below (rel) AS (
            SELECT TG_RELID
            UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.rel = i.inhparent WHERE inherited)
        SELECT b.rel, 'T', '{}' FROM below b
        WHERE NOT EXISTS (SELECT FROM pgduet.journal j
            WHERE j.xid = pg_current_xact_id_if_assigned() AND j.rel = b.rel AND j.op = 'T'
                AND current_setting('transaction_isolation') <> 'serializable');
    END IF;
    RETURN NULL;
END $$;

-- Has a table captured by triggers from here on; returns whether it was not, or otherwise.
CREATE OR REPLACE FUNCTION pgduet.watch(rel oid) RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    index oid := pgduet.key_index(rel);
    names name[] := pgduet.captured_columns(rel, index);
    expressions text := (
        SELECT string_agg(CASE index WHEN 0 THEN format('pgduet.exact(t.%I)', n) ELSE format('format(''%%s'', t.%I)', n) END, ', '
            ORDER BY place) FROM unnest(names) WITH ORDINALITY AS u (n, place));
    arguments bytea := (
        SELECT string_agg(convert_to(a, getdatabaseencoding()) || '\x00'::bytea, ''::bytea ORDER BY place)
        FROM unnest(ARRAY[index::text, names::text, coalesce(expressions, '')]) WITH ORDINALITY AS u (a, place));
    op text;
BEGIN
    IF 4 = (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = rel AND t.tgfoid = 'pgduet.capture_trigger'::regproc
            AND t.tgargs = arguments AND t.tgenabled = 'A')
        AND EXISTS (SELECT FROM pgduet.captures c WHERE c.rel = $1 AND c.method = 't') THEN
        RETURN false;
    END IF;
    PERFORM pgduet.unwatch(rel);
    FOREACH op IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION pgduet.capture_trigger(%L, %L, %L)',
            'pgduet_' || lower(op), op, rel::regclass, CASE op
                WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS pgduet_new'
                WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS pgduet_old NEW TABLE AS pgduet_new'
                WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS pgduet_old' ELSE '' END,
            index::text, names::text, coalesce(expressions, ''));
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel::regclass, 'pgduet_' || lower(op));
    END LOOP;
    INSERT INTO pgduet.captures (rel, method) VALUES ($1, 't') ON CONFLICT ON CONSTRAINT captures_pkey DO UPDATE SET method = 't';
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION pgduet.unwatch(rel oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    name name;
BEGIN
    FOR name IN SELECT t.tgname FROM pg_trigger t
        WHERE t.tgrelid = $1 AND t.tgfoid = 'pgduet.capture_trigger'::regproc LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', name, $1::regclass);
    END LOOP;
    DELETE FROM pgduet.captures c WHERE c.rel = $1 AND c.method = 't';
END $$;

REVOKE ALL ON FUNCTION pgduet.watch(oid), pgduet.unwatch(oid), pgduet.key_index(oid), pgduet.captured_columns(oid, oid),
    pgduet.capture_trigger() FROM PUBLIC;
