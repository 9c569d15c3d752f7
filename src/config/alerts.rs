//! Thresholds, and who is told.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::values;

/// A threshold that is not given is not held against anything.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// What was counted in so long is held against the thresholds.
    #[serde(deserialize_with = "values::duration")]
    pub window: Duration,
    /// Of the reads compared.
    pub mismatch_percent: Option<f64>,
    /// Of the statements that new answered.
    pub error_percent: Option<f64>,
    /// p99 of new by that of old.
    pub latency_ratio: Option<f64>,
    #[serde(deserialize_with = "some_duration")]
    pub lag: Option<Duration>,
    pub webhook: Option<Webhook>,
    /// An alert takes all reads back to the primary.
    pub return_to_zero: bool,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            window: Duration::from_secs(10),
            mismatch_percent: Some(1.0),
            error_percent: Some(5.0),
            latency_ratio: None,
            lag: Some(Duration::from_secs(30)),
            webhook: None,
            return_to_zero: false,
        }
    }
}

/// `http://host:port/path`: told by POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub host: String,
    pub port: u16,
    /// With the slash.
    pub path: String,
}

impl std::str::FromStr for Webhook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("\"{text}\" is no webhook; valid: http://host:port/path");
        let rest = text.strip_prefix("http://").ok_or_else(error)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        let plain = |c: char| c.is_ascii_graphic();
        match (host.is_empty() || !text.chars().all(plain), port.parse()) {
            (false, Ok(port)) => Ok(Webhook { host: host.to_owned(), port, path: format!("/{path}") }),
            _ => Err(error()),
        }
    }
}

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref().map(values::parse_duration).transpose().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_a_plain_url() {
        let webhook: Webhook = "http://hooks.internal:8080/pgduet?x=1".parse().unwrap();
        assert_eq!(
            (webhook.host.as_str(), webhook.port, webhook.path.as_str()),
            ("hooks.internal", 8080, "/pgduet?x=1")
        );
        assert_eq!("http://hooks".parse::<Webhook>().map(|w| (w.port, w.path)), Ok((80, "/".into())));
        for bad in ["https://x/", "http://", "x", "http://a b/", "http://a:b/"] {
            assert!(bad.parse::<Webhook>().is_err(), "{bad}");
        }
    }
}
