//! What can go wrong around throw-away servers.

use std::process::ExitStatus;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{doing}: {source}")]
    Io { doing: String, source: std::io::Error },
    #[error("{0}")]
    Missing(String),
    #[error("{name} ended with {status}: {said}")]
    Command { name: String, status: ExitStatus, said: String },
    #[error("the server {name} did not start; the end of its log:\n{log}")]
    Server { name: &'static str, log: String },
    #[error("the admin port: {0}")]
    Admin(String),
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Failure {
        Failure::Io { doing: doing.into(), source }
    }
}
