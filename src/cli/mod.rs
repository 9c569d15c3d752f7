//! The command line.

mod ask;
mod client;
mod doctor;
mod logs;
mod manual;
mod ramp;
mod screen;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Config;
use logs::LogFormat;

/// Refused, or not as it should be.
const NOT_DONE: u8 = 1;
/// Bad usage or a bad configuration, as most commands have it.
const BAD_CONFIGURATION: u8 = 2;
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused, not done, or not as it should be: a gate does not hold, the proxy does not answer, differences remain,
     doctor has found what blocks (warnings alone are 0)
  2  bad usage or configuration; the message names the key and the line";

/// Moves a live application from one Postgres to another: a proxy in front of both.
#[derive(Parser)]
#[command(name = "pgduet", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Least level that is logged: error, warn, info, debug, trace. Default: `log_level` of the configuration, or info.
    #[arg(long, global = true, env = "PGDUET_LOG")]
    log_level: Option<tracing::Level>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the proxy in the foreground.
    Serve {
        #[arg(long, default_value = "proxy.yaml")]
        config: PathBuf,
    },
    /// Installs or upgrades the schema pgduet on both backends; may be run again.
    Init {
        #[arg(long, default_value = "proxy.yaml")]
        config: PathBuf,
        /// Removes every trace from both backends instead.
        #[arg(long)]
        uninstall: bool,
    },
    /// Says what in schemas, settings, privileges and traffic stands in the way, table by table, with the fix. Changes nothing.
    Doctor(doctor::Doctor),
    /// Shows where the migration stands, on one screen.
    Status {
        /// Again every second, until Ctrl-C.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        target: client::Target,
    },
    /// Shows the phase, or changes it: old_only, dual_write.
    Phase {
        phase: Option<crate::routing::Phase>,
        /// Override gates that may be overridden; recorded.
        #[arg(long)]
        force: bool,
        /// Only say what the gates say.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: client::Target,
    },
    /// Says where a statement would go now, and why.
    Route {
        sql: String,
        #[arg(long, default_value = "")]
        key: String,
        #[command(flatten)]
        target: client::Target,
    },
    /// Shows confirmed differences.
    Findings(client::Target),
    /// Shows the tables, how each is captured, and its sync state.
    Tables(client::Target),
    /// Shows every change of policy: when, by whom, from, to.
    History(client::Target),
    /// Shows entries that the secondary refuses for good, tries them again, or gives them up: retry, discard.
    Parked {
        #[arg(value_parser = ["retry", "discard"])]
        order: Option<String>,
        /// Of these entries only; none: of all.
        #[arg(long = "id")]
        ids: Vec<i64>,
        #[command(flatten)]
        target: client::Target,
    },
    /// Moves the share of the reads in steps, watches between them, and stops where something is wrong.
    Ramp(ramp::Ramp),
    /// Shows the link, or holds it, lets it go on, gives it up: pause, resume, detach.
    Link {
        #[arg(value_parser = ["pause", "resume", "detach"])]
        order: Option<String>,
        #[command(flatten)]
        target: client::Target,
    },
    /// Has the proxy read its configuration again, as SIGHUP does, and shows what came of it.
    Reload(client::Target),
    /// Shows the configuration that counts, key by key, without secrets.
    Config {
        #[arg(long, default_value = "proxy.yaml")]
        config: PathBuf,
    },
    /// Prints the completions for a shell: bash, elvish, fish, powershell, zsh.
    Completions { shell: Shell },
    /// Prints the manual page, in roff; or writes one for each command into a directory.
    Man {
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Two throw-away databases, the proxy between them, a load, and a comparison at the end.
    Demo {
        /// Ends by itself after so long, with a summary and exit code 0 or 1.
        #[arg(long)]
        seconds: Option<u64>,
    },
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let level = logs::start(cli.log_format, cli.log_level);
    match cli.command {
        Command::Serve { config: file } => with_config(&file, |config| serve(config, file.clone(), level)),
        Command::Init { config, uninstall } => with_config(&config, |config| init(config, uninstall)),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Status { watch, target } => ask::status(&target, watch),
        Command::Phase { phase, force, dry_run, target } => ask::phase(&target, phase, force, dry_run),
        Command::Route { sql, key, target } => ask::route(&target, &sql, &key),
        Command::Findings(target) => ask::findings(&target),
        Command::Tables(target) => ask::tables(&target),
        Command::History(target) => ask::history(&target),
        Command::Parked { order, ids, target } => ask::parked(&target, order.as_deref(), &ids),
        Command::Link { order, target } => ask::link(&target, order.as_deref()),
        Command::Reload(target) => ask::reload(&target),
        Command::Ramp(ramp) => ramp::run(&ramp),
        Command::Config { config } => with_config(&config, |config| manual::configuration(&config)),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::pages(directory.as_deref()),
        Command::Demo { seconds } => crate::demo::run(seconds),
    }
}

fn with_config(path: &std::path::Path, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(path) {
        Ok(config) => run(config),
        Err(error) => fail(BAD_CONFIGURATION, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pgduet: {error}");
    ExitCode::from(code)
}

fn serve(config: Config, file: PathBuf, level: logs::Level) -> ExitCode {
    level.set(config.log_level);
    let reloader = crate::runbook::Reloader::new(file, move |wanted| level.set(wanted));
    match crate::app::serve(config, reloader) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ crate::app::AppError::Config(_)) => fail(BAD_CONFIGURATION, &error),
        Err(error) => fail(1, &error),
    }
}

fn init(config: Config, uninstall: bool) -> ExitCode {
    use crate::backend::control::{Connection, Purpose};
    use crate::side::Side;
    use crate::store::schema;
    let run = async {
        for side in Side::BOTH {
            let backend = config.backends.get(side);
            let connection =
                Connection::open(side, backend, Purpose::Control, &config.timeouts).await.map_err(|e| e.to_string())?;
            match uninstall {
                true => schema::uninstall(&connection).await.map_err(|e| e.to_string())?,
                false => schema::install(&connection).await.map(|_| ()).map_err(|e| e.to_string())?,
            }
            println!("{side}: the schema pgduet is {}", if uninstall { "removed" } else { "in place" });
        }
        Ok::<_, String>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}
