//! Clients that leave without a goodbye, in the middle of something: the server hears of it as it would without a proxy.

use std::net::Shutdown;
use std::time::Duration;

use crate::raw::{Raw, frame};
use crate::support::Duo;

const SOON: Duration = Duration::from_secs(20);

/// Connections of clients to the primary.
fn held(duo: &Duo) -> String {
    duo.old.sql("app", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'").expect("a count")
}

#[test]
fn half_a_message_as_a_last_word_holds_no_connection() {
    let duo = Duo::start("");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        for cut in [1, 4, 7, 12] {
            let mut raw = Raw::started(duo.proxy.port);
            let whole = frame(Some(b'Q'), b"SELECT 'the rest never comes'\0");
            raw.send(&whole[..cut]);
            raw.0.shutdown(Shutdown::Write).expect("an end");
            assert_eq!(raw.until_closed(), "", "{phase}, {cut} bytes");
        }
        duo.eventually("nothing is held", SOON, || held(&duo) == "0");
    }
}

#[test]
fn a_server_that_has_nothing_to_say_is_told_all_the_same() {
    let duo = Duo::start_with("CREATE TABLE t (id int)", "");
    for phase in ["old_only", "dual_write"] {
        duo.phase(phase);
        let mut raw = Raw::started(duo.proxy.port);
        raw.query("COPY t FROM STDIN");
        raw.until(b"G\0\0\0\x09\0\0\x01\0\0");
        // Flushes are ignored while data is copied in.
        raw.send(&[frame(Some(b'd'), b"1\n"), frame(Some(b'H'), b""), frame(Some(b'X'), b"")].concat());
        raw.until_closed();
        duo.eventually("nothing is held", SOON, || held(&duo) == "0");
        assert_eq!(duo.old.sql("app", "SELECT count(*) FROM t").expect("a count"), "0", "{phase}");
    }
}
