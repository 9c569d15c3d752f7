//! Statements that change the schema, as a transaction captures them: run on the secondary in their order, before the rows.

use pgduet::link::ledger::LinkState;
use pgduet::side::Side;

use crate::cluster::open;
use crate::rig::Rig;

const TABLES: &str =
    "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a SELECT i, i FROM generate_series(1, 5) i";

/// The statement, captured as a session does it: in the same transaction, after it.
fn ddl(sql: &str) -> String {
    format!("{sql}; SELECT pgduet.capture_statement('d', $pgduet${sql}$pgduet$);")
}

fn touch(table: &str, sql: &str) -> String {
    format!("{sql} RETURNING pgduet.capture({table}.tableoid, {table}.id::text);")
}

#[tokio::test]
async fn statements_are_run_in_their_order_and_the_rows_follow() {
    let rig = Rig::start("ddl_order", TABLES).await;
    rig.run(&format!(
        "BEGIN; {} {} {} {} COMMIT",
        ddl("CREATE TABLE b (id int PRIMARY KEY, mood text)"),
        touch("b", "INSERT INTO b VALUES (1, 'good')"),
        ddl("ALTER TABLE b ADD COLUMN more int DEFAULT 7"),
        touch("b", "INSERT INTO b VALUES (2, 'bad', 9)"),
    ))
    .await;
    rig.equal(&["a", "b"]).await;
    rig.run(&ddl("ALTER TABLE a RENAME COLUMN v TO w")).await;
    rig.run(&ddl("CREATE INDEX by_w ON a (w)")).await;
    rig.run(&touch("a", "UPDATE a SET w = w + 1")).await;
    rig.equal(&["a"]).await;
    assert_eq!(rig.secondary("SELECT count(*)::text FROM pg_indexes WHERE indexname = 'by_w'").await, "1");
    rig.run(&ddl("DROP TABLE b")).await;
    rig.barrier().await;
    assert_eq!(rig.secondary("SELECT coalesce(to_regclass('b')::text, 'gone')").await, "gone");
    sum_holds(&rig);
}

#[tokio::test]
async fn a_new_value_of_an_enum_can_be_used_by_the_rows_that_follow() {
    let schema = "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE m (id int PRIMARY KEY, now mood)";
    let rig = Rig::start("ddl_enum", schema).await;
    rig.link.pause().await.expect("pause");
    rig.run(&ddl("ALTER TYPE mood ADD VALUE 'happy'")).await;
    rig.run(&touch("m", "INSERT INTO m VALUES (1, 'happy')")).await;
    rig.link.resume().await.expect("resume");
    rig.equal(&["m"]).await;
    sum_holds(&rig);
}

#[tokio::test]
async fn a_statement_runs_as_its_author_with_the_authors_settings() {
    let rig = Rig::start("ddl_author", TABLES).await;
    for side in Side::BOTH {
        rig.on(side, "CREATE SCHEMA app; DO $$ BEGIN CREATE ROLE ddl_author LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
            GRANT ALL ON SCHEMA app TO ddl_author").await;
    }
    let mut config = (*rig.config).clone();
    let url = &mut config.backends.get_mut(Side::Old).url;
    *url = url.replace("postgres@", "ddl_author@");
    let author = open(&config, Side::Old).await;
    let sql = format!(
        "SET search_path = app; SET DateStyle = 'SQL, DMY'; {}",
        ddl("CREATE TABLE days (id int PRIMARY KEY, at date DEFAULT '02/03/2020')")
    );
    author.batch_execute(&sql).await.expect("created");
    // What the author may not do, nobody does in the author's name.
    let forged = "SELECT pgduet.capture_statement('d', 'DROP TABLE public.a')";
    author.batch_execute(forged).await.expect("journalled");
    rig.barrier().await;
    let owner = "SELECT tableowner::text || ' ' || schemaname FROM pg_tables WHERE tablename = 'days'";
    assert_eq!(rig.secondary(owner).await, "ddl_author app");
    let default = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'app.days'::regclass";
    assert_eq!(rig.secondary(default).await, rig.primary(default).await);
    assert_eq!(rig.primary("SELECT sqlstate FROM pgduet.parked").await, "42501");
    assert_eq!(rig.secondary("SELECT count(*)::text FROM a").await, "5");
}

#[tokio::test]
async fn a_statement_that_the_secondary_refuses_is_parked_loudly_and_a_retry_runs_it() {
    let rig = Rig::start("ddl_refused", TABLES).await;
    rig.on(Side::New, "CREATE VIEW stands_in_the_way AS SELECT v FROM a").await;
    rig.run(&ddl("ALTER TABLE a DROP COLUMN v")).await;
    rig.barrier().await;
    assert_eq!(rig.primary("SELECT sqlstate FROM pgduet.parked").await, "2BP01");
    assert_eq!(rig.primary("SELECT state FROM pgduet.tables WHERE table_name = 'a'").await, "diverged");
    assert_eq!(rig.ledger.state(), LinkState::Running);
    rig.on(Side::New, "DROP VIEW stands_in_the_way").await;
    rig.link.retry_parked(&[]).await.expect("retry");
    rig.run(&touch("a", "INSERT INTO a VALUES (9)")).await;
    rig.equal(&["a"]).await;
    sum_holds(&rig);
}

#[tokio::test]
async fn a_truncated_table_is_emptied_and_rewritten_ones_are_carried_whole() {
    let rig = Rig::start("ddl_whole", TABLES).await;
    rig.run("BEGIN; SELECT pgduet.capture_before(); TRUNCATE a; SELECT pgduet.capture_changed(); COMMIT").await;
    rig.run(&touch("a", "INSERT INTO a VALUES (3, 3)")).await;
    rig.equal(&["a"]).await;
    let volatile = ddl("ALTER TABLE a ADD COLUMN r float8 DEFAULT random()");
    rig.run(&format!("BEGIN; SELECT pgduet.capture_before(); {volatile} SELECT pgduet.capture_changed(); COMMIT"))
        .await;
    rig.equal(&["a"]).await;
    let made = "CREATE TABLE made AS SELECT id, random() AS x FROM a";
    rig.run(&format!(
        "BEGIN; SELECT pgduet.capture_before(); {made}; SELECT pgduet.capture_statement('a', $x${made}$x$); \
         SELECT pgduet.capture_changed(); COMMIT"
    ))
    .await;
    rig.equal(&["made"]).await;
    sum_holds(&rig);
}

/// At rest: what was captured is accounted for, and nothing is queued.
fn sum_holds(rig: &Rig) {
    let c = rig.ledger.counts();
    assert_eq!(c.captured, c.applied + c.superseded + c.queued + c.parked + c.discarded, "{c:?}");
    assert_eq!(c.queued, 0, "{c:?}");
}

#[tokio::test]
async fn a_drop_of_several_drops_those_that_the_secondary_has() {
    let rig = Rig::start("ddl_drop", TABLES).await;
    rig.on(Side::Old, "CREATE TABLE only_here (id int)").await;
    rig.run(&ddl("DROP TABLE only_here, a")).await;
    rig.barrier().await;
    assert_eq!(rig.secondary("SELECT coalesce(to_regclass('a')::text, 'gone')").await, "gone");
    assert_eq!(rig.ledger.counts().parked, 0);
}

#[tokio::test]
async fn a_function_need_not_find_what_its_body_names_before_it_is_called() {
    let rig = Rig::start("ddl_body", TABLES).await;
    rig.run("CREATE TEMP TABLE mine (n int)").await;
    rig.run(&ddl("CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM mine'")).await;
    rig.barrier().await;
    assert_eq!(
        rig.secondary("SELECT prosrc FROM pg_proc WHERE proname = 'counted'").await,
        "SELECT count(*) FROM mine"
    );
}

#[tokio::test]
async fn an_authors_own_things_may_be_dropped_with_what_runs_the_statement() {
    let rig = Rig::start("ddl_owned", TABLES).await;
    for side in Side::BOTH {
        rig.on(
            side,
            "DO $$ BEGIN CREATE ROLE ddl_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
            GRANT CREATE ON SCHEMA public TO ddl_owner",
        )
        .await;
    }
    rig.run(&format!("SET ROLE ddl_owner; {}", ddl("CREATE TABLE owned (id int)"))).await;
    rig.run(&format!("{} RESET ROLE", ddl("DROP OWNED BY ddl_owner"))).await;
    rig.barrier().await;
    assert_eq!(rig.secondary("SELECT coalesce(to_regclass('owned')::text, 'gone')").await, "gone");
    assert_eq!(rig.ledger.counts().parked, 0);
}
