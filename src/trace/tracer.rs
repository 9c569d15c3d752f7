//! What the sessions write their spans to, and its beginning and end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::exporter::Exporter;
use super::otlp::Resource;
use super::outlet::Outlet;
use super::post::Post;
use super::{Counts, Place};
use crate::config::Traces;
use crate::shutdown::Shutdown;
use crate::side::BySide;

/// Writes spans, where the configuration names a collector.
#[derive(Debug)]
pub struct Tracer(Option<Writing>);

#[derive(Debug)]
struct Writing {
    outlet: Arc<Outlet>,
    /// Until it is started.
    exporter: Mutex<Option<Exporter>>,
    running: Mutex<Option<oneshot::Receiver<()>>>,
    end: Shutdown,
    timeout: Duration,
}

fn taken<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Tracer {
    pub fn new(config: &Traces, places: BySide<Place>) -> Self {
        Tracer(config.endpoint.as_ref().map(|collector| {
            let (outlet, waiting) = Outlet::new(config.queue);
            let instance = format!("{:016x}", rand::random::<u64>());
            let resource = Resource { service: config.service_name.clone(), instance, places };
            let post = Post::new(collector.clone());
            let exporter = Exporter::new(Arc::clone(&outlet), waiting, resource, post, config);
            let (exporter, running) = (Mutex::new(Some(exporter)), Mutex::default());
            Writing { outlet, exporter, running, end: Shutdown::default(), timeout: config.timeout }
        }))
    }

    pub(super) fn outlet(&self) -> Option<&Arc<Outlet>> {
        self.0.as_ref().map(|writing| &writing.outlet)
    }

    /// Sends from now on what waits. Where there can be no thread for it, traces are dropped and counted.
    pub fn start(&self) {
        let Some(writing) = &self.0 else { return };
        let Some(exporter) = taken(&writing.exporter) else { return };
        let (ended, running) = oneshot::channel();
        let end = writing.end.clone();
        let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let work = move || {
                runtime.block_on(exporter.run(end));
                // Nobody may wait for it.
                let _ = ended.send(());
            };
            std::thread::Builder::new().name("traces".into()).spawn(work)
        });
        match started {
            Ok(_) => *writing.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running),
            Err(error) => tracing::warn!(%error, "no thread for traces"),
        }
    }

    /// Sends what still waits, for as long as `traces.timeout` says.
    pub async fn flush(&self) {
        let Some(writing) = &self.0 else { return };
        writing.end.begin();
        let Some(running) = taken(&writing.running) else { return };
        if tokio::time::timeout(writing.timeout, running).await.is_err() {
            tracing::warn!("traces.timeout has passed; the last traces are lost");
        }
    }

    pub fn counts(&self) -> Counts {
        self.0.as_ref().map(|writing| writing.outlet.counts()).unwrap_or_default()
    }
}
