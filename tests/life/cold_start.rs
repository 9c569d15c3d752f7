//! A start while the primary is away: clients are answered, and not served before the durable policy was read.

use std::time::Duration;

use pgduet::demo::admin::Admin;
use pgduet::demo::cluster::Stop;
use tokio_postgres::Config;

use crate::support::Duo;
use crate::support::client::{block_on, connect_with};

const SOON: Duration = Duration::from_secs(20);

/// SQLSTATE, message and DETAIL of a refusal; `None`: the client was admitted, or the connection refused.
fn refusal(duo: &Duo) -> Option<(String, String, String)> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(duo.proxy.port).user("app").dbname("app").connect_timeout(SOON);
    let error = block_on(connect_with(&config)).err()?;
    let said = error.as_db_error()?;
    Some((said.code().code().into(), said.message().into(), said.detail().unwrap_or_default().into()))
}

fn readyz(admin: Admin) -> (u16, String) {
    let answer = admin.call("GET", "/readyz", "").expect("the admin port");
    (answer.status, answer.body.clone())
}

#[test]
fn clients_are_told_to_wait_until_the_primary_appears() {
    let mut duo = Duo::start("timeouts: { connect: 1s }");
    duo.dual_write();
    duo.proxy.kill();
    duo.old.stop(Stop::Fast);
    duo.proxy.launch().expect("the proxy");

    duo.eventually("the port is open", SOON, || refusal(&duo).is_some());
    for _ in 0..3 {
        let (code, message, detail) = refusal(&duo).expect("a refusal in Postgres's form");
        assert_eq!((code.as_str(), message.as_str()), ("57P03", "the database system is starting up"));
        assert!(detail.contains("durable policy"), "{detail}");
        assert_eq!(readyz(duo.admin()).0, 503);
    }
    duo.eventually("the reason names what does not answer", SOON, || readyz(duo.admin()).1.contains("old"));
    assert!(!duo.proxy.is_ready(), "it says it is ready, and serves nobody");
    // The same trouble has come up several times by now, and is one line.
    let complaints = duo.proxy.log_tail().matches("not ready yet").count();
    assert!(complaints <= 2, "{complaints} complaints\n{}", duo.proxy.log_tail());

    duo.old.start_again().expect("the server again");
    duo.proxy.until_ready().expect("ready by itself");
    assert_eq!(readyz(duo.admin()).0, 200);
    assert_eq!(duo.status()["phase"], "dual_write");
    assert_eq!(duo.sql("SELECT 1"), "1");
}

#[test]
fn a_start_that_waits_can_be_ended() {
    let mut duo = Duo::start("timeouts: { connect: 1s }");
    duo.proxy.kill();
    duo.old.stop(Stop::Fast);
    duo.proxy.launch().expect("the proxy");
    duo.eventually("the port is open", SOON, || refusal(&duo).is_some());
    let status = duo.proxy.terminate().expect("an end");
    assert!(status.success(), "{status}");
}
