//! Two throw-away PostgreSQL servers, shared by the tests of this file; each test has a database of its own on both.

use std::sync::OnceLock;

use pgduet::backend::control::{Connection, Purpose};
use pgduet::config::Config;
use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options};
use pgduet::side::Side;

/// They end with this process.
pub struct Servers {
    old: Cluster,
    new: Cluster,
}

impl Servers {
    pub fn shared() -> &'static Servers {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(|| {
            let binaries = Binaries::find().expect("PostgreSQL");
            let durable = std::env::var_os("PGDUET_TEST_FSYNC").is_some();
            let start =
                |name| Cluster::start(&binaries, Options { durable, ..Options::quick(name) }).expect("a server");
            Servers { old: start("old"), new: start("new") }
        })
    }

    fn url(&self, side: Side, database: &str) -> String {
        let server = if side == Side::Old { &self.old } else { &self.new };
        server.url("postgres", database)
    }

    /// As [`Servers::database`], for a user of ordinary rights who owns the database.
    pub async fn database_of_plain_user(&self, name: &str) -> Config {
        let mut config = self.database(name).await;
        for side in Side::BOTH {
            let connection = open(&config, side).await;
            let sql = format!(
                "CREATE ROLE {name} LOGIN; ALTER DATABASE {name} OWNER TO {name}; ALTER SCHEMA public OWNER TO {name}"
            );
            connection.batch_execute(&sql).await.expect("a plain user");
            let url = &mut config.backends.get_mut(side).url;
            *url = url.replace("postgres@", &format!("{name}@"));
        }
        config
    }

    /// A configuration for a database of this name, created anew on both sides.
    pub async fn database(&self, name: &str) -> Config {
        let mut config = Config::default();
        for side in Side::BOTH {
            config.backends.get_mut(side).url = self.url(side, "postgres");
        }
        for side in Side::BOTH {
            let connection = open(&config, side).await;
            connection.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create database");
        }
        for side in Side::BOTH {
            config.backends.get_mut(side).url = self.url(side, name);
        }
        config
    }
}

/// A connection of pgduet's own, as it is.
pub async fn own(config: &Config, side: Side) -> Connection {
    let opened = Connection::open(side, config.backends.get(side), Purpose::Control, &config.timeouts).await;
    opened.expect("connect to a test server")
}

/// A connection as an application has it.
pub async fn open(config: &Config, side: Side) -> Connection {
    let connection = own(config, side).await;
    connection.batch_execute("SET search_path = public, pg_catalog").await.expect("search_path");
    connection
}
