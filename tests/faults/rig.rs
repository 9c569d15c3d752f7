//! Two servers, the proxy, and a wire between the proxy and each server; a round is one fault under load, and its checks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pgduet::demo::admin::Admin;
use pgduet::demo::cluster::{Cluster, psql};
use pgduet::demo::proxy::Proxy;

use super::seed::{Dice, seed};
use super::support::{Duo, PROGRAM, fail, servers};
use super::wire::Wire;
use super::workload::{self, Load, SCHEMA};

const LIMIT: Duration = Duration::from_secs(60);

/// So many touches are a chunk here: statements of many rows take the thorough way.
const SETTINGS: &str = "
clients: { auth: trust }
mirror: { ack_timeout: 2s }
link: { chunk: 40, clean_up: 200ms }
";

pub struct Rig {
    // Dropped first: its connections end before the servers do.
    pub duo: Duo,
    pub to_old: Wire,
    pub to_new: Wire,
    pub dice: Dice,
    /// Faults injected so far.
    pub faults: u64,
    first_ticket: i64,
}

impl Rig {
    pub fn start(settings: &str) -> Rig {
        let (old, new, binaries) = servers();
        for cluster in [&old, &new] {
            psql(&binaries, &cluster.url("app", "app"), SCHEMA).unwrap_or_else(fail("the schema"));
        }
        let (to_old, to_new) = (Wire::to(old.port()), Wire::to(new.port()));
        let mut proxy = Proxy::prepare(Path::new(PROGRAM)).unwrap_or_else(fail("the proxy"));
        let url = |wire: &Wire| format!("{{ url: \"postgres://pgduet@127.0.0.1:{}/app\" }}", wire.port);
        let backends = format!("backends:\n  old: {}\n  new: {}\n", url(&to_old), url(&to_new));
        let yaml = format!("{}{backends}{SETTINGS}{settings}\n", proxy.listening());
        proxy.configure(&yaml).unwrap_or_else(fail("the configuration"));
        proxy.start_again().unwrap_or_else(fail("the proxy"));
        let duo = Duo { proxy, old, new, binaries };
        duo.dual_write();
        Rig { duo, to_old, to_new, dice: Dice::new(seed()), faults: 0, first_ticket: 0 }
    }

    /// Load, then the fault, then load again; then everything is checked.
    pub fn round(&mut self, what: &str, fault: impl FnOnce(&mut Rig, &Load)) {
        let before = workload::total(self);
        let load = Load::start(self.duo.proxy.port, self.dice.throw(u64::MAX), self.first_ticket);
        self.first_ticket += 1_000_000;
        let sum = Conservation::watch(self.duo.admin());
        self.progress(&load, 40);
        fault(self, &load);
        self.progress(&load, 40);
        let known = load.finish();
        let looks = sum.finish();
        workload::verify(self, &known, before);
        self.at_rest();
        self.faults += 1;
        println!("{what}: everything is where it belongs; the sum held in {looks} looks");
    }

    /// The clients get on with their work.
    pub fn progress(&self, load: &Load, units: u64) {
        let target = load.done() + units;
        self.duo.eventually("the clients make progress", LIMIT, || load.done() >= target);
    }

    /// A moment of the load that the dice choose.
    pub fn wait_a_little(&mut self, load: &Load) {
        let units = self.dice.throw(40);
        self.progress(load, units);
    }

    /// Starts the proxy anew, with what it is to do at named places.
    pub fn arm(&mut self, failpoints: &str) {
        let proxy = &mut self.duo.proxy;
        proxy.kill();
        proxy.environment = vec![("PGDUET_FAILPOINTS".to_owned(), failpoints.to_owned())];
        proxy.start_again().unwrap_or_else(fail("the proxy"));
        proxy.environment.clear();
    }

    /// The proxy dies by itself; then it is started again.
    pub fn dies_and_comes_back(&mut self, what: &str) {
        let proxy = &mut self.duo.proxy;
        let died = pgduet::demo::process::wait_for(LIMIT, || (!proxy.is_running()).then_some(()));
        if died.is_none() {
            panic!("{what} was not reached under load\n{}", self.what_goes_on());
        }
        let proxy = &mut self.duo.proxy;
        proxy.kill();
        proxy.start_again().unwrap_or_else(fail("the proxy again"));
    }

    /// For the report of a failure: what pgduet says, and what it does on either server.
    fn what_goes_on(&self) -> String {
        let sql = "SELECT concat_ws(' | ', pid, application_name, state, wait_event_type, wait_event, now() - query_start, left(query, 200)) \
                   FROM pg_stat_activity WHERE application_name LIKE 'pgduet%' ORDER BY application_name";
        let activity = |server: &Cluster| server.sql("app", sql).unwrap_or_else(|error| error.to_string());
        let status =
            self.duo.admin().status().map_or_else(|error| error.to_string(), |status| status["link"].to_string());
        let (old, new, log) = (activity(&self.duo.old), activity(&self.duo.new), self.duo.proxy.log_tail());
        format!("link: {status}\non old:\n{old}\non new:\n{new}\nlog:\n{log}")
    }

    /// Nothing is under way: nothing is queued, nothing parked.
    fn at_rest(&self) {
        self.duo.eventually("nothing is queued", LIMIT, || self.duo.count("/link/lag_entries") == 0);
        assert_eq!(self.duo.count("/link/parked_total"), 0, "something was parked");
        assert_eq!(self.duo.count("/uncaptured_total"), 0, "something was not captured");
    }
}

/// Looks at the status again and again: `captured = applied + superseded + queued + parked + discarded`.
struct Conservation {
    stop: Arc<AtomicBool>,
    watch: JoinHandle<u64>,
}

impl Conservation {
    fn watch(admin: Admin) -> Conservation {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = std::thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::SeqCst) {
                // A proxy that is being killed does not answer.
                if let Ok(status) = admin.status() {
                    check_sum(&status);
                    looks += 1;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            looks
        });
        Conservation { stop, watch }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.watch.join().expect("the sum holds")
    }
}

fn check_sum(status: &serde_json::Value) {
    let of = |name: &str| status["link"][name].as_i64().unwrap_or_else(|| panic!("no {name} in {status}"));
    let parts = ["applied_total", "superseded_total", "lag_entries", "parked_total", "discarded_total"];
    assert_eq!(of("captured_total"), parts.iter().map(|part| of(part)).sum::<i64>(), "the sum fails: {status}");
}
