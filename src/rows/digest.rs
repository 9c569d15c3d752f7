//! An answer reduced to a few words while it streams past: bounded memory, whatever its size.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::detail::columns_digest;
use crate::wire::{HEADER, back, error_field};

/// Rows counted, and the sum of their 128-bit hashes: equal multisets have equal sums whatever the order; a row and its duplicate do
/// not cancel out, as they would with XOR. Beside it, a chain that is equal only in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    pub rows: u64,
    #[serde(skip)]
    sum: u128,
    #[serde(skip)]
    chain: u128,
}

impl Digest {
    /// `row`: a DataRow's body.
    pub fn add(&mut self, row: &[u8]) {
        let hash = xxh3_128(row);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.chain = self.chain.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).wrapping_add(hash);
    }

    /// The same rows, in whatever order.
    pub fn has_rows_of(&self, other: &Digest) -> bool {
        self.rows == other.rows && self.sum == other.sum
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Rows(Digest),
    /// SQLSTATE.
    Error([u8; 5]),
}

/// What a statement answered, as far as two answers are compared at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What its RowDescription says that both servers say alike, if it had one.
    pub columns: Option<u64>,
    pub ending: Ending,
}

impl Default for Answer {
    fn default() -> Self {
        Answer { columns: None, ending: Ending::Rows(Digest::default()) }
    }
}

impl Answer {
    /// Takes in one frame of a server's answer; frames that say nothing about it are passed over.
    pub fn take(&mut self, frame: &[u8]) {
        match (frame.first(), &mut self.ending) {
            (Some(&back::DATA_ROW), Ending::Rows(digest)) => digest.add(frame.get(HEADER..).unwrap_or_default()),
            (Some(&back::ROW_DESCRIPTION), _) => self.columns = Some(columns_digest(frame)),
            (Some(&back::ERROR), ending) => {
                let code = error_field(frame, b'C').and_then(|c| c.try_into().ok());
                *ending = Ending::Error(code.unwrap_or(*b"XX000"));
            }
            _ => {}
        }
    }

    /// Equal as far as both are known. `in_order`: the order of the rows counts.
    pub fn matches(&self, other: &Answer, in_order: bool) -> bool {
        let described_alike = match (self.columns, other.columns) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        match (self.ending, other.ending) {
            (Ending::Rows(a), Ending::Rows(b)) => described_alike && if in_order { a == b } else { a.has_rows_of(&b) },
            (a, b) => a == b,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ending {
            Ending::Rows(digest) => write!(f, "{} rows", digest.rows),
            Ending::Error(code) => write!(f, "error {}", String::from_utf8_lossy(&code)),
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
    fn order_counts_in_the_chain_alone_and_duplicates_count_in_both() {
        let (there, back) = (digest(&[b"a", b"b"]), digest(&[b"b", b"a"]));
        assert!(there.has_rows_of(&back) && there != back);
        assert!(!digest(&[b"a", b"a", b"b"]).has_rows_of(&digest(&[b"b"])));
        assert!(!digest(&[b"a", b"a"]).has_rows_of(&digest(&[b"b", b"b"])));
    }
}
