//! What no cycle brings: the positions of sequences, and a count of what waits unannounced.

use std::time::Duration;

use pgduet::link::ledger::LinkState;
use pgduet::side::Side;

use crate::rig::Rig;

const SEQUENCES: &str = "CREATE SEQUENCE plain; CREATE SEQUENCE down INCREMENT -3; CREATE SEQUENCE round MAXVALUE 3 CYCLE; \
    CREATE SEQUENCE cached CACHE 10; CREATE SEQUENCE fresh START 7; \
    CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s serial)";

const DRAW: &str = "SELECT nextval('plain') FROM generate_series(1, 5); SELECT nextval('down') FROM generate_series(1, 4); \
    SELECT nextval('round') FROM generate_series(1, 4); SELECT nextval('cached'); INSERT INTO t DEFAULT VALUES";

/// Of every sequence, so that both sides can be compared.
const WHERE_THEY_ARE: &str = "SELECT format('plain %s %s, down %s %s, round %s %s, cached %s %s, fresh %s %s, identity %s %s, serial %s %s', \
    p.last_value, p.is_called, d.last_value, d.is_called, r.last_value, r.is_called, c.last_value, c.is_called, \
    f.last_value, f.is_called, i.last_value, i.is_called, s.last_value, s.is_called) \
    FROM plain p, down d, round r, cached c, fresh f, t_id_seq i, t_s_seq s";

#[tokio::test]
async fn sequences_stand_where_they_stand_on_the_primary() {
    let rig = Rig::start("sequences", SEQUENCES).await;
    rig.run(DRAW).await;
    rig.barrier().await;
    let there = rig.primary(WHERE_THEY_ARE).await;
    assert!(there.contains("plain 5 t, down -10 t, round 1 t") && there.contains("fresh 7 f"), "{there}");
    assert_eq!(rig.secondary(WHERE_THEY_ARE).await, there);
    // Back again, by hand, and to one that was never called.
    rig.run("ALTER SEQUENCE plain RESTART WITH 3; SELECT setval('fresh', 20, false); SELECT nextval('down')").await;
    rig.until(Side::New, "SELECT last_value = 3 AND NOT is_called FROM plain").await;
    rig.barrier().await;
    assert_eq!(rig.secondary(WHERE_THEY_ARE).await, rig.primary(WHERE_THEY_ARE).await);
}

#[tokio::test]
async fn a_sequence_that_cannot_take_the_position_holds_up_no_other() {
    let rig = Rig::start("sequences_refused", SEQUENCES).await;
    rig.on(Side::New, "ALTER SEQUENCE cached MAXVALUE 5; DROP SEQUENCE round").await;
    rig.run(DRAW).await;
    rig.barrier().await;
    assert_eq!(rig.secondary("SELECT last_value::text FROM plain").await, "5");
    assert_eq!(rig.secondary("SELECT last_value::text FROM t_s_seq").await, "1");
    assert_eq!(rig.ledger.state(), LinkState::Running);
}

#[tokio::test]
async fn what_nobody_announces_counts_as_lag_while_the_link_does_not_carry() {
    let rig = Rig::start("survey", "CREATE TABLE a (id int PRIMARY KEY)").await;
    rig.run("SELECT pgduet.watch('a'::regclass)").await;
    rig.barrier().await;
    rig.link.pause().await.expect("pause");
    rig.run("INSERT INTO a SELECT generate_series(1, 300)").await;
    let counted = async {
        while rig.ledger.report().lag_entries != 300 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    rig.bounded(counted).await;
    assert!(rig.ledger.report().lag_seconds > 0.0);
    rig.link.resume().await.expect("resume");
    rig.equal(&["a"]).await;
    let counts = rig.ledger.counts();
    assert_eq!((counts.captured, counts.applied, counts.queued), (300, 300, 0), "{counts:?}");
}
