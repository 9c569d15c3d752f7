//! Accepting clients, and letting them go.
//!
//! Each worker is a thread with a runtime of its own; a session lives on one of them from its first byte to its last, so that nothing of it is
//! shared between threads. The acceptor hands sockets out in turn.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::net::tune;
use crate::session::{self, Context, Worker};

/// Sockets that may wait for a worker.
const HANDOVER: usize = 1024;
/// How often what a worker has counted by statement is put into the shared table.
const SHARE_COUNTS: Duration = Duration::from_millis(250);
/// The pause after accept failed for want of descriptors: closing sessions free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The running data plane.
pub struct Server {
    pub address: SocketAddr,
    context: Arc<Context>,
    threads: Vec<std::thread::JoinHandle<()>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Binds and starts accepting. Errors: the address cannot be bound, a thread cannot be started.
    pub fn start(context: Arc<Context>) -> io::Result<Server> {
        let listener = std::net::TcpListener::bind(context.config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        let mut queues = Vec::new();
        for number in 0..context.config.workers.max(1) {
            let (queue, sockets) = mpsc::channel(HANDOVER);
            queues.push(queue);
            let (context, connections) = (Arc::clone(&context), Arc::clone(&connections));
            threads.push(spawn(format!("worker-{number}"), move || work(context, sockets, connections))?);
        }
        let accepting = Arc::clone(&context);
        threads.push(spawn("acceptor".into(), move || accept(accepting, listener, queues))?);
        Ok(Server { address, context, threads, connections })
    }

    /// Waits for the sessions to end after the shutdown has begun, up to `timeouts.drain`. Returns how many were cut off.
    pub fn drain(self) -> usize {
        let deadline = std::time::Instant::now() + self.context.config.timeouts.drain;
        for thread in self.threads {
            while !thread.is_finished() && std::time::Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        self.connections.load(Ordering::SeqCst)
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body)
}

fn runtime() -> Option<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .inspect_err(|error| tracing::error!(%error, "no runtime for a worker; check the limits on open files"))
        .ok()
}

fn accept(context: Arc<Context>, listener: std::net::TcpListener, queues: Vec<mpsc::Sender<std::net::TcpStream>>) {
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async move {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let mut turn = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = context.shutdown.begun() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            turn = (turn + 1) % queues.len().max(1);
            if let Some(queue) = queues.get(turn) {
                let _ = queue.send(stream).await;
            }
        }
    });
}

fn work(context: Arc<Context>, mut sockets: mpsc::Receiver<std::net::TcpStream>, connections: Arc<AtomicUsize>) {
    let Some(runtime) = runtime() else { return };
    let worker = Rc::new(Worker::new(context));
    let sessions = LocalSet::new();
    let counting = Rc::downgrade(&worker);
    sessions.spawn_local(async move {
        // It ends with the last session.
        while let Some(worker) = counting.upgrade() {
            worker.share_counts();
            drop(worker);
            tokio::time::sleep(SHARE_COUNTS).await;
        }
    });
    sessions.spawn_local(async move {
        while let Some(stream) = sockets.recv().await {
            let (worker, connections) = (Rc::clone(&worker), Arc::clone(&connections));
            tokio::task::spawn_local(async move {
                connections.fetch_add(1, Ordering::SeqCst);
                serve(worker, stream).await;
                connections.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    runtime.block_on(sessions);
}

async fn serve(worker: Rc<Worker>, stream: std::net::TcpStream) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    if tune(&stream).is_err() {
        return;
    }
    if let Some(session) = session::begin(worker, stream).await {
        let end = session.run().await;
        tracing::debug!(%end, "a session ended");
    }
}
