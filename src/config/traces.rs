//! Where traces go, and how many there are.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{Percent, values};

/// See the module `trace`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// None: there are no traces.
    pub endpoint: Option<Collector>,
    /// Of the statements whose comment says nothing of a trace.
    pub sample_percent: Percent,
    pub service_name: String,
    /// Spans that may wait.
    pub queue: usize,
    /// For one request, its retries included.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
}

impl Default for Traces {
    fn default() -> Self {
        Traces {
            endpoint: None,
            sample_percent: Percent::from_hundredths(100),
            service_name: "pgduet".into(),
            queue: 8192,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Traces {
    /// The key, and what is wrong.
    pub(super) fn check(&self) -> Option<(&'static str, String)> {
        let built = cfg!(feature = "otel");
        let checks = [
            (self.endpoint.is_some() && !built).then_some((
                "traces.endpoint",
                "this build has no traces; take one with the feature otel (cargo build --release --features otel, or the image of docker/), or remove the key",
            )),
            (self.queue == 0).then_some(("traces.queue", "at least 1")),
            self.timeout.is_zero().then_some(("traces.timeout", "must be more than 0s")),
        ];
        checks.into_iter().flatten().next().map(|(path, problem)| (path, problem.to_owned()))
    }
}

/// `http://host:port/path`: an OTLP receiver over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub host: String,
    pub port: u16,
    /// With the slash.
    pub path: String,
}

impl std::str::FromStr for Collector {
    type Err = String;

    /// Without a port, that of OTLP over HTTP; without a path, that of traces.
    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("\"{text}\" is no collector; valid: http://host:port, http://host:port/path");
        let rest = text.strip_prefix("http://").ok_or_else(error)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, "4318"),
        };
        let plain = !host.is_empty() && !host.contains('@') && text.chars().all(|c| c.is_ascii_graphic());
        let path = if path.is_empty() { "v1/traces" } else { path };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match port.parse() {
            Ok(port) if plain => Ok(Collector { host, port, path: format!("/{path}") }),
            _ => Err(error()),
        }
    }
}

impl<'de> Deserialize<'de> for Collector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_collector_has_the_usual_port_and_path() {
        let parts = |text: &str| text.parse::<Collector>().map(|c| (c.host, c.port, c.path));
        let usual = |host: &str| Ok((host.to_owned(), 4318, "/v1/traces".to_owned()));
        assert_eq!(parts("http://otel"), usual("otel"));
        assert_eq!(parts("http://otel:4318/"), usual("otel"));
        assert_eq!(parts("http://[::1]"), usual("::1"));
        assert_eq!(parts("http://otel:80/a/b"), Ok(("otel".into(), 80, "/a/b".into())));
        for bad in ["https://otel", "otel:4318", "http://", "http://a:b/", "http://me:secret@otel/", "http://a b"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_build_without_traces_refuses_a_collector_and_says_which_has_them() {
        let config = Config::parse("traces:\n  endpoint: http://otel:4318\n", "proxy.yaml");
        match cfg!(feature = "otel") {
            true => assert!(config.is_ok()),
            false => {
                let problem = config.unwrap_err().to_string();
                assert!(problem.starts_with("proxy.yaml:2: traces.endpoint: this build has no traces"), "{problem}");
                assert!(problem.contains("--features otel"), "{problem}");
            }
        }
        assert!(Config::parse("traces: { queue: 0 }", "proxy.yaml").is_err());
    }
}
