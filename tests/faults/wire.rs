//! A network between the proxy and one server that can be made bad: slow, silent, or cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Each piece takes so much longer.
    Slow(Duration),
    /// Connections stay, and nothing arrives: a firewall that forgot them.
    Silent,
    /// Connections are reset, and new ones are too.
    Cut,
}

/// The way to one server.
pub struct Wire {
    pub port: u16,
    weather: watch::Sender<Weather>,
}

impl Wire {
    pub fn to(server: u16) -> Wire {
        let (weather, seen) = watch::channel(Weather::Fair);
        let (told, port) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
                told.send(listener.local_addr().expect("an address").port()).expect("the test waits");
                serve(listener, SocketAddr::from(([127, 0, 0, 1], server)), seen).await;
            });
        });
        Wire { port: port.recv().expect("a wire"), weather }
    }

    pub fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// Ends when the wire is dropped.
async fn serve(listener: TcpListener, server: SocketAddr, mut weather: watch::Receiver<Weather>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                tokio::spawn(connect(client, server, weather.clone()));
            }
            changed = weather.changed() => if changed.is_err() { return },
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, weather: watch::Receiver<Weather>) {
    let now = *weather.borrow();
    if now == Weather::Cut {
        return reset(client);
    }
    let Ok(server) = TcpStream::connect(server).await else { return reset(client) };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        // Whenever a side is dropped, the other end learns of it by a reset.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = carry(from_client, to_server, weather.clone()) => {}
        () = carry(from_server, to_client, weather) => {}
    }
}

fn reset(stream: TcpStream) {
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// One direction, until an end closes or the network is cut.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            open = not_cut(&mut weather) => match open { true => continue, false => return },
        };
        let Ok(length @ 1..) = read else { return };
        if !arrives(&mut weather).await {
            return;
        }
        let Some(bytes) = piece.get(..length) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Waits for a change; whether the network is still there after it.
async fn not_cut(weather: &mut watch::Receiver<Weather>) -> bool {
    weather.changed().await.is_ok() && *weather.borrow_and_update() != Weather::Cut
}

/// Waits for as long as the weather holds a piece up; false where it never arrives.
async fn arrives(weather: &mut watch::Receiver<Weather>) -> bool {
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Fair => return true,
            Weather::Cut => return false,
            Weather::Slow(time) => {
                tokio::time::sleep(time).await;
                return true;
            }
            Weather::Silent => {
                if weather.changed().await.is_err() {
                    return false;
                }
            }
        }
    }
}
