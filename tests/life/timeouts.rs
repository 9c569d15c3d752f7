//! Whoever waits for too long is told so in Postgres's words, and what he held is given back.

use std::io::Read;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::raw::{READY, Raw};
use crate::support::Duo;
use crate::support::client::{block_on, connect};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_statement_that_takes_too_long_is_cancelled_and_its_session_goes_on() {
    let duo = Duo::start("timeouts: { statement: 300ms }");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        block_on(async {
            let client = connect(duo.proxy.port).await;
            let simple = client.batch_execute("SELECT pg_sleep(600)").await.expect_err("a cancelled statement");
            assert_eq!(simple.code(), Some(&SqlState::QUERY_CANCELED), "{phase}");
            let extended = client.query("SELECT pg_sleep($1)", &[&600_f64]).await.expect_err("a cancelled statement");
            assert_eq!(extended.code(), Some(&SqlState::QUERY_CANCELED), "{phase}");
            for _ in 0..20 {
                let one: i32 = client.query_one("SELECT 1", &[]).await.expect("a row").get(0);
                assert_eq!(one, 1, "a cancel request hit another statement");
            }
        });
    }
}

#[test]
fn an_idle_client_gives_its_backend_back() {
    let duo = Duo::start("timeouts: { idle: 200ms, idle_in_transaction: 200ms }");
    for (sent, code) in [("SELECT 1", "57P05"), ("BEGIN", "25P03")] {
        let mut client = Raw::started(duo.proxy.port);
        client.query(sent);
        let said = client.until_closed();
        assert!(said.contains(code), "{said:?}");
    }
    let held = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    duo.eventually("the backends are given back", SOON, || duo.old.sql("app", held).expect("a count") == "0");
}

#[test]
fn an_answer_from_a_database_that_freezes_in_the_middle_ends() {
    let schema = "CREATE TABLE big AS SELECT g AS id, repeat('x', 1000) AS text FROM generate_series(1, 60000) g";
    let settings =
        "reads: { probe: 50ms, probe_timeout: 300ms }\ntimeouts: { stalled: 300ms }\nshadow: { sample_percent: 0 }";
    let duo = Duo::start_with(schema, settings);
    duo.dual_write();
    duo.read_percent(100.0);
    let mut client = Raw::started(duo.proxy.port);
    client.query("SELECT id, text FROM big ORDER BY id");
    let mut some = vec![0; 100_000];
    client.0.read_exact(&mut some).expect("the beginning of the answer");
    assert!(duo.count("/reads/new_total") <= 1);
    duo.new.freeze();
    let rest = client.until_closed_or(READY);
    duo.new.thaw();
    assert!(rest.len() < 60_000_000, "the whole answer came: nothing was frozen");
    duo.eventually("the connection is given back", SOON, || duo.try_sql("SELECT 1").is_ok());
}
