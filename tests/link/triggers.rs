//! Capture by triggers: whoever writes, and however, is carried.

use pgduet::side::Side;

use crate::rig::Rig;

/// A link that follows writes which nobody calls a function for.
async fn watched(name: &str, schema: &str, tables: &[&str]) -> Rig {
    let rig = Rig::start(name, schema).await;
    for table in tables {
        assert_eq!(rig.primary(&format!("SELECT pgduet.watch('{table}'::regclass)::text")).await, "true");
        assert_eq!(rig.primary(&format!("SELECT pgduet.watch('{table}'::regclass)::text")).await, "false");
    }
    rig
}

/// What stands in the journal of this transaction, without what was touched as a whole.
async fn noted(rig: &Rig, sql: &str) -> String {
    rig.run(&format!("BEGIN; {sql}")).await;
    let noted = rig
        .primary(
            "SELECT coalesce(string_agg(format('%s %s %s', rel::regclass, op, key), ', ' ORDER BY rel::regclass::text, op::text, key), '') \
             FROM pgduet.journal WHERE xid = pg_current_xact_id_if_assigned()",
        )
        .await;
    rig.run("COMMIT").await;
    noted
}

const A: &str = "CREATE TABLE a (id int PRIMARY KEY, at date, v int); INSERT INTO a SELECT i, 'today', i FROM generate_series(1, 5) i";

#[tokio::test]
async fn statements_of_every_kind_leave_the_keys_of_their_rows() {
    let rig = watched("trigger_kinds", A, &["a"]).await;
    let cases = [
        ("INSERT INTO a VALUES (7, 'today', 1), (8, 'today', 1)", "a K {7}, a K {8}"),
        ("UPDATE a SET v = 0 WHERE id = 1", "a K {1}"),
        ("UPDATE a SET id = 11 WHERE id = 1", "a K {1}, a K {11}"),
        ("DELETE FROM a WHERE id IN (2, 3)", "a K {2}, a K {3}"),
        (
            "INSERT INTO a VALUES (7, 'today', 1), (9, 'today', 1) ON CONFLICT (id) DO UPDATE SET v = 5",
            "a K {7}, a K {9}",
        ),
        ("DO $$ BEGIN DELETE FROM a WHERE id = 4; END $$", "a K {4}"),
        ("UPDATE a SET v = 0 WHERE false", ""),
        ("TRUNCATE a", "a E {}"),
    ];
    for (sql, wanted) in cases {
        assert_eq!(noted(&rig, sql).await, wanted, "{sql}");
        rig.equal(&["a"]).await;
    }
    let counts = rig.ledger.counts();
    assert_eq!(counts.captured, counts.applied + counts.superseded, "{counts:?}");
}

#[tokio::test]
async fn what_cascades_and_triggers_change_is_carried() {
    let schema = "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE); \
        CREATE TABLE log (what text, at float8 DEFAULT random()); \
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$; \
        CREATE TRIGGER note AFTER INSERT OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note(); \
        ALTER TABLE parent ENABLE ROW LEVEL SECURITY";
    let rig = watched("trigger_cascade", schema, &["parent", "child", "log"]).await;
    rig.run("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2), (3, 2)").await;
    rig.equal(&["parent", "child", "log"]).await;
    rig.run("DELETE FROM parent WHERE id = 2").await;
    rig.equal(&["parent", "child", "log"]).await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM child").await, "1");
    assert_eq!(rig.secondary("SELECT count(*)::text FROM log").await, "3");
    rig.run("UPDATE log SET what = NULL WHERE what = 'DELETE'").await;
    rig.equal(&["log"]).await;
}

#[tokio::test]
async fn rows_of_partitions_and_of_heirs_are_carried() {
    let schema = "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); \
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
        CREATE TABLE h (id int PRIMARY KEY, v int); CREATE TABLE heir (more int, PRIMARY KEY (id)) INHERITS (h)";
    let rig = watched("trigger_parts", schema, &["p", "p1", "p2", "h", "heir"]).await;
    rig.run("INSERT INTO p VALUES (1, 1), (11, 1); INSERT INTO p2 VALUES (12, 1); UPDATE p SET id = 24 - id - CASE id WHEN 1 THEN 4 ELSE 8 END WHERE id IN (1, 11)").await;
    rig.run("INSERT INTO h VALUES (1, 1); INSERT INTO heir VALUES (2, 2, 2); UPDATE h SET v = v + 1").await;
    rig.equal(&["p", "h", "heir"]).await;
    rig.run("DELETE FROM p1; DELETE FROM h; TRUNCATE p2").await;
    rig.equal(&["p", "h", "heir"]).await;
}

#[tokio::test]
async fn keys_are_exact_whatever_the_writers_settings() {
    let schema = "CREATE TABLE k (f float8, d timestamptz, b bytea, i interval, c char(5), PRIMARY KEY (f, d, b, i, c)); \
        CREATE TABLE n (f float4, i interval, m money, t text)";
    let rig = watched("trigger_exact", schema, &["k", "n"]).await;
    rig.run("SET extra_float_digits = -10; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape'; SET TimeZone = 'Asia/Kolkata'").await;
    rig.run(
        "INSERT INTO k VALUES (1/3e0, '2020-02-03 04:05:06.789+00', '\\x00ff', '-1 year 2 days', 'ab'); \
        INSERT INTO n VALUES (1/3e0, '1 year -3 hours', 12.3::numeric::money, ''), (NULL, NULL, NULL, NULL)",
    )
    .await;
    let other = "SET extra_float_digits = -10; SET bytea_output = 'escape'";
    rig.run("RESET ALL; SET search_path = public, pg_catalog").await;
    rig.equal(&["k", "n"]).await;
    rig.run(&format!("{other}; DELETE FROM k; RESET ALL; SET search_path = public, pg_catalog")).await;
    rig.equal(&["k"]).await;
}

#[tokio::test]
async fn a_table_that_was_altered_behind_its_triggers_is_carried_whole() {
    let rig = watched("trigger_altered", A, &["a"]).await;
    rig.run("ALTER TABLE a RENAME COLUMN id TO nr").await;
    rig.on(Side::New, "ALTER TABLE a RENAME COLUMN id TO nr").await;
    assert_eq!(noted(&rig, "UPDATE a SET v = 0 WHERE nr = 1").await, "a T {}");
    rig.equal(&["a"]).await;
    assert_eq!(rig.primary("SELECT pgduet.watch('a'::regclass)::text").await, "true");
    assert_eq!(noted(&rig, "UPDATE a SET v = 1 WHERE nr = 1").await, "a K {1}");
    rig.run("SELECT pgduet.unwatch('a'::regclass); DROP TABLE a").await;
}
