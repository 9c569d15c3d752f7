//! A whole ramp, 0 to 100 in steps of 1, under real sessions on two instances, one of which is restarted on the way.
//!
//! `PGDUET_TEST_KEYS` of the 100,000 keys are read once on each instance, spread over the steps, and some at every step; `PGDUET_TEST_SESSIONS`
//! sessions are open on each instance. The long form: `PGDUET_TEST_KEYS=100000 PGDUET_TEST_SESSIONS=80`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgduet::demo::proxy::Proxy;
use pgduet::routing::{Percent, bucket};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::support::client::{block_on, connect};
use super::support::{Duo, PROGRAM, fail};

/// Of these, some are read in a short run.
const KEYS: usize = 100_000;
/// Read at every step, on both instances.
const WATCHED: usize = 20;
const SCHEMA: &str = "CREATE TABLE place (name text PRIMARY KEY)";
const SETTINGS: &str = "shadow: { sample_percent: 0 }";

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn key(n: usize) -> String {
    format!("user-{n}")
}

/// The side that answers a key's read.
async fn side(client: &Client, n: usize) -> String {
    let sql = format!("/* pgduet_key='{}' */ SELECT name FROM place", key(n));
    let rows = client.simple_query(&sql).await.expect("a read");
    let name = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    name.expect("a row")
}

/// Where these keys are read, by key: shared out among an instance's sessions.
async fn sides(clients: &[Client], keys: &[usize]) -> BTreeMap<usize, String> {
    let share = |at: usize| keys.iter().skip(at).step_by(clients.len()).copied();
    let all = clients.iter().enumerate().map(|(at, client)| async move {
        let mut found = vec![];
        for n in share(at) {
            found.push((n, side(client, n).await));
        }
        found
    });
    join_all(all).await.into_iter().flatten().collect()
}

async fn sessions(port: u16) -> Vec<Client> {
    join_all((0..number("PGDUET_TEST_SESSIONS", 12)).map(|_| connect(port))).await
}

/// How long until every session of an instance answers a read of this key by `new`.
async fn until_in_force(clients: &[Client], key: usize) -> Duration {
    let began = Instant::now();
    let all = clients.iter().map(|client| async move {
        while side(client, key).await != "new" {
            assert!(began.elapsed() < Duration::from_secs(10), "a session does not follow");
        }
    });
    join_all(all).await;
    began.elapsed()
}

/// For each step the first key that it opens.
fn opened_by_each_step() -> Vec<usize> {
    let opens = |step: u16| (0..KEYS).find(|n| bucket(&key(*n)) / 100 == step - 1).expect("a key");
    (1..=100).map(opens).collect()
}

#[test]
fn two_instances_choose_alike_through_a_whole_ramp_and_a_restart() {
    let duo = Duo::start_with(SCHEMA, SETTINGS);
    for server in [&duo.old, &duo.new] {
        server.sql("app", &format!("INSERT INTO place VALUES ('{}')", server.name())).expect("a row");
    }
    duo.dual_write();
    let settings = format!("clients: {{ auth: trust }}\n{SETTINGS}");
    let mut second =
        Proxy::start(Path::new(PROGRAM), &duo.old, &duo.new, &settings).unwrap_or_else(fail("a second proxy"));
    let is_running =
        |admin: pgduet::demo::admin::Admin| admin.status().expect("a status")["link"]["state"] == "running";
    duo.eventually("the second instance follows the link", Duration::from_secs(10), || is_running(second.admin));
    let keys: Vec<usize> = (0..KEYS).step_by(KEYS / number("PGDUET_TEST_KEYS", 2_000).clamp(101, KEYS)).collect();
    let opened = opened_by_each_step();
    let (mut took, mut reads) = (vec![], 0);
    block_on(async {
        let first = sessions(duo.proxy.port).await;
        let mut others = sessions(second.port).await;
        let mut before = BTreeMap::new();
        for step in 0..=100_u16 {
            // Either instance is asked to make the change.
            let asked = if step % 2 == 0 { duo.admin() } else { second.admin };
            asked.read_percent(f64::from(step)).unwrap_or_else(fail("a step"));
            if step > 0 {
                let opened = opened[usize::from(step) - 1];
                let (own, other) = if step % 2 == 0 { (&first, &others) } else { (&others, &first) };
                let elsewhere = until_in_force(other, opened).await;
                // Where it was asked for, it is in force once it was answered: without a second look.
                assert!(sides(own, &vec![opened; own.len()]).await.values().all(|side| side == "new"));
                took.push(elsewhere);
            }
            let asked: Vec<usize> =
                keys.iter().skip(usize::from(step)).step_by(101).chain(&keys[..WATCHED]).copied().collect();
            let (here, there) = (sides(&first, &asked).await, sides(&others, &asked).await);
            assert_eq!(here, there, "the instances differ at {step} %");
            reads += 2 * asked.len();
            let percent = Percent::from_hundredths(step * 100);
            for (n, side) in &here {
                let expected = if percent.opens(bucket(&key(*n))) { "new" } else { "old" };
                assert_eq!(side, expected, "{} at {step} %", key(*n));
                assert!(
                    before.insert(*n, side.clone()).is_none_or(|was| was == "old" || side == "new"),
                    "{n} moved back"
                );
            }
            if step == 50 {
                drop(std::mem::take(&mut others));
                second.terminate().unwrap_or_else(fail("the second proxy's end"));
                second.start_again().unwrap_or_else(fail("the second proxy again"));
                duo.eventually("it follows again", Duration::from_secs(10), || is_running(second.admin));
                others = sessions(second.port).await;
            }
        }
        let alive = first.iter().chain(&others).filter(|client| !client.is_closed()).count();
        assert_eq!(alive, first.len() + others.len(), "a connection was dropped");
        println!(
            "{} sessions on each instance, {} keys, {reads} reads: none moved back, none dropped",
            first.len(),
            keys.len()
        );
    });
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "in force on every session of the other instance after p50 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        at(100)
    );
    assert!(at(50) < Duration::from_millis(100), "a change is not in force in time: {took:?}");
    assert!(at(95) < Duration::from_secs(1), "the other instance has looked, and was not told: {took:?}");
    assert_eq!(duo.count("/reads/fallback_total"), 0);
}

/// Commits of an instance that does not hold the link wait for it all the same, and their session reads its own writes.
#[test]
fn an_instance_that_does_not_hold_the_link_reads_its_own_writes_and_takes_the_link_over() {
    for ack in ["both", "primary"] {
        let schema = "CREATE TABLE notes (id integer PRIMARY KEY, n integer NOT NULL); INSERT INTO notes VALUES (1, 0)";
        let settings = format!("mirror: {{ ack: {ack} }}");
        let mut duo = Duo::start_with(schema, &settings);
        duo.dual_write();
        duo.read_percent(100.0);
        let settings = format!("clients: {{ auth: trust }}\n{settings}");
        let second =
            Proxy::start(Path::new(PROGRAM), &duo.old, &duo.new, &settings).unwrap_or_else(fail("a second proxy"));
        let status = || second.admin.status().expect("a status");
        duo.eventually("it follows the link", Duration::from_secs(10), || status()["link"]["state"] == "running");
        block_on(async {
            let client = connect(second.port).await;
            for n in 1..=40_i32 {
                client.execute("UPDATE notes SET n = $1 WHERE id = 1", &[&n]).await.expect("a write");
                if ack == "both" {
                    let there = duo.new.sql("app", "SELECT n FROM notes WHERE id = 1").expect("a row");
                    assert_eq!(there, n.to_string(), "a commit was acknowledged and is not on both");
                }
                let seen: i32 = client.query_one("SELECT n FROM notes WHERE id = 1", &[]).await.expect("a read").get(0);
                assert_eq!(seen, n, "the session did not see its own write");
            }
            duo.proxy.kill();
            for n in 41..=60_i32 {
                client.execute("UPDATE notes SET n = $1 WHERE id = 1", &[&n]).await.expect("a write");
                let seen: i32 = client.query_one("SELECT n FROM notes WHERE id = 1", &[]).await.expect("a read").get(0);
                assert_eq!(seen, n, "the session did not see its own write");
            }
        });
        second.admin.barrier(Duration::from_secs(60)).unwrap_or_else(fail("the link is not taken over"));
        assert_eq!(duo.on_both("SELECT n FROM notes WHERE id = 1"), "60");
        let link = status()["link"].clone();
        let count = |name: &str| link[name].as_u64().unwrap_or_default();
        let outcomes =
            ["applied_total", "superseded_total", "parked_total", "discarded_total", "lag_entries"].map(count);
        assert_eq!(count("captured_total"), outcomes.iter().sum::<u64>(), "{link}");
        let reads = status()["reads"].clone();
        println!("ack: {ack}: {reads}");
        assert!(ack == "primary" || reads["new_total"].as_u64() >= Some(40), "{reads}");
    }
}
