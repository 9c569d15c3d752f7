//! The operator's words: the phase, when a commit is acknowledged, and a share of the reads.

use serde::{Deserialize, Serialize};

use crate::side::Side;

/// Where the migration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    OldOnly,
    DualWrite,
    NewPrimary,
    NewOnly,
}

impl Phase {
    pub const ALL: [Phase; 4] = [Phase::OldOnly, Phase::DualWrite, Phase::NewPrimary, Phase::NewOnly];

    /// The side whose data is the truth in this phase.
    pub fn primary(self) -> Side {
        match self {
            Phase::OldOnly | Phase::DualWrite => Side::Old,
            Phase::NewPrimary | Phase::NewOnly => Side::New,
        }
    }

    /// Whether writes are captured and carried to the other side.
    pub fn captures(self) -> bool {
        matches!(self, Phase::DualWrite | Phase::NewPrimary)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::OldOnly => "old_only",
            Phase::DualWrite => "dual_write",
            Phase::NewPrimary => "new_primary",
            Phase::NewOnly => "new_only",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Phase::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is no phase; valid: old_only, dual_write, new_primary, new_only"))
    }
}

/// When a commit is reported to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// Once it is on both sides.
    Both,
    /// Once it is on the primary.
    Primary,
}

impl Ack {
    pub fn as_str(self) -> &'static str {
        match self {
            Ack::Both => "both",
            Ack::Primary => "primary",
        }
    }
}

/// A share in hundredths of a percent, 0..=10000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    pub const ZERO: Percent = Percent(0);
    pub const ALL: Percent = Percent(10_000);

    /// More than 10000 counts as 10000.
    pub fn from_hundredths(hundredths: u16) -> Self {
        Percent(hundredths.min(10_000))
    }

    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// 0..=100 with at most two decimals; anything else is an error that says so.
    pub fn from_f64(percent: f64) -> Result<Self, String> {
        let hundredths = percent * 100.0;
        if !(0.0..=10_000.0).contains(&hundredths) || (hundredths - hundredths.round()).abs() > 1e-6 {
            return Err(format!("{percent} is no percentage; valid: 0 to 100 with at most two decimals"));
        }
        Ok(Percent(hundredths.round() as u16))
    }

    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.to_f64())
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Percent::from_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
