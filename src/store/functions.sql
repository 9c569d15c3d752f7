-- Capture: called in the RETURNING list of a client's own statement, in its own transaction, as whoever it is. A forged call
-- can do no more than have a row copied again.
CREATE OR REPLACE FUNCTION pgduet.capture(rel oid, VARIADIC key text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'k', $2); END $$;

-- The whole row of an INSERT into a table without a key: appended once.
CREATE OR REPLACE FUNCTION pgduet.capture_row(rel oid, VARIADIC "row" text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'r', $2); END $$;

-- The table was changed in a way that no key describes: all of it is carried.
CREATE OR REPLACE FUNCTION pgduet.capture_table(rel oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 't', '{}'); END $$;

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
        superseded_total = a.superseded_total + $4
        WHERE a.only_row AND a.snapshot = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the marker has moved' USING ERRCODE = '40001', HINT = 'Another instance holds the link.';
    END IF;
END $$;

REVOKE ALL ON FUNCTION pgduet.advance(text, text, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgduet.capture(oid, text[]), pgduet.capture_row(oid, text[]), pgduet.capture_table(oid),
    pgduet.exact(anyelement) TO PUBLIC;
