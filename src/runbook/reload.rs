//! Reading the configuration again while the process runs.
//!
//! Everything that can be refused is read first (the file, the secrets and certificates that it names); only then is anything put in force. What
//! is refused leaves the running configuration as it is.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Config, LogLevel, Reload};
use crate::session::Context;

/// Reads one file, again and again.
pub struct Reloader {
    file: PathBuf,
    /// Puts another level of logging in force, unless one was given on the command line.
    set_level: Box<dyn Fn(LogLevel) + Send + Sync>,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Sections with new values in force.
    pub changed: Vec<&'static str>,
    /// Keys that keep their running value until the next start.
    pub needs_restart: Vec<&'static str>,
    /// Keys whose value in the databases counts.
    pub seeds: Vec<&'static str>,
}

impl Reloader {
    pub fn new(file: PathBuf, set_level: impl Fn(LogLevel) + Send + Sync + 'static) -> Self {
        Reloader { file, set_level: Box::new(set_level) }
    }

    /// Reads the file and puts in force what can be. Certificates and secrets are read again even where the file is the same.
    ///
    /// # Errors
    /// Names the key, and the line where it is the file's own: nothing has changed then.
    pub fn reload(&self, context: &Context) -> Result<Reloaded, String> {
        self.try_reload(context).inspect_err(|error| {
            tracing::error!(%error, "the configuration was not reloaded; the running one stays in force");
        })
    }

    fn try_reload(&self, context: &Context) -> Result<Reloaded, String> {
        let wanted = Config::load(&self.file).map_err(|error| error.to_string())?;
        let Reload { config, changed, needs_restart, seeds } = Reload::between(&context.config, wanted);
        context.reload_gate(&config)?;
        (self.set_level)(config.log_level);
        context.config.replace(config);
        tracing::info!(?changed, "the configuration was reloaded, with the secrets and certificates that it names");
        if !needs_restart.is_empty() {
            tracing::warn!(
                ?needs_restart,
                "keys that cannot change while the proxy runs keep their values until its next start"
            );
        }
        if !seeds.is_empty() {
            tracing::info!(?seeds, "keys that seed a first start only: change the policy with PATCH /api/policy");
        }
        Ok(Reloaded { changed, needs_restart, seeds })
    }
}
