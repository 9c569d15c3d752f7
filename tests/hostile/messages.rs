//! Truncated, oversized, reordered and meaningless messages, in every state that a session can be in.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use crate::raw::{Raw, frame, tail};
use crate::support::Duo;
use crate::witness::Witness;

/// What brings a session into a state, and what ends the server's answer to it.
fn states() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let query = |sql: &str| frame(Some(b'Q'), format!("{sql}\0").as_bytes());
    let parse = |sql: &str| frame(Some(b'P'), format!("s\0{sql}\0\0\0").as_bytes());
    let flush = frame(Some(b'H'), b"");
    let bound = frame(Some(b'B'), b"\0s\0\0\0\0\0\0\0");
    vec![
        ("idle", query("SELECT 1"), b"Z\0\0\0\x05I"),
        ("in a transaction", query("BEGIN; INSERT INTO t VALUES (1)"), b"Z\0\0\0\x05T"),
        ("in a failed transaction", query("BEGIN; SELECT nonsense"), b"Z\0\0\0\x05E"),
        ("copying in", query("COPY t FROM STDIN"), b"G\0\0\0\x09\0\0\x01\0\0"),
        ("in a batch", [parse("SELECT 1"), flush.clone()].concat(), b"1\0\0\0\x04"),
        (
            "with a portal",
            [parse("SELECT generate_series(1, 9)"), bound.clone(), frame(Some(b'E'), b"\0\0\0\0\x02"), flush.clone()]
                .concat(),
            b"s\0\0\0\x04",
        ),
        ("in a failed batch", [parse("SELECT nonsense"), flush.clone()].concat(), b"Column\0\0"),
        (
            "writing in a batch",
            [parse("DELETE FROM t"), bound, frame(Some(b'D'), b"P\0"), flush].concat(),
            b"n\0\0\0\x04",
        ),
    ]
}

fn messages() -> Vec<Vec<u8>> {
    let mut oversized = vec![b'Q'];
    oversized.extend(i32::MAX.to_be_bytes());
    let mut list = vec![
        oversized,
        vec![b'Q', 0, 0, 0, 3],
        vec![b'd', 0xff, 0xff, 0xff, 0xff],
        vec![b'Q', 0, 0, 1],
        frame(None, b"\0\x03\0\0user\0app\0\0"),
        frame(None, b"\x04\xd2\x16\x2f"),
        frame(Some(b'R'), b"\0\0\0\0"),
        frame(Some(b'Q'), b"SELECT 1"),
        frame(Some(b'Q'), b"SELECT 1\0SELECT 2\0"),
        frame(Some(b'Q'), b"\0"),
        frame(Some(b'Q'), b"\xff\xfe\xfd\0"),
        frame(Some(b'P'), b"s\0SELECT 1\0\0\x05\0\0\0\x17"),
        frame(Some(b'B'), b"\0s\0\0\x01\0\x07\0\x01\0\0\0\x02xy\0\0"),
        frame(Some(b'B'), b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        frame(Some(b'B'), b"\0missing\0\0\0\0\0\0\0"),
        frame(Some(b'E'), b"missing\0\0\0\0\0"),
        frame(Some(b'E'), b"\0\xff\xff\xff\xff"),
        frame(Some(b'D'), b"Smissing\0"),
        frame(Some(b'D'), b"X\0"),
        frame(Some(b'C'), b"P\0"),
        frame(Some(b'F'), b"\0\0\0\x01\0\0\0\0\0\0"),
        frame(Some(b'd'), b"1\n2\nnonsense\n"),
        frame(Some(b'c'), b""),
        frame(Some(b'f'), b"never mind\0"),
        frame(Some(b'H'), b"trailing"),
        frame(Some(b'S'), b"trailing"),
        frame(Some(b'p'), b"secret\0"),
        [frame(Some(b'S'), b""), frame(Some(b'S'), b""), frame(Some(b'S'), b"")].concat(),
    ];
    let whole = frame(Some(b'P'), b"s\0SELECT 1\0\0\0");
    list.extend((1..whole.len()).step_by(3).map(|cut| whole[..cut].to_vec()));
    list
}

/// Every byte that came belongs to a frame of a server's.
pub fn expect_frames(what: &str, raw: &mut Raw) {
    let (answer, ended) = raw.listen(b"");
    let was_reset = match ended {
        Ok(()) => false,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
        Err(e) => panic!("{what}: not closed ({e}) after {:?}", tail(&answer)),
    };
    // A damaged first packet may ask for TLS, and is told no.
    let mut rest = answer.strip_prefix(b"N").filter(|rest| rest.first() != Some(&0)).unwrap_or(&answer);
    while let Some((&[tag, a, b, c, d], _)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        assert!(b"123ACDEGHIKNRSTVZcdnstvW".contains(&tag), "{what}: a frame of type {tag}: {:?}", tail(&answer));
        assert!(
            length >= 5 && length <= rest.len(),
            "{what}: a frame of {length} in {} bytes: {:?}",
            rest.len(),
            tail(&answer)
        );
        rest = &rest[length..];
    }
    assert!(was_reset || rest.is_empty(), "{what}: {rest:?} is no frame, in {:?}", tail(&answer));
}

#[test]
fn no_message_in_no_state_hurts_anybody_else() {
    let mut duo = Duo::start_with("CREATE TABLE t (id int)", "");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let witness = Witness::of(&duo);
        for (state, opening, end) in states() {
            for message in messages() {
                let what = format!("{phase}, {state}, {message:?}");
                let mut raw = Raw::started(duo.proxy.port);
                raw.send(&opening);
                raw.until(end);
                raw.send(&message);
                // It is followed by an end of the client's own; the connection may be closed already.
                let _ = raw.0.write_all(&[frame(Some(b'S'), b""), frame(Some(b'X'), b"")].concat());
                let _ = raw.0.shutdown(Shutdown::Write);
                expect_frames(&what, &mut raw);
            }
            witness.expect(&format!("{phase}, {state}"), &mut duo, 32 << 10);
        }
        witness.expect_all_gone(&duo);
    }
}
