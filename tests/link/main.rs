//! The link on real servers: captures are called by hand, so that what is tested is the carrier alone.

mod blame;
mod cluster;
mod ddl;
mod loud;
mod measure;
mod opaque;
mod positions;
mod rig;
mod triggers;
mod types;

use std::sync::Arc;
use std::time::Duration;

use pgduet::link::ledger::LinkState;
use pgduet::side::Side;
use rig::Rig;

const ACCOUNTS: &str = "CREATE TABLE accounts (id int PRIMARY KEY, balance int, note text)";

fn touch(sql: &str) -> String {
    format!("{sql} RETURNING pgduet.capture(accounts.tableoid, accounts.id::text)")
}

#[tokio::test]
async fn what_was_committed_is_carried_and_what_was_rolled_back_is_nowhere() {
    let rig = Rig::start("committed", ACCOUNTS).await;
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, 'x' FROM generate_series(1, 10) i")).await;
    rig.run(&format!("BEGIN; {}; ROLLBACK", touch("UPDATE accounts SET balance = 1"))).await;
    rig.run(&format!(
        "BEGIN; SAVEPOINT a; {}; ROLLBACK TO a; {}; COMMIT",
        touch("UPDATE accounts SET balance = 2 WHERE id = 1"),
        touch("UPDATE accounts SET balance = 3 WHERE id = 2")
    ))
    .await;
    rig.run(&touch("DELETE FROM accounts WHERE id = 10")).await;
    rig.run(&touch("INSERT INTO accounts VALUES (3, 0, '') ON CONFLICT (id) DO UPDATE SET note = NULL")).await;
    rig.equal(&["accounts"]).await;
    let carried = rig.secondary("SELECT string_agg(id || ':' || balance, ' ' ORDER BY id) FROM accounts").await;
    assert_eq!(carried, "1:0 2:3 3:0 4:0 5:0 6:0 7:0 8:0 9:0");
}

/// PostgreSQL promises no order without ORDER BY; clients rely on it all the same.
#[tokio::test]
async fn new_rows_lie_on_the_secondary_in_the_order_in_which_they_were_written() {
    let rig = Rig::start("row_order", ACCOUNTS).await;
    // The second time the table is hot.
    for first in [0, 2_000] {
        let rows =
            format!("INSERT INTO accounts SELECT {first} + (i * 7919) % 1009, i, 'x' FROM generate_series(1, 300) i");
        rig.run(&touch(&rows)).await;
        rig.equal(&["accounts"]).await;
    }
    let order = "SELECT string_agg(id::text, ' ' ORDER BY ctid) FROM accounts";
    assert_eq!(rig.secondary(order).await, rig.primary(order).await);
}

#[tokio::test]
async fn concurrent_writers_of_hot_rows_end_in_the_same_order_on_both() {
    let rig = Rig::start("hot_rows", "CREATE TABLE accounts (id int PRIMARY KEY, list text NOT NULL DEFAULT '')").await;
    rig.run(&touch("INSERT INTO accounts SELECT generate_series(1, 3)")).await;
    let writers = (0..8).map(|writer| {
        let config = rig.config.clone();
        tokio::spawn(async move {
            let connection = cluster::open(&config, Side::Old).await;
            for i in 0..60 {
                let id = 1 + (writer + i) % 3;
                let sql = touch(&format!("UPDATE accounts SET list = list || ' {writer}.{i}' WHERE id = {id}"));
                let end = if i % 7 == 0 { "ROLLBACK" } else { "COMMIT" };
                connection.batch_execute(&format!("BEGIN; {sql}; {end}")).await.expect("write");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writer");
    }
    rig.equal(&["accounts"]).await;
}

#[tokio::test]
async fn an_acknowledged_commit_can_be_read_on_the_secondary() {
    let rig = Rig::start("acknowledged", ACCOUNTS).await;
    let reader = cluster::open(&rig.config, Side::New).await;
    for id in 1..=100 {
        rig.run(&touch(&format!("INSERT INTO accounts VALUES ({id}, 0, '')"))).await;
        let cycle = rig.ledger.committed(1);
        rig.bounded(rig.ledger.acked(cycle)).await;
        let found = reader.query_one("SELECT count(*) FROM accounts WHERE id = $1", &[&id]).await.expect("read");
        assert_eq!(found.get::<_, i64>(0), 1);
    }
    rig.equal(&["accounts"]).await;
    let counts = rig.ledger.counts();
    assert_eq!((counts.captured, counts.applied, counts.queued), (100, 100, 0));
}

#[tokio::test]
async fn a_forged_touch_is_parked_and_the_others_are_carried() {
    let rig = Rig::start("forged", ACCOUNTS).await;
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 20) i")).await;
    rig.run("SELECT pgduet.capture('accounts'::regclass, 'garbage''; DROP TABLE accounts')").await;
    rig.run("SELECT pgduet.capture(4294967295, '1')").await;
    rig.run("SELECT pgduet.capture('accounts'::regclass, NULL)").await;
    rig.run("SELECT pgduet.capture('accounts'::regclass, '1', '2')").await;
    rig.run(&touch("UPDATE accounts SET balance = 5")).await;
    rig.equal(&["accounts"]).await;
    let parked = rig
        .primary("SELECT string_agg(table_name || ' ' || sqlstate, ', ' ORDER BY sqlstate) FROM pgduet.parked")
        .await;
    assert_eq!(parked, "public.accounts 22P02");
    assert_eq!((rig.ledger.counts().parked, rig.ledger.counts().discarded), (1, 1));
    assert_eq!(rig.ledger.state(), LinkState::Running);
}

#[tokio::test]
async fn a_row_that_the_secondary_refuses_is_parked_and_a_retry_brings_it() {
    let rig = Rig::start("refused", ACCOUNTS).await;
    rig.on(Side::New, "ALTER TABLE accounts ADD CONSTRAINT small CHECK (balance < 100)").await;
    rig.run(&touch("INSERT INTO accounts SELECT i, i * 10, '' FROM generate_series(1, 12) i")).await;
    rig.barrier().await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM accounts").await, "9");
    assert_eq!(rig.primary("SELECT count(*)::text FROM pgduet.parked WHERE sqlstate = '23514'").await, "3");
    assert_eq!(rig.primary("SELECT state FROM pgduet.tables WHERE table_name = 'accounts'").await, "diverged");
    rig.on(Side::New, "ALTER TABLE accounts DROP CONSTRAINT small").await;
    assert_eq!(rig.link.retry_parked(&[]).await.expect("retry"), 3);
    rig.equal(&["accounts"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn rows_that_exchange_unique_values_are_carried() {
    let schema = "CREATE TABLE accounts (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    let rig = Rig::start_differing("exchange", schema, &schema.replace("DEFERRABLE INITIALLY DEFERRED", "")).await;
    rig.run(&touch("INSERT INTO accounts SELECT i, i FROM generate_series(1, 50) i")).await;
    rig.barrier().await;
    rig.run(&touch("UPDATE accounts SET place = 51 - place")).await;
    rig.run(&touch("DELETE FROM accounts WHERE id = 7")).await;
    rig.run(&touch("UPDATE accounts SET place = 44 WHERE id = 8")).await;
    rig.equal(&["accounts"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn tables_without_a_key_receive_each_row_once_and_are_carried_whole_when_changed() {
    let rig = Rig::start("keyless", "CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), n int, t text)").await;
    let insert = "INSERT INTO log (n, t) SELECT i, NULLIF('NULL', CASE WHEN i > 2 THEN 'NULL' END) FROM generate_series(1, 4) i \
        RETURNING pgduet.capture_row(log.tableoid, to_json(log.at) #>> '{}', log.n::text, log.t)";
    rig.run(insert).await;
    rig.run(insert).await;
    rig.equal(&["log"]).await;
    rig.run("BEGIN; UPDATE log SET n = n + 1 WHERE n < 3; SELECT pgduet.capture_table('log'::regclass); COMMIT").await;
    rig.run(insert).await;
    rig.equal(&["log"]).await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM log").await, "12");
}

#[tokio::test]
async fn children_that_a_cascade_changed_are_carried() {
    let schema = "CREATE TABLE accounts (id int PRIMARY KEY, parent int REFERENCES accounts ON DELETE CASCADE); \
        CREATE TABLE cards (id int PRIMARY KEY, account int REFERENCES accounts ON DELETE CASCADE); \
        CREATE TABLE notes (id int PRIMARY KEY, card int REFERENCES cards ON DELETE SET NULL); \
        CREATE TABLE marks (account int REFERENCES accounts ON DELETE CASCADE, t text)";
    let rig = Rig::start("cascade", schema).await;
    rig.run(&touch("INSERT INTO accounts SELECT i, NULLIF(i - 1, 0) FROM generate_series(1, 200) i")).await;
    rig.run("INSERT INTO cards SELECT i, i FROM generate_series(1, 200) i RETURNING pgduet.capture(cards.tableoid, cards.id::text)").await;
    rig.run("INSERT INTO notes SELECT i, i FROM generate_series(1, 200) i RETURNING pgduet.capture(notes.tableoid, notes.id::text)").await;
    rig.run("INSERT INTO marks SELECT i, 'm' FROM generate_series(1, 200) i RETURNING pgduet.capture_row(marks.tableoid, marks.account::text, marks.t)").await;
    rig.equal(&["accounts", "cards", "notes", "marks"]).await;
    rig.run(&touch("DELETE FROM accounts WHERE id = 100")).await;
    rig.equal(&["accounts", "cards", "notes", "marks"]).await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM accounts").await, "99");
    assert_eq!(rig.secondary("SELECT count(*)::text FROM notes WHERE card IS NULL").await, "101");
}

#[tokio::test]
async fn without_special_rights_parents_and_children_are_carried_in_an_order_that_holds() {
    let schema = "CREATE TABLE accounts (id int PRIMARY KEY, place int UNIQUE); \
        CREATE TABLE cards (id int PRIMARY KEY, account int NOT NULL REFERENCES accounts); \
        CREATE TABLE notes (id int PRIMARY KEY, card int REFERENCES cards ON DELETE CASCADE)";
    let config = cluster::Servers::shared().database_of_plain_user("plain").await;
    let mut prepared = Rig::prepare_in(config, schema, schema).await;
    Arc::get_mut(&mut prepared.config).expect("unshared").link.chunk = 30;
    let rig = prepared.go().await;
    let cards = "RETURNING pgduet.capture(cards.tableoid, cards.id::text)";
    let notes = "RETURNING pgduet.capture(notes.tableoid, notes.id::text)";
    for round in 0..5 {
        let (from, to) = (round * 20, round * 20 + 19);
        rig.run(&format!(
            "BEGIN; {}; INSERT INTO cards SELECT i, i FROM generate_series({from}, {to}) i {cards}; \
             INSERT INTO notes SELECT i, i FROM generate_series({from}, {to}) i {notes}; COMMIT",
            touch(&format!("INSERT INTO accounts SELECT i, i FROM generate_series({from}, {to}) i"))
        ))
        .await;
    }
    rig.equal(&["accounts", "cards", "notes"]).await;
    rig.run(&format!(
        "BEGIN; DELETE FROM cards WHERE id < 5 {cards}; {}; COMMIT",
        touch("DELETE FROM accounts WHERE id < 5")
    ))
    .await;
    rig.equal(&["accounts", "cards", "notes"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn a_row_that_moves_between_partitions_is_carried() {
    let schema = "CREATE TABLE accounts (id int, region text, balance int, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE accounts_a PARTITION OF accounts FOR VALUES IN ('a'); \
        CREATE TABLE accounts_b PARTITION OF accounts FOR VALUES IN ('b') PARTITION BY RANGE (id); \
        CREATE TABLE accounts_b1 PARTITION OF accounts_b FOR VALUES FROM (0) TO (1000)";
    let rig = Rig::start("partitions", schema).await;
    let capture = "RETURNING pgduet.capture(accounts.tableoid, accounts.id::text, accounts.region)";
    rig.run(&format!("INSERT INTO accounts SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, 0 FROM generate_series(1, 20) i {capture}")).await;
    rig.run(&format!("UPDATE accounts SET balance = 1 WHERE id < 9 {capture}")).await;
    rig.run(&format!("DELETE FROM accounts WHERE id > 15 {capture}")).await;
    rig.equal(&["accounts"]).await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM accounts_b1").await, "8");
}

#[tokio::test]
async fn a_carrier_killed_at_any_moment_carries_each_touch_once() {
    let schema = "CREATE TABLE accounts (id int PRIMARY KEY, balance int); CREATE TABLE log (n int)";
    let rig = Rig::start("killed", schema).await;
    let config = rig.config.clone();
    let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let connection = cluster::open(&config, Side::Old).await;
        let mut written = 0;
        while ended.try_recv().is_err() {
            let sql = format!(
                "BEGIN; INSERT INTO accounts VALUES ({}, {written}) ON CONFLICT (id) DO UPDATE SET balance = {written} \
                 RETURNING pgduet.capture(accounts.tableoid, accounts.id::text); \
                 INSERT INTO log VALUES ({written}) RETURNING pgduet.capture_row(log.tableoid, log.n::text); COMMIT",
                written % 17
            );
            connection.batch_execute(&sql).await.expect("write");
            written += 1;
        }
        written
    });
    for kill in 0..60 {
        tokio::time::sleep(Duration::from_micros(500 + 937 * (kill % 23))).await;
        rig.link.start(Side::Old, false).await.expect("start again");
        // Every third one may come as far as a cycle, so that the next dies in one.
        if kill % 3 == 0 {
            rig.barrier().await;
        }
    }
    end.send(()).expect("the writer writes");
    let written: i32 = writer.await.expect("writer");
    rig.equal(&["accounts", "log"]).await;
    let log = rig.secondary("SELECT count(*) || ' ' || count(DISTINCT n) FROM log").await;
    assert_eq!(log, format!("{written} {written}"));
}

#[tokio::test]
async fn aligned_snapshots_show_equal_data_while_others_write() {
    let rig = Rig::start("aligned", ACCOUNTS).await;
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 100) i")).await;
    let config = rig.config.clone();
    let writer = tokio::spawn(async move {
        let connection = cluster::open(&config, Side::Old).await;
        for i in 0.. {
            let id = 1 + (i * 7) % 100;
            let sql = touch(&format!("UPDATE accounts SET balance = balance + 1 WHERE id IN ({id}, 101 - {id})"));
            if connection.batch_execute(&sql).await.is_err() {
                return;
            }
        }
    });
    let old = cluster::open(&rig.config, Side::Old).await;
    let new = cluster::open(&rig.config, Side::New).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..40 {
        let aligned = rig.link.align(Duration::from_secs(10)).await.expect("a pair");
        aligned.open(&old, &new).await.expect("both open");
        let on_old = rig::contents(&old, "accounts").await;
        assert_eq!(on_old, rig::contents(&new, "accounts").await);
        seen.insert(on_old);
        old.batch_execute("ROLLBACK").await.expect("end");
        new.batch_execute("ROLLBACK").await.expect("end");
    }
    writer.abort();
    assert!(seen.len() > 10, "the writer stood still: {} states", seen.len());
    rig.equal(&["accounts"]).await;
}

#[tokio::test]
async fn a_large_transaction_is_carried_in_chunks() {
    let mut rig = Rig::prepare("large", ACCOUNTS, ACCOUNTS).await;
    Arc::get_mut(&mut rig.config).expect("unshared").link.chunk = 5_000;
    let rig = rig.go().await;
    rig.run(&touch("INSERT INTO accounts SELECT i, i, repeat('x', 50) FROM generate_series(1, 200000) i")).await;
    rig.equal(&["accounts"]).await;
    rig.run(&touch("UPDATE accounts SET balance = -balance WHERE id % 2 = 0")).await;
    rig.run(&touch("DELETE FROM accounts WHERE id % 3 = 0")).await;
    rig.equal(&["accounts"]).await;
}

#[tokio::test]
async fn a_long_journal_is_never_read_from_end_to_end_by_a_cycle() {
    let mut rig = Rig::prepare("long_journal", ACCOUNTS, ACCOUNTS).await;
    // What was carried stays in the journal.
    Arc::get_mut(&mut rig.config).expect("unshared").link.clean_up = Duration::from_secs(3600);
    let rig = rig.go().await;
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 20000) i")).await;
    rig.barrier().await;
    let scans = "SELECT (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'journal')::text";
    rig.run("SELECT pg_stat_reset()").await;
    for i in 0..30 {
        rig.run(&touch(&format!("UPDATE accounts SET balance = {i} WHERE id = {i}"))).await;
        rig.barrier().await;
    }
    // Statistics of another session's transactions arrive with a delay.
    rig.until(Side::Old, "SELECT idx_scan > 0 FROM pg_stat_user_tables WHERE relname = 'journal'").await;
    assert_eq!(rig.primary(scans).await, "0");
}

#[tokio::test]
async fn carried_touches_are_removed_and_a_full_journal_detaches_loudly() {
    let mut rig = Rig::prepare("journal", ACCOUNTS, ACCOUNTS).await;
    let config = Arc::get_mut(&mut rig.config).expect("unshared");
    config.link.clean_up = Duration::from_millis(50);
    config.journal.max_bytes = 4 << 20;
    let rig = rig.go().await;
    rig.run("INSERT INTO pgduet.tables VALUES ('public', 'accounts', 'assumed', now(), '{}')").await;
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1, 1000) i")).await;
    rig.equal(&["accounts"]).await;
    rig.until(Side::Old, "SELECT count(*) = 0 FROM pgduet.journal").await;
    rig.link.pause().await.expect("pause");
    rig.run(&touch("INSERT INTO accounts SELECT i, 0, '' FROM generate_series(1001, 100000) i")).await;
    rig.link.resume().await.expect("resume");
    rig.state(LinkState::Detached).await;
    rig.until(Side::Old, "SELECT (SELECT count(*) FROM pgduet.journal) = 0 AND EXISTS (SELECT 1 FROM pgduet.tables WHERE state = 'stale')")
        .await;
    assert!(rig.link.barrier(Duration::from_secs(1)).await.is_err());
    // A restart does not forget it.
    rig.link.start(Side::Old, false).await.expect("start");
    rig.state(LinkState::Detached).await;
}

#[tokio::test]
async fn a_secondary_that_hangs_degrades_the_link_once_and_it_recovers() {
    let mut rig = Rig::prepare("hangs", ACCOUNTS, ACCOUNTS).await;
    Arc::get_mut(&mut rig.config).expect("unshared").mirror.ack_timeout = Duration::from_millis(300);
    let rig = rig.go().await;
    rig.run(&touch("INSERT INTO accounts VALUES (1, 0, '')")).await;
    rig.equal(&["accounts"]).await;
    let blocker = cluster::open(&rig.config, Side::New).await;
    blocker.batch_execute("BEGIN; LOCK TABLE accounts").await.expect("lock");
    rig.run(&touch("UPDATE accounts SET balance = 1")).await;
    let wait = rig.ledger.acked(rig.ledger.committed(1));
    rig.bounded(wait).await;
    assert_eq!(rig.ledger.state(), LinkState::Degraded);
    assert!(!rig.ledger.holds_commits());
    blocker.batch_execute("ROLLBACK").await.expect("unlock");
    rig.state(LinkState::Running).await;
    rig.equal(&["accounts"]).await;
}

#[tokio::test]
async fn a_server_that_is_not_the_markers_primary_detaches_the_link() {
    let rig = Rig::prepare("restored", ACCOUNTS, ACCOUNTS).await.go().await;
    rig.barrier().await;
    rig.link.stop().await;
    rig.on(Side::New, "UPDATE pgduet.applied SET system_identifier = '42'").await;
    rig.link.start(Side::Old, false).await.expect("start");
    rig.state(LinkState::Detached).await;
    rig.link.start(Side::Old, true).await.expect("start anew");
    rig.barrier().await;
}

#[tokio::test]
async fn nothing_is_left_after_an_uninstall() {
    let rig = Rig::start("uninstall", ACCOUNTS).await;
    rig.barrier().await;
    rig.link.stop().await;
    for side in Side::BOTH {
        let connection = cluster::open(&rig.config, side).await;
        pgduet::store::schema::uninstall(&connection).await.expect("uninstall");
        assert_eq!(pgduet::store::control::read(&connection).await.expect("read"), None);
        let left =
            "SELECT count(*) FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid WHERE n.nspname = 'pgduet'";
        assert_eq!(connection.query_one(left, &[]).await.expect("count").get::<_, i64>(0), 0);
    }
}
