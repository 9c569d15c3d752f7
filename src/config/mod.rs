//! The configuration file, as plain values. Every key's meaning, unit, default and valid values stand in `proxy.yaml`,
//! which a test holds against [`Config::default`].

mod access;
mod alerts;
mod live;
mod effective;
mod load;
mod reload;
mod rules;
mod traces;
mod values;

pub use access::{Allow, ClientCertificate, ClientTls, Network, Secret, TlsMode, TlsNeed, TlsVersion};
pub use alerts::{Alerts, Webhook};
pub use effective::effective;
pub use live::Live;
pub use load::ConfigError;
pub use reload::Reload;
pub use rules::{ColumnRule, Pattern, Pin, Rules, Segment};
pub use traces::{Collector, Traces};
pub use values::parse_duration;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::side::BySide;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub workers: usize,
    pub admin: Admin,
    #[serde(deserialize_with = "values::backends")]
    pub backends: BySide<Backend>,
    pub clients: Clients,
    /// Seeds the very first start only, as do `reads.percent`, `mirror.ack` and `shadow.sample_percent`.
    pub phase: Phase,
    pub mirror: Mirror,
    pub reads: Reads,
    pub shadow: Shadow,
    pub alerts: Alerts,
    pub traces: Traces,
    pub link: Link,
    pub journal: Journal,
    pub tcp: Tcp,
    pub timeouts: Timeouts,
    pub log_level: LogLevel,
    /// The file's text, for showing; empty where there was no file.
    #[serde(skip)]
    pub source: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
    pub token_file: Option<PathBuf>,
    pub users: Vec<String>,
    /// Connections at once; more wait.
    pub max_connections: usize,
    /// For the head of a request, the silence before it included.
    #[serde(deserialize_with = "values::duration")]
    pub request_timeout: Duration,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    pub url: String,
}

impl std::fmt::Debug for Backend {
    /// A URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend(***)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    Trust,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    pub auth: ClientAuth,
    pub tls: ClientTls,
    pub users: Vec<User>,
    /// Who is admitted from where; empty: everybody from everywhere.
    pub allow: Vec<Allow>,
    pub max_connections: usize,
    /// The last of these places are for `admin.users`.
    pub reserved_connections: usize,
    /// Bytes; a longer message is refused.
    #[serde(deserialize_with = "values::bytes_usize")]
    pub max_message_bytes: usize,
    /// Bytes that the prepared statements and portals of one client may take.
    #[serde(deserialize_with = "values::bytes_usize")]
    pub max_statement_bytes: usize,
}

/// A login that clients may use, and the login that stands for it on each backend.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// Connections of this user at once; none: no limit of its own.
    #[serde(default)]
    pub max_connections: Option<usize>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// `SCRAM-SHA-256$...`, as PostgreSQL stores it, in the place of a password.
    #[serde(default)]
    pub verifier: Option<Secret>,
    #[serde(default)]
    pub verifier_file: Option<PathBuf>,
    /// The login used on a backend where it differs from `name` and `password_file`.
    #[serde(default)]
    pub old: Option<BackendLogin>,
    #[serde(default)]
    pub new: Option<BackendLogin>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendLogin {
    pub user: String,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

pub use crate::phase::{Ack, Percent, Phase};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSecondaryFailure {
    Degrade,
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    Auto,
    Returning,
    Trigger,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    pub ack: Ack,
    #[serde(deserialize_with = "values::duration")]
    pub ack_timeout: Duration,
    pub on_secondary_failure: OnSecondaryFailure,
    pub capture: CaptureMode,
    /// Patterns of `schema.table` with `*`; empty: all user tables.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    Comment,
    Setting,
    Connection,
    User,
    ApplicationName,
    Address,
    Column,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Session,
    Any,
    Within(Duration),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reads {
    /// Hundredths of a percent, 0..=10000.
    pub percent: Percent,
    pub key: Vec<KeySource>,
    /// Seeds of the durable rules, as are `segments` and `pins`.
    pub columns: Vec<ColumnRule>,
    pub segments: Vec<Segment>,
    pub pins: Vec<Pin>,
    pub freshness: Freshness,
    /// A read that has had no answer from the secondary for so long is asked of the primary. Zero: never.
    #[serde(deserialize_with = "values::duration")]
    pub first_byte_timeout: Duration,
    /// A secondary further behind than this is asked nothing.
    #[serde(deserialize_with = "values::duration")]
    pub max_lag: Duration,
    /// How often the secondary is asked whether it answers.
    #[serde(deserialize_with = "values::duration")]
    pub probe: Duration,
    /// Without an answer for so long it is down.
    #[serde(deserialize_with = "values::duration")]
    pub probe_timeout: Duration,
    /// How long all has to be well before withdrawn reads return.
    #[serde(deserialize_with = "values::duration")]
    pub return_after: Duration,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shadow {
    pub sample_percent: Percent,
    pub max_concurrent: usize,
    /// Sampled reads waiting for their comparison; more are dropped and counted.
    pub max_queue: usize,
    /// A comparison that takes longer is given up and counted.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
    /// Statements kept, by fingerprint.
    pub max_findings: usize,
    /// Comparisons of one statement a second, at most. Zero: no budget.
    pub per_statement: u32,
    /// Relative difference up to which floats are equal.
    pub float_tolerance: f64,
    /// Rows of an answer that are kept while a suspicion is confirmed.
    pub max_rows: usize,
    /// Findings show values of the rows that differ.
    pub show_values: bool,
    /// How often the table of statements is saved.
    #[serde(deserialize_with = "values::duration")]
    pub save: Duration,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Touches read per step of a cycle: bounds the memory of a cycle, not its size.
    pub chunk: usize,
    /// The wait after a failed cycle: doubled from the first value up to the second.
    #[serde(deserialize_with = "values::duration")]
    pub retry_min: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub retry_max: Duration,
    /// How often the journal is looked at when no commit was announced.
    #[serde(deserialize_with = "values::duration")]
    pub poll: Duration,
    /// How long a commit that nobody waits for may wait for others, to be carried with them.
    #[serde(deserialize_with = "values::duration")]
    pub gather: Duration,
    /// How often one instance looks after what another one does: the holder for commits elsewhere, the others, while commits wait, for
    /// what the holder has brought.
    #[serde(deserialize_with = "values::duration")]
    pub follow: Duration,
    /// How often the carried part of the journal is removed.
    #[serde(deserialize_with = "values::duration")]
    pub clean_up: Duration,
    /// How often the positions of sequences are carried.
    #[serde(deserialize_with = "values::duration")]
    pub sequences: Duration,
    /// How long the link waits, at most, for those who use an aligned pair of snapshots to open their transactions.
    #[serde(deserialize_with = "values::duration")]
    pub align_hold: Duration,
    /// The largest table that is looked through for rows that somebody wrote without the proxy, bytes. 0: none is.
    #[serde(deserialize_with = "values::bytes")]
    pub watch_bypass: u64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    #[serde(deserialize_with = "values::bytes")]
    pub max_bytes: u64,
}

/// When a peer that says nothing is taken for dead, on both sides of the proxy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// A connection silent for so long is asked whether its peer is there. Zero: never.
    #[serde(deserialize_with = "values::duration")]
    pub keepalive: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub keepalive_interval: Duration,
    /// Questions without an answer after which the peer is dead.
    pub keepalive_count: u32,
    /// Bytes without acknowledgement for so long end the connection. Zero: the system's own limit.
    #[serde(deserialize_with = "values::duration")]
    pub user_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Zero means no limit for the idle ones, `statement` and `stalled`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    #[serde(deserialize_with = "values::duration")]
    pub connect: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub startup: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub drain: Duration,
    /// How long `/readyz` says no before the port is closed.
    #[serde(deserialize_with = "values::duration")]
    pub linger: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub idle: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub idle_in_transaction: Duration,
    /// From a request to the end of its answer; then it is cancelled.
    #[serde(deserialize_with = "values::duration")]
    pub statement: Duration,
    /// A secondary that is down and says nothing for so long in the middle of an answer is given up.
    #[serde(deserialize_with = "values::duration")]
    pub stalled: Duration,
    /// How long a change of phase waits for the transactions of the former phase.
    #[serde(deserialize_with = "values::duration")]
    pub phase_change: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: loopback(6440),
            workers: 2,
            admin: Admin::default(),
            backends: default_backends(),
            clients: Clients::default(),
            phase: Phase::OldOnly,
            mirror: Mirror::default(),
            reads: Reads::default(),
            shadow: Shadow::default(),
            alerts: Alerts::default(),
            traces: Traces::default(),
            link: Link::default(),
            journal: Journal::default(),
            tcp: Tcp::default(),
            timeouts: Timeouts::default(),
            log_level: LogLevel::Info,
            source: String::new(),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn default_backends() -> BySide<Backend> {
    BySide {
        old: Backend { url: "postgres://pgduet@127.0.0.1:5433/app".into() },
        new: Backend { url: "postgres://pgduet@127.0.0.1:5434/app".into() },
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: loopback(6441),
            token_file: None,
            users: vec![],
            max_connections: 128,
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Clients {
            auth: ClientAuth::ScramSha256,
            tls: ClientTls::default(),
            users: vec![],
            allow: vec![],
            max_connections: 1000,
            reserved_connections: 0,
            max_message_bytes: 1 << 30,
            max_statement_bytes: 64 << 20,
        }
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Mirror {
            ack: Ack::Both,
            ack_timeout: Duration::from_secs(5),
            on_secondary_failure: OnSecondaryFailure::Degrade,
            capture: CaptureMode::Auto,
            include: vec![],
            exclude: vec![],
        }
    }
}

impl Reads {
    pub fn rules(&self) -> Rules {
        Rules { columns: self.columns.clone(), segments: self.segments.clone(), pins: self.pins.clone() }
    }
}

impl Default for Reads {
    fn default() -> Self {
        Reads {
            percent: Percent::ZERO,
            key: vec![KeySource::Comment, KeySource::Setting, KeySource::Connection],
            columns: vec![],
            segments: vec![],
            pins: vec![],
            freshness: Freshness::Session,
            first_byte_timeout: Duration::from_secs(10),
            max_lag: Duration::from_secs(10),
            probe: Duration::from_millis(250),
            probe_timeout: Duration::from_secs(2),
            return_after: Duration::from_secs(2),
        }
    }
}

impl Default for Shadow {
    fn default() -> Self {
        Shadow {
            sample_percent: Percent::from_hundredths(100),
            max_concurrent: 8,
            max_queue: 256,
            timeout: Duration::from_secs(10),
            max_findings: 1000,
            per_statement: 0,
            float_tolerance: 1e-9,
            max_rows: 20_000,
            show_values: false,
            save: Duration::from_secs(10),
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Link {
            chunk: 10_000,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            gather: Duration::from_millis(2),
            follow: Duration::from_millis(5),
            clean_up: Duration::from_secs(1),
            sequences: Duration::from_secs(1),
            align_hold: Duration::from_secs(2),
            watch_bypass: 1 << 30,
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Journal { max_bytes: 10 << 30 }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            keepalive: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            keepalive_count: 3,
            user_timeout: Duration::ZERO,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            startup: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            linger: Duration::ZERO,
            idle: Duration::ZERO,
            idle_in_transaction: Duration::ZERO,
            statement: Duration::ZERO,
            stalled: Duration::from_secs(10),
            phase_change: Duration::from_secs(60),
        }
    }
}
