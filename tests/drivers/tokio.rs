//! tokio-postgres: binary parameters, pipelining by join, portals with row limits, COPY.

use std::fmt::{Debug, Write};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

use crate::stage::Target;
use crate::support::client::{block_on, connect_with};

pub fn scenario(target: &Target) -> String {
    block_on(async {
        let mut config = Config::new();
        config.host("127.0.0.1").port(target.port).user("app").dbname("app");
        let mut client = connect_with(&config).await.expect("a connection");
        let mut seen = Seen { text: String::new(), run: target.run };
        seen.prepared(&client).await;
        seen.pipelined(&client).await;
        seen.transactions(&mut client).await;
        seen.copied(&client).await;
        seen.simple(&client).await;
        seen.text
    })
}

struct Seen {
    text: String,
    run: usize,
}

impl Seen {
    fn show(&mut self, label: &str, what: impl Debug) {
        let _ = writeln!(self.text, "{label}: {what:?}");
    }

    fn fails<T: Debug>(&mut self, label: &str, outcome: Result<T, Error>) {
        let error = outcome.expect_err("an error");
        self.show(label, error.as_db_error());
    }

    fn email(&self, name: &str) -> String {
        format!("tokio.{name}.{}@example.com", self.run)
    }

    async fn prepared(&mut self, client: &Client) {
        let insert = client
            .prepare("INSERT INTO customers (email, photo) VALUES ($1, $2) RETURNING id > 0, photo, balance::float8")
            .await
            .expect("prepare");
        self.show("described", (insert.params(), insert.columns()));
        let photo: Vec<u8> = (0..=255).collect();
        for name in ["a", "b", "c"] {
            let row = client.query_one(&insert, &[&self.email(name), &photo]).await.expect("a row");
            self.show("row", (row.len(), row.get::<_, bool>(0), row.get::<_, &[u8]>(1), row.get::<_, f64>(2)));
        }
        self.fails("conflict", client.query_one(&insert, &[&self.email("a"), &photo]).await);
        let update = client
            .prepare("UPDATE customers SET profile = NULL, balance = balance + 1 WHERE email = $1")
            .await
            .expect("prepare");
        self.show("columns", update.columns().len());
        self.show("updated", client.execute(&update, &[&self.email("a")]).await.expect("a count"));
        let read = client
            .query("SELECT email, balance::text FROM customers WHERE email LIKE $1 ORDER BY email", &[&self.email("%")])
            .await;
        let rows = read.expect("rows").iter().map(|r| (r.get(0), r.get(1))).collect::<Vec<(String, String)>>();
        self.show("read", rows);
        self.fails("position", client.prepare("UPDATE customers SET nothing = $1").await.map(|s| s.columns().len()));
    }

    async fn pipelined(&mut self, client: &Client) {
        let insert = client.prepare("INSERT INTO events (what) VALUES ($1) RETURNING what").await.expect("prepare");
        let names: Vec<String> = (0..20).map(|n| format!("e{n}")).collect();
        let each = names
            .iter()
            .map(|name| async { client.query_one(&insert, &[name]).await.map(|row| row.get::<_, String>(0)) });
        self.show("joined", future::try_join_all(each).await.expect("rows"));
        let (one, broken, two) = future::join3(
            client.query_one("SELECT count(*) FROM events WHERE what = $1", &[&"e1"]),
            client.query_one("SELECT 1 / $1::int /* pgduet_route='old' */", &[&0]),
            client.execute("UPDATE customers SET balance = 3 WHERE email = $1", &[&self.email("b")]),
        )
        .await;
        self.show("one", one.expect("a row").get::<_, i64>(0));
        self.fails("broken", broken);
        self.show("two", two.expect("a count"));
    }

    async fn transactions(&mut self, client: &mut Client) {
        let email = self.email("outer");
        let mut outer = client.transaction().await.expect("begin");
        outer.execute("INSERT INTO customers (email) VALUES ($1)", &[&email]).await.expect("a row");
        let inner = outer.transaction().await.expect("a savepoint");
        inner.execute("DELETE FROM customers WHERE email = $1", &[&email]).await.expect("a row");
        inner.rollback().await.expect("rollback to");
        let portal = outer.bind("SELECT n FROM generate_series(1, 10) n", &[]).await.expect("a portal");
        for _ in 0..4 {
            let rows = outer.query_portal(&portal, 3).await.expect("rows");
            self.show("portal", rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>());
        }
        outer.commit().await.expect("commit");
        let kept = client.query_one("SELECT count(*) FROM customers WHERE email = $1", &[&email]).await.expect("a row");
        self.show("kept", kept.get::<_, i64>(0));
    }

    async fn copied(&mut self, client: &Client) {
        let sink = client.copy_in("COPY copied (id, name) FROM STDIN").await.expect("a sink");
        pin_mut!(sink);
        for n in 0..50 {
            sink.send(Bytes::from(format!("{}\tname {n}\n", self.run * 1000 + n))).await.expect("sent");
        }
        self.show("copied", sink.finish().await.expect("a count"));
        let out = client
            .copy_out("COPY (SELECT name FROM copied WHERE id % 10 = 3 ORDER BY id) TO STDOUT")
            .await
            .expect("a stream");
        let lines: Vec<Bytes> = out.try_collect().await.expect("lines");
        self.show("out", lines);
        let nothing: [&(dyn ToSql + Sync); 0] = [];
        let stream = client.query_raw("SELECT n FROM generate_series(1, 1000) n", nothing).await.expect("a stream");
        self.show("streamed", stream.count().await);
    }

    async fn simple(&mut self, client: &Client) {
        let script = format!(
            "INSERT INTO events (what) VALUES ('s'); SELECT what FROM events WHERE what = 's' LIMIT 1; UPDATE customers SET balance = 9 \
             WHERE email = '{}'; SELECT balance FROM customers WHERE email = '{0}'",
            self.email("c")
        );
        for message in client.simple_query(&script).await.expect("answers") {
            match message {
                SimpleQueryMessage::Row(row) => self.show("row", (row.len(), row.get(0))),
                SimpleQueryMessage::CommandComplete(count) => self.show("complete", count),
                _ => self.show("other", ()),
            }
        }
        self.fails("script", client.batch_execute("INSERT INTO events (what) VALUES ('gone'); SELECT 1/0").await);
        let gone = client.query_one("SELECT count(*) FROM events WHERE what = 'gone'", &[]).await.expect("a row");
        self.show("gone", gone.get::<_, i64>(0));
    }
}
