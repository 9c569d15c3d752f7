//! What the secondary refuses for good is parked, whatever it calls the reason: no failure of one table stops the others.

use pgduet::link::ledger::LinkState;
use pgduet::side::Side;

use crate::rig::Rig;

const TABLES: &str =
    "CREATE TABLE sound (id int PRIMARY KEY, v int); CREATE TABLE broken (id int PRIMARY KEY, v int UNIQUE)";

fn touch(table: &str, values: &str) -> String {
    format!("INSERT INTO {table} VALUES {values} RETURNING pgduet.capture({table}.tableoid, {table}.id::text)")
}

/// Has `new` refuse to write rows of the broken table, or to delete them.
async fn refuse(rig: &Rig, sqlstate: &str) {
    let function = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS bool LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not here' USING ERRCODE = '{sqlstate}'; END $$"
    );
    rig.on(Side::New, &function).await;
    let check = "ALTER TABLE broken ADD CONSTRAINT refuse CHECK (refuse()) NOT VALID";
    let rule = "CREATE RULE refuse AS ON DELETE TO broken DO ALSO SELECT refuse(); ALTER TABLE broken ENABLE ALWAYS RULE refuse";
    rig.on(Side::New, &format!("{check}; {rule}")).await;
}

#[tokio::test]
async fn a_table_that_cannot_be_written_for_whatever_reason_does_not_stop_the_others() {
    let rig = Rig::start("blame_any", TABLES).await;
    for (i, sqlstate) in ["55000", "XX000", "42501", "HV000", "58P01", "53400", "2F004"].iter().enumerate() {
        refuse(&rig, sqlstate).await;
        rig.run(&touch("broken", &format!("({i}, {i})"))).await;
        rig.run(&touch("sound", &format!("({i}, {i})"))).await;
        rig.equal(&["sound"]).await;
        let parked = rig.primary("SELECT string_agg(table_name || ' ' || sqlstate, ',') FROM pgduet.parked").await;
        assert_eq!(parked, format!("public.broken {sqlstate}"));
        assert_eq!(rig.ledger.state(), LinkState::Running);
        rig.on(Side::New, "ALTER TABLE broken DROP CONSTRAINT refuse; DROP RULE refuse ON broken").await;
        rig.link.retry_parked(&[]).await.expect("retry");
        rig.equal(&["broken"]).await;
    }
}

#[tokio::test]
async fn rows_whose_deletion_is_refused_do_not_stop_those_that_exchange_unique_values() {
    let rig = Rig::start("blame_delete", TABLES).await;
    rig.on(Side::Old, "ALTER TABLE sound ADD UNIQUE (v) DEFERRABLE INITIALLY DEFERRED").await;
    rig.on(Side::New, "ALTER TABLE sound ADD UNIQUE (v)").await;
    rig.run(&touch("sound", "(1, 1), (2, 2)")).await;
    rig.run(&touch("broken", "(1, 1), (2, 2)")).await;
    rig.equal(&["sound", "broken"]).await;
    refuse(&rig, "55000").await;
    let exchange = "UPDATE sound SET v = 3 - v RETURNING pgduet.capture(sound.tableoid, sound.id::text)";
    let remove = "DELETE FROM broken WHERE id = 1 RETURNING pgduet.capture(broken.tableoid, broken.id::text)";
    rig.run(&format!("BEGIN; {exchange}; {remove}; COMMIT")).await;
    rig.equal(&["sound"]).await;
    assert_eq!(rig.primary("SELECT string_agg(table_name, ',') FROM pgduet.parked").await, "public.broken");
}

#[tokio::test]
async fn a_statement_that_needs_a_file_the_secondary_has_not_is_parked() {
    let rig = Rig::start("blame_file", TABLES).await;
    let sql = "CREATE FUNCTION outside() RETURNS int LANGUAGE c AS 'no_such_library', 'outside'";
    rig.run(&format!("SELECT pgduet.capture_statement('d', $x${sql}$x$)")).await;
    rig.run(&touch("sound", "(1, 1)")).await;
    rig.equal(&["sound"]).await;
    assert_eq!(rig.primary("SELECT sqlstate FROM pgduet.parked").await, "58P01");
}

/// Rows of a foreign partition lie on a third server, which both sides may share.
#[tokio::test]
async fn of_a_table_with_a_foreign_partition_its_own_partitions_are_carried() {
    let schema = "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; \
        CREATE TABLE log (a int, t text) PARTITION BY RANGE (a); \
        CREATE FOREIGN TABLE log_far PARTITION OF log FOR VALUES FROM (100) TO (200) SERVER nowhere; \
        CREATE TABLE log_near (t text, a int); ALTER TABLE log ATTACH PARTITION log_near FOR VALUES FROM (0) TO (100); \
        CREATE TABLE log_mid PARTITION OF log FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (a); \
        CREATE TABLE log_mid_1 PARTITION OF log_mid FOR VALUES FROM (200) TO (250)";
    let rig = Rig::start("blame_foreign", schema).await;
    let captured = "RETURNING pgduet.capture_row(tableoid, a::text, t)";
    rig.run(&format!("INSERT INTO log VALUES (1, 'one'), (201, 'two') {captured}")).await;
    rig.run(&format!("INSERT INTO log_near VALUES ('three', 3) {captured}")).await;
    rig.equal(&["log_near", "log_mid_1"]).await;
    rig.run(
        "UPDATE log_near SET t = 'four'; UPDATE log_mid_1 SET t = 'five'; SELECT pgduet.capture_table('log'::regclass)",
    )
    .await;
    rig.run("SELECT pgduet.capture_row('log_far'::regclass, '1', '2')").await;
    rig.equal(&["log_near", "log_mid_1"]).await;
    let counts = rig.ledger.counts();
    assert_eq!((counts.parked, counts.discarded, rig.ledger.state()), (0, 1, LinkState::Running));
}
