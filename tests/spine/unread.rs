//! Statements that the analysis does not know: a slip of the finger must not look like a lost write, a success must.

use std::time::Duration;

use pgduet::demo::cluster::Stop;

use crate::support::Duo;
use crate::support::client::{block_on, connect};

const LIMIT: Duration = Duration::from_secs(30);

/// Deeper than the analysis follows; the server does.
fn deep(select: &str) -> String {
    format!("EXPLAIN ANALYZE {}SELECT 1{}) {select}", "WITH a AS (".repeat(100), ") SELECT 1".repeat(99))
}

fn uncaptured(duo: &Duo) -> u64 {
    duo.count("/uncaptured_total")
}

#[test]
fn what_the_server_refuses_is_not_counted_and_what_it_has_done_is() {
    let duo = Duo::start("");
    duo.dual_write();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        for slip in ["bogus", "SELECT 1; bogus 2", "COPY (SELECT 1) (a) TO STDOUT", "DELTE FROM t WHERE secret = 'x'"] {
            let error = client.simple_query(slip).await.expect_err("a syntax error");
            assert_eq!(error.code().map(|code| code.code()), Some("42601"), "{slip}");
            assert!(client.prepare(slip).await.is_err(), "{slip}");
        }
        assert_eq!(uncaptured(&duo), 0, "{}", duo.status());
        client.simple_query(&deep("SELECT 1")).await.expect("a simple query");
        client.query(&deep("SELECT 1"), &[]).await.expect("a prepared statement");
        assert!(client.simple_query(&deep("SELECT 1 / 0")).await.is_err());
    });
    assert_eq!(uncaptured(&duo), 2, "{}", duo.status());
}

#[test]
fn what_nobody_heard_of_again_is_counted() {
    let mut duo = Duo::start("");
    duo.dual_write();
    let sleeps = deep("SELECT pg_sleep(600)");
    let port = duo.proxy.port;
    let client =
        std::thread::spawn(move || block_on(async { connect(port).await.simple_query(&sleeps).await.is_err() }));
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'EXPLAIN ANALYZE WITH%' AND wait_event = 'PgSleep'";
    duo.eventually("it runs", LIMIT, || duo.old.sql("app", running).is_ok_and(|count| count == "1"));
    duo.old.stop(Stop::Immediate);
    assert!(client.join().expect("a client"), "it has heard of its end");
    duo.eventually("it is counted", LIMIT, || duo.admin().status().is_ok_and(|s| s["uncaptured_total"] == 1));
}
