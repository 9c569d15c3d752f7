//! What the link knows of both schemas, read as of one moment: inside a cycle, the primary's as of its snapshot and the secondary's as
//! the cycle's statements have left it.

use futures_util::try_join;

use super::Catalogs;
use super::failure::Failure;
use super::plan::Plans;
use super::relations::Relations;
use crate::backend::control::Connection;
use crate::backend::introspect::{self, Schema};
use crate::catalog::{Catalog, Table};
use crate::config::Mirror;
use crate::side::Side;

/// Which side is carried from, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub primary: Side,
    pub mirror: &'a Mirror,
}

/// Both catalogs, and the plans made of them.
#[derive(Clone, Debug)]
pub struct Schemas {
    pub catalogs: Catalogs,
    pub plans: Plans,
    /// The number of the last statement that they know of; 0: none was run before they were read.
    pub statement: i64,
    primary: Side,
}

/// What a touch of a table without a plan means.
#[derive(Debug, PartialEq, Eq)]
pub enum Stranger<'a> {
    /// The table does not exist (any more), or is not mirrored: there is nothing to carry.
    Nobodys,
    /// It should be carried and cannot be, for this reason.
    Unpaired(&'a Table, &'a str),
}

impl Schemas {
    pub async fn read(primary: &Connection, secondary: &Connection, place: Place<'_>) -> Result<Self, Failure> {
        let ((from, on_primary), (to, on_secondary)) =
            try_join!(async { read_side(primary, place.mirror).await.map_err(Failure::Primary) }, async {
                read_side(secondary, place.mirror).await.map_err(Failure::Secondary)
            })?;
        let (old, new) = if place.primary == Side::Old { (from, to) } else { (to, from) };
        let catalogs = introspect::pair(old, new).catalogs;
        let (from, to) = (catalogs.get(place.primary), catalogs.get(place.primary.other()));
        let plans = Plans::new((from, &on_primary), (to, &on_secondary));
        Ok(Schemas { plans, statement: 0, primary: place.primary, catalogs })
    }

    /// The primary's.
    pub fn catalog(&self) -> &Catalog {
        self.catalogs.get(self.primary)
    }

    pub fn stranger(&self, rel: u32) -> Stranger<'_> {
        let table = self.catalog().by_oid(rel).filter(|table| table.mirrored);
        match table.and_then(|table| Some((table, self.catalog().unpaired(rel)?))) {
            Some((table, reason)) => Stranger::Unpaired(table, reason),
            None => Stranger::Nobodys,
        }
    }
}

async fn read_side(connection: &Connection, mirror: &Mirror) -> Result<(Schema, Relations), tokio_postgres::Error> {
    try_join!(introspect::read(connection, mirror), Relations::read(connection))
}
