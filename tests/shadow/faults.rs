//! Precision and recall: real faults planted among many reads, while everything is written to.

use std::time::Duration;

use pgduet::demo::pgbench::{Protocol, Script};

use super::support::client::{block_on, connect};
use super::support::{Duo, seconds};

/// Faults of each kind; each is read once.
const EACH: i32 = 200;
/// Clients that read at once.
const READERS: i32 = 4;

const SCHEMA: &str = "
    CREATE TABLE facts (id integer PRIMARY KEY, grp integer NOT NULL, v integer NOT NULL, f float8 NOT NULL, n numeric NOT NULL);
    INSERT INTO facts SELECT i, i % 1000, i, sqrt(i), i / 8.0 FROM generate_series(1, 10000) i;
    CREATE TABLE divisors (id integer PRIMARY KEY, v integer NOT NULL);
    INSERT INTO divisors SELECT i, 1 FROM generate_series(1, 10000) i;
    CREATE TABLE members (id integer PRIMARY KEY, grp integer NOT NULL, v integer NOT NULL);
    INSERT INTO members SELECT i, i % 1000, i FROM generate_series(1, 5000) i;
    CREATE TABLE words (grp integer, word text COLLATE \"C\", PRIMARY KEY (grp, word));
    INSERT INTO words SELECT i, w FROM generate_series(1, 1000) i, unnest(array['a', 'B', 'c', 'D']) w;";

/// The statement of each kind of fault, and what plants it on new.
const FAULTS: [(&str, &str); 5] = [
    ("SELECT v, f, n FROM facts WHERE id = $1", "UPDATE facts SET v = v + 1 WHERE id <= 200"),
    ("SELECT id FROM facts WHERE id = $1 + 1000", "DELETE FROM facts WHERE id BETWEEN 1001 AND 1200"),
    (
        "SELECT id, v FROM members WHERE grp = $1",
        "INSERT INTO members SELECT 10000 + i, i, i FROM generate_series(1, 200) i",
    ),
    (
        "SELECT word FROM words WHERE grp = $1 ORDER BY word",
        "ALTER TABLE words ALTER word TYPE text COLLATE \"en-x-icu\"",
    ),
    ("SELECT 100 / v FROM divisors WHERE id = $1", "UPDATE divisors SET v = 0 WHERE id <= 200"),
];

/// Statements over the same tables whose answers do not differ, or only in what they leave open.
const CLEAN: [&str; 8] = [
    "SELECT v, f, n FROM facts WHERE id = $1 + 2000",
    "SELECT sum(f), avg(f), sum(n), count(*) FROM facts WHERE grp = $1 + 300",
    "SELECT id, v FROM members WHERE grp = $1 + 300 ORDER BY grp",
    "SELECT v % 2 AS odd, id FROM members WHERE id > $1 + 300 ORDER BY odd LIMIT 5",
    "SELECT id FROM members WHERE grp = $1 + 300 LIMIT 2",
    "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
    "SELECT sum(abalance) FROM pgbench_accounts WHERE aid <= $1",
    "SELECT bbalance, now() > $1 * interval '1 s' + '2020-01-01'::timestamptz FROM pgbench_branches",
];

/// Reads in all, without those of faults: `PGDUET_TEST_READS`, else few.
fn reads() -> i32 {
    std::env::var("PGDUET_TEST_READS").ok().and_then(|n| n.parse().ok()).unwrap_or(6_000)
}

#[test]
fn planted_faults_are_found_and_nothing_else_is() {
    let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 100, max_queue: 100000, timeout: 60s }");
    duo.pgbench_tables(1);
    duo.dual_write();
    duo.read_percent(50.0);
    for (_, plant) in FAULTS {
        duo.new.sql("app", plant).expect("a fault is planted");
    }
    let mut writes = duo.load(4, Protocol::Prepared, Script::TpcB);
    writes.seconds = seconds() * 3;
    let writing = duo.start_load(&writes);
    block_on(async {
        let readers = (0..READERS).map(|reader| read_all(duo.proxy.port, reader));
        futures_util::future::join_all(readers).await;
    });
    duo.expect_clean(writing.finish().expect("pgbench"));
    let faulty = u64::try_from(EACH).expect("a count") * 5;
    let total = faulty + u64::try_from(reads()).expect("a count");
    let decided = || {
        let shadow = duo.status()["shadow"].clone();
        shadow["compared_total"].as_u64().unwrap_or_default() + shadow["dropped_total"].as_u64().unwrap_or_default()
    };
    duo.eventually("every sample is compared or dropped", Duration::from_secs(300), || decided() >= total);
    let shadow = duo.status()["shadow"].clone();
    let findings = duo.admin().get("/api/findings").expect("findings");
    println!("{total} reads, {faulty} of them faulty: {shadow}");
    let found: Vec<(String, u64)> = findings["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| (f["statement"].as_str().unwrap_or_default().to_owned(), f["mismatched"].as_u64().unwrap_or_default()))
        .collect();
    let each = u64::try_from(EACH).expect("a count");
    assert!(found.len() == FAULTS.len() && found.iter().all(|(_, n)| *n == each), "{found:#?}\n{shadow}");
    assert_eq!(shadow["mismatched_total"], faulty, "{shadow}");
    assert_eq!(shadow["dropped_total"], 0, "{shadow}");
}

/// One client's share of the faults, spread among its share of other reads.
async fn read_all(port: u16, reader: i32) {
    let client = connect(port).await;
    let mut faults = Vec::new();
    for (sql, _) in FAULTS {
        faults.push(client.prepare(sql).await.expect("a statement"));
    }
    let mut clean = Vec::new();
    for sql in CLEAN {
        clean.push(client.prepare(sql).await.expect("a statement"));
    }
    let rounds = EACH / READERS;
    let others = reads() / READERS / rounds;
    for round in 0..rounds {
        let key = reader * rounds + round + 1;
        for statement in &faults {
            // One of the faults is an error, on new.
            let _ = client.query(statement, &[&key]).await;
        }
        for n in 0..others {
            let at = usize::try_from(n).expect("a small number") % clean.len();
            let key: &(dyn tokio_postgres::types::ToSql + Sync) = if at == 7 { &f64::from(1_i32) } else { &key };
            client.query(&clean[at], &[key]).await.expect("a read");
        }
    }
}
