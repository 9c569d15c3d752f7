//! A client that sends what messages it likes, and sees each frame of the answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use pgduet::wire::{Writer, front};

pub struct Raw {
    stream: TcpStream,
    pub out: BytesMut,
}

/// One frame: its type and its body.
pub type Frame = (char, Vec<u8>);

impl Raw {
    /// As `app` in the database `app`, on loopback.
    pub fn connect(port: u16) -> Raw {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let body = b"\0\x03\0\0user\0app\0database\0app\0\0";
        let length = u32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
        stream.write_all(&[&length[..], body].concat()).expect("a start-up message");
        let mut raw = Raw { stream, out: BytesMut::new() };
        raw.until_ready();
        raw
    }

    pub fn query(&mut self, sql: &str) -> &mut Raw {
        Writer::query(&mut self.out, sql.as_bytes());
        self
    }

    /// Parse, Bind, Describe and Execute with the unnamed statement, in text.
    pub fn run(&mut self, sql: &str) -> &mut Raw {
        Writer::parse(&mut self.out, b"", sql.as_bytes(), &[0, 0]);
        Writer::begin(&mut self.out, front::BIND).cstr(b"").cstr(b"").u16(0).u16(0).u16(0).end();
        Writer::begin(&mut self.out, front::DESCRIBE).u8(b'P').cstr(b"").end();
        Writer::execute(&mut self.out, b"", 0);
        self
    }

    /// Parse and Describe of a statement with a name.
    pub fn prepare(&mut self, name: &str, sql: &str) -> &mut Raw {
        Writer::parse(&mut self.out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
        Writer::describe_statement(&mut self.out, name.as_bytes());
        self
    }

    /// Bind and Execute of a statement, its rows in binary form or as text.
    pub fn execute(&mut self, name: &str, binary: bool) -> &mut Raw {
        let mut bind = Writer::begin(&mut self.out, front::BIND);
        bind.cstr(b"").cstr(name.as_bytes()).u16(0).u16(0).u16(1).u16(u16::from(binary)).end();
        Writer::execute(&mut self.out, b"", 0);
        self
    }

    /// Sends all with a Sync, and takes the answer: errors, rows, tags and status.
    pub fn answers(&mut self) -> Vec<String> {
        self.sync().send();
        let told = |text: &String| matches!(text.get(..1), Some("E" | "D" | "C" | "Z"));
        self.until_ready().into_iter().map(short).filter(told).collect()
    }

    pub fn flush(&mut self) -> &mut Raw {
        Writer::empty(&mut self.out, front::FLUSH);
        self
    }

    pub fn sync(&mut self) -> &mut Raw {
        Writer::empty(&mut self.out, front::SYNC);
        self
    }

    /// Sends all that was written in one piece.
    pub fn send(&mut self) -> &mut Raw {
        let out = self.out.split();
        self.stream.write_all(&out).expect("a message is sent");
        self
    }

    pub fn frame(&mut self) -> Frame {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).expect("a frame");
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).expect("a whole frame");
        (char::from(header[0]), body)
    }

    /// Up to and with the next ReadyForQuery.
    pub fn until_ready(&mut self) -> Vec<Frame> {
        let mut frames = vec![];
        loop {
            let frame = self.frame();
            let ready = frame.0 == 'Z';
            frames.push(frame);
            if ready {
                return frames;
            }
        }
    }

    /// The answer to one simple query, without RowDescription's oids: types, tags, values and status.
    pub fn ask(&mut self, sql: &str) -> Vec<String> {
        self.query(sql).send();
        self.until_ready().into_iter().map(short).collect()
    }
}

/// A frame as a test compares it: an error by its SQLSTATE, a row by its text.
pub fn short((tag, body): Frame) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    match tag {
        'E' => {
            let fields = body.split(|&b| b == 0);
            let code = fields.into_iter().find_map(|field| field.strip_prefix(b"C"));
            format!("E {}", text(code.unwrap_or_default()))
        }
        'D' => format!("D {}", text(body.get(6..).unwrap_or_default())),
        'C' | 'Z' => format!("{tag} {}", text(&body)),
        other => other.to_string(),
    }
}
