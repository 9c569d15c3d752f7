//! Accepting sockets, and going on when that fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::Load;
use crate::session::Context;

/// The first pause after accept failed for want of descriptors or memory, and the longest: closing sessions free some.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// While as many connections are in their start-up as may be, so often is looked whether one has left it.
const LOOK: Duration = Duration::from_millis(10);
/// Connections that the kernel may keep for the acceptor; its own limit (somaxconn) may be lower. One that finds no room tries again after a second.
const BACKLOG: i32 = 4096;

/// A socket that clients connect to. Port 0 is a free one.
pub(super) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // The port of a process that has just ended can be had at once.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// How accepting goes. Logged when it changes, not each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Course {
    #[default]
    Well,
    /// The system refuses: no descriptors, no memory.
    Failing { pause: Duration },
    /// As many are in their start-up as may be.
    Crowded,
}

impl Course {
    fn failed(&mut self, error: &io::Error) -> Duration {
        let pause = match self {
            Course::Failing { pause } => (*pause * 2).min(LONGEST_PAUSE),
            _ => {
                tracing::warn!(%error, "connections cannot be accepted now; those who wait are taken as soon as they can be");
                PAUSE
            }
        };
        *self = Course::Failing { pause };
        pause
    }

    fn crowded(&mut self, most: usize) {
        if *self != Course::Crowded {
            tracing::warn!(most, "too many clients are in their start-up; further ones wait until some have finished");
            *self = Course::Crowded;
        }
    }

    fn went_well(&mut self) {
        if *self != Course::Well {
            tracing::info!("connections are accepted again");
            *self = Course::Well;
        }
    }
}

/// Whether an error is about the one connection that was to be accepted, and not about accepting.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | WouldBlock)
}

/// Accepts until the process drains, and hands the sockets to the workers in turn.
pub(super) async fn accept(
    context: &Context,
    listener: TcpListener,
    load: &Load,
    queues: Vec<mpsc::Sender<std::net::TcpStream>>,
) {
    let mut course = Course::default();
    let mut turn = queues.iter().cycle();
    loop {
        let stream = tokio::select! {
            biased;
            () = context.shutdown.begun() => return,
            stream = next(&listener, load, &mut course) => stream,
        };
        if let Some(queue) = turn.next() {
            load.arrived();
            let _ = queue.send(stream).await;
        }
    }
}

/// The next socket, whatever stands in its way.
async fn next(listener: &TcpListener, load: &Load, course: &mut Course) -> std::net::TcpStream {
    loop {
        if load.is_crowded() {
            course.crowded(load.most_starting);
            tokio::time::sleep(LOOK).await;
            continue;
        }
        match listener.accept().await.and_then(|(stream, _)| TcpStream::into_std(stream)) {
            Ok(stream) => {
                course.went_well();
                return stream;
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => tokio::time::sleep(course.failed(&error)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew_after_a_success() {
        let (mut course, error) = (Course::default(), io::Error::from_raw_os_error(24));
        let pauses: Vec<u128> = (0..8).map(|_| course.failed(&error).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        course.went_well();
        assert_eq!(course.failed(&error), PAUSE);
    }

    #[test]
    fn a_client_that_has_gone_already_stops_nobody() {
        assert!(is_the_clients(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_the_clients(&io::Error::from_raw_os_error(24)));
    }
}
