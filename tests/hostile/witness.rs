//! What must stay as it is while somebody misbehaves: the process lives, others are served, memory has a bound.

use std::time::Duration;

use crate::support::Duo;

const SOON: Duration = Duration::from_secs(30);
/// Connections that shadow reads may keep on each side.
const SHADOWS: u32 = 2;

/// The most memory that a process has really had since [`forget_peak`], in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a process has memory");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the kernel counts anew");
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

pub struct Witness {
    pid: u32,
    before: u64,
}

impl Witness {
    pub fn of(duo: &Duo) -> Witness {
        // The first client of a phase has things set up that stay.
        assert_eq!(duo.sql("SELECT 1"), "1");
        let pid = duo.proxy.pid().expect("the proxy runs");
        forget_peak(pid);
        Witness { pid, before: peak(pid) }
    }

    /// Others are served, and the proxy has at no time since the last look taken more than this, in KiB.
    pub fn expect(&self, what: &str, duo: &mut Duo, at_most: u64) {
        let growth = peak(self.pid).saturating_sub(self.before);
        forget_peak(self.pid);
        println!("{what}: {growth} KiB more than before (bound: {at_most})");
        assert!(growth <= at_most, "{what}: {growth} KiB more than before, and no more than {at_most} is right");
        assert_eq!(duo.sql("SELECT 1"), "1", "{what}");
        assert!(duo.proxy.is_running(), "{what}");
    }

    /// Every client has gone, and what it held was given back.
    pub fn expect_all_gone(&self, duo: &Duo) {
        duo.eventually("every client has gone", SOON, || duo.count("/clients") == 0);
        let gone = pgduet::demo::process::wait_for(SOON, || (backends(duo) == 0).then_some(()));
        assert!(gone.is_some(), "connections for nobody: {}", remaining(duo));
    }
}

/// What clients' connections to the servers do, but for those that shadow reads keep: no more than these, and idle.
fn backends(duo: &Duo) -> u64 {
    let count = format!(
        "SELECT count(*) FILTER (WHERE state <> 'idle') + greatest(0, count(*) - {SHADOWS}) FROM pg_stat_activity WHERE usename = 'app'"
    );
    [&duo.old, &duo.new].iter().map(|c| c.sql("app", &count).expect("a count").parse::<u64>().expect("a number")).sum()
}

/// What they do, for a message.
fn remaining(duo: &Duo) -> String {
    let list =
        "SELECT application_name, state, wait_event, left(query, 80) FROM pg_stat_activity WHERE usename = 'app'";
    [&duo.old, &duo.new].iter().map(|c| c.sql("app", list).expect("a list")).collect::<Vec<_>>().join(" | ")
}
