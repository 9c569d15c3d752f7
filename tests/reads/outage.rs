//! `new` frozen, killed, or stuck at 100 % reads: clients do not notice.

use std::time::{Duration, Instant};

use pgduet::demo::cluster::Stop;

use super::raw::Raw;
use super::support::Duo;

const SCHEMA: &str = "CREATE TABLE place (name text PRIMARY KEY)";
const PLACE: &str = "SELECT name FROM place";

fn duo(settings: &str) -> Duo {
    let duo = Duo::start_with(SCHEMA, settings);
    for side in [&duo.old, &duo.new] {
        side.sql("app", &format!("INSERT INTO place VALUES ('{}')", side.name())).expect("a row");
    }
    duo.dual_write();
    duo.read_percent(100.0);
    duo
}

fn name(client: &mut Raw) -> String {
    let answer = client.ask(PLACE);
    assert_eq!((answer.len(), answer.last().map(String::as_str)), (4, Some("Z I")), "{answer:?}");
    answer.get(1).cloned().unwrap_or_default()
}

#[test]
fn reads_on_a_frozen_secondary_are_answered_by_the_primary_and_return() {
    let duo = duo("reads: { probe_timeout: 1s }");
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connect(duo.proxy.port)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(name(client), "D new"));
    duo.new.freeze();
    let began = Instant::now();
    // One that has a connection there, and one that would have to make one.
    clients.push(Raw::connect(duo.proxy.port));
    for client in &mut clients {
        client.query(PLACE).send();
    }
    for client in &mut clients {
        let answer: Vec<String> = client.until_ready().into_iter().map(super::raw::short).collect();
        assert_eq!(answer, ["T", "D old", "C SELECT 1", "Z I"]);
    }
    assert!(began.elapsed() < Duration::from_secs(8), "the clients waited for {:?}", began.elapsed());
    assert_eq!(duo.status()["reads"]["withdrawn"], "down");
    let before = duo.count("/reads/fallback_total");
    clients.iter_mut().for_each(|client| assert_eq!(name(client), "D old"));
    assert_eq!(duo.count("/reads/fallback_total"), before, "a withdrawn read was tried again");
    duo.new.thaw();
    duo.eventually("reads return", Duration::from_secs(20), || name(&mut clients[0]) == "D new");
    clients.iter_mut().for_each(|client| assert_eq!(name(client), "D new"));
}

#[test]
fn reads_of_a_killed_secondary_fail_no_client() {
    let mut duo = duo("");
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connect(duo.proxy.port)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(name(client), "D new"));
    assert_eq!(clients[1].ask("BEGIN").last().map(String::as_str), Some("Z T"));
    assert_eq!(clients[1].ask(PLACE), ["T", "D new", "C SELECT 1", "Z T"]);
    assert_eq!(clients[2].ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), ["C BEGIN", "Z T"]);
    assert_eq!(clients[2].ask(PLACE), ["T", "D new", "C SELECT 1", "Z T"]);
    duo.new.stop(Stop::Immediate);
    assert_eq!(name(&mut clients[0]), "D old");
    assert_eq!(clients[1].ask(PLACE), ["T", "D old", "C SELECT 1", "Z T"]);
    assert_eq!(clients[1].ask("COMMIT"), ["C COMMIT", "Z I"]);
    // Its snapshot is lost: it fails as a transaction does that cannot be serialized, and may be retried.
    let lost = clients[2].ask(PLACE);
    assert!(lost == ["E 40001", "Z E"] || lost == ["E 25P02", "Z E"], "{lost:?}");
    assert_eq!(clients[2].ask("COMMIT"), ["C ROLLBACK", "Z I"]);
    clients.iter_mut().for_each(|client| assert_eq!(name(client), "D old"));
    duo.new.start_again().expect("the server again");
    duo.eventually("reads return", Duration::from_secs(30), || name(&mut clients[0]) == "D new");
}

#[test]
fn a_read_that_is_stuck_alone_is_answered_by_the_primary() {
    let duo = duo("reads: { first_byte_timeout: 500ms }");
    let mut client = Raw::connect(duo.proxy.port);
    let mut lock = Raw::connect(duo.new.port());
    lock.ask("BEGIN");
    lock.ask("LOCK TABLE place IN ACCESS EXCLUSIVE MODE");
    assert_eq!(name(&mut client), "D old");
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = 'SELECT name FROM place'";
    duo.eventually("what was given up is cancelled on new", Duration::from_secs(10), || {
        duo.new.sql("app", waiting).expect("a count") == "0"
    });
    assert_eq!(duo.status()["reads"]["withdrawn"], serde_json::Value::Null);
    lock.ask("ROLLBACK");
    assert_eq!(name(&mut client), "D new");
}
