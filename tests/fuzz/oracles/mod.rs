//! What must hold for any bytes at all: used by the fuzz targets, and by tests/properties.rs with seeded and with found inputs.

mod analysis;
mod framing;
mod startup;

pub use analysis::analysis;
pub use framing::framing;
pub use startup::startup;
