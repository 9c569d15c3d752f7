//! Reads: split by key and percentage, fresh for their own session, compared with the other side.

#[path = "../support/mod.rs"]
mod support;
mod delay;
mod described;
mod keys;
mod latency;
mod outage;
mod ramp;
mod raw;
mod rules;
mod transactions;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use pgduet::demo::pgbench::{Protocol, Script};

use support::client::{block_on, connect};
use support::{Duo, seconds};

/// A long enough look at the reads' counters.
const ENOUGH: u64 = 4000;

#[test]
fn a_ramp_under_load_drops_no_client_and_keeps_the_shares() {
    let duo = Duo::start("shadow: { sample_percent: 0 }");
    duo.pgbench_tables(1);
    duo.dual_write();
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    // The key is in the text of each statement: the simple protocol puts the variable there.
    let sql = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid /* pgduet_key=':aid' */;";
    writeln!(script, "\\set aid random(1, 100000)\n{sql}").expect("a script");
    let mut load = duo.load(8, Protocol::Simple, Script::File(script.path().to_owned()));
    load.seconds = seconds() * 4;
    let running = duo.start_load(&load);
    for percent in [0.0, 25.0, 100.0, 0.0] {
        duo.read_percent(percent);
        let share = share_of_new(&duo);
        assert!((share - percent).abs() <= 2.0, "{share} % of the reads went to new at {percent} %");
    }
    duo.expect_clean(running.finish().expect("pgbench"));
}

/// In per cent, of the reads that begin from now on.
fn share_of_new(duo: &Duo) -> f64 {
    let counts = || {
        // Both from one answer: they are counted on meanwhile.
        let reads = duo.status()["reads"].clone();
        let [old, new] = ["old_total", "new_total"].map(|name| reads[name].as_u64().expect("a count"));
        (old, new)
    };
    let (old, new) = counts();
    let mut share = 0.0;
    duo.eventually("enough reads", Duration::from_secs(30), || {
        let now = counts();
        let (old, new) = (now.0 - old, now.1 - new);
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let percent = new as f64 * 100.0 / (old + new).max(1) as f64;
        share = percent;
        old + new >= ENOUGH
    });
    share
}

#[test]
fn no_key_moves_back_while_the_percentage_rises() {
    let duo = Duo::start_with("CREATE TABLE place (name text PRIMARY KEY)", "shadow: { sample_percent: 0 }");
    for side in [&duo.old, &duo.new] {
        side.sql("app", &format!("INSERT INTO place VALUES ('{}')", side.name())).expect("a row");
    }
    duo.dual_write();
    let mut before = BTreeSet::new();
    for percent in [0.0, 1.0, 12.5, 25.0, 50.0, 99.5, 100.0] {
        duo.read_percent(percent);
        let now = block_on(keys_on_new(duo.proxy.port));
        assert!(before.is_subset(&now), "{:?} moved back at {percent} %", before.difference(&now));
        let expected = KEYS * percent / 100.0;
        #[allow(clippy::cast_precision_loss, reason = "a small count")]
        let off = (now.len() as f64 - expected).abs() / KEYS * 100.0;
        assert!(off <= 2.0, "{} of {KEYS} keys are on new at {percent} %", now.len());
        before = now;
    }
}

const KEYS: f64 = 3000.0;

async fn keys_on_new(port: u16) -> BTreeSet<u32> {
    let client = connect(port).await;
    let mut found = BTreeSet::new();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    for key in 0..KEYS as u32 {
        let sql = format!("/* pgduet_key='user-{key}' */ SELECT name FROM place");
        let rows = client.simple_query(&sql).await.expect("a read");
        let on_new = rows.iter().any(
            |message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("new")),
        );
        if on_new {
            found.insert(key);
        }
    }
    found
}

#[test]
fn a_session_reads_what_it_wrote() {
    let schema = "CREATE TABLE notes (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO notes VALUES (1, 0)";
    let duo = Duo::start_with(schema, "mirror: { ack: primary }");
    duo.dual_write();
    duo.read_percent(100.0);
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let read = client.prepare("SELECT n FROM notes WHERE id = 1").await.expect("prepare");
        for n in 1..=300 {
            client.execute("UPDATE notes SET n = $1 WHERE id = 1", &[&n]).await.expect("a write");
            let seen: i32 = client.query_one(&read, &[]).await.expect("a read").get(0);
            assert_eq!(seen, n, "the session did not see its own write");
        }
    });
    duo.expect_equal();
}

#[test]
fn a_row_changed_behind_the_proxys_back_is_found() {
    let duo = Duo::start("shadow: { sample_percent: 100 }");
    duo.pgbench_tables(1);
    duo.dual_write();
    let read = |aid: u32| duo.sql(&format!("SELECT abalance FROM pgbench_accounts WHERE aid = {aid}"));
    for aid in 1..=20 {
        assert_eq!(read(aid), "0");
    }
    duo.eventually("equal reads are compared", Duration::from_secs(10), || duo.count("/shadow/matched_total") >= 20);
    assert_eq!(duo.count("/shadow/mismatched_total"), 0);
    duo.new.sql("app", "UPDATE pgbench_accounts SET abalance = 987654 WHERE aid = 7").expect("an update");
    assert_eq!(read(7), "0");
    duo.eventually("the difference is a finding", Duration::from_secs(5), || {
        let findings = duo.admin().get("/api/findings").expect("findings").to_string();
        findings.contains("pgbench_accounts")
    });
    let findings = duo.admin().get("/api/findings").expect("findings").to_string();
    assert!(!findings.contains("987654"), "a finding shows a row's value: {findings}");
    assert_eq!(duo.count("/shadow/mismatched_total"), 1);
}

#[test]
fn an_undisturbed_load_has_no_mismatch() {
    let duo = Duo::start("shadow: { sample_percent: 100, max_concurrent: 4 }");
    duo.pgbench_tables(1);
    duo.dual_write();
    duo.read_percent(50.0);
    let mut writes = duo.load(8, Protocol::Prepared, Script::TpcB);
    writes.seconds = seconds() * 2;
    let mut reads = duo.load(4, Protocol::Extended, Script::SelectOnly);
    reads.seconds = writes.seconds;
    let (writing, reading) = (duo.start_load(&writes), duo.start_load(&reads));
    for running in [writing, reading] {
        duo.expect_clean(running.finish().expect("pgbench"));
    }
    duo.eventually("reads are compared", Duration::from_secs(10), || duo.count("/shadow/compared_total") > 100);
    let findings = duo.admin().get("/api/findings").expect("findings");
    assert_eq!(duo.count("/shadow/mismatched_total"), 0, "{findings}");
    duo.expect_equal();
}
