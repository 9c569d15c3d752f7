//! What one side says of itself: everything is asked over one connection that may not write.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::queries;
use crate::backend::control::{ConnectError, Connection, Purpose, describe};
use crate::backend::introspect;
use crate::config::Config;
use crate::side::Side;
use crate::store::control::{self, Control};

/// No question may take longer, nor wait longer for a lock that somebody's ALTER holds.
const BOUNDS: &str = "SET default_transaction_read_only = on; SET statement_timeout = '30s'; SET lock_timeout = '5s'";

/// Why a side could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    #[error("{side} did not answer a question about its {about}: {}", describe(.source))]
    Refused { side: Side, about: &'static str, source: tokio_postgres::Error },
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
}

/// The server, the database, and pgduet's role in it.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// As `server_version_num`.
    pub number: u32,
    pub version: String,
    pub database: String,
    pub role: String,
    pub encoding: String,
    pub collate: String,
    pub ctype: String,
    /// c: the C library, i: ICU, b: PostgreSQL's own.
    pub provider: String,
    pub locale: String,
    /// The version of the collation that the database was made with, and the one that is there; empty: there is none.
    pub collation_version: String,
    pub collation_actual: String,
    pub in_recovery: bool,
    pub superuser: bool,
    /// May make the schema `pgduet`, or owns it.
    pub may_install: bool,
    pub sees_others: bool,
    pub large_objects: i64,
}

impl Server {
    pub fn major(&self) -> u32 {
        self.number / 10_000
    }
}

/// What a table has beside what the catalog knows.
#[derive(Clone, Debug, Default)]
pub struct TableFacts {
    pub rows: i64,
    /// Since the statistics were reset.
    pub updates_and_deletes: i64,
    pub unlogged: bool,
    pub is_partition: bool,
    pub may_read: bool,
    pub may_write: bool,
    pub may_have_triggers: bool,
    pub owner: String,
    /// pgduet's role may act as its owner.
    pub may_own: bool,
    /// Makes the columns of a unique index NOT NULL, where that is all that a key lacks.
    pub key_fix: String,
}

/// Something that was found by a question of its own, with the statement that removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub object: String,
    pub detail: String,
    pub sql: String,
}

/// One object of a schema: see objects.sql.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    pub kind: String,
    pub name: String,
    pub table: String,
    pub definition: String,
    pub make: String,
}

#[derive(Debug)]
pub struct Facts {
    pub side: Side,
    pub server: Server,
    /// What a session begins with here: as clients get it, but for what pgduet's own role or connection says otherwise.
    pub settings: BTreeMap<String, String>,
    /// `session_replication_role` may be set.
    pub may_be_silent: bool,
    pub control: Option<Control>,
    pub schema: introspect::Schema,
    pub tables: HashMap<u32, TableFacts>,
    pub objects: Vec<Object>,
    pub items: HashMap<queries::About, Vec<Item>>,
    pub clients: HashMap<String, bool>,
}

impl Facts {
    /// Asks a side everything. Writes nothing.
    pub async fn read(side: Side, config: &Config) -> Result<Facts, Silence> {
        let backend = config.backends.get(side);
        let connection = Connection::open(side, backend, Purpose::Introspection, &config.timeouts).await?;
        let refused = |about| move |source| Silence::Refused { side, about, source };
        // Before the settings are bounded: what a session begins with.
        let settings = settings(&connection).await.map_err(refused("settings"))?;
        connection.batch_execute(BOUNDS).await.map_err(refused("settings"))?;
        let server = server(&connection).await.map_err(refused("server"))?;
        let may_be_silent = connection
            .batch_execute("SET session_replication_role = replica; SET session_replication_role = origin")
            .await
            .is_ok();
        let schema = introspect::read(&connection, &config.mirror).await.map_err(refused("schema"))?;
        let tables = tables(&connection).await.map_err(refused("tables"))?;
        let objects = objects(&connection).await.map_err(refused("objects"))?;
        let control = control::read(&connection).await?;
        let mut items = HashMap::new();
        for about in queries::About::ALL {
            let sql = about.sql(config.timeouts.phase_change);
            // What this server does not have, or this role may not see, is not there.
            let found = rows(&connection, &sql).await.unwrap_or_default();
            items.insert(about, found.iter().map(item).collect());
        }
        let clients = clients(&connection, side, config).await.map_err(refused("roles"))?;
        Ok(Facts { side, server, settings, may_be_silent, control, schema, tables, objects, items, clients })
    }

    pub fn items(&self, about: queries::About) -> &[Item] {
        self.items.get(&about).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A setting that is a number, in the server's own unit; 0 where there is no such setting.
    pub fn number(&self, name: &str) -> i64 {
        self.setting(name).parse().unwrap_or_default()
    }
}

async fn rows(connection: &Connection, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
    let answered = connection.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(answered.into_iter().filter_map(row).collect())
}

fn text(row: &SimpleQueryRow, at: usize) -> String {
    row.try_get(at).ok().flatten().unwrap_or_default().to_owned()
}

fn is_true(row: &SimpleQueryRow, at: usize) -> bool {
    text(row, at) == "t"
}

fn number(row: &SimpleQueryRow, at: usize) -> i64 {
    text(row, at).parse().unwrap_or_default()
}

fn item(row: &SimpleQueryRow) -> Item {
    Item { object: text(row, 0), detail: text(row, 1), sql: text(row, 2) }
}

async fn settings(connection: &Connection) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
    let found = rows(connection, queries::SETTINGS).await?;
    Ok(found.iter().map(|row| (text(row, 0), text(row, 1))).collect())
}

async fn server(connection: &Connection) -> Result<Server, tokio_postgres::Error> {
    let number = rows(connection, "SELECT current_setting('server_version_num')").await?;
    let number = number.first().map_or(0, number_of);
    let found = rows(connection, &queries::server(number)).await?;
    let Some(row) = found.first() else { return Ok(Server::default()) };
    Ok(Server {
        number,
        version: text(row, 0),
        database: text(row, 1),
        role: text(row, 2),
        encoding: text(row, 3),
        collate: text(row, 4),
        ctype: text(row, 5),
        in_recovery: is_true(row, 6),
        superuser: is_true(row, 7),
        may_install: is_true(row, 8),
        sees_others: is_true(row, 9),
        large_objects: self::number(row, 10),
        provider: text(row, 11),
        locale: text(row, 12),
        collation_version: text(row, 13),
        collation_actual: text(row, 14),
    })
}

fn number_of(row: &SimpleQueryRow) -> u32 {
    text(row, 0).parse().unwrap_or_default()
}

async fn tables(connection: &Connection) -> Result<HashMap<u32, TableFacts>, tokio_postgres::Error> {
    let fact = |row: &SimpleQueryRow| {
        let facts = TableFacts {
            rows: number(row, 1),
            updates_and_deletes: number(row, 2),
            unlogged: is_true(row, 3),
            is_partition: is_true(row, 4),
            may_read: is_true(row, 5),
            may_write: is_true(row, 6),
            may_have_triggers: is_true(row, 7),
            owner: text(row, 8),
            may_own: is_true(row, 9),
            key_fix: text(row, 10),
        };
        (number_of(row), facts)
    };
    Ok(rows(connection, queries::TABLES).await?.iter().map(fact).collect())
}

async fn objects(connection: &Connection) -> Result<Vec<Object>, tokio_postgres::Error> {
    let object = |row: &SimpleQueryRow| Object {
        kind: text(row, 0),
        name: text(row, 1),
        table: text(row, 2),
        definition: text(row, 3),
        make: text(row, 4),
    };
    Ok(rows(connection, queries::OBJECTS).await?.iter().map(object).collect())
}

/// The logins that clients have on this side, by `clients.users`, and whether they may log in.
async fn clients(
    connection: &Connection,
    side: Side,
    config: &Config,
) -> Result<HashMap<String, bool>, tokio_postgres::Error> {
    let mut found = HashMap::new();
    for user in &config.clients.users {
        let name = match (side, &user.old, &user.new) {
            (Side::Old, Some(login), _) | (Side::New, _, Some(login)) => &login.user,
            _ => &user.name,
        };
        let row = connection.query_opt(queries::CLIENT, &[&name]).await?;
        found.insert(name.clone(), row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false));
    }
    Ok(found)
}
