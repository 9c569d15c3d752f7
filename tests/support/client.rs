//! Clients by tokio-postgres: prepared statements, parameters in binary.

use std::future::Future;
use std::io::{ErrorKind, Read};

use tokio_postgres::{Client, Config, NoTls};

/// Runs a test's asynchronous part on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Reads what there is. A signal, of a child that has ended say, interrupts a read that has a timeout: that is no answer.
pub fn read_some(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(into) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A connection as `app` to the database `app`.
pub async fn connect(port: u16) -> Client {
    try_connect(port).await.unwrap_or_else(|e| panic!("cannot connect: {e:?}"))
}

pub async fn try_connect(port: u16) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("app").dbname("app");
    connect_with(&config).await
}

pub async fn connect_with(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
