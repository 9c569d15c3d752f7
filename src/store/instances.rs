//! Which instances of the proxy there are, and which policy each has brought into force.
//!
//! Each says so in the `application_name` of the connection that it listens on at the primary: a name that ends with its connection, that needs
//! no table (there is none before `init`), and that anybody finds in `pg_stat_activity`.

use serde::Serialize;

use super::StoreError;
use crate::backend::control::Connection;

const PREFIX: &str = "pgduet epoch ";

/// One instance, as it has announced itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// The epoch of the policy before which no transaction runs there any more; 0 while it starts, and before a first change.
    pub epoch: u64,
    /// What it listens on.
    pub listens_on: String,
    /// Where the primary sees it; `null` for a Unix socket.
    pub address: Option<String>,
    /// Of its connection at the primary.
    pub pid: i32,
    /// When that connection began: ISO 8601, UTC.
    pub since: String,
}

/// Announces this instance by this connection, instead of what it announced before.
pub async fn announce(connection: &Connection, epoch: u64, listens_on: &str) -> Result<(), StoreError> {
    let sql = format!("SET application_name = '{}'", name(epoch, listens_on).replace('\'', "''"));
    connection.batch_execute(&sql).await.map_err(StoreError::doing(connection, "announcing this instance"))
}

/// The instances of this database, those behind first. Another login's connections have no say.
pub async fn announced(connection: &Connection) -> Result<Vec<Instance>, StoreError> {
    let doing = "looking for instances";
    let sql = "SELECT application_name, host(client_addr), pid, \
                 to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
               FROM pg_stat_activity WHERE datname = current_database() AND usename = session_user \
                 AND starts_with(application_name, $1)";
    let rows = connection.query(sql, &[&PREFIX]).await.map_err(StoreError::doing(connection, doing))?;
    let mut found = vec![];
    for row in rows {
        let read = || Ok((row.try_get::<_, String>(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        let (name, address, pid, since) = read().map_err(StoreError::doing(connection, doing))?;
        if let Some((epoch, listens_on)) = parse(&name) {
            found.push(Instance { epoch, listens_on: listens_on.to_owned(), address, pid, since });
        }
    }
    found.sort_by(|a, b| (a.epoch, &a.address, &a.listens_on).cmp(&(b.epoch, &b.address, &b.listens_on)));
    Ok(found)
}

fn name(epoch: u64, listens_on: &str) -> String {
    format!("{PREFIX}{epoch} {listens_on}")
}

fn parse(name: &str) -> Option<(u64, &str)> {
    let (epoch, listens_on) = name.strip_prefix(PREFIX)?.split_once(' ')?;
    Some((epoch.parse().ok()?, listens_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_was_announced() {
        assert_eq!(parse(&name(7, "[::]:6432")), Some((7, "[::]:6432")));
        // The server cuts off what is longer than 63 bytes.
        let long = name(u64::MAX, &"a".repeat(40));
        assert_eq!(long.get(..63).and_then(parse).map(|(epoch, _)| epoch), Some(u64::MAX));
        for other in ["pgduet control", "pgduet epoch", "pgduet epoch x y", "psql"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
