//! The load of a demonstration: clients that read by key, and, once writes are mirrored, clients that write.

use std::io::Write;

use tempfile::NamedTempFile;

use super::pgbench::{Load, Protocol, Report, Running, Script};
use super::process::{Signal, signal};
use super::{Duo, Failure};

/// A load is ended by a signal, long before pgbench would end it.
const FOREVER: u32 = 10_000_000;
const CLIENTS: u32 = 4;
/// SIGTERM. A shell without job control has what it starts in the background ignore SIGINT, and pgbench with it.
const ENDED: Option<i32> = Some(15);

/// Every statement names its routing key, as an application's tracing library would.
const READS: &str = "\\set aid random(1, 100000 * :scale)\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid /* pgduet_key=':aid' */;\n";

pub(super) struct Loads {
    reading: Running,
    writing: Option<Running>,
    _script: NamedTempFile,
}

impl Loads {
    pub(super) fn start_reading(duo: &Duo) -> Result<Loads, Failure> {
        let broken = |e| Failure::io("cannot write the load's script", e);
        let mut script = NamedTempFile::new().map_err(broken)?;
        script.write_all(READS.as_bytes()).map_err(broken)?;
        let reads = Script::File(script.path().to_owned());
        // A fixed pace leaves the machine to whoever looks at the dashboard.
        let reading = start(duo, Protocol::Simple, reads, &["-s", &super::SCALE.to_string(), "-R", "2000"])?;
        Ok(Loads { reading, writing: None, _script: script })
    }

    pub(super) fn start_writing(&mut self, duo: &Duo) -> Result<(), Failure> {
        self.writing = Some(start(duo, Protocol::Prepared, Script::TpcB, &[])?);
        Ok(())
    }

    /// Ends the load in the middle of whatever it is doing; returns what the clients complained about.
    pub(super) fn finish(self) -> Result<Vec<String>, Failure> {
        let running: Vec<Running> = [Some(self.reading), self.writing].into_iter().flatten().collect();
        signal(&running.iter().map(Running::pid).collect::<Vec<_>>(), Signal::Term);
        let reports: Result<Vec<Report>, Failure> = running.into_iter().map(Running::finish).collect();
        Ok(reports?.into_iter().filter_map(complaint).collect())
    }
}

fn start(duo: &Duo, protocol: Protocol, script: Script, extra: &[&str]) -> Result<Running, Failure> {
    let extra = extra.iter().map(|part| (*part).to_owned()).collect();
    let load = Load { port: duo.proxy.port, clients: CLIENTS, seconds: FOREVER, protocol, script, extra };
    load.start(duo.old.binaries())
}

fn complaint(report: Report) -> Option<String> {
    match (report.errors.is_empty(), report.signal) {
        (false, _) => Some(report.errors),
        (true, ENDED) => None,
        (true, _) => Some("a load ended before it was asked to".into()),
    }
}
