//! From a socket to a session: the opening, proof of identity, the login to the primary, and the greeting.

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use pgwire::messages::startup::Authentication;
use tokio::net::TcpStream;

use super::admission::{authenticate, put_authentication};
use super::baggage::Baggage;
use super::cancel::{self, Cancelling};
use super::console::{self, Console};
use super::context::{Context, Login, Worker};
use super::peer::Peer;
use super::registry::Slot;
use super::statements::Statements;
use super::transaction::Transaction;
use super::{End, Passing, RoutingKey, Session};
use crate::auth::{Hello, Opening, OpeningError, read_opening};
use crate::backend::login::{self, Backend, Identity, LoginError};
use crate::net::{Channel, Socket};
use crate::routing::{Names, bucket};
use crate::side::{BySide, Side};
use crate::wire::{Notice, Writer, back};

/// Opens a session on an accepted socket, within `timeouts.startup`. `None`: there is none to serve (a cancel request, a health check,
/// or a refusal that the client has been told).
pub async fn begin(worker: Rc<Worker>, stream: TcpStream) -> Option<Session> {
    let mut channel = Channel::new(Socket::Tcp(stream));
    channel.keep_alive(&worker.context.config.tcp);
    let bound = worker.context.config.timeouts.startup;
    let opened = tokio::select! {
        opened = tokio::time::timeout(bound, open(&worker, &mut channel)) => opened.ok(),
        () = worker.context.shutdown.begun() => None,
    };
    let last_word = match opened {
        Some(Ok(Some(Opened::Session(login, slot, backend, primary)))) => {
            return Some(session(worker, channel, login, slot, *backend, primary));
        }
        Some(Ok(Some(Opened::Console(console, user)))) => {
            // Boxed: its size is not to be part of every session's.
            Box::pin(console::serve(Arc::clone(&worker.context), console, channel, user)).await;
            return None;
        }
        Some(Ok(None)) | Some(Err(Refusal::Silent)) => BytesMut::new(),
        Some(Err(Refusal::Said(notice))) => {
            let mut frame = BytesMut::new();
            notice.put(&mut frame);
            frame
        }
        Some(Err(Refusal::Backend(frame))) => frame,
        // As Postgres: no word to a client that has not finished its start-up, in time or before the process ends.
        None => return None,
    };
    // An encrypted connection that ends without a goodbye is an error to libpq, a cancel request's too.
    channel.outbound.extend_from_slice(&last_word);
    let _ = tokio::time::timeout(bound, channel.close()).await;
    None
}

pub(super) enum Refusal {
    Said(Box<Notice>),
    /// The backend's own words.
    Backend(BytesMut),
    Silent,
}

impl From<Notice> for Refusal {
    fn from(notice: Notice) -> Self {
        Refusal::Said(Box::new(notice))
    }
}

impl From<OpeningError> for Refusal {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::Io(_) => Refusal::Silent,
            OpeningError::Version { .. } => Notice::fatal("0A000", error.to_string()).into(),
            OpeningError::BytesBeforeEncryption(_) => Notice::fatal("08P01", error.to_string())
                .detail(
                    "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
                )
                .into(),
            _ => Notice::fatal("08P01", error.to_string()).into(),
        }
    }
}

enum Opened {
    Session(Arc<Login>, Slot, Box<Backend>, Side),
    Console(Arc<dyn Console>, String),
}

async fn open(worker: &Worker, channel: &mut Channel) -> Result<Option<Opened>, Refusal> {
    let context = &worker.context;
    let gate = context.gate.load_full();
    let hello = match read_opening(channel, gate.acceptor()).await? {
        Opening::Nothing => return Ok(None),
        Opening::Cancel(key) => {
            cancel::act(context.registry.cancellable(&key), context.config.timeouts.connect).await;
            return Ok(None);
        }
        Opening::Session(hello) => *hello,
    };
    if context.shutdown.has_begun() {
        return Err(Notice::fatal("57P03", "the database system is shutting down").into());
    }
    if !context.registry.is_open() {
        return Err(starting_up().into());
    }
    if hello.minor_version > 0 || !hello.extensions.is_empty() {
        put_negotiate(&mut channel.outbound, &hello.extensions);
    }
    let credentials = authenticate(&gate, channel, &hello).await?;
    if let Some(console) = console_for(context, &hello) {
        return match console::admits(context, &hello.user) {
            true => Ok(Some(Opened::Console(console, hello.user))),
            false => Err(console::refusal(&hello.user).into()),
        };
    }
    check_database(worker, &hello)?;
    let mut slot = context.registry.enroll(&hello.user);
    has_place(context, &hello.user)?;
    let identity = Arc::new(Identity { user: hello.user.clone(), parameters: hello.parameters, credentials });
    let login = Arc::new(Login { identity });
    let primary = context.registry.policy().primary();
    let backend = log_in(worker, &login, primary).await.map_err(|error| refusal(primary, error))?;
    let secret = slot.known_as(backend.key.0);
    greet(channel, &backend, &secret);
    Ok(Some(Opened::Session(login, slot, Box::new(backend), primary)))
}

/// As Postgres while it recovers. What exactly is missing is for the operator, not for whoever has not proved who he is.
fn starting_up() -> Notice {
    Notice::fatal("57P03", "the database system is starting up")
        .detail(
            "The proxy waits for the databases: it has not read the durable policy yet, and serves nobody without it.",
        )
        .hint("It tries again by itself. GET /readyz on the admin port, and the log, say what does not answer.")
}

/// Whether there is room for one who has been counted already.
fn has_place(context: &Context, user: &str) -> Result<(), Refusal> {
    let (clients, all) = (&context.config.clients, context.registry.clients());
    let is_admin = context.config.admin.users.iter().any(|admin| admin == user);
    let own = clients.users.iter().find(|known| known.name == user).and_then(|known| known.max_connections);
    let (message, hint) = match () {
        () if all > clients.max_connections => (
            "sorry, too many clients already".into(),
            "Raise clients.max_connections of pgduet, or use fewer connections.",
        ),
        () if all > clients.max_connections - clients.reserved_connections && !is_admin => (
            "remaining connection slots are reserved for admin.users".into(),
            "Raise clients.max_connections of pgduet, or use fewer connections.",
        ),
        () if own.is_some_and(|own| context.registry.clients_of(user) > own) => (
            format!("too many connections for role \"{user}\""),
            "Raise max_connections of this user in clients.users of pgduet, or use fewer connections.",
        ),
        () => return Ok(()),
    };
    Err(Notice::fatal("53300", message).hint(hint).into())
}

/// The console, if that is the database that is meant: a database of that name which is served goes first.
fn console_for(context: &Context, hello: &Hello) -> Option<Arc<dyn Console>> {
    let is_meant = hello.database == console::DATABASE && context.addresses.old.database != console::DATABASE;
    is_meant.then(|| context.console.get().cloned()).flatten()
}

fn check_database(worker: &Worker, hello: &Hello) -> Result<(), Refusal> {
    let served = &worker.context.addresses.old.database;
    if hello.database == *served {
        return Ok(());
    }
    let message = format!("database \"{}\" does not exist", hello.database);
    let hint = format!(
        "pgduet serves the database \"{served}\" of backends.old.url; another database needs an instance of its own."
    );
    Err(Notice::fatal("3D000", message).hint(hint).into())
}

fn put_negotiate(out: &mut BytesMut, extensions: &[String]) {
    let mut writer = Writer::begin(out, back::NEGOTIATE_PROTOCOL);
    writer.u32(3 << 16).u32(extensions.len() as u32);
    extensions.iter().for_each(|name| {
        writer.cstr(name.as_bytes());
    });
    writer.end();
}

async fn log_in(worker: &Worker, login: &Login, side: Side) -> Result<Backend, LoginError> {
    let context = &worker.context;
    let identity = &login.identity;
    let credentials = identity.credentials.get(side);
    let timeout = context.config.timeouts.connect;
    let backend = login::login(context.addresses.get(side), credentials, &identity.parameters, timeout).await?;
    backend.channel.keep_alive(&context.config.tcp);
    Ok(backend)
}

/// The secret is the proxy's own: the backend's stays between the two.
fn greet(channel: &mut Channel, backend: &Backend, secret: &[u8]) {
    put_authentication(channel, Authentication::Ok);
    let out = &mut channel.outbound;
    for (name, value) in &backend.parameters {
        Writer::begin(out, back::PARAMETER_STATUS).cstr(name).cstr(value).end();
    }
    Writer::begin(out, back::BACKEND_KEY_DATA).u32(backend.key.0 as u32).bytes(secret).end();
    Writer::begin(out, back::READY_FOR_QUERY).u8(b'I').end();
}

fn session(
    worker: Rc<Worker>,
    client: Channel,
    login: Arc<Login>,
    slot: Slot,
    backend: Backend,
    primary: Side,
) -> Session {
    let mut names = Names { user: login.identity.user.clone(), ..Names::default() };
    backend.parameters.iter().for_each(|(name, value)| names.reading.follow(name, value));
    let baggage = Baggage::new(names.reading);
    let seat = worker.vigil.seat();
    let mut session = Session {
        worker,
        login,
        slot,
        client,
        peers: BySide { old: None, new: None },
        active: primary,
        policy: None,
        transaction: Transaction::default(),
        statements: Statements::default(),
        captures_statements: false,
        names,
        baggage,
        routing_key: RoutingKey { connection: bucket(&format!("{:016x}", rand::random::<u64>())), setting: None },
        last_write: 0,
        requests: Passing::default(),
        answers: Passing::default(),
        withheld: None,
        cancelling: Cancelling::default(),
        fallback: None,
        resumed: Default::default(),
        asked: None,
        way: Default::default(),
        seat,
        overrun: None,
        leaving: super::leaving::Leaving::No,
    };
    if session.starts_with_search_path() {
        session.names.own_search_path = true;
        session.baggage.unsettle();
    }
    let counted = session.worker.context.tally.connected(primary);
    *session.peers.get_mut(primary) = Some(Peer::new(backend.channel, backend.key, counted));
    session
}

impl Session {
    /// Connects to a side that a request needs. Without the secondary, the primary serves; without the primary, there is no session.
    pub(super) async fn connect(&mut self, side: Side) -> Result<(), End> {
        let (worker, login) = (Rc::clone(&self.worker), Arc::clone(&self.login));
        let attempt = log_in(&worker, &login, side);
        let backend = match side == self.primary() {
            true => attempt.await.map_err(|error| End::Login(side, error))?,
            false => match self.reach_secondary(attempt).await {
                Some(backend) => backend,
                None => {
                    self.worker.context.tally.backend_error(side);
                    self.fallback = Some(super::answers::FALLBACK);
                    return Ok(());
                }
            },
        };
        let counted = worker.context.tally.connected(side);
        *self.peers.get_mut(side) = Some(Peer::new(backend.channel, backend.key, counted));
        Ok(())
    }
}

fn refusal(side: Side, error: LoginError) -> Refusal {
    match error {
        LoginError::Refused(frame) => Refusal::Backend(frame),
        LoginError::Dismissed(frame) => {
            let mut words = BytesMut::new();
            Writer::begin(&mut words, back::AUTHENTICATION).u32(0).end();
            words.extend_from_slice(&frame);
            Refusal::Backend(words)
        }
        error => login_notice(side, &error).into(),
    }
}

/// What a client is told when its backend cannot be had; details that concern the operator go to the log.
pub(super) fn login_notice(side: Side, error: &LoginError) -> Notice {
    tracing::error!(%side, %error, "a client's login to its backend failed");
    let (code, hint) = match error {
        LoginError::NoPassword => {
            ("28000", "Give this user a password_file in clients.users, or use trust on the backend.")
        }
        LoginError::OnlyVerifier | LoginError::Keys(_) => (
            "28000",
            "Give this user a password_file for this side in clients.users, or the same verifier as the backend.",
        ),
        LoginError::Method | LoginError::Impostor | LoginError::Unbound => {
            ("28000", "Check the backend's pg_hba.conf and backends.<side>.url.")
        }
        _ => ("08001", "Check that the backend is up and that backends.<side>.url is right."),
    };
    Notice::fatal(code, format!("could not connect to the database ({side})")).detail(format!("{error}.")).hint(hint)
}
