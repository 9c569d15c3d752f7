//! Values that YAML has no type for: durations, sizes, and a freshness.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::{Backend, Freshness};
use crate::side::BySide;

/// `250ms`, `5s`, `10m`, `1h`, `0s`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("\"{text}\" is no duration; valid: a number with ms, s, m or h, such as 250ms or 5s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(error)
}

/// `512`, `64KiB`, `100MiB`, `10GiB`: bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let error = || format!("\"{text}\" is no size; valid: a number of bytes, or one with KiB, MiB, GiB or TiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| error())?;
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(error()),
    };
    number.checked_mul(1 << shift).ok_or_else(error)
}

pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse_bytes(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub fn bytes_usize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    usize::try_from(bytes(deserializer)?).map_err(|_| D::Error::custom("larger than this machine can address"))
}

/// Each backend may be left out; the default then stays.
pub fn backends<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BySide<Backend>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        old: Option<Backend>,
        new: Option<Backend>,
    }
    let given = Given::deserialize(deserializer)?;
    let default = super::default_backends();
    Ok(BySide { old: given.old.unwrap_or(default.old), new: given.new.unwrap_or(default.new) })
}

impl<'de> Deserialize<'de> for Freshness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "session" => Ok(Freshness::Session),
            "any" => Ok(Freshness::Any),
            text => parse_duration(text).map(Freshness::Within).map_err(|_| {
                D::Error::custom(format!("\"{text}\" is no freshness; valid: session, any, or a duration"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_bytes("10GiB"), Ok(10 << 30));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_bytes("10GB").is_err());
    }
}
