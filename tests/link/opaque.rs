//! What a statement changes out of sight: found by the server's own counters and locks, within the transaction.

use pgduet::side::Side;

use crate::cluster::open;
use crate::rig::Rig;

const TABLES: &str = "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int); \
    CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); \
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
    CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (more int) INHERITS (parent); \
    INSERT INTO a SELECT i, 0 FROM generate_series(1, 5) i; INSERT INTO b SELECT i, 0 FROM generate_series(1, 5) i";

/// What the transaction has noted so far, in the order of names.
const NOTED: &str = "SELECT coalesce(string_agg(format('%s %s', rel::regclass, op), ', ' ORDER BY rel::regclass::text), 'nothing') \
    FROM pgduet.journal WHERE xid = pg_current_xact_id_if_assigned() AND op <> 'k'";

/// Runs the statements in one transaction, the opaque one between two looks, and says what was noted.
async fn noted(rig: &Rig, before: &str, opaque: &str) -> String {
    rig.run(&format!("BEGIN; {before}; SELECT pgduet.capture_before(); {opaque}; SELECT pgduet.capture_changed()"))
        .await;
    let noted = rig.primary(NOTED).await;
    rig.run("COMMIT").await;
    noted
}

#[tokio::test]
async fn what_a_block_of_code_changes_is_touched_and_nothing_else() {
    let rig = Rig::start("opaque_block", TABLES).await;
    let captured = "UPDATE b SET v = 1 RETURNING pgduet.capture(b.tableoid, b.id::text)";
    let cases = [
        ("DO $$ BEGIN UPDATE a SET v = v + 1; END $$", "a T"),
        ("DO $$ BEGIN PERFORM count(*) FROM a; END $$", "nothing"),
        ("DO $$ BEGIN INSERT INTO p VALUES (3), (13); END $$", "p1 T, p2 T"),
        ("DO $$ BEGIN UPDATE p SET id = 4 WHERE id = 13; END $$", "p1 T, p2 T"),
        ("DO $$ BEGIN INSERT INTO child VALUES (1, 2); UPDATE parent SET id = 2; END $$", "child T"),
        ("DO $$ BEGIN EXECUTE 'TRUNCATE a'; END $$", "a E"),
        ("DO $$ BEGIN EXECUTE 'TRUNCATE p'; END $$", "p1 E, p2 E"),
        ("DO $$ BEGIN DELETE FROM b; RAISE EXCEPTION 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$", "b T"),
    ];
    for (opaque, wanted) in cases {
        assert_eq!(noted(&rig, captured, opaque).await, wanted, "{opaque}");
    }
    rig.equal(&["a", "b", "p", "parent", "child"]).await;
}

#[tokio::test]
async fn a_table_truncated_after_rows_came_is_touched_again() {
    let rig = Rig::start("opaque_truncate", TABLES).await;
    let before = "LOCK TABLE a; INSERT INTO a VALUES (9, 9) RETURNING pgduet.capture(a.tableoid, a.id::text)";
    assert_eq!(noted(&rig, before, "DO $$ BEGIN NULL; END $$").await, "nothing");
    let before = "ALTER TABLE a ALTER v SET DEFAULT 1";
    assert_eq!(noted(&rig, before, "DO $$ BEGIN EXECUTE 'TRUNCATE a'; END $$").await, "a E");
    let before = "TRUNCATE a; SELECT pgduet.capture_table('a'::regclass)";
    assert_eq!(noted(&rig, before, "DO $$ BEGIN NULL; END $$").await, "a t");
    rig.equal(&["a"]).await;
}

#[tokio::test]
async fn a_table_is_touched_once_in_a_transaction_and_again_after_a_rollback_to_a_savepoint() {
    let rig = Rig::start("opaque_once", TABLES).await;
    let again = "DO $$ BEGIN UPDATE a SET v = v + 1; END $$; SELECT pgduet.capture_changed(); UPDATE a SET v = v + 1";
    assert_eq!(noted(&rig, "SELECT 1", again).await, "a T");
    let lost = "SAVEPOINT x; UPDATE a SET v = 7; SELECT pgduet.capture_changed(); ROLLBACK TO x; UPDATE a SET v = 8";
    assert_eq!(noted(&rig, "SELECT 1", lost).await, "a T");
    rig.equal(&["a"]).await;
}

#[tokio::test]
async fn without_a_first_look_all_that_the_counters_hold_counts() {
    let rig = Rig::start("opaque_blind", TABLES).await;
    rig.run("BEGIN; UPDATE a SET v = 3; SELECT pgduet.capture_changed(); COMMIT").await;
    rig.equal(&["a"]).await;
}

#[tokio::test]
async fn a_plain_user_notes_what_it_changed_and_can_read_nothing_of_it() {
    let rig = Rig::start("opaque_plain", TABLES).await;
    rig.run("CREATE ROLE opaque_app LOGIN; GRANT INSERT, UPDATE ON a TO opaque_app").await;
    let mut config = (*rig.config).clone();
    let url = &mut config.backends.get_mut(Side::Old).url;
    *url = url.replace("postgres@", "opaque_app@");
    let app = open(&config, Side::Old).await;
    let sql = "BEGIN; SELECT pgduet.capture_before(); DO $$ BEGIN UPDATE a SET v = 4; END $$; SELECT pgduet.capture_changed(); COMMIT";
    app.batch_execute(sql).await.expect("noted");
    for forbidden in ["SELECT * FROM pgduet.journal", "SELECT * FROM pgduet.changes()", "SELECT pgduet.definition(1)"] {
        let error = app.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(error.code().map(|c| c.code()), Some("42501"), "{forbidden}");
    }
    rig.equal(&["a"]).await;
}
