//! The errors.
