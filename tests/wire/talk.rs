//! One exchange, held with a server: what it answered, line by line.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::back::{self, Oids};
use super::front;
use super::script::{Exchange, What};
use super::support::client::read_some;

/// A server that says nothing for so long will not.
const SILENCE: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is taken to be done. If it was not, what comes later is read by the next `until`.
const PAUSE: Duration = Duration::from_millis(50);
/// `until quiet`: a message that can be waited for is only found by holding the exchange ([`settle`]).
pub const QUIET: &str = "quiet";

const SILENT: &str = "silence";

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    pub lines: Vec<String>,
    /// For each `until`: its line in the file, and the types of what was read.
    pub letters: Vec<(usize, String)>,
}

pub struct Server<'a> {
    pub port: u16,
    pub database: &'a str,
    /// Changes the proxy's phase.
    pub phase: &'a dyn Fn(&str),
}

/// The exchange with a message in the place of every `quiet`, as `server` answers.
pub fn settle(exchange: &Exchange, server: &Server) -> (Exchange, Transcript) {
    let transcript = hold(exchange, server);
    let mut settled = exchange.clone();
    settled.steps.retain_mut(|step| match &mut step.what {
        What::Until { message, .. } if message == QUIET => {
            let letters = transcript.letters.iter().find(|(line, _)| *line == step.line).map(|(_, letters)| letters);
            letters.and_then(|letters| last_of(letters)).map(|last| *message = last).is_some()
        }
        _ => true,
    });
    (settled, transcript)
}

/// What to wait for to read as many messages as `letters` tell of.
fn last_of(letters: &str) -> Option<String> {
    let runs: Vec<_> = letters.split(' ').filter_map(|run| Some((run.chars().next()?, times(run)))).collect();
    let (last, _) = runs.last()?;
    let count: usize = runs.iter().filter(|(letter, _)| letter == last).map(|(_, times)| times).sum();
    let name = if *last == '.' { "close" } else { back::name(u8::try_from(*last).ok()?) };
    Some(if count == 1 { name.to_owned() } else { format!("{name}*{count}") })
}

fn times(run: &str) -> usize {
    run.split_once('*').and_then(|(_, times)| times.parse().ok()).unwrap_or(1)
}

pub fn hold(exchange: &Exchange, server: &Server) -> Transcript {
    let mut transcript = Transcript::default();
    let mut talks: BTreeMap<usize, Talk> = BTreeMap::new();
    for step in &exchange.steps {
        if let What::Phase(phase) = &step.what {
            (server.phase)(phase);
            continue;
        }
        let wanted = if let What::Startup(text) = &step.what { text } else { "" };
        let talk = talks.entry(step.connection).or_insert_with(|| {
            let (talk, lines) = Talk::open(server, wanted);
            transcript.lines.extend(lines.into_iter().map(|line| format!("{}: {line}", step.connection)));
            talk
        });
        match &step.what {
            What::Send(text) => talk.waiting.extend(front::encode(text)),
            What::Until { message, .. } => {
                let (lines, letters) = talk.until(message);
                transcript.lines.extend(lines.into_iter().map(|line| format!("{}: {line}", step.connection)));
                transcript.letters.push((step.line, letters));
            }
            What::Startup(_) | What::Phase(_) => {}
        }
    }
    transcript
}

pub struct Talk {
    socket: TcpStream,
    waiting: Vec<u8>,
    arrived: Vec<u8>,
    oids: Oids,
}

impl Talk {
    pub fn open(server: &Server, text: &str) -> (Talk, Vec<String>) {
        let socket = TcpStream::connect(("127.0.0.1", server.port)).expect("a connection");
        socket.set_nodelay(true).expect("no delay");
        let mut parameters: Vec<(String, String)> =
            vec![("user".into(), "app".into()), ("database".into(), server.database.into())];
        let mut version = (3, 0);
        for word in text.split('&').map(str::trim).filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                Some((name, value)) => {
                    parameters.retain(|(known, _)| known != name);
                    parameters.push((name.into(), value.into()));
                }
                None => {
                    let (major, minor) = word.split_once('.').expect("a version");
                    version = (major.parse().expect("a number"), minor.parse().expect("a number"));
                }
            }
        }
        let waiting = front::startup(version, &parameters);
        let mut talk = Talk { socket, waiting, arrived: vec![], oids: Oids::default() };
        let (lines, _) = talk.until("ReadyForQuery");
        (talk, lines)
    }

    /// One query of the simple protocol, and all of its answer.
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        self.waiting.extend(front::encode(&format!("Query {sql}")));
        self.until("ReadyForQuery").0
    }

    /// `ReadyForQuery`, `ReadyForQuery*3`, `close`, `quiet`.
    fn until(&mut self, message: &str) -> (Vec<String>, String) {
        // A server that has closed says so when it is read from.
        let _ = self.socket.write_all(&self.waiting);
        self.waiting.clear();
        let (name, times) = message.split_once('*').unwrap_or((message, "1"));
        let mut times: usize = times.parse().expect("a number");
        let (mut lines, mut letters) = (vec![], Letters::default());
        let patience = if message == QUIET { PAUSE } else { SILENCE };
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        while times > 0 {
            let frame = match self.frame() {
                Ok(frame) => frame,
                Err(SILENT) if message == QUIET => break,
                Err(end) => {
                    lines.push(end.to_owned());
                    letters.add('.');
                    break;
                }
            };
            letters.add(char::from(frame[0]));
            lines.push(back::text(&frame, &mut self.oids));
            times -= usize::from(back::name(frame[0]) == name);
        }
        (lines, letters.text())
    }

    /// Or how it ended.
    fn frame(&mut self) -> Result<Vec<u8>, &'static str> {
        loop {
            if let Some(header) = self.arrived.get(..5) {
                let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes")) as usize + 1;
                if self.arrived.len() >= length {
                    return Ok(self.arrived.drain(..length).collect());
                }
            }
            let mut buffer = [0; 16 << 10];
            match read_some(&mut self.socket, &mut buffer) {
                Ok(0) => return Err("closed"),
                Ok(n) => self.arrived.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Err("closed"),
                Err(_) => return Err(SILENT),
            }
        }
    }
}

#[derive(Default)]
struct Letters(Vec<(char, usize)>);

impl Letters {
    fn add(&mut self, letter: char) {
        match self.0.last_mut() {
            Some((last, times)) if *last == letter => *times += 1,
            _ => self.0.push((letter, 1)),
        }
    }

    fn text(&self) -> String {
        let run = |(letter, times): &(char, usize)| match times {
            1 => letter.to_string(),
            n => format!("{letter}*{n}"),
        };
        self.0.iter().map(run).collect::<Vec<_>>().join(" ")
    }
}
