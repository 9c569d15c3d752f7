//! A collector: HTTP on a port of its own, which keeps what it is sent, or is in trouble. `PGDUET_TEST_TRACES` names a directory to keep the requests
//! in, for other decoders.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::otlp::{Span, decode};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// It takes connections and says nothing.
    Hangs,
    /// 503, once; then it takes.
    BusyOnce,
}

#[derive(Default)]
pub struct Kept {
    pub resource: BTreeMap<String, String>,
    pub spans: Vec<Span>,
    /// The bodies as they came.
    pub bodies: Vec<Vec<u8>>,
    pub requests: usize,
    pub connections: usize,
}

pub struct Collector {
    pub port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Collector {
    pub fn start(mood: Mood) -> Collector {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (kept, mood) = (Arc::<Mutex<Kept>>::default(), Arc::new(Mutex::new(mood)));
        let collector = Collector { port, kept: Arc::clone(&kept) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, mood) = (Arc::clone(&kept), Arc::clone(&mood));
                kept.lock().expect("kept").connections += 1;
                std::thread::spawn(move || serve(stream, &kept, &mood));
            }
        });
        collector
    }

    /// `traces: { ... }` for this collector; `more` may say otherwise than that all is sampled.
    pub fn settings(&self, more: &str) -> String {
        format!("traces: {{ endpoint: \"http://127.0.0.1:{}\", {more} }}", self.port)
    }

    pub fn look<T>(&self, at: impl FnOnce(&Kept) -> T) -> T {
        at(&self.kept.lock().expect("kept"))
    }

    pub fn spans(&self) -> Vec<Span> {
        self.look(|kept| kept.spans.clone())
    }
}

/// Until the peer has gone.
fn serve(stream: TcpStream, kept: &Mutex<Kept>, mood: &Mutex<Mood>) {
    let mut answers = stream.try_clone().expect("the stream");
    let mut requests = BufReader::new(stream);
    while let Some(body) = request(&mut requests) {
        let now = *mood.lock().expect("the mood");
        kept.lock().expect("kept").requests += 1;
        let status = match now {
            Mood::Hangs => continue,
            Mood::BusyOnce => {
                *mood.lock().expect("the mood") = Mood::Takes;
                "503 Service Unavailable"
            }
            Mood::Takes => {
                keep(body, &mut kept.lock().expect("kept"));
                "200 OK"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn keep(body: Vec<u8>, kept: &mut Kept) {
    let (resource, spans) = decode(&body);
    kept.resource = resource;
    kept.spans.extend(spans);
    if let Some(directory) = std::env::var_os("PGDUET_TEST_TRACES") {
        let name = format!("{:?}-{}", std::time::Instant::now(), kept.bodies.len())
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        std::fs::write(std::path::Path::new(&directory).join(name), &body).expect("a directory that exists");
    }
    kept.bodies.push(body);
}

/// The body of the next one.
fn request(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    assert_eq!(lines.first().map(String::as_str), Some("post /v1/traces http/1.1"));
    assert!(lines.contains(&"content-type: application/x-protobuf".to_owned()), "{lines:?}");
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a length")];
    from.read_exact(&mut body).ok()?;
    Some(body)
}
