//! The console, as far as it is a conversation: the database `pgduet` on the proxy's own port, spoken to by psql and drivers.
//!
//! What a statement means is not known here. Whoever does know is a [`Console`], which the assembly puts into the context; it
//! answers from threads of its own, so that nothing that an operator asks takes time from the clients of this thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;

use super::context::Context;
use crate::config::{ClientAuth, Clients};
use crate::net::Channel;
use crate::wire::{Bind, CloseOrDescribe, HEADER, Header, Parse, Writer, back, cstr, front};

pub use super::reply::{Cell, Column, ColumnKind, Reply, Rows};
pub use crate::wire::Notice;

/// The database that means the console, unless it is the one that is served.
pub const DATABASE: &str = "pgduet";
/// Consoles at once.
const MAX_GUESTS: usize = 16;
/// The longest message, bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Prepared statements, and portals, of one console.
const MAX_NAMES: usize = 64;
/// Rows of one answer that a client takes too slowly are given up, with the client.
const PATIENCE: Duration = Duration::from_secs(60);

/// What answers. Implementations bound their own work.
pub trait Console: Send + Sync {
    /// The columns that a statement will answer with, known without running it; none for what answers with a tag alone.
    fn columns(&self, sql: &str) -> Result<Vec<Column>, Box<Notice>>;

    /// Runs one statement for a user. May take as long as a change of phase does.
    fn run(&self, sql: String, by: String) -> BoxFuture<'static, Result<Reply, Box<Notice>>>;

    /// The statements of a simple query, one by one.
    fn split(&self, sql: &str) -> Vec<String>;
}

/// Counts those who are there.
#[derive(Debug, Default)]
pub struct Guests(AtomicUsize);

struct Seat<'a>(&'a Guests);

impl Guests {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn seat(&self) -> Option<Seat<'_>> {
        let seat = Seat(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_GUESTS).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a user, who has proved who he is, may use the console. Without a list: anybody where anybody may log in from this machine alone.
pub(super) fn admits(context: &Context, user: &str) -> bool {
    let users = &context.config.admin.users;
    let open = |clients: &Clients| clients.auth == ClientAuth::Trust && context.config.listen.ip().is_loopback();
    match users.is_empty() {
        true => open(&context.config.clients),
        false => users.iter().any(|admitted| admitted == user),
    }
}

pub(super) fn refusal(user: &str) -> Notice {
    Notice::fatal("42501", format!("permission denied for database \"{DATABASE}\""))
        .detail(format!("It is the console, and \"{user}\" is not among admin.users."))
        .hint("Add the user to admin.users in the configuration, or use the command pgduet with the admin token.")
}

/// A prepared statement, or a portal: it is run once.
#[derive(Clone, Debug)]
struct Prepared {
    sql: String,
    /// A portal's result formats: none (all text), one for all, or one for each column.
    formats: Vec<u16>,
}

/// One conversation.
pub(super) struct Guest {
    console: Arc<dyn Console>,
    channel: Channel,
    user: String,
    in_transaction: bool,
    failed: bool,
    /// After an error in the extended protocol: everything up to the next Sync is passed over.
    skipping: bool,
    statements: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Prepared>,
}

/// The conversation is over.
struct Over;

type Step = Result<(), Box<Notice>>;

/// Serves a console until its client leaves, is silent for longer than a session may be, or the process drains.
pub(super) async fn serve(context: Arc<Context>, console: Arc<dyn Console>, mut channel: Channel, user: String) {
    let Some(_seat) = context.guests.seat() else {
        Notice::fatal("53300", "too many consoles").hint("Close one that is not used.").put(&mut channel.outbound);
        let _ = tokio::time::timeout(PATIENCE, channel.close()).await;
        return;
    };
    greet(&mut channel, &user);
    let (statements, portals) = Default::default();
    let mut guest =
        Guest { console, channel, user, in_transaction: false, failed: false, skipping: false, statements, portals };
    tokio::select! {
        _ = guest.converse() => {}
        () = context.shutdown.begun() => {
            let farewell = Notice::fatal("57P01", "terminating connection due to administrator command");
            farewell.put(&mut guest.channel.outbound);
        }
    }
    let _ = tokio::time::timeout(PATIENCE, guest.channel.close()).await;
}

fn greet(channel: &mut Channel, user: &str) {
    let out = &mut channel.outbound;
    Writer::begin(out, back::AUTHENTICATION).u32(0).end();
    let version = concat!("15.0 (pgduet ", env!("CARGO_PKG_VERSION"), ")");
    let parameters = [
        ("server_version", version),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("session_authorization", user),
    ];
    for (name, value) in parameters {
        Writer::begin(out, back::PARAMETER_STATUS).cstr(name.as_bytes()).cstr(value.as_bytes()).end();
    }
    // A cancel request for it opens nothing: what a console asks for ends by itself.
    Writer::begin(out, back::BACKEND_KEY_DATA).u32(0).u32(rand::random()).end();
    Writer::begin(out, back::READY_FOR_QUERY).u8(b'I').end();
}

impl Guest {
    async fn converse(&mut self) -> Result<(), Over> {
        loop {
            self.flush().await?;
            let frame = self.next().await?;
            let (tag, body) = (frame.first().copied().unwrap_or_default(), frame.get(HEADER..).unwrap_or_default());
            let done = match tag {
                front::TERMINATE => return Err(Over),
                front::QUERY => self.query(body).await,
                front::SYNC => {
                    self.skipping = false;
                    self.portals.clear();
                    self.ready();
                    Ok(())
                }
                _ if self.skipping => Ok(()),
                front::PARSE => self.parse(&frame),
                front::BIND => self.bind(&frame),
                front::DESCRIBE => self.describe(&frame),
                front::EXECUTE => self.execute(body).await,
                front::CLOSE => self.close(&frame),
                front::FLUSH => Ok(()),
                _ => Err(Box::new(Notice::error("08P01", "the console does not take this kind of message"))),
            };
            if let Err(notice) = done {
                self.fail(&notice);
                self.skipping = tag != front::QUERY;
            }
        }
    }

    async fn next(&mut self) -> Result<BytesMut, Over> {
        loop {
            match Header::peek(&self.channel.inbound, MAX_MESSAGE) {
                Err(malformed) => {
                    Notice::fatal("08P01", malformed.to_string()).put(&mut self.channel.outbound);
                    return Err(Over);
                }
                Ok(Some(header)) if self.channel.inbound.len() >= header.len => {
                    return Ok(self.channel.inbound.split_to(header.len));
                }
                Ok(_) => {}
            }
            if self.channel.is_closed() {
                return Err(Over);
            }
            self.channel.release_buffers();
            self.channel.fill().await.map_err(|_| Over)?;
        }
    }

    /// A client that takes nothing of its answer is let go.
    async fn flush(&mut self) -> Result<(), Over> {
        match tokio::time::timeout(PATIENCE, self.channel.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over),
        }
    }

    fn ready(&mut self) {
        let status = match (self.in_transaction, self.failed) {
            (false, _) => b'I',
            (true, false) => b'T',
            (true, true) => b'E',
        };
        Writer::begin(&mut self.channel.outbound, back::READY_FOR_QUERY).u8(status).end();
    }

    fn fail(&mut self, notice: &Notice) {
        self.failed = true;
        notice.put(&mut self.channel.outbound);
    }

    async fn query(&mut self, body: &[u8]) -> Step {
        let text = text_of(body);
        let statements = text.map(|text| self.console.split(text));
        match statements {
            Ok(statements) if statements.is_empty() => Writer::empty(&mut self.channel.outbound, back::EMPTY_QUERY),
            Ok(statements) => {
                for sql in statements {
                    if let Err(notice) = self.run(&sql, &[], true).await {
                        self.fail(&notice);
                        break;
                    }
                }
            }
            Err(notice) => self.fail(&notice),
        }
        self.ready();
        Ok(())
    }

    async fn run(&mut self, sql: &str, formats: &[u16], with_columns: bool) -> Step {
        let reply = self.console.run(sql.to_owned(), self.user.clone()).await?;
        self.follow(reply.tag);
        let out = &mut self.channel.outbound;
        if let Some(rows) = &reply.rows {
            if with_columns {
                put_columns(out, &rows.columns, formats);
            }
            rows.rows.iter().for_each(|row| put_row(out, row, formats));
        }
        let tag = reply.full_tag();
        Writer::begin(out, back::COMMAND_COMPLETE).cstr(tag.as_bytes()).end();
        Ok(())
    }

    /// Transactions mean nothing here, and drivers open them all the same.
    fn follow(&mut self, tag: &str) {
        match tag {
            "BEGIN" => (self.in_transaction, self.failed) = (true, false),
            "COMMIT" | "ROLLBACK" => (self.in_transaction, self.failed) = (false, false),
            _ => {}
        }
    }

    fn parse(&mut self, frame: &[u8]) -> Step {
        let message = Parse::read(frame).ok_or_else(malformed)?;
        let sql = std::str::from_utf8(message.sql).map_err(|_| not_utf8())?;
        has_room(&self.statements, message.name)?;
        let prepared = Prepared { sql: sql.to_owned(), formats: vec![] };
        self.statements.insert(message.name.to_vec(), prepared);
        Writer::empty(&mut self.channel.outbound, back::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, frame: &[u8]) -> Step {
        let message = Bind::read(frame).ok_or_else(malformed)?;
        let formats: Vec<u16> =
            message.result_formats.chunks_exact(2).map(|code| u16::from_be_bytes([code[0], code[1]])).collect();
        let known = self.statements.get(message.statement).ok_or_else(no_such_statement)?;
        let portal = Prepared { formats, ..known.clone() };
        has_room(&self.portals, message.portal)?;
        self.portals.insert(message.portal.to_vec(), portal);
        Writer::empty(&mut self.channel.outbound, back::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, frame: &[u8]) -> Step {
        let (prepared, is_statement) = match CloseOrDescribe::read(frame).ok_or_else(malformed)? {
            CloseOrDescribe::Statement(name) => (self.statements.get(name), true),
            CloseOrDescribe::Portal(name) => (self.portals.get(name), false),
        };
        let prepared = prepared.ok_or_else(no_such_statement)?;
        let columns = self.console.columns(&prepared.sql)?;
        let out = &mut self.channel.outbound;
        if is_statement {
            Writer::begin(out, back::PARAMETER_DESCRIPTION).u16(0).end();
        }
        match columns.is_empty() {
            true => Writer::empty(out, back::NO_DATA),
            false => put_columns(out, &columns, &prepared.formats),
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Step {
        let (name, _) = cstr(body).ok_or_else(malformed)?;
        let portal = self.portals.remove(name).ok_or_else(no_such_statement)?;
        if self.console.split(&portal.sql).is_empty() {
            Writer::empty(&mut self.channel.outbound, back::EMPTY_QUERY);
            return Ok(());
        }
        self.run(&portal.sql, &portal.formats, false).await
    }

    fn close(&mut self, frame: &[u8]) -> Step {
        match CloseOrDescribe::read(frame).ok_or_else(malformed)? {
            CloseOrDescribe::Statement(name) => drop(self.statements.remove(name)),
            CloseOrDescribe::Portal(name) => drop(self.portals.remove(name)),
        }
        Writer::empty(&mut self.channel.outbound, back::CLOSE_COMPLETE);
        Ok(())
    }
}

fn text_of(body: &[u8]) -> Result<&str, Box<Notice>> {
    let (text, _) = cstr(body).ok_or_else(malformed)?;
    std::str::from_utf8(text).map_err(|_| not_utf8())
}

fn malformed() -> Box<Notice> {
    Box::new(Notice::error("08P01", "invalid message format"))
}

fn not_utf8() -> Box<Notice> {
    Box::new(Notice::error("22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn no_such_statement() -> Box<Notice> {
    Box::new(Notice::error("26000", "there is no such prepared statement or portal"))
}

fn has_room(names: &HashMap<Vec<u8>, Prepared>, name: &[u8]) -> Step {
    match names.len() < MAX_NAMES || names.contains_key(name) {
        true => Ok(()),
        false => Err(Box::new(Notice::error("53400", "too many prepared statements for a console"))),
    }
}

fn format_of(formats: &[u16], at: usize) -> u16 {
    match formats {
        [all] => *all,
        each => each.get(at).copied().unwrap_or(0),
    }
}

fn put_columns(out: &mut BytesMut, columns: &[Column], formats: &[u16]) {
    let mut writer = Writer::begin(out, back::ROW_DESCRIPTION);
    writer.u16(columns.len() as u16);
    for (at, column) in columns.iter().enumerate() {
        writer.cstr(column.name.as_bytes()).u32(0).u16(0).u32(column.kind.oid()).u16(column.kind.size());
        writer.u32(u32::MAX).u16(format_of(formats, at));
    }
    writer.end();
}

fn put_row(out: &mut BytesMut, row: &[Cell], formats: &[u16]) {
    let mut writer = Writer::begin(out, back::DATA_ROW);
    writer.u16(row.len() as u16);
    for (at, cell) in row.iter().enumerate() {
        match cell.encode(format_of(formats, at) == 1) {
            Some(bytes) => writer.u32(bytes.len() as u32).bytes(&bytes),
            None => writer.u32(u32::MAX),
        };
    }
    writer.end();
}
