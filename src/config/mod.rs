//! The configuration file, as plain values. Every key's meaning, unit, default and valid values stand in `proxy.yaml`,
//! which a test holds against [`Config::default`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::side::BySide;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: SocketAddr,
    pub workers: usize,
    pub admin: Admin,
    pub backends: BySide<Backend>,
    pub clients: Clients,
    /// Seeds the very first start only, as do `reads.percent`, `mirror.ack` and `shadow.sample_percent`.
    pub phase: Phase,
    pub mirror: Mirror,
    pub reads: Reads,
    pub shadow: Shadow,
    pub link: Link,
    pub journal: Journal,
    pub timeouts: Timeouts,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: SocketAddr,
    pub token_file: Option<PathBuf>,
    pub users: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    ScramSha256,
    Trust,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    pub auth: ClientAuth,
    pub users: Vec<User>,
    pub max_connections: usize,
    /// Bytes; a longer message is refused.
    pub max_message_bytes: usize,
}

/// A login that clients may use, and the login that stands for it on each backend.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub name: String,
    pub password_file: Option<PathBuf>,
    /// The login used on a backend where it differs from `name` and `password_file`.
    pub old: Option<BackendLogin>,
    pub new: Option<BackendLogin>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BackendLogin {
    pub user: String,
    pub password_file: Option<PathBuf>,
}

pub use crate::phase::{Ack, Percent, Phase};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSecondaryFailure {
    Degrade,
    Block,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    Auto,
    Returning,
    Trigger,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub ack: Ack,
    pub ack_timeout: Duration,
    pub on_secondary_failure: OnSecondaryFailure,
    pub capture: CaptureMode,
    /// Patterns of `schema.table` with `*`; empty: all user tables.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Debug, PartialEq)]
pub struct Reads {
    /// Hundredths of a percent, 0..=10000.
    pub percent: Percent,
    pub key: Vec<KeySource>,
    pub freshness: Freshness,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    pub sample_percent: Percent,
    pub max_concurrent: usize,
    /// Sampled reads waiting for their comparison; more are dropped and counted.
    pub max_queue: usize,
    /// A comparison that takes longer is given up and counted.
    pub timeout: Duration,
    /// Findings kept, by statement fingerprint.
    pub max_findings: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Touches read per step of a cycle: bounds the memory of a cycle, not its size.
    pub chunk: usize,
    /// The wait after a failed cycle: doubled from the first value up to the second.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// How often the journal is looked at when no commit was announced.
    pub poll: Duration,
    /// How often the carried part of the journal is removed.
    pub clean_up: Duration,
    /// How long the link waits, at most, for those who use an aligned pair of snapshots to open their transactions.
    pub align_hold: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub max_bytes: u64,
}

/// Zero means no limit for the two idle ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    pub startup: Duration,
    pub drain: Duration,
    pub idle: Duration,
    pub idle_in_transaction: Duration,
    /// How long a change of phase waits for the transactions of the former phase.
    pub phase_change: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Config {
            listen: loopback(6440),
            workers: 2,
            admin: Admin { listen: loopback(6441), token_file: None, users: vec![] },
            backends: BySide {
                old: Backend { url: "postgres://pgduet@127.0.0.1:5433/app".into() },
                new: Backend { url: "postgres://pgduet@127.0.0.1:5434/app".into() },
            },
            clients: Clients {
                auth: ClientAuth::ScramSha256,
                users: vec![],
                max_connections: 1000,
                max_message_bytes: 1 << 30,
            },
            phase: Phase::OldOnly,
            mirror: Mirror {
                ack: Ack::Both,
                ack_timeout: Duration::from_secs(5),
                on_secondary_failure: OnSecondaryFailure::Degrade,
                capture: CaptureMode::Auto,
                include: vec![],
                exclude: vec![],
            },
            reads: Reads {
                percent: Percent::ZERO,
                key: vec![KeySource::Comment, KeySource::Setting, KeySource::Connection],
                freshness: Freshness::Session,
            },
            shadow: Shadow {
                sample_percent: Percent::from_hundredths(100),
                max_concurrent: 8,
                max_queue: 256,
                timeout: Duration::from_secs(10),
                max_findings: 1000,
            },
            link: Link {
                chunk: 10_000,
                retry_min: Duration::from_millis(50),
                retry_max: Duration::from_secs(5),
                poll: Duration::from_millis(200),
                clean_up: Duration::from_secs(1),
                align_hold: Duration::from_secs(2),
            },
            journal: Journal { max_bytes: 10 << 30 },
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                startup: Duration::from_secs(10),
                drain: Duration::from_secs(30),
                idle: Duration::ZERO,
                idle_in_transaction: Duration::ZERO,
                phase_change: Duration::from_secs(60),
            },
        }
    }
}
