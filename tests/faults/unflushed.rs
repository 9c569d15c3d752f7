//! `old` crashes before its log is on the disk. Its log writer is made slow, so that nothing is flushed but what somebody waits for.

use std::path::Path;
use std::time::Duration;

use pgduet::demo::cluster::{Cluster, Options, Stop, psql};
use pgduet::demo::proxy::Proxy;

use super::support::{Duo, PROGRAM, fail};

const SCHEMA: &str = "CREATE TABLE accounts (id int PRIMARY KEY, v int); CREATE TABLE log (line text)";
const LIMIT: Duration = Duration::from_secs(30);

fn start() -> Duo {
    let binaries = pgduet::demo::binaries::Binaries::find().unwrap_or_else(fail("PostgreSQL"));
    let slow =
        Options { settings: vec!["wal_writer_delay=10s".into(), "autovacuum=off".into()], ..Options::quick("old") };
    let old = Cluster::start(&binaries, slow).unwrap_or_else(fail("old"));
    let new = Cluster::start(&binaries, Options::quick("new")).unwrap_or_else(fail("new"));
    for cluster in [&old, &new] {
        psql(&binaries, &cluster.url("app", "app"), SCHEMA).unwrap_or_else(fail("the schema"));
    }
    // What the housekeeping writes would be flushed, and everything else with it.
    let settings = "clients: { auth: trust }\nlink: { clean_up: 1h, sequences: 1h }";
    let proxy = Proxy::start(Path::new(PROGRAM), &old, &new, settings).unwrap_or_else(fail("the proxy"));
    let duo = Duo { proxy, old, new, binaries };
    duo.dual_write();
    duo
}

fn order_link(duo: &Duo, order: &str) {
    duo.admin().post(&format!("/api/link/{order}")).unwrap_or_else(fail("an order to the link"));
}

fn on_old(duo: &Duo, sql: &str) -> String {
    duo.old.sql("app", sql).unwrap_or_else(fail("a query on old"))
}

fn arrives_on_new(duo: &Duo, table: &str, rows: &str) {
    let sql = format!("SELECT count(*) FROM {table}");
    duo.eventually("the cycle has come", LIMIT, || duo.new.sql("app", &sql).is_ok_and(|found| found == rows));
}

fn crash(duo: &mut Duo) {
    duo.old.stop(Stop::Immediate);
    duo.old.start_again().unwrap_or_else(fail("old again"));
    duo.eventually("clients are served again", LIMIT, || duo.try_sql("SELECT 1").is_ok());
}

#[test]
fn ids_that_a_crashed_primary_gives_out_again_hide_no_write() {
    let mut duo = start();
    for round in 0..3 {
        order_link(&duo, "pause");
        duo.sql(&format!("INSERT INTO accounts VALUES ({round}, 0)"));
        let before = on_old(&duo, "BEGIN; INSERT INTO accounts VALUES (-1, 0); SELECT pg_current_xact_id(); ROLLBACK");
        order_link(&duo, "resume");
        arrives_on_new(&duo, "accounts", &(2 * round + 1).to_string());
        crash(&mut duo);
        duo.sql(&format!("INSERT INTO accounts VALUES ({}, 1)", round + 100));
        let after = on_old(&duo, "SELECT string_agg(DISTINCT xmin::text, ' ') FROM accounts WHERE id >= 100");
        println!("rolled back: {before}; committed after the crash: {after}");
        duo.expect_equal();
    }
}

#[test]
fn what_a_crashed_primary_has_forgotten_was_never_carried() {
    let mut duo = start();
    for round in 1..4 {
        duo.sql("SET synchronous_commit = off; INSERT INTO log SELECT 'x' FROM generate_series(1, 10)");
        arrives_on_new(&duo, "log", &(10 * round).to_string());
        crash(&mut duo);
        duo.expect_equal();
    }
    assert_eq!(duo.on_both("SELECT count(*) FROM log"), "30");
}
