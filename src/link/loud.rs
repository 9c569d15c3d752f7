//! Triggers of the user's own on the secondary that fire for what is carried as well: ENABLE ALWAYS or ENABLE REPLICA.
//!
//! What such a trigger does was done on the primary already and is in the rows; done once more it makes other rows of them, and nobody is
//! told. So a cycle that writes to such a table silences them within its own transaction, and makes them loud again before it commits:
//! nobody else ever sees them silent. Only the table's owner may do that; where pgduet is not, `doctor` warns of them.

use tokio_postgres::Row;

use crate::backend::control::Connection;

#[derive(Clone, Debug)]
struct Trigger {
    /// Its table; a partition's topmost ancestor.
    table: u32,
    silence: String,
    again: String,
}

/// One side's.
#[derive(Clone, Debug, Default)]
pub struct Loud(Vec<Trigger>);

const LOUD: &str = "SELECT coalesce(pg_partition_root(c.oid)::oid, c.oid), \
      format('ALTER TABLE ONLY %s DISABLE TRIGGER %I;', c.oid::regclass, t.tgname), \
      format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I;', c.oid::regclass, \
        CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, t.tgname) \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid \
      JOIN pg_namespace n ON n.oid = p.pronamespace \
    WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND n.nspname <> 'pgduet' AND c.relkind IN ('r', 'p') \
      AND c.relpersistence <> 't' AND pg_has_role(c.relowner, 'USAGE')";

impl Loud {
    pub async fn read(connection: &Connection) -> Result<Self, tokio_postgres::Error> {
        let trigger =
            |row: &Row| Ok(Trigger { table: row.try_get(0)?, silence: row.try_get(1)?, again: row.try_get(2)? });
        connection.ask(LOUD).await?.iter().map(trigger).collect::<Result<_, _>>().map(Loud)
    }

    /// Whether writing to the table makes one of them fire.
    pub fn has(&self, table: u32) -> bool {
        self.0.iter().any(|trigger| trigger.table == table)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of some tables.
    pub fn of(&self, is_carried: impl Fn(u32) -> bool) -> Self {
        Loud(self.0.iter().filter(|trigger| is_carried(trigger.table)).cloned().collect())
    }

    /// Statements that silence them.
    pub fn silence(&self) -> String {
        self.0.iter().map(|trigger| trigger.silence.as_str()).collect()
    }

    /// Statements that make them as they were.
    pub fn again(&self) -> String {
        self.0.iter().map(|trigger| trigger.again.as_str()).collect()
    }
}
