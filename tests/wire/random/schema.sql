CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (id integer PRIMARY KEY, a integer CONSTRAINT not_bad CHECK (a <> 666), s text, u integer UNIQUE);
CREATE TABLE c (id integer PRIMARY KEY, t_id integer REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE, note varchar(8));
CREATE TABLE k (a integer, b text);
CREATE TABLE v (
    id bigint PRIMARY KEY, s text, arr integer[], n numeric(12,4), b bytea, j jsonb, ts timestamptz, m mood, ms text[], f double precision
);
CREATE TABLE sr (id serial PRIMARY KEY, note text DEFAULT 'none', twice integer GENERATED ALWAYS AS (2) STORED);
CREATE TABLE ident (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x text);
CREATE TABLE tr (id integer PRIMARY KEY, x integer);
CREATE TABLE trlog (what text, id integer);
CREATE TABLE p (id integer, part integer, x text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
CREATE TABLE "Two Words" ("Key One" text, key2 integer, "select" text, PRIMARY KEY ("Key One", key2));
CREATE VIEW w AS SELECT id, a FROM t WHERE a > 0;
CREATE SCHEMA other;
CREATE TABLE other.t (id integer PRIMARY KEY, s text);
CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% of %', TG_OP, NEW.id;
    NEW.x := coalesce(NEW.x, 0) + 1;
    INSERT INTO trlog VALUES (TG_OP, NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER changes BEFORE INSERT OR UPDATE ON tr FOR EACH ROW EXECUTE FUNCTION changed();
CREATE FUNCTION noisy(x integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE NOTICE 'noisy %', x USING DETAIL = 'a detail', HINT = 'a hint';
    RETURN x;
END $$;
CREATE FUNCTION loud(x integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'loud %', x;
    RETURN x;
END $$;
CREATE FUNCTION failing(x integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF x = 3 THEN RAISE EXCEPTION 'failing at %', x USING ERRCODE = 'P0042', DETAIL = 'the detail'; END IF;
    RETURN x;
END $$;
CREATE FUNCTION writes(which integer) RETURNS SETOF integer LANGUAGE sql AS $$
    UPDATE t SET a = coalesce(a, 0) + 1 WHERE id >= which RETURNING id
$$;
CREATE FUNCTION catches(which integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t VALUES (which, 1, 'caught');
    RETURN 'written';
EXCEPTION WHEN unique_violation THEN
    RETURN 'there';
END $$;
CREATE PROCEDURE proceeds(which integer, INOUT told text) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM k WHERE a = which;
    told := told || ' and done';
END $$;
CREATE FUNCTION dump() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'other') ORDER BY 1 LOOP
        RETURN NEXT one.name;
        RETURN QUERY EXECUTE format('SELECT x::text FROM ONLY %s x ORDER BY x::text COLLATE "C"', one.name);
    END LOOP;
END $$;
