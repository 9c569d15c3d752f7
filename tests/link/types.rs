//! Types of keys and values, each through capture, journal, reading and writing.

use pgduet::side::Side;

use crate::cluster;
use crate::rig::Rig;

/// Writes and touches rows of a table whose key has this type, by a client with settings that would round or reorder.
async fn key_round_trips(name: &str, key: &str, exact: &str, values: &str, before: &str) {
    let schema = format!("{before}; CREATE TABLE keyed (k {key} PRIMARY KEY, n int)");
    let rig = Rig::start(name, &schema).await;
    let client = cluster::open(&rig.config, Side::Old).await;
    client
        .batch_execute(
            "SET search_path = public; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -15; SET bytea_output = escape; \
             SET TimeZone = 'America/St_Johns'; SET IntervalStyle = 'sql_standard'",
        )
        .await
        .expect("settings");
    let capture = format!("RETURNING pgduet.capture(keyed.tableoid, {exact})");
    let run = async |sql: String| {
        client.batch_execute(&format!("{sql} {capture}")).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
    };
    run(format!("INSERT INTO keyed SELECT k, 0 FROM (VALUES {values}) AS v(k)")).await;
    rig.equal(&["keyed"]).await;
    run("UPDATE keyed SET n = n + 1".into()).await;
    rig.equal(&["keyed"]).await;
    run("DELETE FROM keyed WHERE k IN (SELECT k FROM keyed ORDER BY k LIMIT 1)".into()).await;
    rig.equal(&["keyed"]).await;
    assert_eq!(rig.ledger.counts().parked, 0, "{name}");
}

const PLAIN: &str = "keyed.k::text";
const ISO: &str = "(pg_catalog.to_json(keyed.k) OPERATOR(pg_catalog.#>>) '{}')";
const PINNED: &str = "pgduet.exact(keyed.k)";

#[tokio::test]
async fn keys_of_dates_and_times_are_exact_whatever_the_clients_settings() {
    let values =
        "('2024-02-03 04:05:06.789012+00'::timestamptz), ('0044-03-15 12:00:00+00 BC'), ('infinity'), ('1900-01-01')";
    key_round_trips("key_timestamptz", "timestamptz", ISO, values, "").await;
    key_round_trips("key_date", "date", ISO, "('2024-02-03'::date), ('0044-03-15 BC'), ('-infinity')", "").await;
    key_round_trips("key_time", "time", PLAIN, "('04:05:06.789012'::time), ('24:00')", "").await;
    key_round_trips("key_interval", "interval", PINNED, "('1 mon -2 days 03:04:05.678'::interval), ('-1 sec')", "")
        .await;
}

#[tokio::test]
async fn keys_of_numbers_are_exact() {
    let floats = "(0.1::float8), (1e300), ('NaN'), ('-Infinity'), (3.141592653589793), (5e-324)";
    key_round_trips("key_float8", "float8", PINNED, floats, "").await;
    key_round_trips("key_numeric", "numeric", PLAIN, "(1.10::numeric), ('NaN'), (1e40), (-0.001)", "").await;
}

#[tokio::test]
async fn keys_of_bytes_and_texts_are_exact() {
    key_round_trips("key_bytea", "bytea", PINNED, r"('\x00ff5c27'::bytea), ('\x')", "").await;
    let texts = r#"(''::text), (' '), ('NULL'), ('a"b'), ('{x,y}'), (E'tab\t\\slash'), ('日本'), ('it''s')"#;
    key_round_trips("key_text", "text", PLAIN, texts, "").await;
    key_round_trips("key_char", "char(5)", PLAIN, "('a'::char(5)), ('abcde'), ('')", "").await;
    key_round_trips("key_bpchar", "bpchar", PINNED, "('a  '::bpchar), ('b')", "").await;
    key_round_trips("key_uuid", "uuid", PLAIN, "(gen_random_uuid()), (gen_random_uuid())", "").await;
}

#[tokio::test]
async fn keys_of_made_types_are_exact() {
    let mood = "CREATE TYPE mood AS ENUM ('so so', 'ok', 'it''s \"fine\"')";
    key_round_trips("key_enum", "mood", PLAIN, "('so so'::mood), ('it''s \"fine\"')", mood).await;
    key_round_trips("key_array", "text[]", PINNED, "(ARRAY['a', NULL, '', 'NULL', '\"']), (ARRAY[]::text[])", "").await;
    key_round_trips("key_range", "tstzrange", PINNED, "(tstzrange('2024-01-01', '2024-02-01')), ('empty')", "").await;
    let domain = "CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0)";
    key_round_trips("key_domain", "even", PLAIN, "(2::even), (4)", domain).await;
    let collation = "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    key_round_trips("key_folded", "text COLLATE folded", PLAIN, "('A'), ('b')", collation).await;
}

#[tokio::test]
async fn values_of_every_kind_are_carried() {
    let schema = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int CHECK (VALUE < 1000); \
        CREATE TABLE v (a int, b text, n int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (a * 2) STORED, \
        i2 smallint, i8 bigint, f4 real, f8 float8, num numeric(20, 4), m money, flag bool, c char(8), vc varchar(9), \"char\" \"char\", nm name, \
        by bytea, d date, t time, ttz timetz, ts timestamp, tstz timestamptz(3), iv interval, u uuid, js json, jb jsonb, x xml, ip inet, net cidr, \
        mac macaddr, bits bit(5), vbits varbit, ints int[], texts text[], nested int[][], moods mood[], md mood, p pair, sm small, rng int4range, \
        ts_v tsvector, pt point, o oid, PRIMARY KEY (b, a))";
    let rig = Rig::start("values", schema).await;
    let rows = "INSERT INTO v (a, b, i2, i8, f4, f8, num, m, flag, c, vc, \"char\", nm, by, d, t, ttz, ts, tstz, iv, u, js, jb, x, ip, net, mac, bits, \
        vbits, ints, texts, nested, moods, md, p, sm, rng, ts_v, pt, o) VALUES \
        (1, '', -32768, 9223372036854775807, 0.1, 'NaN', 1.5000, '-12.34', true, 'pad', 'v', 'q', 'nm', '\\x00ff', '2024-02-29', '23:59:59.999999', \
        '04:05+05:30', 'infinity', '2024-01-01 00:00:00.123+02', '1 year -3 days', gen_random_uuid(), '{\"a\":  1, \"a\": 2}', '{\"b\": [1, null]}', \
        '<a>x</a>', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'1', '{1,NULL,3}', '{\"\",NULL,\"NULL\",\"a,b\"}', '{{1,2},{3,4}}', \
        '{sad,ok}', 'ok', '(1,\"x,y\")', 999, '[1,5)', 'fat & cat', '(1.5,-2)', 4294967295), \
        (2, 'NULL', NULL, NULL, '-0', '-0', NULL, NULL, NULL, NULL, '', NULL, '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
        NULL, NULL, NULL, NULL, '{}', '{}', '{}', '{}', NULL, '(,)', NULL, 'empty', '', NULL, NULL), \
        (3, 'rest', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, \
        DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, \
        DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING pgduet.capture(v.tableoid, v.b, v.a::text)";
    rig.run(rows).await;
    rig.equal(&["v"]).await;
    rig.run(
        "UPDATE v SET flag = NOT flag, texts = texts || ''::text RETURNING pgduet.capture(v.tableoid, v.b, v.a::text)",
    )
    .await;
    rig.equal(&["v"]).await;
    rig.run("BEGIN; UPDATE v SET m = '1.00'; SELECT pgduet.capture_table('v'::regclass); COMMIT").await;
    rig.equal(&["v"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn keys_that_the_database_generates_are_carried() {
    let rig = Rig::start("identity", "CREATE TABLE v (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int)").await;
    rig.run("INSERT INTO v (a) VALUES (1), (2) RETURNING pgduet.capture(v.tableoid, v.id::text)").await;
    rig.run("UPDATE v SET a = 3 RETURNING pgduet.capture(v.tableoid, v.id::text)").await;
    rig.equal(&["v"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn columns_of_other_types_and_orders_on_new_are_carried() {
    let old = "CREATE TABLE v (id int PRIMARY KEY, a int, b varchar(10), c timestamp)";
    let new = "CREATE TABLE v (c timestamptz, b text, extra_free int GENERATED ALWAYS AS (1) STORED, a bigint, id bigint PRIMARY KEY)";
    let new = new.replace("extra_free int GENERATED ALWAYS AS (1) STORED, ", "");
    let rig = Rig::start_differing("other_types", old, &new).await;
    rig.run("INSERT INTO v VALUES (1, 2, 'x', '2024-01-02 03:04:05'), (2, NULL, '', NULL) RETURNING pgduet.capture(v.tableoid, v.id::text)").await;
    rig.run("DELETE FROM v WHERE id = 2 RETURNING pgduet.capture(v.tableoid, v.id::text)").await;
    rig.barrier().await;
    let carried = rig.secondary("SELECT string_agg(concat_ws('|', id, a, b, c), ';') FROM v").await;
    assert_eq!(carried, "1|2|x|2024-01-02 03:04:05+00");
}
