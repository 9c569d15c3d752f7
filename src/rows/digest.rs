//! An answer reduced to a few words while it streams past: bounded memory, whatever its size, and independent of row order.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::wire::{HEADER, back, error_field};

/// Rows counted, and the sum of their 128-bit hashes: equal multisets have equal sums whatever the order; a row and its duplicate do
/// not cancel out, as they would with XOR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    pub rows: u64,
    #[serde(skip)]
    sum: u128,
}

impl Digest {
    /// `row`: a DataRow's body.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(row));
    }
}

/// What a statement answered, as far as two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Rows(Digest),
    /// SQLSTATE.
    Error([u8; 5]),
}

impl Default for Answer {
    fn default() -> Self {
        Answer::Rows(Digest::default())
    }
}

impl Answer {
    /// Takes in one frame of a server's answer; frames that say nothing about it are passed over.
    pub fn take(&mut self, frame: &[u8]) {
        match (frame.first(), &mut *self) {
            (Some(&back::DATA_ROW), Answer::Rows(digest)) => digest.add(frame.get(HEADER..).unwrap_or_default()),
            (Some(&back::ERROR), _) => {
                let code = error_field(frame, b'C').and_then(|c| c.try_into().ok());
                *self = Answer::Error(code.unwrap_or(*b"XX000"));
            }
            _ => {}
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Rows(digest) => write!(f, "{} rows", digest.rows),
            Answer::Error(code) => write!(f, "error {}", String::from_utf8_lossy(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[&[u8]]) -> Digest {
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(row));
        digest
    }

    #[test]
    fn order_does_not_matter_and_duplicates_do() {
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"b", b"a"]));
        assert_ne!(digest(&[b"a", b"a", b"b"]), digest(&[b"b"]));
        assert_ne!(digest(&[b"a", b"a"]), digest(&[b"b", b"b"]));
    }
}
