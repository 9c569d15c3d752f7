//! Who is routed in a way of their own: segments of clients, and pins of tables and statements. The configuration seeds them; afterwards
//! they are part of the durable policy, changed through the admin port.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Network;
use crate::phase::Percent;
use crate::side::Side;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Columns whose value is the routing key, for the source `column`.
    pub columns: Vec<ColumnRule>,
    /// The first that fits counts.
    pub segments: Vec<Segment>,
    /// The first that fits counts.
    pub pins: Vec<Pin>,
}

/// A named slice of clients. It fits where each list that is not empty has an entry that fits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Segment {
    pub name: String,
    pub users: Vec<Pattern>,
    pub applications: Vec<Pattern>,
    pub networks: Vec<Network>,
    /// Routing keys; a read without a key of its own is in no such segment.
    pub keys: Vec<Pattern>,
    /// Its own share of the buckets, in place of `reads.percent`.
    pub percent: Option<Percent>,
    /// All its reads go there.
    pub pin: Option<Side>,
}

/// Reads that stay on a side, or go there, by what they read or by their fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// `schema.table`, or a pattern of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Pattern>,
    /// As `GET /api/statements` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    pub side: Side,
}

impl Rules {
    /// What is wrong with them, in words.
    pub fn problem(&self) -> Option<String> {
        let of_segment = |s: &Segment| match (s.percent, s.pin) {
            _ if s.name.is_empty() => Some("a segment has no name".to_owned()),
            (Some(_), Some(_)) | (None, None) => {
                Some(format!("segment \"{}\": give it either a percent or a pin", s.name))
            }
            _ => None,
        };
        let of_pin = |p: &Pin| {
            (p.table.is_some() == p.fingerprint.is_some())
                .then(|| "a pin names either a table or a fingerprint".to_owned())
        };
        self.segments.iter().find_map(of_segment).or_else(|| self.pins.iter().find_map(of_pin))
    }

    /// Whether they may send a read to the secondary that the percentage would not.
    pub fn move_reads(&self) -> bool {
        !self.segments.is_empty() || !self.pins.is_empty()
    }
}

/// Text in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    pub fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// `table.column` or `schema.table.column`: a column whose value is the routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnRule {
    pub schema: Option<String>,
    pub table: String,
    pub column: String,
}

impl std::str::FromStr for ColumnRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let (schema, table, column) = match parts.as_slice() {
            [table, column] => (None, table, column),
            [schema, table, column] => (Some((*schema).to_owned()), table, column),
            _ => return Err(format!("\"{text}\" is no column; valid: table.column or schema.table.column")),
        };
        Ok(ColumnRule { schema, table: (*table).to_owned(), column: (*column).to_owned() })
    }
}

impl std::fmt::Display for ColumnRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let schema = self.schema.as_ref().map(|s| format!("{s}.")).unwrap_or_default();
        write!(f, "{schema}{}.{}", self.table, self.column)
    }
}

impl Serialize for ColumnRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let fits = |pattern: &str, text: &str| Pattern(pattern.into()).fits(text);
        assert!(fits("web-*", "web-1") && fits("*", "") && fits("a*b*c", "a1b2bc") && fits("vip", "vip"));
        assert!(!fits("web-*", "api-1") && !fits("vip", "vips") && !fits("a*b", "ac") && !fits("", "x"));
    }

    #[test]
    fn rules_that_say_two_things_or_none_are_refused() {
        let read = |json: &str| serde_json::from_str::<Rules>(json).unwrap().problem();
        assert_eq!(read(r#"{"segments": [{"name": "a", "users": ["x"], "pin": "old"}]}"#), None);
        assert!(read(r#"{"segments": [{"name": "a"}]}"#).is_some());
        assert!(read(r#"{"segments": [{"name": "a", "percent": 1, "pin": "new"}]}"#).is_some());
        assert!(read(r#"{"pins": [{"side": "old"}]}"#).is_some());
        assert_eq!(read(r#"{"pins": [{"table": "public.*", "side": "old"}]}"#), None);
    }
}
