//! Concurrent appends to a few hot rows: both servers end with the order in which the primary committed them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::client::{block_on, connect};
use crate::support::{Duo, seconds};

const CLIENTS: i64 = 16;
const LISTS: i32 = 3;
/// Client 7's item 12 is 7,000,012.
const STRIDE: i64 = 1_000_000;

#[test]
fn lists_that_sixteen_clients_append_to_have_one_order() {
    let schema = "CREATE TABLE lists (id integer PRIMARY KEY, items bigint[] NOT NULL);
                  INSERT INTO lists SELECT i, '{}' FROM generate_series(0, 2) i";
    let duo = Duo::start_with(schema, "");
    duo.dual_write();
    let acknowledged = block_on(append_from_all(duo.proxy.port));
    duo.expect_equal();
    for list in 0..LISTS {
        let items = duo.on_both(&format!("SELECT array_to_string(items, ' ') FROM lists WHERE id = {list}"));
        let items: Vec<i64> = items.split_whitespace().map(|item| item.parse().expect("an item")).collect();
        expect_in_order(&items, |client| {
            acknowledged[&client].iter().copied().filter(|item| list_of(*item) == list).collect()
        });
    }
}

fn list_of(item: i64) -> i32 {
    i32::try_from(item % i64::from(LISTS)).expect("a small number")
}

async fn append_from_all(port: u16) -> HashMap<i64, Vec<i64>> {
    let clients = (1..=CLIENTS).map(|client| tokio::spawn(append(port, client)));
    let mut acknowledged = HashMap::new();
    for (client, task) in (1..).zip(clients.collect::<Vec<_>>()) {
        acknowledged.insert(client, task.await.expect("a client"));
    }
    acknowledged
}

async fn append(port: u16, client: i64) -> Vec<i64> {
    let connection = connect(port).await;
    let append =
        connection.prepare("UPDATE lists SET items = items || $1::bigint WHERE id = $2").await.expect("prepare");
    let end = Instant::now() + Duration::from_secs(seconds().into());
    let mut done = vec![];
    while Instant::now() < end {
        let item = client * STRIDE + i64::try_from(done.len()).expect("a small number");
        let rows = connection.execute(&append, &[&item, &list_of(item)]).await.expect("an append");
        assert_eq!(rows, 1);
        done.push(item);
    }
    done
}

/// A client's items stand in the order in which that client appended them, each once, none missing.
fn expect_in_order(items: &[i64], acknowledged: impl Fn(i64) -> Vec<i64>) {
    for client in 1..=CLIENTS {
        let mine: Vec<i64> = items.iter().copied().filter(|item| item / STRIDE == client).collect();
        assert_eq!(mine, acknowledged(client), "client {client}");
    }
}
