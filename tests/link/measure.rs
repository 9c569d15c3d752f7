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

const TPC_B: &str = "CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88)); \
    CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84)); \
    CREATE TABLE accounts (id int PRIMARY KEY, bid int, balance int, filler char(84)); \
    CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22)); \
    INSERT INTO branches SELECT i, 0, '' FROM generate_series(1, 10) i; INSERT INTO tellers SELECT i, i / 10, 0, '' FROM generate_series(1, 100) i; \
    INSERT INTO accounts SELECT i, 1, 0, '' FROM generate_series(1, 100000) i; ANALYZE";

/// CPU seconds that a process has used.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

/// CPU seconds of the link's two server processes, and of this process.
async fn link_cpu(rig: &Rig) -> [f64; 3] {
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgduet link' AND datname = current_database()";
    [rig.primary(sql).await, rig.secondary(sql).await, "self".into()].map(|pid| cpu_seconds(&pid))
}

/// One client's transactions, for two seconds; returns how many.
async fn tpc_b(rig: &Rig, seed: i32, captured: bool) -> u64 {
    let client = cluster::open(&rig.config, Side::Old).await;
    let returning = |text: &str| if captured { format!(" RETURNING {text}") } else { String::new() };
    let capture = |table: &str, key: &str| returning(&format!("pgduet.capture({table}.tableoid, {table}.{key}::text)"));
    let row = "pgduet.capture_row(history.tableoid, history.aid::text, history.bid::text, history.delta::text, history.filler::text, \
        (pg_catalog.to_json(history.mtime) OPERATOR(pg_catalog.#>>) '{}'), history.tid::text)";
    let texts = [
        format!("UPDATE accounts SET balance = balance + 1 WHERE id = $1{}", capture("accounts", "id")),
        "SELECT balance FROM accounts WHERE id = $1".into(),
        format!("UPDATE tellers SET tbalance = tbalance + 1 WHERE tid = 1 + $1 % 100{}", capture("tellers", "tid")),
        format!("UPDATE branches SET bbalance = bbalance + 1 WHERE bid = 1 + $1 % 10{}", capture("branches", "bid")),
        format!("INSERT INTO history VALUES (1, 1, $1, 1, now(), NULL){}", returning(row)),
    ];
    let mut statements = Vec::new();
    for text in &texts {
        statements.push(client.prepare(text).await.expect("prepare"));
    }
    let (begun, mut done) = (Instant::now(), 0);
    let mut id = seed;
    while begun.elapsed().as_secs() < 4 {
        id = (id.wrapping_mul(7919).wrapping_add(104_729)).rem_euclid(100_000) + 1;
        client.batch_execute("BEGIN").await.expect("begin");
        for statement in &statements {
            client.query(statement, &[&id]).await.expect("statement");
        }
        client.batch_execute("COMMIT").await.expect("commit");
        if captured {
            rig.ledger.acked(rig.ledger.committed(4)).await;
        }
        done += 1;
    }
    done
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measure_throughput_when_commits_wait_for_both() {
    let rig = Rig::start("tpc_b", TPC_B).await;
    rig.barrier().await;
    let wanted = std::env::var("PGDUET_MEASURE_CLIENTS").ok().and_then(|n| n.parse().ok());
    for clients in wanted.map_or(vec![1, 8, 32], |n| vec![n]) {
        let mut figures = Vec::new();
        for captured in [false, true] {
            let all = (0..clients).map(|seed| tpc_b(&rig, seed, captured));
            let before = link_cpu(&rig).await;
            let (cycles, begun) = (rig.ledger.applied(), Instant::now());
            let done: u64 = futures_util::future::join_all(all).await.iter().sum();
            let cycles = (rig.ledger.applied() - cycles) as f64;
            let after = link_cpu(&rig).await;
            let [on_primary, on_secondary, _] = std::array::from_fn(|i| (after[i] - before[i]) * 1e6 / cycles);
            let cycles = cycles / begun.elapsed().as_secs_f64();
            figures.push(done as f64 / begun.elapsed().as_secs_f64());
            if captured {
                let (direct, both) = (figures[0], figures[1]);
                println!("{clients} clients: {direct:.0} direct, {both:.0} on both (x {:.2})", both / direct);
                println!(
                    "  {cycles:.0} cycles/s of {on_primary:.0} us CPU on the primary, {on_secondary:.0} us on the secondary"
                );
            }
        }
    }
    rig.barrier().await;
}
