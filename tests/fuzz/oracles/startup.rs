//! The start-up: whatever arrives ends in an opening or in an error, at once, and the same however the bytes are cut into packets.

use std::cell::RefCell;

use pgduet::auth::{Hello, Opening, read_opening};
use pgduet::net::{Channel, Socket};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// PostgreSQL's bound on a start-up packet: no more than this is kept of what a stranger sends, but for a read's own size.
const KEPT: usize = 10_000 + (64 << 10);

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

/// Takes the input for all that a client sends before it closes.
pub fn startup(input: &[u8]) {
    RUNTIME.with_borrow(|runtime| {
        let whole = runtime.block_on(outcome(input, input.len()));
        let half = runtime.block_on(outcome(input, input.len() / 2));
        if let (Some(whole), Some(half)) = (whole, half) {
            assert_eq!(whole, half, "how the bytes are cut changes what they mean");
        }
    });
}

/// What comes of the bytes, when they arrive in two parts. None: more stood behind a request for encryption, which is refused, and whether it
/// had arrived by then depends on the cut, and has to.
async fn outcome(input: &[u8], cut: usize) -> Option<String> {
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    let (first, second) = input.split_at(cut);
    let mut channel = Channel::new(Socket::Unix(server));
    let send = async move {
        let mut client = client;
        // The other end may have closed already: it has heard enough.
        let _ = client.write_all(first).await;
        tokio::task::yield_now().await;
        let _ = client.write_all(second).await;
        let _ = client.shutdown().await;
        client
    };
    let (_client, opening) = tokio::join!(send, read_opening(&mut channel, None));
    assert!(channel.inbound.len() <= KEPT, "{} bytes kept", channel.inbound.len());
    Some(match opening {
        Ok(Opening::Session(hello)) => {
            assert!(!hello.user.is_empty() && !hello.database.is_empty());
            assert!(hello.parameters.iter().all(|(key, _)| !key.starts_with("_pq_.")));
            let Hello { user, database, parameters, extensions, minor_version, .. } = *hello;
            format!("{user:?} {database:?} {parameters:?} {extensions:?} {minor_version}")
        }
        Ok(Opening::Cancel(_)) => "a cancel request".into(),
        Ok(Opening::Nothing) => "nothing".into(),
        Err(error) if error.to_string().starts_with("received unencrypted data") => return None,
        Err(error) => error.to_string(),
    })
}
