//! A session that writes and reads at once, while the link is late by up to a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::client::{block_on, connect};
use super::support::{Duo, seconds};

/// `EXCLUSIVE` lets everybody read, and holds the link's writes up: late, and no read is slower for it.
fn hold_the_link_up(new: &str, stop: &AtomicBool) -> usize {
    let mut held = 0;
    let mut wait = 0x2545_f491_4f6c_dd1d_u64;
    block_on(async {
        let (client, connection) = tokio_postgres::connect(new, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        while !stop.load(Ordering::Relaxed) {
            wait = wait.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let delay = Duration::from_millis(100 + (wait >> 33) % 900);
            client.batch_execute("BEGIN; LOCK TABLE notes IN EXCLUSIVE MODE").await.expect("a lock");
            tokio::time::sleep(delay).await;
            client.batch_execute("COMMIT").await.expect("its end");
            held += 1;
            // Time to catch up in.
            tokio::time::sleep(delay / 4).await;
        }
    });
    held
}

#[test]
fn a_session_never_misses_its_own_write_while_the_link_is_late_by_up_to_a_second() {
    for ack in ["primary", "both"] {
        let schema = "CREATE TABLE notes (id integer PRIMARY KEY, n integer NOT NULL); \
            INSERT INTO notes SELECT i, 0 FROM generate_series(1, 8) i";
        let duo = Duo::start_with(schema, &format!("mirror: {{ ack: {ack} }}\nshadow: {{ sample_percent: 0 }}"));
        duo.dual_write();
        duo.read_percent(100.0);
        let stop = AtomicBool::new(false);
        let new = duo.new.url("app", "app");
        let run = Duration::from_secs(u64::from(seconds()));
        let (held, writes) = std::thread::scope(|scope| {
            let holder = scope.spawn(|| hold_the_link_up(&new, &stop));
            let writes = block_on(async {
                let clients = (1..=8).map(|id| write_and_read(duo.proxy.port, id, run));
                futures_util::future::join_all(clients).await.into_iter().sum::<i32>()
            });
            stop.store(true, Ordering::Relaxed);
            (holder.join().expect("the holder"), writes)
        });
        let reads = duo.status()["reads"].clone();
        println!("ack {ack}: {writes} writes, each read at once, the link held up {held} times: {reads}");
        let count = |name: &str| reads[name].as_u64().expect("a count");
        if ack == "primary" {
            assert!(count("stale_total") > 0, "no read was kept back as stale: {reads}");
        }
        assert!(count("new_total") > 0, "no read went to new: {reads}");
        assert_eq!(count("fallback_total"), 0, "{reads}");
        duo.expect_equal();
    }
}

/// Returns how many writes were seen by their own session.
async fn write_and_read(port: u16, id: i32, run: Duration) -> i32 {
    let client = connect(port).await;
    let read = client.prepare("SELECT n FROM notes WHERE id = $1").await.expect("a statement");
    let (began, mut n) = (Instant::now(), 0);
    while began.elapsed() < run {
        n += 1;
        client.execute("UPDATE notes SET n = $1 WHERE id = $2", &[&n, &id]).await.expect("a write");
        // At once, and from time to time until the link may have come.
        let written = Instant::now();
        let until = if n % 20 == 0 { Duration::from_millis(400) } else { Duration::ZERO };
        loop {
            let seen: i32 = client.query_one(&read, &[&id]).await.expect("a read").get(0);
            assert_eq!(seen, n, "the session {id} did not see its own write");
            if written.elapsed() >= until {
                break;
            }
        }
    }
    n
}
