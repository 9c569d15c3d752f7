//! What of a configuration that was read again can be put in force, and what has to wait for the next start.

use super::Config;

/// A configuration to put in force.
#[derive(Debug, PartialEq)]
pub struct Reload {
    /// The new values, but for what `needs_restart` names: there the running ones stay.
    pub config: Config,
    /// Sections with a new value in force.
    pub changed: Vec<&'static str>,
    /// Keys whose new value counts from the next start on.
    pub needs_restart: Vec<&'static str>,
    /// Keys that seed a very first start only: their value in the databases counts, now and later.
    pub seeds: Vec<&'static str>,
}

/// Puts back what cannot change while the process runs, and names it.
macro_rules! keep {
    ($running:ident, $wanted:ident, $($key:ident).+, $names:ident) => {
        if $running.$($key).+ != $wanted.$($key).+ {
            $wanted.$($key).+ = $running.$($key).+.clone();
            let name = stringify!($($key).+);
            $names.push(name);
        }
    };
}

impl Reload {
    /// Compares `wanted` with what is in force.
    pub fn between(running: &Config, mut wanted: Config) -> Reload {
        let (mut needs_restart, mut seeds) = (Vec::new(), Vec::new());
        keep!(running, wanted, listen, needs_restart);
        keep!(running, wanted, workers, needs_restart);
        keep!(running, wanted, admin, needs_restart);
        keep!(running, wanted, backends, needs_restart);
        keep!(running, wanted, mirror.capture, needs_restart);
        keep!(running, wanted, mirror.include, needs_restart);
        keep!(running, wanted, mirror.exclude, needs_restart);
        keep!(running, wanted, phase, seeds);
        keep!(running, wanted, mirror.ack, seeds);
        keep!(running, wanted, reads.percent, seeds);
        keep!(running, wanted, reads.columns, seeds);
        keep!(running, wanted, reads.segments, seeds);
        keep!(running, wanted, reads.pins, seeds);
        keep!(running, wanted, shadow.sample_percent, seeds);
        keep!(running, wanted, shadow, needs_restart);
        keep!(running, wanted, traces.endpoint, needs_restart);
        keep!(running, wanted, traces.service_name, needs_restart);
        keep!(running, wanted, traces.queue, needs_restart);
        keep!(running, wanted, traces.timeout, needs_restart);
        let changed = changed(running, &wanted);
        Reload { config: wanted, changed, needs_restart, seeds }
    }
}

fn changed(running: &Config, wanted: &Config) -> Vec<&'static str> {
    // Named one by one, so that a new section has to be given its place here and above.
    let Config {
        listen: _,
        workers: _,
        admin: _,
        backends: _,
        phase: _,
        shadow: _,
        source: _,
        log_level,
        clients,
        mirror,
        reads,
        alerts,
        traces,
        link,
        journal,
        tcp,
        timeouts,
    } = wanted;
    let sections = [
        ("log_level", *log_level != running.log_level),
        ("clients", *clients != running.clients),
        ("mirror", *mirror != running.mirror),
        ("reads", *reads != running.reads),
        ("alerts", *alerts != running.alerts),
        ("traces", *traces != running.traces),
        ("link", *link != running.link),
        ("journal", *journal != running.journal),
        ("tcp", *tcp != running.tcp),
        ("timeouts", *timeouts != running.timeouts),
    ];
    sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_does_and_the_rest_is_named_and_left() {
        let running = Config::default();
        let mut wanted = running.clone();
        wanted.workers = 9;
        wanted.listen.set_port(1);
        wanted.mirror.exclude = vec!["public.audit".into()];
        wanted.mirror.ack_timeout = std::time::Duration::from_secs(1);
        wanted.clients.max_connections = 5;
        wanted.reads.percent = crate::phase::Percent::ALL;
        let reload = Reload::between(&running, wanted);
        assert_eq!(reload.needs_restart, ["listen", "workers", "mirror.exclude"]);
        assert_eq!(reload.seeds, ["reads.percent"]);
        assert_eq!(reload.changed, ["clients", "mirror"]);
        assert_eq!(reload.config.clients.max_connections, 5);
        assert_eq!((reload.config.workers, reload.config.listen), (running.workers, running.listen));
        let unchanged = Reload::between(&running, running.clone());
        assert!(unchanged.changed.is_empty() && unchanged.needs_restart.is_empty() && unchanged.seeds.is_empty());
    }
}
