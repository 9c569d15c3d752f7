//! The proxy or the secondary dies in the middle: nothing acknowledged is missing, nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgduet::demo::cluster::Stop;
use pgduet::demo::pgbench::{Protocol, Script};

use crate::support::client::{block_on, try_connect};
use crate::support::{Duo, seconds};

const CLIENTS: i64 = 8;
const STRIDE: i64 = 1_000_000;
const SCHEMA: &str = "CREATE TABLE tickets (id bigint PRIMARY KEY, made timestamptz DEFAULT clock_timestamp());
                      CREATE TABLE counters (id bigint PRIMARY KEY, n bigint NOT NULL);
                      INSERT INTO counters SELECT i, 0 FROM generate_series(1, 8) i";

/// What one client knows: the tickets it was told are there, and how many increments were reported or may have happened.
#[derive(Default)]
struct Known {
    tickets: Vec<i64>,
    increments: i64,
    doubtful: i64,
}

#[test]
fn what_was_acknowledged_before_a_kill_is_on_both_sides_once() {
    let mut duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    let stop = Arc::new(AtomicBool::new(false));
    let clients = start_clients(duo.proxy.port, &stop);
    for _ in 0..3 {
        wait_for_tickets(&duo, 50);
        duo.proxy.kill();
        duo.proxy.start_again().expect("the proxy again");
    }
    wait_for_tickets(&duo, 50);
    stop.store(true, Ordering::SeqCst);
    let known = clients.join().expect("the clients");
    assert_eq!(duo.status()["phase"], "dual_write", "the durable phase was lost");
    duo.expect_equal();
    for (client, known) in (1..).zip(known) {
        expect_known(&duo, client, &known);
    }
}

fn start_clients(port: u16, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Known>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        block_on(async {
            let clients: Vec<_> =
                (1..=CLIENTS).map(|client| tokio::spawn(work(port, client, Arc::clone(&stop)))).collect();
            let mut known = vec![];
            for client in clients {
                known.push(client.await.expect("a client"));
            }
            known
        })
    })
}

/// Takes tickets and counts, on a new connection whenever the former one breaks.
async fn work(port: u16, client: i64, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    let mut ticket = client * STRIDE;
    while !stop.load(Ordering::SeqCst) {
        let Ok(connection) = try_connect(port).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            ticket += 1;
            if connection.execute("INSERT INTO tickets VALUES ($1)", &[&ticket]).await.is_err() {
                break;
            }
            known.tickets.push(ticket);
            if connection.execute("UPDATE counters SET n = n + 1 WHERE id = $1", &[&client]).await.is_err() {
                known.doubtful += 1;
                break;
            }
            known.increments += 1;
        }
    }
    known
}

/// The load is running and some work was done since this was called.
fn wait_for_tickets(duo: &Duo, more: u64) {
    let count =
        || duo.old.sql("app", "SELECT count(*) FROM tickets").expect("a count").parse::<u64>().expect("a number");
    let target = count() + more;
    duo.eventually("the clients take tickets", Duration::from_secs(30), || count() >= target);
}

fn expect_known(duo: &Duo, client: i64, known: &Known) {
    let sql = format!("SELECT id FROM tickets WHERE id / {STRIDE} = {client} ORDER BY id");
    let present: Vec<i64> = duo.on_both(&sql).lines().map(|id| id.parse().expect("a ticket")).collect();
    let missing: Vec<_> = known.tickets.iter().filter(|ticket| present.binary_search(ticket).is_err()).collect();
    assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
    let counted: i64 = duo.on_both(&format!("SELECT n FROM counters WHERE id = {client}")).parse().expect("a number");
    let possible = known.increments..=known.increments + known.doubtful;
    assert!(possible.contains(&counted), "client {client} counted {possible:?}, the row says {counted}");
}

#[test]
fn a_secondary_that_dies_and_comes_back_costs_no_client_an_error() {
    let mut duo = Duo::start("mirror: { ack_timeout: 1s }");
    duo.pgbench_tables(1);
    duo.dual_write();
    let mut load = duo.load(8, Protocol::Prepared, Script::TpcB);
    load.seconds = seconds() + 4;
    let running = duo.start_load(&load);
    duo.eventually("the load runs", Duration::from_secs(20), || duo.count("/link/captured_total") > 100);
    duo.new.stop(Stop::Kill);
    let captured = duo.count("/link/captured_total");
    duo.eventually("writes go on without the secondary", Duration::from_secs(20), || {
        duo.count("/link/captured_total") > captured + 100
    });
    duo.new.start_again().expect("the secondary again");
    duo.expect_clean(running.finish().expect("pgbench"));
    duo.expect_equal();
}
