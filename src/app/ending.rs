//! The end of the process, in order: `/readyz` says no, then nobody is taken any more and the idle are let go, then whoever is left is cut off.
//! Each step has a bound, and a second signal goes to the last at once.

use std::future::Future;
use std::time::{Duration, Instant};

use super::signals::{Asked, Signals};
use crate::config::Timeouts;
use crate::server::Server;
use crate::shutdown::Shutdown;

/// Lets the clients go. Returns when none is left, or the last bound has passed.
pub(super) async fn let_go(
    server: &Server,
    shutdown: &Shutdown,
    signals: &mut Signals,
    first: Asked,
    bounds: &Timeouts,
) {
    shutdown.announce();
    let patient = first == Asked::End && {
        tracing::info!("the end was asked for");
        unless_asked_again(signals, tokio::time::sleep(bounds.linger)).await.is_some()
    };
    shutdown.begin();
    if patient {
        tracing::info!("draining: transactions may finish, idle clients are let go");
        drain(server, signals, bounds.drain).await;
    }
    let left = server.cut_off().await;
    if left > 0 {
        tracing::warn!(left, "some clients could not even be told");
    }
}

async fn drain(server: &Server, signals: &mut Signals, bound: Duration) {
    match unless_asked_again(signals, server.emptied(Instant::now() + bound)).await {
        Some(0) => {}
        Some(left) => tracing::warn!(left, "timeouts.drain has passed; the sessions that are left are cut off"),
        None => tracing::warn!("asked again: the sessions that are left are cut off"),
    }
}

/// Goes on until the work is done; `None`: another signal to end came first.
async fn unless_asked_again<T>(signals: &mut Signals, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            asked = signals.next() => match asked {
                Asked::Reload => tracing::info!("no reload while the process ends"),
                Asked::End | Asked::Quit => return None,
            },
        }
    }
}
