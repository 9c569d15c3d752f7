//! What object-relational mappers send: upserts, several rows, RETURNING, CTEs, savepoints; parameters in binary.

use std::time::Duration;

use pgduet::demo::compare::{Comparison, compare};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::Duo;
use crate::support::client::{block_on, connect};

const SCHEMA: &str = r#"
CREATE TABLE users (
    id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, visits integer NOT NULL DEFAULT 1,
    made timestamptz NOT NULL DEFAULT now());
CREATE TABLE "Order Items" (
    "orderId" bigint, "Position" integer, amount numeric(12, 4), note varchar(40), PRIMARY KEY ("orderId", "Position"));
CREATE TABLE audit (at timestamptz DEFAULT clock_timestamp(), what text);"#;

/// A new pair with the tables, capturing.
fn capturing() -> Duo {
    let duo = Duo::start_with(SCHEMA, "");
    duo.dual_write();
    duo
}

fn expect_all_captured(duo: &Duo) {
    duo.expect_equal();
    assert_eq!(duo.count("/uncaptured_total"), 0);
    assert!(duo.count("/link/captured_total") > 0);
}

#[test]
fn a_client_sees_the_columns_it_asked_for_and_no_other() {
    let duo = capturing();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let insert = "INSERT INTO users (email) VALUES ($1) RETURNING id, made, visits AS v";
        let statement = client.prepare(insert).await.expect("prepare");
        let names: Vec<_> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        assert_eq!(names, ["id", "made", "v"]);
        let row = client.query_one(&statement, &[&"a@example.com"]).await.expect("a row");
        assert_eq!((row.len(), row.get::<_, i64>("id"), row.get::<_, i32>("v")), (3, 1, 1));

        let silent = client.prepare("INSERT INTO users (email) VALUES ($1)").await.expect("prepare");
        assert!(silent.columns().is_empty());
        assert_eq!(client.execute(&silent, &[&"b@example.com"]).await.expect("a count"), 1);

        let all =
            client.query("UPDATE users u SET visits = 7 WHERE u.id < $1 RETURNING *", &[&3_i64]).await.expect("rows");
        assert_eq!(all.iter().map(tokio_postgres::Row::len).collect::<Vec<_>>(), [4, 4]);
    });
    expect_all_captured(&duo);
}

#[test]
fn upserts_and_statements_of_many_rows_are_carried() {
    let duo = capturing();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let upsert = client
            .prepare(
                "INSERT INTO users (email, visits) VALUES ($1, $2), ($3, $4) \
                 ON CONFLICT (email) DO UPDATE SET visits = users.visits + excluded.visits RETURNING id, (xmax = 0) AS fresh",
            )
            .await
            .expect("prepare");
        for turn in 0..20 {
            let email = format!("user{}@example.com", turn % 5);
            let rows = client.query(&upsert, &[&email, &1, &format!("x{turn}"), &turn]).await.expect("an upsert");
            assert_eq!(rows.len(), 2);
            assert!(rows[1].get::<_, bool>("fresh"));
        }
        let nothing = "INSERT INTO users (email) VALUES ($1) ON CONFLICT DO NOTHING";
        assert_eq!(client.execute(nothing, &[&"user1@example.com"]).await.expect("no row"), 0);
        let many = "INSERT INTO \"Order Items\" SELECT o, p, random() * 100, 'n' || p FROM generate_series(1, $1::int) o, generate_series(1, 3) p";
        assert_eq!(client.execute(many, &[&10]).await.expect("rows"), 30);
        let update = "UPDATE \"Order Items\" i SET amount = i.amount + u.visits, note = NULL FROM users u WHERE u.id = i.\"orderId\"";
        assert!(client.execute(update, &[]).await.expect("rows") > 0);
        let delete =
            "DELETE FROM \"Order Items\" AS i USING users WHERE users.id = i.\"orderId\" AND \"Position\" = $1";
        assert!(client.execute(delete, &[&2]).await.expect("rows") > 0);
    });
    expect_all_captured(&duo);
}

#[test]
fn a_data_modifying_cte_answers_as_ever_and_is_carried_or_named() {
    let duo = capturing();
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let sql = "WITH fresh AS (INSERT INTO users (email) VALUES ($1) RETURNING id, email), \
                   items AS (INSERT INTO \"Order Items\" SELECT id, 1, 5 FROM fresh) \
                   INSERT INTO audit (what) SELECT email FROM fresh";
        assert_eq!(client.execute(sql, &[&"cte@example.com"]).await.expect("a row"), 1);
    });
    assert_eq!(duo.sql("SELECT count(*) FROM audit"), "1");
    duo.barrier();
    let tables = compare(&duo.old, &duo.new).expect("a comparison");
    if !tables.iter().all(Comparison::equal) {
        assert_eq!(duo.count("/uncaptured_total"), 1);
        let named = duo.status()["uncaptured"][0]["statement"].to_string();
        assert!(named.contains("insert into audit") && !named.contains("cte@example.com"), "named as {named}");
    }
}

#[test]
fn only_what_was_committed_is_carried() {
    let duo = capturing();
    block_on(async {
        let mut client = connect(duo.proxy.port).await;
        let insert = client.prepare("INSERT INTO users (email) VALUES ($1) RETURNING id").await.expect("prepare");
        let rolled_back = client.transaction().await.expect("begin");
        rolled_back.query_one(&insert, &[&"never"]).await.expect("a row");
        rolled_back.rollback().await.expect("rollback");

        let mut outer = client.transaction().await.expect("begin");
        outer.query_one(&insert, &[&"kept"]).await.expect("a row");
        let inner = outer.savepoint("nested").await.expect("savepoint");
        inner.query_one(&insert, &[&"undone"]).await.expect("a row");
        let error = inner.query_one(&insert, &[&"kept"]).await.expect_err("a duplicate");
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("23505"));
        inner.rollback().await.expect("rollback to the savepoint");
        outer.query_one(&insert, &[&"kept too"]).await.expect("a row");
        outer.commit().await.expect("commit");
    });
    duo.expect_equal();
    assert_eq!(duo.on_both("SELECT string_agg(email, ',' ORDER BY email) FROM users"), "kept,kept too");
}

#[test]
fn several_statements_in_one_message_are_carried() {
    let duo = capturing();
    let tags = block_on(async {
        let client = connect(duo.proxy.port).await;
        let sql = "INSERT INTO users (email) VALUES ('one'), ('two'); UPDATE users SET visits = 5; \
                   SELECT email FROM users ORDER BY email; DELETE FROM users WHERE email = 'one' RETURNING email";
        let answer = client.simple_query(sql).await.expect("four statements");
        answer
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(format!("{rows} rows")),
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(tags, ["2 rows", "2 rows", "one", "two", "2 rows", "one", "1 rows"]);
    expect_all_captured(&duo);
}

#[test]
fn an_error_points_where_postgres_points() {
    let duo = capturing();
    let wrong = "INSERT INTO users (email, nonsense) VALUES ('x', 1)";
    let (direct, proxied) = block_on(async {
        let (direct, connection) = tokio_postgres::connect(&duo.old.url("app", "app"), NoTls).await.expect("direct");
        tokio::spawn(connection);
        (refusal(&direct, wrong).await, refusal(&connect(duo.proxy.port).await, wrong).await)
    });
    assert_eq!(direct, proxied);
}

async fn refusal(client: &Client, sql: &str) -> String {
    let error = client.simple_query(sql).await.expect_err("an unknown column");
    let error = error.as_db_error().expect("an error of the server's");
    format!("{} {} {:?}", error.code().code(), error.message(), error.position())
}

#[test]
fn a_write_is_carried_or_counted_never_lost_silently() {
    let duo = capturing();
    duo.sql("INSERT INTO users (email) VALUES ('a'), ('b')");
    duo.expect_equal();
    duo.sql("UPDATE users SET id = id + 1000 WHERE email = 'a'");
    duo.barrier();
    let ids = "SELECT string_agg(id::text, ',' ORDER BY id) FROM users";
    let [old, new] = [&duo.old, &duo.new].map(|side| side.sql("app", ids).expect("the keys"));
    assert_eq!(old, "2,1001");
    assert!(old == new || duo.count("/uncaptured_total") > 0, "old has {old}, new has {new}, and nothing was counted");
}

#[test]
fn what_a_function_writes_is_on_both_sides() {
    let duo = capturing();
    duo.sql("CREATE FUNCTION pay() RETURNS void LANGUAGE sql AS 'UPDATE users SET visits = visits + 1'");
    duo.eventually("the function is known, and its writes are carried", Duration::from_secs(20), || {
        duo.sql("SELECT pay()");
        duo.barrier();
        let visits = "SELECT sum(visits) FROM users";
        duo.old.sql("app", visits).expect("a sum") == duo.new.sql("app", visits).expect("a sum")
    });
}
