//! The network between the proxy and either server is cut, slow or silent.

use std::time::Duration;

use super::rig::Rig;
use super::seed::rounds;
use super::wire::Weather;

const SLOW: Weather = Weather::Slow(Duration::from_millis(15));

#[test]
fn the_way_to_either_server_may_be_cut_slow_or_silent() {
    let mut rig = Rig::start("");
    for _ in 0..rounds() {
        rig.round("the way to new is cut", |rig, load| {
            rig.to_new.becomes(Weather::Cut);
            rig.progress(load, 30);
            rig.to_new.becomes(Weather::Fair);
        });
        rig.round("the way to old is cut", |rig, load| {
            rig.wait_a_little(load);
            rig.to_old.becomes(Weather::Cut);
            rig.to_old.becomes(Weather::Fair);
        });
        rig.round("the way to new is slow", |rig, load| {
            rig.to_new.becomes(SLOW);
            rig.progress(load, 30);
            rig.to_new.becomes(Weather::Fair);
        });
        rig.round("the way to old is slow", |rig, load| {
            rig.to_old.becomes(SLOW);
            rig.progress(load, 30);
            rig.to_old.becomes(Weather::Fair);
        });
        rig.round("nothing arrives at new for a while, then everything does", |rig, load| {
            rig.to_new.becomes(Weather::Silent);
            rig.progress(load, 30);
            rig.to_new.becomes(Weather::Fair);
        });
        rig.round("nothing arrives at new, then its connections are reset", |rig, load| {
            rig.to_new.becomes(Weather::Silent);
            rig.progress(load, 30);
            rig.to_new.becomes(Weather::Cut);
            rig.progress(load, 10);
            rig.to_new.becomes(Weather::Fair);
        });
        rig.round("nothing arrives at old for a moment, then its connections are reset", |rig, load| {
            rig.wait_a_little(load);
            rig.to_old.becomes(Weather::Silent);
            std::thread::sleep(Duration::from_millis(300));
            rig.to_old.becomes(Weather::Cut);
            rig.to_old.becomes(Weather::Fair);
        });
        rig.round("both ways are cut at once", |rig, load| {
            rig.wait_a_little(load);
            rig.to_old.becomes(Weather::Cut);
            rig.to_new.becomes(Weather::Cut);
            std::thread::sleep(Duration::from_millis(300));
            rig.to_new.becomes(Weather::Fair);
            rig.to_old.becomes(Weather::Fair);
        });
    }
    println!("{} faults", rig.faults);
}
