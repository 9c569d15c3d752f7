CREATE TYPE types_mood AS ENUM ('sad', 'ok');
CREATE TYPE types_point AS (x float8, label text);
CREATE DOMAIN types_percent AS int CHECK (value BETWEEN 0 AND 100);
CREATE TYPE types_span AS RANGE (subtype = float8);
CREATE TABLE types (id int PRIMARY KEY, a int[], t text[], mood types_mood, moods types_mood[], p types_point, pct types_percent, r int4range,
    tr tstzrange, mr int4multirange, sp types_span, b bytea, j json, jb jsonb, i inet, m macaddr, bits bit varying, iv interval, ts timestamp,
    tz timestamptz, d date, ti time, tt timetz, u uuid, tsv tsvector, box box, c "char", nm name, o oid);
CREATE TABLE types_bare (LIKE types);
