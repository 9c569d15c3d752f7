//! Triggers on the secondary that fire whoever writes: what is carried must not be changed by them.

use pgduet::side::Side;

use crate::rig::Rig;

const TABLES: &str = "CREATE TABLE accounts (id int PRIMARY KEY, balance int, note text); \
    CREATE TABLE lines (what text, n int); \
    CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); \
    CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100); \
    CREATE TABLE quiet (id int PRIMARY KEY)";

const LOUD: &str = "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ \
      BEGIN IF TG_TABLE_NAME = 'accounts' THEN NEW.balance := -1; ELSIF TG_TABLE_NAME = 'lines' THEN NEW.n := -1; ELSE NEW.v := -1; END IF; \
        RETURN NEW; END $$; \
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
    CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION spoil(); \
    CREATE TRIGGER refuse BEFORE DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse(); \
    CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON lines FOR EACH ROW EXECUTE FUNCTION spoil(); \
    CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION spoil(); \
    ALTER TABLE accounts ENABLE ALWAYS TRIGGER spoil, ENABLE REPLICA TRIGGER refuse; \
    ALTER TABLE lines ENABLE REPLICA TRIGGER spoil; ALTER TABLE low ENABLE ALWAYS TRIGGER spoil";

fn captured(sql: &str) -> String {
    format!("{sql} RETURNING pgduet.capture(accounts.tableoid, accounts.id::text)")
}

async fn loudness(rig: &Rig) -> String {
    let sql = "SELECT string_agg(tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text, ', ' ORDER BY tgrelid::regclass::text, tgname) \
               FROM pg_trigger WHERE NOT tgisinternal";
    rig.secondary(sql).await
}

#[tokio::test]
async fn triggers_that_fire_always_do_not_change_what_is_carried_and_are_loud_afterwards() {
    let rig = Rig::start_differing("loud", TABLES, &format!("{TABLES}; {LOUD}")).await;
    let before = loudness(&rig).await;
    assert!(before.contains("accounts refuse R, accounts spoil A") && before.contains("low spoil A"), "{before}");
    for round in 0..3 {
        rig.run(&captured(&format!("INSERT INTO accounts SELECT {round} * 10 + i, i FROM generate_series(1, 5) i")))
            .await;
        rig.run(&captured("UPDATE accounts SET balance = balance + 1 WHERE id % 2 = 0")).await;
        rig.run(&captured(&format!("DELETE FROM accounts WHERE id = {round} * 10 + 5"))).await;
        rig.run("INSERT INTO lines VALUES ('a', 1) RETURNING pgduet.capture_row(lines.tableoid, n::text, what)").await;
        rig.run(&format!(
            "INSERT INTO parts VALUES ({round}, 1) RETURNING pgduet.capture('parts'::regclass, id::text)"
        ))
        .await;
        rig.run("SELECT pgduet.capture_table('lines'::regclass)").await;
        rig.equal(&["accounts", "lines", "parts"]).await;
        assert_eq!(loudness(&rig).await, before);
    }
    // A table that the link does not know yet makes it read the schemas in the middle of a cycle.
    rig.run(&format!(
        "BEGIN; CREATE TABLE fresh (id int PRIMARY KEY); SELECT pgduet.capture_statement('d', 'CREATE TABLE fresh (id int PRIMARY KEY)'); \
         INSERT INTO fresh VALUES (1) RETURNING pgduet.capture(fresh.tableoid, fresh.id::text); {}; COMMIT",
        captured("UPDATE accounts SET balance = 7")
    ))
    .await;
    rig.equal(&["accounts", "fresh"]).await;
    rig.run(&captured("UPDATE accounts SET balance = 8")).await;
    rig.equal(&["accounts"]).await;
    assert_eq!((loudness(&rig).await, rig.ledger.counts().parked), (before, 0));
    // The link does not know that one is gone.
    rig.on(Side::New, "DROP TRIGGER spoil ON accounts").await;
    rig.run(&captured("UPDATE accounts SET balance = 9")).await;
    rig.equal(&["accounts"]).await;
    assert_eq!(rig.ledger.counts().parked, 0);
}
