//! The phase changes under clients that are connected, with statements that were prepared long before.

use std::io::Write;
use std::time::Duration;

use pgduet::demo::pgbench::{Protocol, Script};

use crate::support::client::{block_on, connect};
use crate::support::{Duo, seconds};

const SCHEMA: &str = "CREATE TABLE counters (id integer PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
                      INSERT INTO counters SELECT i FROM generate_series(1, 20) i;
                      CREATE TABLE fresh (id serial PRIMARY KEY, note text, made timestamptz DEFAULT clock_timestamp())";

#[test]
fn statements_prepared_before_the_change_are_captured_after_it() {
    let duo = Duo::start_with(SCHEMA, "");
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let insert = client.prepare("INSERT INTO fresh (note) VALUES ($1)").await.expect("prepare");
        let returning = client.prepare("INSERT INTO fresh (note) VALUES ($1) RETURNING id").await.expect("prepare");
        let update = client.prepare("UPDATE counters SET n = n + 1 WHERE id = $1").await.expect("prepare");
        assert_eq!(client.execute(&update, &[&0]).await.expect("no such row"), 0);
        duo.dual_write();
        client.execute(&insert, &[&"after"]).await.expect("an insert");
        let row = client.query_one(&returning, &[&"after, too"]).await.expect("an insert");
        assert_eq!((row.len(), row.get::<_, i32>(0)), (1, 2));
        for id in 1..=20 {
            client.execute(&update, &[&id]).await.expect("an update");
        }
    });
    duo.expect_equal();
    assert_eq!(duo.on_both("SELECT count(*), (SELECT sum(n) FROM counters) FROM fresh"), "2|20");
}

#[test]
fn a_running_load_does_not_notice_the_change_and_is_captured_from_it_on() {
    for protocol in Protocol::ALL {
        let duo = Duo::start_with(SCHEMA, "");
        let mut script = tempfile::NamedTempFile::new().expect("a file");
        writeln!(script, "\\set id random(1, 20)\nUPDATE counters SET n = n + 1 WHERE id = :id;").expect("a script");
        let mut load = duo.load(8, protocol, Script::File(script.path().to_owned()));
        load.seconds = seconds() + 2;
        let running = duo.start_load(&load);
        let sum =
            || -> u64 { duo.old.sql("app", "SELECT sum(n) FROM counters").expect("a sum").parse().expect("a number") };
        duo.eventually("the load runs", Duration::from_secs(20), || sum() > 100);
        // Every row that the old phase wrote is written again in the new one: it is copied whole.
        duo.dual_write();
        let captured = duo.count("/link/captured_total");
        let report = duo.expect_clean(running.finish().expect("pgbench"));
        assert!(duo.count("/link/captured_total") > captured + 200, "too little was captured to touch every row");
        duo.expect_equal();
        assert_eq!(duo.on_both("SELECT sum(n) FROM counters"), report.transactions.to_string());
    }
}
