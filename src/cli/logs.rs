//! Logs, to stderr.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::LogLevel;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The least level that is logged, which may change while the process runs.
pub struct Level {
    /// One that was asked for on the command line stays.
    fixed: bool,
    handle: reload::Handle<LevelFilter, Registry>,
}

impl Level {
    /// Takes a level of the configuration.
    pub fn set(&self, level: LogLevel) {
        if !self.fixed {
            // It fails only if logging was never started, which has been said.
            let _ = self.handle.reload(filter(level));
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts logging for the process.
pub fn start(format: LogFormat, level: Option<tracing::Level>) -> Level {
    let first = level.map_or(LevelFilter::INFO, LevelFilter::from_level);
    let (filter, handle) = reload::Layer::new(first);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    if let Err(error) = tracing_subscriber::registry().with(filter).with(lines).try_init() {
        eprintln!("pgduet: no logs: {error}");
    }
    Level { fixed: level.is_some(), handle }
}
