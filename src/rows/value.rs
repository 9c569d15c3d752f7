//! One value in a form in which equal values are equal bytes, whatever scale, zone or spelling a server gave them.
//!
//! | type | rule |
//! | --- | --- |
//! | float4, float8, arrays of them | compared as numbers, within a tolerance: see [`Value::Floats`] |
//! | numeric | by value: 1.0 is 1.00 |
//! | timestamptz | as an instant: the zone it is written in does not count |
//! | jsonb | by content: the order and spacing of what is written does not count |
//! | anything else | byte for byte, in the format that the client asked for |

use std::borrow::Cow;

/// Type oids that have a rule of their own.
mod oid {
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const FLOAT4_ARRAY: u32 = 1021;
    pub const FLOAT8_ARRAY: u32 = 1022;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const JSONB: u32 = 3802;
}

/// See the module's text.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bytes(Cow<'a, [u8]>),
    Floats(Vec<f64>),
}

/// Types among whose values different bytes may be equal for ORDER BY, so that their order says nothing.
pub fn sorts_by_its_bytes(type_oid: u32) -> bool {
    // bool, bytea, "char", name, int8, int2, int4, text, oid, varchar, bpchar, date, timestamp, timestamptz, numeric (by its rule), uuid
    matches!(
        type_oid,
        16 | 17 | 18 | 19 | 20 | 21 | 23 | 25 | 26 | 1043 | 1042 | 1082 | 1114 | oid::TIMESTAMPTZ | oid::NUMERIC | 2950
    )
}

/// Reads a value as it stands in a DataRow. What cannot be read by its type's rule stands for itself.
pub fn value(raw: Option<&[u8]>, type_oid: u32, binary: bool) -> Value<'_> {
    let Some(raw) = raw else { return Value::Null };
    let ruled = match (type_oid, binary) {
        (oid::FLOAT4 | oid::FLOAT8, false) => text(raw).and_then(float).map(|f| Value::Floats(vec![f])),
        (oid::FLOAT4, true) => raw.try_into().ok().map(|b| Value::Floats(vec![f64::from(f32::from_be_bytes(b))])),
        (oid::FLOAT8, true) => raw.try_into().ok().map(|b| Value::Floats(vec![f64::from_be_bytes(b)])),
        (oid::FLOAT4_ARRAY | oid::FLOAT8_ARRAY, false) => text(raw).and_then(float_array),
        (oid::NUMERIC, false) => text(raw).map(|t| bytes(plain_number(t))),
        (oid::NUMERIC, true) => binary_numeric(raw).map(bytes),
        (oid::TIMESTAMPTZ, false) => text(raw).and_then(instant).map(|micros| bytes(micros.to_be_bytes().to_vec())),
        (oid::JSONB, false) => json(raw).map(bytes),
        (oid::JSONB, true) => raw.get(1..).and_then(json).map(bytes),
        _ => None,
    };
    ruled.unwrap_or(Value::Bytes(Cow::Borrowed(raw)))
}

fn bytes<'a>(owned: Vec<u8>) -> Value<'a> {
    Value::Bytes(Cow::Owned(owned))
}

fn text(raw: &[u8]) -> Option<&str> {
    std::str::from_utf8(raw).ok()
}

fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

/// An array of one dimension without NULLs.
fn float_array(text: &str) -> Option<Value<'static>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Value::Floats(vec![]));
    }
    inner.split(',').map(float).collect::<Option<_>>().map(Value::Floats)
}

/// Without zeros that say nothing: `-0012.3400` is `-12.34`.
fn plain_number(text: &str) -> Vec<u8> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return text.as_bytes().to_vec();
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    match (whole.is_empty(), fraction.is_empty()) {
        (true, true) => b"0".to_vec(),
        _ => format!("{sign}{whole}.{fraction}").into_bytes(),
    }
}

/// `ndigits, weight, sign, dscale, digits`: the display scale and zero digits at either end are left out.
fn binary_numeric(raw: &[u8]) -> Option<Vec<u8>> {
    let words: Vec<[u8; 2]> = raw.chunks(2).map(|pair| pair.try_into().ok()).collect::<Option<_>>()?;
    let [_, weight, sign, _, digits @ ..] = words.as_slice() else { return None };
    let leading = digits.iter().take_while(|d| **d == [0, 0]).count();
    let mut significant = digits.get(leading..)?;
    while let [rest @ .., [0, 0]] = significant {
        significant = rest;
    }
    if significant.is_empty() && *sign != [0xC0, 0] {
        return Some(b"0".to_vec());
    }
    let weight = i16::from_be_bytes(*weight) - leading as i16;
    let mut out = sign.to_vec();
    out.extend_from_slice(&weight.to_be_bytes());
    significant.iter().for_each(|digit| out.extend_from_slice(digit));
    Some(out)
}

/// Microseconds since 1970 of `2026-11-21 07:11:30.5+01` and its like (DateStyle ISO).
fn instant(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(' ')?;
    let at = rest.rfind(['+', '-'])?;
    let (time, zone) = rest.split_at(at);
    let mut parts = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let seconds = clock(whole)?;
    let offset = clock(zone.get(1..)?)? * if zone.starts_with('-') { -1 } else { 1 };
    let days = days_since_1970(year, month, day)?;
    Some((days * 86_400 + seconds - offset) * 1_000_000 + micros)
}

/// `07:11:30`, `05:30`, `01`: seconds.
fn clock(text: &str) -> Option<i64> {
    let mut factor = 3_600;
    let mut seconds = 0;
    for part in text.split(':') {
        seconds += part.parse::<i64>().ok()? * factor;
        factor /= 60;
    }
    Some(seconds)
}

/// In the Gregorian calendar, years from 1 to 9999.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9_999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // The year begins in March, so that a leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (month * 306 + 5) / 10 + day - 1 - 719_468)
}

fn json(raw: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_slice(raw).ok()?;
    let mut out = Vec::with_capacity(raw.len());
    put_json(&value, &mut out);
    Some(out)
}

/// Keys in order, numbers without scale. The parser has bounded the depth.
fn put_json(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value as Json;
    match value {
        Json::Object(object) => {
            let mut pairs: Vec<_> = object.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, value) in pairs {
                out.extend_from_slice(key.as_bytes());
                out.push(0);
                put_json(value, out);
            }
            out.push(b'}');
        }
        Json::Array(items) => {
            out.push(b'[');
            for item in items {
                put_json(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Json::Number(number) => out.extend(plain_number(&number.to_string())),
        Json::String(text) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str, type_oid: u32) -> bool {
        value(Some(a.as_bytes()), type_oid, false) == value(Some(b.as_bytes()), type_oid, false)
    }

    #[test]
    fn scale_zone_and_spelling_do_not_count() {
        assert!(
            same("1.0", "1.00", oid::NUMERIC)
                && same("-0.50", "-0.5", oid::NUMERIC)
                && same("0", "0.000", oid::NUMERIC)
        );
        assert!(!same("1.0", "10", oid::NUMERIC) && !same("100", "1", oid::NUMERIC) && !same("-1", "1", oid::NUMERIC));
        assert!(!same("NaN", "0", oid::NUMERIC) && same("NaN", "NaN", oid::NUMERIC));
        assert!(same("2026-11-21 07:11:30.5+00", "2026-11-21 08:11:30.500+01", oid::TIMESTAMPTZ));
        assert!(same("2026-01-01 00:00:00+00", "2025-12-31 18:30:00-05:30", oid::TIMESTAMPTZ));
        assert!(!same("2026-11-21 07:11:30+00", "2026-11-21 07:11:30+01", oid::TIMESTAMPTZ));
        assert!(!same("infinity", "-infinity", oid::TIMESTAMPTZ));
        assert!(same(r#"{"a": 1.0, "b": [1, 2]}"#, r#"{"b":[1,2],"a":1.00}"#, oid::JSONB));
        assert!(!same(r#"{"a": [1, 2]}"#, r#"{"a": [2, 1]}"#, oid::JSONB) && !same("\"1\"", "1", oid::JSONB));
        assert!(!same("1.0", "1.00", 25));
    }

    #[test]
    fn binary_numbers_follow_the_same_rule() {
        let numeric = |weight: i16, scale: u8, digits: &[u16]| {
            let mut raw = (digits.len() as u16).to_be_bytes().to_vec();
            raw.extend(weight.to_be_bytes());
            raw.extend([0, 0, 0, scale]);
            digits.iter().for_each(|d| raw.extend(d.to_be_bytes()));
            raw
        };
        let read = |raw: &[u8]| match value(Some(raw), oid::NUMERIC, true) {
            Value::Bytes(bytes) => bytes.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&numeric(0, 1, &[1])), read(&numeric(0, 3, &[1, 0])));
        assert_eq!(read(&numeric(0, 0, &[])), read(&numeric(0, 2, &[0])));
        assert_ne!(read(&numeric(0, 0, &[1])), read(&numeric(1, 0, &[1])));
        assert_eq!(value(Some(&1.5_f32.to_be_bytes()), oid::FLOAT4, true), Value::Floats(vec![1.5]));
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        assert_eq!(days_since_1970(2024, 2, 29), Some(19_782));
        assert_eq!(days_since_1970(1, 1, 1), Some(-719_162));
    }
}
