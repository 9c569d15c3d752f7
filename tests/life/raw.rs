//! A client in plain bytes: it sends what a test says and shows what came, down to the end of its connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::read_some;

/// A connection that gives up rather than hang a test.
pub struct Raw(pub TcpStream);

pub fn frame(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short frame");
    let mut frame: Vec<u8> = kind.into_iter().collect();
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    frame
}

impl Raw {
    pub fn connect(port: u16) -> Raw {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Raw(socket)
    }

    /// One that may send its first query.
    pub fn started(port: u16) -> Raw {
        let mut raw = Raw::connect(port);
        raw.send(&frame(None, b"\0\x03\0\0user\0app\0database\0app\0\0"));
        raw.until(b"Z\0\0\0\x05I");
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("bytes sent");
    }

    pub fn query(&mut self, sql: &str) {
        self.send(&frame(Some(b'Q'), format!("{sql}\0").as_bytes()));
    }

    /// All that comes up to and with `end`.
    pub fn until(&mut self, end: &[u8]) -> String {
        let mut seen = vec![];
        let mut byte = [0];
        while !seen.ends_with(end) {
            let read = read_some(&mut self.0, &mut byte).expect("an answer");
            assert!(read > 0, "closed after {}", String::from_utf8_lossy(&seen));
            seen.extend(byte);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// All that comes until the proxy closes the connection.
    pub fn until_closed(&mut self) -> String {
        let mut seen = vec![];
        match self.0.read_to_end(&mut seen) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => panic!("the connection was not closed: {e}"),
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// ReadyForQuery, idle and in a transaction.
pub const READY: &[u8] = b"Z\0\0\0\x05I";
pub const IN_TRANSACTION: &[u8] = b"Z\0\0\0\x05T";

impl Raw {
    /// All that comes up to `end`, or until the proxy closes.
    pub fn until_closed_or(&mut self, end: &[u8]) -> Vec<u8> {
        self.heard(end).0
    }

    /// The same, and whether the connection was reset: what was on the way may be lost then.
    pub fn heard(&mut self, end: &[u8]) -> (Vec<u8>, bool) {
        let (seen, ended) = self.listen(end);
        match ended {
            Ok(()) => (seen, false),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => (seen, true),
            Err(e) => panic!("neither an answer nor an end: {e}, after {:?}", tail(&seen)),
        }
    }

    /// What came, and how that ended: with `end` or a close, or with an error.
    pub fn listen(&mut self, end: &[u8]) -> (Vec<u8>, std::io::Result<()>) {
        let mut seen = vec![];
        let mut some = vec![0; 64 << 10];
        while end.is_empty() || !seen.ends_with(end) {
            match read_some(&mut self.0, &mut some) {
                Ok(0) => break,
                Ok(read) => seen.extend_from_slice(&some[..read]),
                Err(e) => return (seen, Err(e)),
            }
        }
        (seen, Ok(()))
    }
}

/// The end of what came, as text.
pub fn tail(seen: &[u8]) -> String {
    String::from_utf8_lossy(&seen[seen.len().saturating_sub(300)..]).into_owned()
}
