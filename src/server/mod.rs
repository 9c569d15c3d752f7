//! Accepting clients, and letting them go.
//!
//! Each worker is a thread with a runtime of its own; a session lives on one of them from its first byte to its last, so that nothing of it is
//! shared between threads. The acceptor hands sockets out in turn.

mod accept;
mod load;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::net::tune;
use crate::session::{self, Context, Worker};
use load::Load;

/// Sockets that may wait for a worker.
const HANDOVER: usize = 1024;
/// How often what a worker has counted by statement is put into the shared table.
const SHARE_COUNTS: Duration = Duration::from_millis(250);
/// How often the end of the sessions is looked at while the process drains.
const LOOK: Duration = Duration::from_millis(10);
/// For the last words of sessions that are cut off.
const FAREWELL: Duration = Duration::from_secs(2);

/// The running data plane.
pub struct Server {
    pub address: SocketAddr,
    context: Arc<Context>,
    load: Arc<Load>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Binds and starts accepting. Errors: the address cannot be bound, a thread cannot be started.
    pub fn start(context: Arc<Context>) -> io::Result<Server> {
        let clients = context.config.clients.max_connections;
        let load = Arc::new(Load::new(load::raise_descriptors(clients), clients));
        let listener = accept::listen(context.config.listen)?;
        let address = listener.local_addr()?;
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for number in 0..context.config.workers.max(1) {
            let (queue, sockets) = mpsc::channel(HANDOVER);
            queues.push(queue);
            let (context, load) = (Arc::clone(&context), Arc::clone(&load));
            threads.push(spawn(format!("worker-{number}"), move || work(context, sockets, load))?);
        }
        let accepting = (Arc::clone(&context), Arc::clone(&load));
        threads.push(spawn("acceptor".into(), move || accept(&accepting.0, listener, &accepting.1, queues))?);
        Ok(Server { address, context, load, threads })
    }

    /// Waits until no connection is left and the workers have ended, or `deadline` has passed. Returns how many are left.
    pub async fn emptied(&self, deadline: Instant) -> usize {
        loop {
            if self.threads.iter().all(|thread| thread.is_finished()) || Instant::now() >= deadline {
                return self.load.connections();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the sessions that are left, each with a word to its client. Returns how many could not even be told.
    pub async fn cut_off(&self) -> usize {
        self.context.shutdown.cut();
        self.emptied(Instant::now() + FAREWELL).await
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

fn accept(
    context: &Context,
    listener: std::net::TcpListener,
    load: &Load,
    queues: Vec<mpsc::Sender<std::net::TcpStream>>,
) {
    let Some(runtime) = runtime() else { return };
    runtime.block_on(async move {
        if let Ok(listener) = TcpListener::from_std(listener) {
            accept::accept(context, listener, load, queues).await;
        }
    });
}

fn work(context: Arc<Context>, mut sockets: mpsc::Receiver<std::net::TcpStream>, load: Arc<Load>) {
    let Some(runtime) = runtime() else { return };
    let worker = Rc::new(Worker::new(context));
    let sessions = LocalSet::new();
    sessions.spawn_local(session::watch(Rc::downgrade(&worker)));
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
            let (worker, load) = (Rc::clone(&worker), Arc::clone(&load));
            tokio::task::spawn_local(async move {
                serve(worker, stream, &load).await;
                load.left();
            });
        }
    });
    runtime.block_on(sessions);
}

/// What a start-up and a session need is allocated apart, and each given back at its end: an idle client costs what a session needs to wait, and
/// not what a start-up with TLS once needed.
async fn serve(worker: Rc<Worker>, stream: std::net::TcpStream, load: &Load) {
    let session = Box::pin(start(worker, stream)).await.map(Box::new);
    load.started();
    if let Some(session) = session {
        let end = session.run().await;
        tracing::debug!(%end, "a session ended");
    }
}

async fn start(worker: Rc<Worker>, stream: std::net::TcpStream) -> Option<session::Session> {
    let stream = TcpStream::from_std(stream).ok()?;
    tune(&stream).ok()?;
    session::begin(worker, stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an async function waits in.
    fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_client_waits_in_little_room() {
        type Given = (Rc<Worker>, std::net::TcpStream, &'static Load);
        let task = size(|(worker, stream, load): Given| serve(worker, stream, load));
        let session = size_of::<session::Session>();
        let run = size(|session: Box<session::Session>| session.run());
        println!("a task: {task} bytes; a session: {session}; its run: {run}");
        assert!(task + session <= 2560, "a client waits in {task} + {session} bytes");
    }
}
