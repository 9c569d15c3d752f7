//! The exporter: takes what waits, a few times a second, and sends it. It has a thread of its own, so that neither the sessions nor the link
//! wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::otlp::{self, Resource};
use super::outlet::{Outlet, Span};
use super::post::{Post, Refused};
use super::words::Dictionary;
use crate::config::Traces;
use crate::shutdown::Shutdown;

/// How often it looks.
const TICK: Duration = Duration::from_millis(100);
/// Spans in one request.
const BATCH: usize = 512;
/// The wait before a request is tried again: doubled from this on.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether the collector takes what it is sent; told of when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Works,
    Fails,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Exporter {
    outlet: Arc<Outlet>,
    waiting: mpsc::Receiver<Span>,
    resource: Resource,
    post: Post,
    dictionary: Dictionary,
    /// For one request, with its retries.
    timeout: Duration,
    delivery: Delivery,
}

impl Exporter {
    pub fn new(
        outlet: Arc<Outlet>,
        waiting: mpsc::Receiver<Span>,
        resource: Resource,
        post: Post,
        config: &Traces,
    ) -> Self {
        let (dictionary, timeout) = (Dictionary::default(), config.timeout);
        Exporter { outlet, waiting, resource, post, dictionary, timeout, delivery: Delivery::Works }
    }

    /// Sends until the end is asked for, and then once more.
    pub async fn run(mut self, end: Shutdown) {
        loop {
            let last = tokio::select! {
                () = end.begun() => true,
                () = tokio::time::sleep(TICK) => false,
            };
            self.send_all().await;
            if last {
                return;
            }
        }
    }

    async fn send_all(&mut self) {
        loop {
            let spans: Vec<Span> = std::iter::from_fn(|| self.waiting.try_recv().ok()).take(BATCH).collect();
            if spans.is_empty() {
                return;
            }
            let body = otlp::request(&self.resource, &spans, &mut self.dictionary);
            let delivered = self.deliver(body.into()).await;
            let count = if delivered.is_ok() { &self.outlet.sent } else { &self.outlet.failed };
            count.fetch_add(spans.len() as u64, Relaxed);
            self.note(delivered);
        }
    }

    /// Tries again what may yet be taken, for as long as there is time.
    async fn deliver(&mut self, body: Bytes) -> Result<(), Refused> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = AGAIN;
        loop {
            let refused = match tokio::time::timeout_at(deadline, self.post.send(body.clone())).await {
                Err(_) => return Err(Refused::Unreachable("no answer within traces.timeout".into())),
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refused)) => refused,
            };
            if matches!(refused, Refused::Rejected(_)) || Instant::now() + pause >= deadline {
                return Err(refused);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    fn note(&mut self, delivered: Result<(), Refused>) {
        let now = if delivered.is_ok() { Delivery::Works } else { Delivery::Fails };
        match (std::mem::replace(&mut self.delivery, now), delivered) {
            (Delivery::Works, Err(error)) => {
                tracing::warn!(%error, "traces are not delivered; they are dropped and counted")
            }
            (Delivery::Fails, Ok(())) => tracing::info!("traces are delivered again"),
            _ => {}
        }
    }
}
