//! Framing: a type byte, then a length that counts itself but not the type byte.

/// Bytes of a frame's header.
pub const HEADER: usize = 5;

/// A frame's header, read from the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the whole frame, header included.
    pub len: usize,
}

/// The bytes are no frame. The connection cannot go on: where the next frame would begin is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid message length {length} for message type 0x{tag:02x}")]
pub struct Malformed {
    pub tag: u8,
    pub length: i32,
}

impl Header {
    /// `None`: more bytes are needed. `max`: the longest frame that is accepted, in bytes.
    pub fn peek(buffer: &[u8], max: usize) -> Result<Option<Header>, Malformed> {
        let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(n) if n >= 4 && n < max => Ok(Some(Header { tag, len: n + 1 })),
            _ => Err(Malformed { tag, length }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_believed() {
        assert_eq!(Header::peek(b"Q\0\0\0", 100), Ok(None));
        assert_eq!(Header::peek(b"Q\0\0\0\x04", 100), Ok(Some(Header { tag: b'Q', len: 5 })));
        assert!(Header::peek(b"Q\0\0\0\x03", 100).is_err());
        assert!(Header::peek(b"Q\xff\xff\xff\xff", 100).is_err());
        assert!(Header::peek(b"Q\0\0\x01\x00", 100).is_err());
    }
}
