//! The link: the one-directional carrier from the primary to the secondary.

pub mod ledger;
