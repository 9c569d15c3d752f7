//! The doctor: what is planted is found and named, what it says to run removes it, equal databases are ok, and nothing is ever written.

#[path = "../support/mod.rs"]
mod support;

mod rig;

use std::collections::BTreeSet;

use rig::{Patients, Said};
use support::Duo;
use support::client::block_on;

#[test]
fn two_databases_of_pgbench_are_ok_before_and_after_the_phase_is_entered() {
    let duo = Duo::start("");
    duo.pgbench_tables(1);
    for phase in ["old_only", "dual_write"] {
        let asked = [rig::doctor(&duo.proxy.config(), &[]), rig::doctor_of(&duo)];
        for said in asked {
            assert_eq!((said.code, said.report["verdict"].as_str()), (0, Some("ok")), "{phase}: {:#}", said.report);
            assert_eq!(said.report["phase"], phase);
            let captured = |name: &str| said.table(&format!("public.pgbench_{name}"));
            assert_eq!(captured("accounts"), ("returning".into(), "key".into()));
            assert_eq!(captured("history"), ("returning".into(), "whole row (no key)".into()));
            assert_eq!(said.severity("no_key", "public.pgbench_history").as_deref(), Some("note"));
        }
        if phase == "old_only" {
            let there = duo.on_both("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgduet'");
            assert_eq!(there, "0", "it leaves nothing behind");
            duo.dual_write();
        }
    }
}

/// What is planted: the remark's name, what it is about, and how much it weighs.
const PLANTED: &[(&str, &str, &str)] = &[
    ("not_carried", "public.gone", "blocker"),
    ("not_carried", "public.lacks", "blocker"),
    ("missing", "enum label public.mood 'blue'", "blocker"),
    ("differs", "column public.typed.n", "warning"),
    ("differs", "default public.typed.n", "warning"),
    ("missing", "not null public.typed.n", "note"),
    ("missing", "index public.typed USING btree (s)", "warning"),
    ("missing", "foreign key public.typed FOREIGN KEY (boss) REFERENCES public.typed(id)", "warning"),
    ("extra", "constraint public.typed CHECK ((id > 0))", "warning"),
    ("missing", "key public.typed UNIQUE (code)", "warning"),
    ("missing", "identity public.typed.ident", "warning"),
    ("missing", "function public.shout()", "warning"),
    ("differs", "function public.same()", "warning"),
    ("missing", "view public.shown", "warning"),
    ("missing", "sequence public.numbers", "warning"),
    ("differs", "sequence public.counter", "warning"),
    ("missing", "trigger public.watched.watch", "warning"),
    ("missing", "type public.pair", "warning"),
    ("missing", "schema elsewhere", "warning"),
    ("missing", "extension hstore", "warning"),
    ("missing", "role reader", "warning"),
    ("missing", "grant SELECT on public.typed to reader", "warning"),
    ("missing", "setting work_mem of role app", "warning"),
    ("default_differs", "TimeZone", "warning"),
    ("max_connections", "max_connections", "warning"),
    ("session_timeout", "idle_session_timeout", "warning"),
    ("unlogged", "public.quick", "warning"),
    ("no_key", "public.almost", "warning"),
    ("no_key", "public.nokey", "note"),
    ("only_there", "public.only_new", "note"),
    ("long_transaction", "pid ", "warning"),
    ("prepared_transaction", "left over", "warning"),
    ("replication_slot", "left_slot", "warning"),
    ("large_objects", "pg_largeobject", "warning"),
    ("primary_only", "public.shout", "note"),
    ("not_carried", "public.abroad", "warning"),
];

const OLD: &str = "CREATE ROLE reader; CREATE EXTENSION hstore; CREATE SCHEMA elsewhere; \
    CREATE TABLE gone (id integer PRIMARY KEY, v numeric(10,2)); CREATE TABLE lacks (id integer PRIMARY KEY, extra text); \
    CREATE TYPE mood AS ENUM ('red', 'blue'); CREATE TYPE pair AS (a integer, b text); \
    CREATE TABLE typed (id integer PRIMARY KEY, n bigint NOT NULL DEFAULT 7, s text, boss integer REFERENCES typed, code integer UNIQUE, \
      ident integer GENERATED ALWAYS AS IDENTITY); \
    CREATE INDEX typed_s ON typed (s); GRANT SELECT ON typed TO reader; \
    CREATE FUNCTION shout() RETURNS void LANGUAGE sql AS 'SELECT pg_notify(''all'', '''')'; \
    CREATE FUNCTION same() RETURNS integer LANGUAGE sql AS 'SELECT 1'; CREATE VIEW shown AS SELECT id FROM typed; \
    CREATE SEQUENCE numbers START 5; CREATE SEQUENCE counter INCREMENT 2; \
    CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
    CREATE TABLE watched (id integer PRIMARY KEY); CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION seen(); \
    CREATE TABLE loud (id integer PRIMARY KEY); CREATE TRIGGER loudly AFTER INSERT ON loud FOR EACH ROW EXECUTE FUNCTION seen(); \
    CREATE UNLOGGED TABLE quick (id integer PRIMARY KEY); CREATE TABLE nokey (a integer); CREATE TABLE almost (a integer UNIQUE); \
    INSERT INTO almost VALUES (1); UPDATE almost SET a = 2; CREATE TABLE parent (id integer PRIMARY KEY); \
    CREATE TABLE child (x integer) INHERITS (parent); \
    CREATE FOREIGN DATA WRAPPER none; CREATE SERVER nowhere FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE abroad (a integer) SERVER nowhere; \
    ALTER ROLE app SET work_mem = '7MB'; SELECT lo_create(0)";

const NEW: &str = "CREATE TABLE lacks (id integer PRIMARY KEY); CREATE TYPE mood AS ENUM ('red'); \
    CREATE TABLE typed (id integer PRIMARY KEY CHECK (id > 0), n integer DEFAULT 8, s text, boss integer, code integer, ident integer NOT NULL); \
    CREATE FUNCTION same() RETURNS integer LANGUAGE sql AS 'SELECT 2'; CREATE SEQUENCE counter; \
    CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
    CREATE TABLE watched (id integer PRIMARY KEY); \
    CREATE TABLE loud (id integer PRIMARY KEY); CREATE TRIGGER loudly AFTER INSERT ON loud FOR EACH ROW EXECUTE FUNCTION seen(); \
    ALTER TABLE loud ENABLE ALWAYS TRIGGER loudly; \
    CREATE UNLOGGED TABLE quick (id integer PRIMARY KEY); CREATE TABLE nokey (a integer); CREATE TABLE almost (a integer UNIQUE); \
    CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE child (x integer) INHERITS (parent); \
    CREATE FOREIGN DATA WRAPPER none; CREATE SERVER nowhere FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE abroad (a integer) SERVER nowhere; \
    CREATE TABLE only_new (id integer PRIMARY KEY); ALTER DATABASE app SET TimeZone = 'Europe/Berlin'; ALTER DATABASE app SET idle_session_timeout = 0";

#[test]
fn what_is_planted_is_found_and_what_it_says_to_run_removes_it() {
    let patients = Patients::start("timeouts: { phase_change: 1ms }");
    let slot = "SELECT pg_create_logical_replication_slot('left_slot', 'pgoutput')";
    patients.old.sql("app", slot).expect("a slot");
    patients.old.sql("app", OLD).expect("old");
    patients.new.sql("app", NEW).expect("new");
    patients.old.sql("app", "ANALYZE; SELECT pg_stat_force_next_flush()").expect("statistics");
    patients.leave_a_prepared_transaction();
    block_on(async {
        let _sleeper = patients.sleep_in_a_transaction().await;
        let said = patients.ask();
        assert_eq!(said.code, 1, "{:#}", said.report);
        for (name, object, severity) in PLANTED {
            let found = said.severity(name, object);
            assert_eq!(found.as_deref(), Some(*severity), "{name} {object}: {:#}", said.report["sections"]);
        }
        assert_eq!(said.table("public.watched").0, "trigger");
        assert_eq!(said.table("public.parent").0, "counters");
        assert_eq!(said.table("public.gone"), ("uncaptured".into(), "it does not exist on new".into()));
        let fixed = cure(&patients, &said);
        assert!(fixed.len() > 25, "{fixed:?}");
        let left: Vec<_> =
            patients.ask().with_sql().into_iter().map(|r| (r.0, r.1)).filter(|r| fixed.contains(r)).collect();
        assert_eq!(left, [], "these were to be gone");
    });
    assert_eq!(patients.ask().code, 0, "what blocked is gone");
}

/// Runs what the doctor says, as a superuser: schemas, types and functions before what uses them, until nothing more can be done.
fn cure(patients: &Patients, said: &Said) -> BTreeSet<(String, String)> {
    let mut waiting = said.with_sql();
    let mut done = BTreeSet::new();
    // It takes a restart.
    waiting.retain(|(name, ..)| name != "max_connections");
    for _ in 0..5 {
        waiting.retain(|(name, object, side, sql)| {
            let cluster = if side == "old" { &patients.old } else { &patients.new };
            let cured = cluster.sql("app", sql).is_ok();
            if cured {
                done.insert((name.clone(), object.clone()));
            }
            !cured
        });
    }
    assert!(waiting.is_empty(), "these could not be run: {waiting:#?}");
    done
}

#[test]
fn a_role_without_rights_is_told_each_that_it_lacks() {
    let patients = Patients::start_as("plain", "");
    let schema = "CREATE ROLE plain LOGIN; CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY); \
        ALTER TABLE b ENABLE ROW LEVEL SECURITY; ALTER TABLE a OWNER TO app; \
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
        CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()";
    for cluster in [&patients.old, &patients.new] {
        cluster.sql("app", schema).expect("the schema");
    }
    let said = patients.ask();
    assert_eq!(said.code, 1);
    let expected = [
        ("schema_pgduet", "plain", "blocker"),
        ("table_privileges", "public.a", "blocker"),
        ("row_security", "public.b", "blocker"),
        ("trigger_fires_twice", "public.a", "blocker"),
        ("replication_role", "session_replication_role", "warning"),
        ("sequence_privileges", "public.a_id_seq", "warning"),
        ("trigger_privilege", "public.a", "warning"),
        ("membership", "app", "warning"),
        ("sees_others", "plain", "note"),
    ];
    for (name, object, severity) in expected {
        assert_eq!(said.severity(name, object).as_deref(), Some(severity), "{name} {object}: {:#}", said.report);
    }
    assert_eq!(said.table("public.a").0, "counters", "triggers cannot be made");
    cure(&patients, &said);
    let said = patients.ask();
    assert_eq!((said.code, said.report["verdict"].as_str()), (0, Some("ok")), "{:#}", said.report);
    assert_eq!(said.table("public.a").0, "trigger");
}

#[test]
fn encodings_and_collations_that_differ_are_named() {
    let patients = Patients::start("");
    let planted = [
        ("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'", "encoding", "blocker", 1),
        ("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'", "ctype", "warning", 0),
        ("ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C'", "collation", "warning", 0),
    ];
    for (how, name, severity, code) in planted {
        patients.new.sql("postgres", "DROP DATABASE app").expect("a drop");
        patients.new.sql("postgres", &format!("CREATE DATABASE app {how} TEMPLATE template0")).expect("a database");
        let said = patients.ask();
        assert_eq!(
            (said.code, said.severity(name, "app").as_deref()),
            (code, Some(severity)),
            "{how}: {:#}",
            said.report
        );
    }
}

#[test]
fn a_side_that_does_not_answer_is_a_blocker_and_people_get_sentences() {
    let mut patients = Patients::start("");
    let (code, text) = patients.text();
    assert!(code == 0 && text.contains("nothing stands in the way") && text.contains("schema      ok"), "{text}");
    patients.new.stop(pgduet::demo::cluster::Stop::Fast);
    let (code, text) = patients.text();
    assert!(code == 1 && text.contains("blocker: new (new): could not connect to new"), "{text}");
    assert!(text.contains("new (secondary): no answer") && text.contains("fix: "), "{text}");
}

#[test]
fn it_takes_no_transaction_id() {
    let patients = Patients::start("");
    patients.old.sql("app", "CREATE TABLE a (id integer PRIMARY KEY)").expect("a table");
    let next = || patients.old.sql("app", "SELECT pg_snapshot_xmax(pg_current_snapshot())").expect("a number");
    let before = next();
    patients.ask();
    assert_eq!(next(), before);
}
