//! A column's value as a routing key: the same text however the client wrote or sent it.

const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const UUID: u32 = 2950;
/// text, varchar, bpchar, name
const TEXTS: [u32; 4] = [25, 1043, 1042, 19];

/// From text: a literal, or a parameter in text form.
pub fn from_text(text: &str, type_oid: u32) -> String {
    match type_oid {
        INT8 | INT2 | INT4 => text.trim().parse::<i64>().map_or_else(|_| text.to_owned(), |n| n.to_string()),
        UUID => text.trim().to_ascii_lowercase(),
        _ => text.to_owned(),
    }
}

/// From a parameter in binary form. `None`: of this type no text is known.
pub fn from_binary(raw: &[u8], type_oid: u32) -> Option<String> {
    match (type_oid, raw.len()) {
        (INT8 | INT2 | INT4, 2) => raw.try_into().ok().map(|b| i16::from_be_bytes(b).to_string()),
        (INT8 | INT2 | INT4, 4) => raw.try_into().ok().map(|b| i32::from_be_bytes(b).to_string()),
        (INT8 | INT2 | INT4, 8) => raw.try_into().ok().map(|b| i64::from_be_bytes(b).to_string()),
        (UUID, 16) => {
            let hex: String = raw.iter().map(|b| format!("{b:02x}")).collect();
            let part = |from: usize, to: usize| hex.get(from..to);
            let parts = [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?];
            Some(parts.join("-"))
        }
        (oid, _) if TEXTS.contains(&oid) => std::str::from_utf8(raw).ok().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_one_key() {
        assert_eq!(from_text(" 042", INT4), "42");
        assert_eq!(from_binary(&42_i64.to_be_bytes(), INT4).as_deref(), Some("42"));
        assert_eq!(from_binary(&(-7_i16).to_be_bytes(), INT8).as_deref(), Some("-7"));
        let uuid = "0123abcd-0000-0000-0000-0000000000ff";
        let mut raw = [0; 16];
        (raw[0], raw[1], raw[2], raw[3], raw[15]) = (0x01, 0x23, 0xab, 0xcd, 0xff);
        assert_eq!(from_binary(&raw, UUID).as_deref(), Some(uuid));
        assert_eq!(from_text(&uuid.to_uppercase(), UUID), uuid);
        assert_eq!(from_binary(b"ada", 25).as_deref(), Some("ada"));
        assert_eq!(from_binary(&[0; 8], 1184), None);
    }
}
