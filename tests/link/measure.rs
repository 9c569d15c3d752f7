//! Figures, not claims: `cargo test --release --test link -- --ignored --nocapture measure`.

use std::time::Instant;

use pgduet::side::Side;

use crate::cluster;
use crate::rig::Rig;

const ACCOUNTS: &str = "CREATE TABLE accounts (id int PRIMARY KEY, balance int, filler char(84)); \
    INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 100000) i; VACUUM ANALYZE accounts";

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_the_latency_of_a_cycle() {
    let schema = ACCOUNTS.replace("VACUUM ANALYZE accounts", "ANALYZE accounts");
    let rig = Rig::start("latency", &schema).await;
    let client = cluster::open(&rig.config, Side::Old).await;
    let update = "UPDATE public.accounts SET balance = balance + 1 WHERE id = $1 \
        RETURNING pgduet.capture(accounts.tableoid, accounts.id::text)";
    let statement = client.prepare(update).await.expect("prepare");
    let (mut write, mut wait) =
        (hdrhistogram::Histogram::<u64>::new(3).unwrap(), hdrhistogram::Histogram::<u64>::new(3).unwrap());
    for i in 0..4000i32 {
        let begun = Instant::now();
        client.query(&statement, &[&(1 + i * 7919 % 100_000)]).await.expect("write");
        let committed = Instant::now();
        rig.ledger.acked(rig.ledger.committed(1)).await;
        if i >= 500 {
            write.record((committed - begun).as_micros() as u64).unwrap();
            wait.record(committed.elapsed().as_micros() as u64).unwrap();
        }
    }
    for (what, h) in [("commit", write), ("acknowledgement after it", wait)] {
        println!(
            "{what}: p50 {} us, p99 {} us, mean {:.0} us",
            h.value_at_quantile(0.5),
            h.value_at_quantile(0.99),
            h.mean()
        );
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_how_fast_a_backlog_drains() {
    let schema = ACCOUNTS.replace("VACUUM ANALYZE accounts", "ANALYZE accounts");
    let rig = Rig::start("drain", &schema).await;
    rig.barrier().await;
    rig.link.pause().await.expect("pause");
    rig.run(
        "UPDATE public.accounts SET balance = balance + 1 RETURNING pgduet.capture(accounts.tableoid, accounts.id::text)",
    )
    .await;
    rig.link.resume().await.expect("resume");
    let begun = Instant::now();
    rig.barrier().await;
    println!("100,000 touches drained in {:?}", begun.elapsed());
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_what_capture_costs() {
    let schema = ACCOUNTS.replace("VACUUM ANALYZE accounts", "ANALYZE accounts");
    let rig = Rig::start("capture_cost", &schema).await;
    rig.link.stop().await;
    rig.run(
        "CREATE FUNCTION pgduet.capture_unpinned(rel oid, VARIADIC key text[]) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER \
         AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'k', $2); END $$; \
         CREATE FUNCTION pgduet.capture_invoker(rel oid, VARIADIC key text[]) RETURNS void LANGUAGE plpgsql VOLATILE \
         AS $$ BEGIN INSERT INTO pgduet.journal (rel, op, key) VALUES ($1, 'k', $2); END $$; \
         CREATE FUNCTION pgduet.nothing(rel oid, VARIADIC key text[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN END $$",
    )
    .await;
    for round in 0..2 {
        for (what, function) in [
            ("pinned", "capture"),
            ("security definer, not pinned", "capture_unpinned"),
            ("neither", "capture_invoker"),
            ("an empty function", "nothing"),
        ] {
            let begun = Instant::now();
            rig.run(&format!(
                "SELECT count(pgduet.{function}(1::oid, i::text)::text) FROM generate_series(1, 100000) i; TRUNCATE pgduet.journal"
            ))
            .await;
            if round > 0 {
                println!("{what}: {:.2} us a call", begun.elapsed().as_secs_f64() * 10.0);
            }
        }
    }
}
