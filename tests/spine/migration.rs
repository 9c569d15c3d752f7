//! An application's migration: many statements that change the schema, one after the other, on one connection.

use crate::support::Duo;
use crate::support::client::{block_on, connect};

const TABLES: usize = 10;

/// Connections to the database that `old` has counted so far.
fn connections(duo: &Duo) -> usize {
    let count = duo.old.sql("app", "SELECT sessions FROM pg_stat_database WHERE datname = 'app'").expect("statistics");
    count.trim().parse().expect("a count")
}

#[test]
fn a_migration_costs_few_connections_and_its_tables_are_captured_at_once() {
    let duo = Duo::start_with("CREATE TABLE before (id integer PRIMARY KEY)", "shadow: { sample_percent: 0 }");
    duo.dual_write();
    let before = connections(&duo);
    block_on(async {
        let client = connect(duo.proxy.port).await;
        for i in 0..TABLES {
            for sql in [
                format!("CREATE TABLE t{i} (id integer PRIMARY KEY, name text)"),
                format!("CREATE INDEX t{i}_name ON t{i} (name)"),
                format!("ALTER TABLE t{i} ADD COLUMN n integer DEFAULT 0"),
                format!("INSERT INTO t{i} VALUES (1, 'one')"),
                format!("ALTER TABLE t{i} DROP CONSTRAINT t{i}_pkey, ADD PRIMARY KEY (name)"),
                format!("UPDATE t{i} SET n = n + 1 WHERE id = 1"),
            ] {
                client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            }
        }
    });
    duo.expect_equal();
    assert_eq!((duo.count("/uncaptured_total"), duo.count("/link/parked_total")), (0, 0));
    let opened = connections(&duo) - before;
    println!("{opened} connections for {} statements of the schema", 4 * TABLES);
    // A table that is captured from now on is touched once; nothing is opened to read the schemas.
    assert!(opened <= 6 * TABLES, "{opened} connections were opened");
}
