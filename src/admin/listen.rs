//! The admin port's connections: so many at once, and none that takes for ever to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::Live;

/// The pause after accept failed, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until the process ends. Beyond `admin.max_connections` further connections wait for one to end.
pub async fn serve(listener: TcpListener, router: Router, config: Live) {
    let places = Arc::new(Semaphore::new(config.admin.max_connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (router, limit) = (router.clone(), config.admin.request_timeout);
        tokio::spawn(async move {
            converse(stream, router, limit).await;
            drop(place);
        });
    }
}

/// `limit`: for the head of each request, the time before it included; an answer may take as long as it takes.
async fn converse(stream: TcpStream, router: Router, limit: Duration) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limit);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin port ended");
    }
}
