//! Transactions that are prepared first: their touches come with the second commit.

use std::path::Path;
use std::time::Duration;

use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options, Stop, psql};
use pgduet::demo::proxy::Proxy;

use super::support::client::{block_on, connect};
use super::support::{Duo, PROGRAM, fail};

const SCHEMA: &str = "CREATE TABLE accounts (id int PRIMARY KEY, v int); CREATE TABLE log (line text)";

fn start() -> Duo {
    start_with("")
}

fn start_with(settings: &str) -> Duo {
    let binaries = Binaries::find().unwrap_or_else(fail("PostgreSQL"));
    let old = Options { settings: vec!["max_prepared_transactions=5".into()], ..Options::quick("old") };
    let old = Cluster::start(&binaries, old).unwrap_or_else(fail("old"));
    let new = Cluster::start(&binaries, Options::quick("new")).unwrap_or_else(fail("new"));
    for cluster in [&old, &new] {
        psql(&binaries, &cluster.url("app", "app"), SCHEMA).unwrap_or_else(fail("the schema"));
    }
    let proxy = Proxy::start(Path::new(PROGRAM), &old, &new, &format!("clients: {{ auth: trust }}\n{settings}"));
    let proxy = proxy.unwrap_or_else(fail("the proxy"));
    Duo { proxy, old, new, binaries }
}

fn prepare(duo: &Duo, gid: &str, id: u32) {
    duo.sql(&format!(
        "BEGIN; INSERT INTO accounts VALUES ({id}, 0); INSERT INTO log VALUES ('{gid}'); PREPARE TRANSACTION '{gid}'"
    ));
}

fn on_new(duo: &Duo, sql: &str) -> String {
    duo.new.sql("app", sql).unwrap_or_else(fail("a query on new"))
}

#[test]
fn a_prepared_transaction_is_carried_when_it_is_committed_and_acknowledged_then() {
    let mut duo = start();
    duo.dual_write();
    prepare(&duo, "kept", 1);
    prepare(&duo, "given up", 2);
    prepare(&duo, "later", 3);
    // The marker passes them by, over and over.
    for id in 10..20 {
        duo.sql(&format!("INSERT INTO accounts VALUES ({id}, 0)"));
    }
    duo.expect_equal();
    assert_eq!(on_new(&duo, "SELECT count(*) FROM accounts WHERE id < 10"), "0");
    duo.sql("COMMIT PREPARED 'kept'");
    assert_eq!(on_new(&duo, "SELECT count(*) FROM accounts WHERE id = 1"), "1", "{}", duo.status());
    duo.sql("ROLLBACK PREPARED 'given up'");
    // What is prepared outlives the server, and the proxy.
    duo.old.stop(Stop::Immediate);
    duo.old.start_again().unwrap_or_else(fail("old again"));
    duo.proxy.kill();
    duo.proxy.start_again().unwrap_or_else(fail("the proxy again"));
    duo.eventually("clients are served again", std::time::Duration::from_secs(30), || duo.try_sql("SELECT 1").is_ok());
    duo.sql("COMMIT PREPARED 'later'");
    assert_eq!(on_new(&duo, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM accounts WHERE id < 10"), "1 3");
    duo.expect_equal();
    assert_eq!(on_new(&duo, "SELECT string_agg(line, ', ' ORDER BY line) FROM log"), "kept, later");
    assert_eq!(duo.count("/uncaptured_total"), 0, "{}", duo.status());
}

#[test]
fn what_was_prepared_before_capture_began_stands_in_its_way() {
    let duo = start();
    prepare(&duo, "early", 1);
    let refused = duo.admin().phase("dual_write").expect_err("a gate").to_string();
    assert!(refused.contains("nothing_prepared") && refused.contains("early"), "{refused}");
    duo.sql("ROLLBACK PREPARED 'early'");
    duo.dual_write();
}

#[test]
fn what_is_prepared_after_a_change_of_phase_gave_up_waiting_is_told_of() {
    let duo = start_with("timeouts: { phase_change: 1s }");
    block_on(async {
        let elder = connect(duo.proxy.port).await;
        elder.batch_execute("BEGIN; INSERT INTO accounts VALUES (1, 1)").await.expect("a transaction of old_only");
        let refused = duo.admin().phase("dual_write").expect_err("the elder is still there").to_string();
        assert!(refused.contains("complete once they have ended"), "{refused}");
        elder.batch_execute("PREPARE TRANSACTION 'elder'").await.expect("it is prepared, not captured");
    });
    duo.eventually("it is counted", Duration::from_secs(30), || duo.status()["uncaptured_total"] == 1);
    let log = duo.proxy.log_tail();
    assert!(log.contains("transactions were prepared while the phase changed") && log.contains("elder"), "{log}");
    duo.sql("COMMIT PREPARED 'elder'");
}
