//! `pgduet demo`: two throw-away servers, the proxy between them, a load, and the proof at the end that both hold the same.
//!
//! The tests stand on the same parts.

pub mod admin;
pub mod binaries;
pub mod cluster;
pub mod compare;
mod display;
mod failure;
mod guard;
mod load;
pub mod pgbench;
pub mod process;
pub mod proxy;
mod script;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use failure::Failure;
pub use guard::Guard;

use binaries::Binaries;
use cluster::{Cluster, Options};
use compare::Comparison;
use display::{Display, Figures};
use load::Loads;
use proxy::Proxy;
use script::{Script, Step};

/// Rows of `pgbench_accounts`, in hundreds of thousands.
const SCALE: u32 = 2;
/// The load has stopped by then; what is left to carry is little.
const BARRIER: Duration = Duration::from_secs(60);

/// Runs the demonstration for `seconds`, or until Ctrl-C. The exit code is 0 when every table is equal on both servers, no client
/// saw an error, no write went uncaptured and no read was answered differently.
pub fn run(seconds: Option<u64>) -> ExitCode {
    let outcome = demonstrate(seconds);
    cluster::remove_templates();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("pgduet demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(seconds: Option<u64>) -> Result<bool, Failure> {
    let interrupted = watch_for_interrupts();
    let duo = Duo::start()?;
    let mut loads = Loads::start_reading(&duo)?;
    let shown = follow_script(&duo, &mut loads, seconds, &interrupted);
    let complaints = loads.finish()?;
    shown.map_err(|failure| duo.explain(failure))?;
    duo.wait_for_the_last_commits()?;
    println!("the load has ended; waiting for the last writes to arrive on new");
    duo.proxy.admin.barrier(BARRIER).map_err(|failure| duo.explain(failure))?;
    let tables = compare::compare(&duo.old, &duo.new)?;
    let figures = Figures::read(&duo.proxy.admin)?;
    Ok(summarise(&complaints, &tables, &figures))
}

/// The two servers and the proxy; the proxy goes first.
struct Duo {
    proxy: Proxy,
    old: Cluster,
    new: Cluster,
}

impl Duo {
    /// A load that is ended in the middle leaves its last COMMITs to the server, which finishes them with nobody there to be told: a
    /// barrier that is asked for before that has no reason to wait for them.
    fn wait_for_the_last_commits(&self) -> Result<(), Failure> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
        let gone = || match self.old.sql("app", sql) {
            Ok(count) if count != "0" => None,
            answer => Some(answer.map(drop)),
        };
        let never = || Err(Failure::Broken("the load's sessions on old did not end".into()));
        process::wait_for(BARRIER, gone).unwrap_or_else(never)
    }

    fn start() -> Result<Duo, Failure> {
        let binaries = Binaries::find()?;
        println!("starting two PostgreSQL servers");
        let old = Cluster::start(&binaries, Options::durable("old"))?;
        let new = Cluster::start(&binaries, Options::durable("new"))?;
        for cluster in [&old, &new] {
            pgbench::initialise(&binaries, cluster.port(), SCALE)?;
        }
        let program = std::env::current_exe().map_err(|e| Failure::io("cannot find this program's file", e))?;
        let proxy = Proxy::start(&program, &old, &new, "clients: { auth: trust }\nshadow: { sample_percent: 5 }")?;
        println!("  old    postgres://app@127.0.0.1:{}/app", old.port());
        println!("  new    postgres://app@127.0.0.1:{}/app", new.port());
        println!("  proxy  {}", proxy.url("app", "app"));
        println!("  admin  http://{}/", proxy.admin.address);
        Ok(Duo { proxy, old, new })
    }

    fn explain(&self, failure: Failure) -> Failure {
        Failure::Broken(format!("{failure}\nthe end of the proxy's log:\n{}", self.proxy.log_tail()))
    }
}

/// Goes through the steps, each at its time, and shows the figures every second.
fn follow_script(duo: &Duo, loads: &mut Loads, seconds: Option<u64>, stop: &AtomicBool) -> Result<(), Failure> {
    let script = Script::over(seconds);
    let mut display = Display::new(&duo.proxy.admin, script.seconds())?;
    display.say("phase old_only: everything passes through to old, unparsed and uncounted; a reading load has begun");
    display.say("figures: phase, read_percent, reads answered by each side, rows carried to new, rows it is behind, reads compared");
    let begin = Instant::now();
    for at in script.steps() {
        while begin.elapsed() < at.time {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            process::wait_for((at.time - begin.elapsed()).min(Duration::from_secs(1)), || {
                stop.load(Ordering::SeqCst).then_some(())
            });
            display.show(begin.elapsed())?;
        }
        take(duo, loads, at.step, &display)?;
    }
    Ok(())
}

fn take(duo: &Duo, loads: &mut Loads, step: Step, display: &Display) -> Result<(), Failure> {
    match step {
        Step::DualWrite => {
            display.say("phase dual_write: every write is carried to new from now on; a writing load begins");
            duo.proxy.admin.phase("dual_write")?;
            loads.start_writing(duo)
        }
        Step::Reads(percent) => {
            display.say(&format!(
                "read_percent {percent}: {percent} % of the keys are read from new; reads after a write of their transaction stay on old"
            ));
            duo.proxy.admin.read_percent(percent.into()).map(drop)
        }
        Step::End => Ok(()),
    }
}

fn summarise(complaints: &[String], tables: &[Comparison], figures: &Figures) -> bool {
    println!("\n{:<28} {:>12} {:>12} {:>10} {:>10}", "table", "rows old", "rows new", "only old", "only new");
    for table in tables {
        let Comparison { rows_old, rows_new, only_old, only_new, .. } = table;
        println!("{:<28} {rows_old:>12} {rows_new:>12} {only_old:>10} {only_new:>10}", table.table);
    }
    println!();
    let errors = if complaints.is_empty() { "no client saw an error".to_owned() } else { complaints.join("; ") };
    let equal = tables.iter().all(Comparison::equal);
    let checks = [
        (
            equal,
            format!(
                "{} tables compared row by row, {} rows",
                tables.len(),
                tables.iter().map(|t| t.rows_old).sum::<u64>()
            ),
        ),
        (complaints.is_empty(), errors),
        (figures.uncaptured == 0, format!("{} writes captured, {} not", figures.captured, figures.uncaptured)),
        (
            figures.mismatched == 0,
            format!(
                "{} reads, {} compared, {} answered differently",
                figures.reads(),
                figures.compared,
                figures.mismatched
            ),
        ),
    ];
    for (holds, what) in &checks {
        println!("{}  {what}", if *holds { "ok    " } else { "FAILED" });
    }
    checks.iter().all(|(holds, _)| *holds)
}

/// Set by the first Ctrl-C; the summary follows. A second one, later than one that was merely sent twice, ends the program.
fn watch_for_interrupts() -> Arc<AtomicBool> {
    const TWICE: Duration = Duration::from_secs(1);
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let mut first = None;
            while tokio::signal::ctrl_c().await.is_ok() {
                seen.store(true, Ordering::SeqCst);
                if first.get_or_insert_with(Instant::now).elapsed() > TWICE {
                    // The guards clean up after this process.
                    std::process::exit(130);
                }
            }
        });
    });
    flag
}
