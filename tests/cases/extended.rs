//! A workload in the extended protocol: each statement is prepared, and executed with its rows in binary.

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, Error, NoTls, Row};

use super::workload::{Item, Seen, Workload};

pub async fn play(url: &str, workload: &Workload) -> Seen {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let notices = std::future::poll_fn(move |cx| {
        while let std::task::Poll::Ready(message) = connection.poll_message(cx) {
            if !matches!(message, Some(Ok(_))) {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    });
    tokio::spawn(notices);
    let mut seen = Seen::default();
    for item in &workload.items {
        let answer = match item {
            Item::Statement(sql) => execute(&client, sql).await,
            Item::CopyIn(sql, data) => copy_in(&client, sql, data).await,
        };
        seen.answers.push(answer.unwrap_or_else(|error| told(&error)));
    }
    seen
}

async fn execute(client: &Client, sql: &str) -> Result<String, Error> {
    let statement = client.prepare(sql).await?;
    if statement.columns().is_empty() {
        return Ok(client.execute(&statement, &[]).await?.to_string());
    }
    let rows = client.query(&statement, &[]).await?;
    let names: Vec<&str> = statement.columns().iter().map(|c| c.name()).collect();
    Ok(format!("{names:?} {:?}", rows.iter().map(text).collect::<Vec<_>>()))
}

/// The values' bytes, whatever their types are.
fn text(row: &Row) -> String {
    let value = |at| row.try_get::<_, Raw<'_>>(at).map(|raw| format!("{:?}", raw.0)).unwrap_or_else(|_| "null".into());
    (0..row.len()).map(value).collect::<Vec<_>>().join(" ")
}

struct Raw<'a>(&'a [u8]);

impl<'a> tokio_postgres::types::FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &tokio_postgres::types::Type) -> bool {
        true
    }
}

async fn copy_in(client: &Client, sql: &str, data: &str) -> Result<String, Error> {
    let sink = client.copy_in::<_, Bytes>(sql).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from(data.to_owned())).await?;
    Ok(sink.finish().await?.to_string())
}

fn told(error: &Error) -> String {
    let Some(error) = error.as_db_error() else { return error.to_string() };
    let (code, message) = (error.code().code(), error.message());
    format!("{code} {message} {:?} {:?} {:?} {:?}", error.detail(), error.hint(), error.position(), error.where_())
}
