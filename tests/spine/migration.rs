//! An application's migration: many statements that change the schema, one after the other, on one connection.

use std::time::Duration;

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

const AUDITED: &str = "CREATE TABLE audited (id integer PRIMARY KEY, v integer); \
    CREATE FUNCTION tenfold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v * 10; RETURN NEW; END $$; \
    CREATE TRIGGER tenfold BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION tenfold()";

/// By what its session knows, triggers capture the write; when its turn comes, they are silent.
fn a_write_waits_for_the_statement_that_silences_the_triggers(capture: &str) {
    let duo = Duo::start_with(AUDITED, &format!("mirror: {{ capture: {capture} }}"));
    duo.dual_write();
    for round in 0..4 {
        block_on(async {
            let (owner, writer) = (connect(duo.proxy.port).await, connect(duo.proxy.port).await);
            owner
                .batch_execute("BEGIN; ALTER TABLE audited DISABLE TRIGGER USER")
                .await
                .expect("triggers to be silenced");
            let insert = format!("INSERT INTO audited VALUES ({round}, {round})");
            let writing = tokio::spawn(async move { writer.batch_execute(&insert).await });
            let waits = async {
                while waiting(&duo) != "1" {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), waits).await.expect("the write waits");
            owner.batch_execute("COMMIT").await.expect("the triggers are silent");
            writing.await.expect("a task").expect("a write");
            owner.batch_execute("ALTER TABLE audited ENABLE TRIGGER USER").await.expect("they are loud again");
        });
        duo.expect_equal();
        assert_eq!(duo.on_both(&format!("SELECT v FROM audited WHERE id = {round}")), round.to_string());
    }
    duo.sql("INSERT INTO audited VALUES (100, 1)");
    duo.expect_equal();
}

fn waiting(duo: &Duo) -> String {
    duo.old.sql("app", "SELECT count(*) FROM pg_locks WHERE NOT granted").expect("the locks")
}

#[test]
fn a_write_that_waited_while_triggers_were_silenced_is_carried() {
    a_write_waits_for_the_statement_that_silences_the_triggers("auto");
}

#[test]
fn a_write_that_waited_while_triggers_were_silenced_is_carried_where_all_is_captured_by_triggers() {
    a_write_waits_for_the_statement_that_silences_the_triggers("trigger");
}
