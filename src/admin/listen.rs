//! Accepting the admin port's connections, with a bound on everything: how many there are, how long a request may take to arrive, and how
//! long it may be.
//!
//! A crowd of slow connections must not keep the operator out. So when there are as many as may be, the oldest that has no whole
//! request under way makes room; one whose request is being carried out is never cut. Only where all of them are at work is the newcomer refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::Admin;
use super::api::problem;
use crate::config::Live;

/// The longest body that is read, bytes.
const MAX_BODY: usize = 64 << 10;
/// The longest head, bytes.
const MAX_HEAD: usize = 32 << 10;
/// The pause after accept failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Requests of one connection that are being carried out.
#[derive(Clone, Debug, Default)]
struct AtWork(Arc<AtomicUsize>);

impl AtWork {
    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn begin(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }
}

struct Turn(AtWork);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until the process ends. At once: `admin.max_connections`. A request's head, and its body, have `admin.request_timeout` each to
/// arrive; a connection without a request is closed after it. An answer may take as long as it takes.
pub async fn serve(listener: TcpListener, router: Router, config: Live) {
    let mut crowd: Vec<(AtWork, AbortHandle)> = vec![];
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        crowd.retain(|(_, task)| !task.is_finished());
        if crowd.len() < config.admin.max_connections || make_room(&mut crowd) {
            let at_work = AtWork::default();
            let task = tokio::spawn(converse(stream, router.clone(), at_work.clone(), config.admin.request_timeout));
            crowd.push((at_work, task.abort_handle()));
        }
    }
}

/// Closes the oldest connection that has nothing under way. False: there is none.
fn make_room(crowd: &mut Vec<(AtWork, AbortHandle)>) -> bool {
    let Some(at) = crowd.iter().position(|(at_work, _)| at_work.is_idle()) else { return false };
    let (_, task) = crowd.remove(at);
    task.abort();
    true
}

async fn converse(stream: TcpStream, router: Router, at_work: AtWork, patience: Duration) {
    let _ = stream.set_nodelay(true);
    let service = Marked { router: TowerToHyperService::new(router), at_work };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // However it ends, there is nobody to tell.
    let _ = connection.await;
}

/// The router, with each request knowing whose it is.
struct Marked {
    router: TowerToHyperService<Router>,
    at_work: AtWork,
}

impl hyper::service::Service<Request<Incoming>> for Marked {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.at_work.clone());
        Box::pin(hyper::service::Service::call(&self.router, request))
    }
}

/// Reads the body whole before a handler sees the request, and counts the request as under way from then on.
pub async fn whole(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let patience = admin.conductor.context.config.admin.request_timeout;
    if hyper::body::Body::size_hint(&body).lower() > MAX_BODY as u64 {
        return too_long();
    }
    let read = tokio::time::timeout(patience, axum::body::to_bytes(body, MAX_BODY)).await;
    match read {
        Ok(Ok(bytes)) => {
            let _turn = parts.extensions.get::<AtWork>().map(AtWork::begin);
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Ok(Err(_)) => too_long(),
        Err(_) => {
            problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time", format!("it has {patience:?}"))
        }
    }
}

fn too_long() -> Response {
    let detail = format!("no call of this port takes more than {MAX_BODY} bytes");
    problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or was broken off", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_without_a_request_makes_room_and_nobody_at_work_does() {
        let waiting = || tokio::spawn(std::future::pending::<()>());
        let tasks = [waiting(), waiting(), waiting()];
        let mut crowd: Vec<_> = tasks.iter().map(|task| (AtWork::default(), task.abort_handle())).collect();
        let _turn = crowd[0].0.begin();
        assert!(make_room(&mut crowd));
        assert!(tasks.into_iter().nth(1).expect("the second").await.expect_err("it was cut").is_cancelled());
        let _other = crowd[1].0.begin();
        assert!(!make_room(&mut crowd));
    }
}
