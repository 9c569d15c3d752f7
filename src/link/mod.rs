//! The link: the one-directional carrier from the primary to the secondary.

pub mod cells;
pub mod ledger;
pub mod plan;
pub mod relations;
