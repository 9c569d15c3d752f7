//! Processes die: the proxy at each step of a write's life and at any moment, and either server.

use std::time::Duration;

use pgduet::demo::cluster::Stop;
use pgduet::failpoint;

use super::rig::Rig;
use super::seed::rounds;

#[test]
fn the_proxy_may_die_at_every_step_of_a_writes_life() {
    let mut rig = Rig::start("");
    for _ in 0..rounds() {
        for place in failpoint::ALL {
            let passing = 1 + rig.dice.throw(if place.starts_with("clean") { 3 } else { 40 });
            rig.round(&format!("killed at {place}, passing {passing}"), |rig, _| {
                rig.arm(&format!("{place}=kill:{passing}"));
                rig.dies_and_comes_back(place);
            });
        }
    }
    println!("{} faults", rig.faults);
}

#[test]
fn either_server_and_the_proxy_may_die_at_any_moment() {
    let mut rig = Rig::start("");
    for _ in 0..rounds() {
        rig.round("the proxy killed", |rig, load| {
            rig.wait_a_little(load);
            rig.duo.proxy.kill();
            rig.duo.proxy.start_again().expect("the proxy again");
        });
        rig.round("old killed", |rig, load| {
            rig.wait_a_little(load);
            rig.duo.old.stop(Stop::Kill);
            rig.duo.old.start_again().expect("old again");
        });
        rig.round("new killed", |rig, load| {
            rig.wait_a_little(load);
            rig.duo.new.stop(Stop::Kill);
            rig.duo.new.start_again().expect("new again");
        });
        rig.round("new down while the proxy is killed, and with it at its start", |rig, load| {
            rig.duo.new.stop(Stop::Immediate);
            rig.progress(load, 20);
            rig.duo.proxy.kill();
            rig.duo.proxy.start_again().expect("the proxy again");
            rig.progress(load, 20);
            rig.duo.new.start_again().expect("new again");
        });
    }
    println!("{} faults", rig.faults);
}

#[test]
fn slow_steps_open_no_gap() {
    let mut rig = Rig::start("");
    for _ in 0..rounds() {
        for place in ["session.commit.reported", "link.starts", "link.read", "link.applied", "link.booked"] {
            rig.round(&format!("{place} takes 100 ms, then the proxy is killed"), |rig, load| {
                rig.arm(&format!("{place}=pause:100"));
                rig.progress(load, 30);
                rig.duo.proxy.kill();
                rig.duo.proxy.start_again().expect("the proxy again");
            });
        }
    }
}

#[test]
fn a_frozen_secondary_delays_commits_once_and_loses_nothing() {
    let mut rig = Rig::start("");
    rig.round("new frozen for longer than ack_timeout", |rig, load| {
        rig.duo.new.freeze();
        // By then `ack: both` has degraded: otherwise nobody would get on.
        rig.progress(load, 200);
        assert_eq!(rig.duo.status()["link"]["state"], "degraded");
        rig.duo.new.thaw();
        rig.duo.eventually("the link is no longer degraded", Duration::from_secs(60), || {
            rig.duo.status()["link"]["state"] == "running"
        });
    });
}
