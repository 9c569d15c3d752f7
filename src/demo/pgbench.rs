//! Runs of pgbench, and what they said.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::Failure;
use super::binaries::Binaries;
use super::process::run;

/// The three ways in which pgbench sends a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
    Prepared,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Simple, Protocol::Extended, Protocol::Prepared];

    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
            Protocol::Prepared => "prepared",
        }
    }
}

/// What a run executes.
#[derive(Clone, Debug)]
pub enum Script {
    TpcB,
    SelectOnly,
    File(PathBuf),
}

/// One run, as user `app` in the database `app`.
#[derive(Clone, Debug)]
pub struct Load {
    pub port: u16,
    pub clients: u32,
    pub seconds: u32,
    pub protocol: Protocol,
    pub script: Script,
    /// Further options, passed on as they are.
    pub extra: Vec<String>,
}

/// A run that has begun.
pub struct Running {
    child: Child,
}

/// What a run printed at its end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub success: bool,
    pub transactions: u64,
    pub failed: u64,
    pub tps: f64,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to stderr beside its notes.
    pub errors: String,
}

impl Load {
    /// # Errors
    /// When pgbench cannot be started.
    pub fn start(&self, binaries: &Binaries) -> Result<Running, Failure> {
        let mut command = binaries.program("pgbench");
        connect(&mut command, self.port);
        command.args(["-n", "-M", self.protocol.as_str()]);
        command.args(["-c", &self.clients.to_string(), "-j", &self.clients.min(2).to_string()]);
        command.args(["-T", &self.seconds.to_string()]).args(&self.extra);
        match &self.script {
            Script::TpcB => {}
            Script::SelectOnly => drop(command.arg("-S")),
            Script::File(path) => drop(command.arg("-f").arg(path)),
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.arg("app").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Ok(Running { child: child.map_err(|e| Failure::io("cannot run pgbench", e))? })
    }

    /// # Errors
    /// When pgbench cannot be started; a run that failed is a [`Report`].
    pub fn run(&self, binaries: &Binaries) -> Result<Report, Failure> {
        self.start(binaries)?.finish()
    }
}

impl Running {
    /// Waits for the end of the run.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn finish(self) -> Result<Report, Failure> {
        let output = self.child.wait_with_output().map_err(|e| Failure::io("cannot wait for pgbench", e))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut report = parse(&String::from_utf8_lossy(&output.stdout));
        report.success = output.status.success();
        report.signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        report.errors = errors.lines().filter(|line| line.contains("error:")).collect::<Vec<_>>().join("\n");
        Ok(report)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Creates and fills pgbench's tables through one port.
///
/// # Errors
/// When pgbench fails.
pub fn initialise(binaries: &Binaries, port: u16, scale: u32) -> Result<(), Failure> {
    let mut command = binaries.program("pgbench");
    connect(&mut command, port);
    run(command.args(["-i", "-q", "-s", &scale.to_string(), "app"]).stdin(Stdio::null())).map(drop)
}

fn connect(command: &mut Command, port: u16) {
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "app"]);
}

fn parse(output: &str) -> Report {
    let number = |label: &str| -> Option<&str> {
        let rest = output.lines().find_map(|line| line.strip_prefix(label))?;
        rest.split([' ', '/']).find(|word| !word.is_empty())
    };
    Report {
        transactions: number("number of transactions actually processed:").and_then(|n| n.parse().ok()).unwrap_or(0),
        failed: number("number of failed transactions:").and_then(|n| n.parse().ok()).unwrap_or(0),
        tps: number("tps =").and_then(|n| n.parse().ok()).unwrap_or(0.0),
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_run_are_read() {
        let report = parse(
            "transaction type: <builtin: TPC-B (sort of)>\nnumber of transactions actually processed: 3595/4000\n\
             number of failed transactions: 2 (0.050%)\nlatency average = 2.2 ms\n\
             tps = 1234.567890 (without initial connection time)\n",
        );
        assert_eq!((report.transactions, report.failed), (3595, 2));
        assert!((report.tps - 1_234.567_890).abs() < 1e-6);
    }
}
