//! The table of statements, and the alerts that follow from what it says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::Duo;
use super::support::client::{block_on, connect};

const SCHEMA: &str = "CREATE TABLE t (id integer PRIMARY KEY, v integer NOT NULL); INSERT INTO t SELECT i, 1 FROM generate_series(1, 100) i";

fn row(duo: &Duo, statement: &str) -> Option<Value> {
    let table = duo.admin().get("/api/statements?sort=calls&limit=50").expect("the table");
    table["statements"].as_array()?.iter().find(|s| s["statement"] == statement).cloned()
}

#[test]
fn statements_are_counted_by_side_and_survive_a_restart() {
    let mut duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 100, save: 200ms }");
    duo.dual_write();
    let read = "SELECT v FROM t WHERE id = ";
    (1..=10).for_each(|id| drop(duo.sql(&format!("{read}{id}"))));
    duo.read_percent(100.0);
    (1..=30).for_each(|id| drop(duo.sql(&format!("{read}{id} /* again */"))));
    (1..=5).for_each(|_| drop(duo.sql("UPDATE t SET v = v + 1 WHERE id = 1")));
    let _ = duo.try_sql("SELECT v / 0 FROM t WHERE id = 3");
    let normal = "select v from t where id = ?";
    let counted = |duo: &Duo| {
        row(duo, normal)
            .is_some_and(|r| r["calls_by_side"]["old"] == 10 && r["calls_by_side"]["new"] == 30 && r["matched"] == 40)
    };
    duo.eventually("the reads are counted and compared", Duration::from_secs(10), || counted(&duo));
    let found = row(&duo, normal).expect("a row");
    assert_eq!(found["tables"], serde_json::json!(["t"]));
    for quantile in ["p50_ms", "p95_ms", "p99_ms"] {
        assert!(found[quantile]["old"].as_f64() > Some(0.0) && found[quantile]["new"].as_f64() > Some(0.0), "{found}");
    }
    assert!(found["ratio_p50"].as_f64() > Some(0.0) && found["share_percent"].as_f64() > Some(50.0), "{found}");
    duo.eventually("the writes are counted", Duration::from_secs(10), || {
        row(&duo, "update t set v = v + ? where id = ?").is_some_and(|write| write["calls"] == 5)
    });
    duo.eventually("the error is counted, and the same on both sides", Duration::from_secs(10), || {
        row(&duo, "select v / ? from t where id = ?").is_some_and(|r| r["errors"] == 1 && r["matched"] == 1)
    });
    duo.eventually("the table is saved", Duration::from_secs(10), || {
        duo.old.sql("app", "SELECT coalesce(sum(counts[1] + counts[2]), 0) FROM pgduet.statements").expect("a sum")
            == "46"
    });
    duo.proxy.kill();
    duo.proxy.start_again().expect("the proxy again");
    duo.eventually("the table is there again", Duration::from_secs(20), || counted(&duo));
}

#[test]
fn a_mismatch_rate_over_its_threshold_is_told_and_takes_the_reads_back() {
    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = hook.local_addr().expect("an address");
    let told = std::thread::spawn(move || {
        let (mut stream, _) = hook.accept().expect("a call");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        text
    });
    let settings = format!(
        "shadow: {{ sample_percent: 100 }}\n\
         alerts: {{ window: 2s, mismatch_percent: 5, webhook: \"http://{address}/hook\", return_to_zero: true }}"
    );
    let duo = Duo::start_with(SCHEMA, &settings);
    duo.dual_write();
    duo.read_percent(50.0);
    duo.new.sql("app", "UPDATE t SET v = 2").expect("a fault");
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let began = Instant::now();
        while duo.status()["read_percent"] != 0.0 {
            for id in 1..=30 {
                client.query("SELECT v FROM t WHERE id = $1", &[&id]).await.expect("a read");
            }
            assert!(began.elapsed() < Duration::from_secs(60), "the reads are not taken back: {}", duo.status());
        }
    });
    let text = told.join().expect("the webhook is told");
    assert!(text.starts_with("POST /hook HTTP/1.1") && text.contains("mismatch_percent"), "{text}");
    let history = duo.admin().get("/api/history").expect("the history").to_string();
    assert!(history.contains("alert mismatch_percent"), "{history}");
    duo.eventually("the alert clears", Duration::from_secs(20), || {
        duo.status()["alerts"].as_array().is_some_and(Vec::is_empty)
    });
}
