//! What the process is asked by signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::AppError;

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM, SIGINT: end in order.
    End,
    /// SIGQUIT: end now.
    Quit,
    /// SIGHUP: read the configuration again.
    Reload,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    pub fn new() -> Result<Self, AppError> {
        let listen = |kind| signal(kind).map_err(|e| AppError::Start(format!("no signal handler: {e}")));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancellation-safe: a signal that nobody has heard is heard by the next call.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.quit.recv() => Asked::Quit,
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
