CREATE TABLE item (id integer PRIMARY KEY, name text NOT NULL, n integer, price numeric(10,2));
INSERT INTO item SELECT i, 'item ' || i, i * 10, i + 0.5 FROM generate_series(1, 10) i;
CREATE TABLE pair (a integer, b text, v text, PRIMARY KEY (a, b));
INSERT INTO pair VALUES (1, 'x', 'one'), (2, 'y', 'two'), (3, 'z', NULL);
CREATE TABLE child (
    id integer PRIMARY KEY,
    item_id integer NOT NULL CONSTRAINT child_item REFERENCES item,
    note text CONSTRAINT no_bad_note CHECK (note <> 'bad')
);
INSERT INTO child VALUES (1, 1, 'first');
CREATE TABLE counter (id serial PRIMARY KEY, n integer NOT NULL DEFAULT 7);
CREATE TABLE keyless (a integer, b text);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS integer CONSTRAINT is_positive CHECK (VALUE > 0);
CREATE TABLE feeling (id integer PRIMARY KEY, m mood, p positive, ms mood[]);
INSERT INTO feeling VALUES (1, 'sad', 1, '{sad,ok}'), (2, 'happy', 2, NULL);
CREATE TABLE "Odd Name" ("Key" integer PRIMARY KEY, "select" text);
INSERT INTO "Odd Name" VALUES (1, 'quoted');
CREATE TABLE copied (id integer PRIMARY KEY, t text, n numeric);
CREATE TABLE emptied (id integer PRIMARY KEY);
INSERT INTO emptied VALUES (1), (2), (3);
CREATE TABLE big (id integer PRIMARY KEY, body text NOT NULL);
INSERT INTO big SELECT i, repeat(i::text, 1000) FROM generate_series(1, 200) i;
CREATE TABLE ranked (id integer PRIMARY KEY, rank integer NOT NULL, CONSTRAINT ranks UNIQUE (rank) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO ranked VALUES (1, 1), (2, 2);
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, day date, span interval, raw bytea, f double precision);
INSERT INTO events VALUES (1, '2020-02-29 12:34:56.789+00', '2020-02-29', '1 day 02:03:04', '\x00ff10', 0.1);
CREATE TABLE types (
    id integer PRIMARY KEY, b boolean, i2 smallint, i8 bigint, r real, d double precision, c char(4), v varchar(8),
    u uuid, j json, jb jsonb, a integer[], ip inet, bits bit varying(8), r4 int4range
);
INSERT INTO types VALUES (
    1, true, -2, 9007199254740993, 1.5, 'NaN', 'ab', 'vc', '00000000-0000-0000-0000-000000000001', '{"a": 1}', '{"b":2}',
    '{1,NULL,3}', '10.0.0.1', B'101', '[1,5)'
);
INSERT INTO types (id) VALUES (2);
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 5;
CREATE SCHEMA other;
CREATE TABLE other.item (id integer PRIMARY KEY, name text);
INSERT INTO other.item VALUES (1, 'the other item');
CREATE TABLE other.alone (id integer PRIMARY KEY, t text);
INSERT INTO other.alone VALUES (1, 'alone');
CREATE FUNCTION noisy(x integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE NOTICE 'noisy %', x USING DETAIL = 'a detail', HINT = 'a hint';
    RETURN x;
END $$;
CREATE FUNCTION failing(x integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE EXCEPTION 'failing %', x USING ERRCODE = 'P0042', DETAIL = 'the detail', HINT = 'the hint', TABLE = 'item',
        COLUMN = 'n', CONSTRAINT = 'none', DATATYPE = 'integer', SCHEMA = 'public';
END $$;
CREATE FUNCTION wrong_inside(x integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT no_such_column FROM item);
END $$;
CREATE FUNCTION sets_work_mem() RETURNS text LANGUAGE sql AS $$ SELECT set_config('work_mem', '5MB', false) $$;
CREATE FUNCTION adds_one(x integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT x + 1 $$;
CREATE PROCEDURE renames(which integer) LANGUAGE sql AS $$ UPDATE item SET name = 'renamed' WHERE id = which $$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO emptied VALUES (100);
    COMMIT;
    DELETE FROM emptied WHERE id = 100;
    COMMIT;
END $$;
