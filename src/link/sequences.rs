//! Sequences: their positions are carried continuously, and exactly on demand.
//!
//! A sequence stands outside of transactions, so no cycle brings it: what has been drawn is drawn, committed or not. The primary's
//! position is read and set on the secondary wherever the two differ, backwards as well (RESTART, a cycle's end, a descending one).
//! Nobody draws on the secondary meanwhile. One turn at a time, lest a turn that read earlier overtakes one that read later.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::try_join;
use tokio::sync::Mutex;

use super::carrier::open_both;
use super::failure::Failure;
use super::ledger::{Ledger, LinkState};
use crate::backend::control::Connection;
use crate::backend::introspect;
use crate::catalog::quote_ident;
use crate::config::{Live, Mirror};
use crate::side::Side;

/// Sequences read by one statement.
const READ_AT_ONCE: usize = 200;

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    last: i64,
    /// Whether the next value is the one after `last`, and not `last` itself.
    called: bool,
}

/// By schema and name.
type Positions = BTreeMap<(String, String), Position>;

/// The turns of one link.
#[derive(Debug, Default)]
pub struct Sequences {
    /// Named in a warning already.
    refused: Mutex<HashSet<(String, String)>>,
}

impl Sequences {
    /// Sets every sequence of the secondary to where the primary's stands now.
    pub async fn carry(&self, primary: &Connection, secondary: &Connection, mirror: &Mirror) -> Result<(), Failure> {
        let mut refused = self.refused.lock().await;
        let (from, to) = try_join!(async { read(primary, mirror).await.map_err(Failure::Primary) }, async {
            read(secondary, mirror).await.map_err(Failure::Secondary)
        })?;
        for (name, position) in from {
            if to.get(&name).is_none_or(|there| *there == position) {
                continue;
            }
            match set(secondary, &name, position).await {
                Ok(()) => drop(refused.remove(&name)),
                Err(error) if error.code().is_none() => return Err(Failure::Secondary(error)),
                Err(error) => {
                    let failure = Failure::Secondary(error);
                    if refused.insert(name.clone()) {
                        tracing::warn!(schema = name.0, sequence = name.1, %failure, "a sequence cannot be carried");
                    }
                }
            }
        }
        Ok(())
    }

    /// Carries them every `link.sequences` while this instance holds the link. Never ends.
    pub async fn follow(self: Arc<Self>, config: Live, primary: Side, ledger: Arc<Ledger>) {
        let mut ends = None;
        loop {
            tokio::time::sleep(config.link.sequences).await;
            if ledger.state() != LinkState::Running {
                continue;
            }
            let turn = async {
                let (on_primary, on_secondary) = match ends.take() {
                    Some(open) => open,
                    None => open_both(&config, primary).await?,
                };
                self.carry(&on_primary, &on_secondary, &config.mirror).await?;
                Ok::<_, Failure>((on_primary, on_secondary))
            };
            match turn.await {
                Ok(open) => ends = Some(open),
                Err(failure) => tracing::debug!(%failure, "sequences were not carried this time"),
            }
        }
    }
}

/// Those that are carried, and can be read.
async fn read(connection: &Connection, mirror: &Mirror) -> Result<Positions, tokio_postgres::Error> {
    // A sequence of a column is selected with its table.
    let sql = "SELECT n.nspname::text, c.relname::text, coalesce(tn.nspname || '.' || t.relname, n.nspname || '.' || c.relname) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') \
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 \
                 LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace \
               WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') END \
                 AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgduet') \
               ORDER BY 1, 2";
    let mut names = Vec::new();
    for row in connection.query(sql, &[]).await? {
        if introspect::is_selected(mirror, row.try_get(2)?) {
            names.push((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?));
        }
    }
    let mut positions = Positions::new();
    for chunk in names.chunks(READ_AT_ONCE) {
        let one = |(i, name): (usize, &(String, String))| {
            format!("SELECT {i}::int8, last_value, is_called FROM {}", qualified(name))
        };
        let sql = chunk.iter().enumerate().map(one).collect::<Vec<_>>().join(" UNION ALL ");
        for row in connection.query(&sql, &[]).await? {
            let position = Position { last: row.try_get(1)?, called: row.try_get(2)? };
            let name = usize::try_from(row.try_get::<_, i64>(0)?).ok().and_then(|i| chunk.get(i));
            positions.extend(name.map(|name| (name.clone(), position)));
        }
    }
    Ok(positions)
}

async fn set(
    connection: &Connection,
    name: &(String, String),
    position: Position,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT setval($1::text::regclass, $2, $3)";
    connection.query(sql, &[&qualified(name), &position.last, &position.called]).await.map(drop)
}

fn qualified((schema, name): &(String, String)) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}
