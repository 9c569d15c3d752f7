//! Messages that the server passes over: nothing may be owed for them, or the session would never be calm again.

use crate::raw::{READY, Raw, frame};
use crate::support::Duo;

const ASKED: &[u8] = b"G\0\0\0\x09\0\0\x01\0\0";

fn tagged(tags: &[u8]) -> Vec<u8> {
    tags.iter().flat_map(|tag| frame(Some(*tag), b"")).collect()
}

/// A COPY in the simple protocol with these messages among its data.
fn copy_with(raw: &mut Raw, among: &[u8]) {
    raw.query("COPY t FROM STDIN");
    raw.until(ASKED);
    raw.send(&[tagged(among), frame(Some(b'd'), b"1\n"), tagged(among), tagged(b"c")].concat());
    raw.until(READY);
}

#[test]
fn what_a_server_passes_over_leaves_nothing_owed() {
    let mut duo = Duo::start_with("CREATE TABLE t (id int)", "timeouts: { drain: 10m }");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let mut clients: Vec<Raw> = (0..4).map(|_| Raw::started(duo.proxy.port)).collect();
        for (client, among) in clients.iter_mut().zip(["S", "H", "SS", "HSH"]) {
            copy_with(client, among.as_bytes());
            // Messages of a copy that is none.
            client.send(&[tagged(b"cd"), frame(Some(b'f'), b"no\0")].concat());
            client.query("UPDATE t SET id = id WHERE id = 1");
            assert!(client.until(READY).contains("UPDATE "), "{phase}, {among}");
        }
        // A session that owes nothing follows a change of phase, and an end.
        duo.phase(if phase == "old_only" { "dual_write" } else { "old_only" });
        for client in &mut clients {
            client.query("SELECT 1");
            client.until(READY);
        }
        assert!(duo.proxy.terminate().expect("an end").success(), "{phase}");
        assert!(clients.iter_mut().all(|client| client.until_closed().contains("57P01")), "{phase}");
        duo.proxy.start_again().expect("the proxy");
    }
}
