//! The few things of an X.509 certificate that PostgreSQL asks for and the TLS library does not tell: its names, by libpq's rules of
//! matching, its common name, and the hash that binds SCRAM to it. A reader of just so much DER; whatever it does not
//! understand is `None`.

use std::net::IpAddr;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// UTF8String, PrintableString, TeletexString, IA5String: read as UTF-8.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];

/// What is read of a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    pub common_name: Option<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// The object identifier of the algorithm that it is signed by, as it is encoded.
    signed_by: Vec<u8>,
    /// From and until when it is valid: seconds since 1970.
    valid: (i64, i64),
}

impl Certificate {
    pub fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(SEQUENCE, der)?;
        let (body, rest) = expect(SEQUENCE, certificate)?;
        let (algorithm, _) = expect(SEQUENCE, rest)?;
        let (signed_by, _) = expect(OID, algorithm)?;
        let mut read = Certificate { signed_by: signed_by.to_vec(), ..Certificate::default() };
        read.body(body)?;
        Some(read)
    }

    fn body(&mut self, body: &[u8]) -> Option<()> {
        let rest = optional(VERSION, body).1;
        let (_serial, rest) = expect(INTEGER, rest)?;
        let (_signature, rest) = expect(SEQUENCE, rest)?;
        let (_issuer, rest) = expect(SEQUENCE, rest)?;
        let (validity, rest) = expect(SEQUENCE, rest)?;
        let (subject, rest) = expect(SEQUENCE, rest)?;
        let (_key, rest) = expect(SEQUENCE, rest)?;
        let mut times = elements(validity).map(|(tag, text)| seconds(tag, text));
        self.valid = (times.next()??, times.next()??);
        self.common_name = common_name(subject);
        // Two unique identifiers may stand before the extensions.
        let extensions = elements(rest).find(|(tag, _)| *tag == EXTENSIONS);
        let Some((_, extensions)) = extensions else { return Some(()) };
        for (_, extension) in elements(expect(SEQUENCE, extensions)?.0) {
            let (name, value) = expect(OID, extension)?;
            if name == SUBJECT_ALT_NAME {
                let value = elements(value).find(|(tag, _)| *tag == OCTET_STRING)?.1;
                self.alternative_names(expect(SEQUENCE, value)?.0);
            }
        }
        Some(())
    }

    fn alternative_names(&mut self, names: &[u8]) {
        for (tag, name) in elements(names) {
            match tag {
                DNS_NAME => self.dns_names.extend(text(name)),
                IP_ADDRESS => self.addresses.extend(address(name)),
                _ => {}
            }
        }
    }

    /// Whether it names this host: libpq's rules. An alternative name of the host's own kind rules the common name out.
    pub fn names(&self, host: &str) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        let by_address = address.is_some_and(|a| self.addresses.contains(&a));
        let by_name = self.dns_names.iter().any(|name| name_matches(name, host));
        let common_name_counts = match address {
            Some(_) => self.addresses.is_empty(),
            None => self.dns_names.is_empty(),
        };
        let by_common_name = common_name_counts && self.common_name.as_ref().is_some_and(|n| name_matches(n, host));
        by_address || by_name || by_common_name
    }

    /// `now`: seconds since 1970.
    pub fn is_valid_at(&self, now: u64) -> bool {
        let (from, until) = self.valid;
        i64::try_from(now).is_ok_and(|now| (from..=until).contains(&now))
    }

    /// Whom it names, for a message.
    pub fn described(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<_> = self.dns_names.iter().cloned().chain(addresses).chain(self.common_name.clone()).collect();
        match names.as_slice() {
            [] => "nobody".into(),
            [name] => format!("\"{name}\""),
            [name, others @ ..] => format!("\"{name}\" (and {} other names)", others.len()),
        }
    }

    /// The certificate's hash for the channel binding `tls-server-end-point` (RFC 5929): by its own signature's hash, SHA-256 in the place of
    /// older ones. `None`: the signature has no hash of its own, and there is no such binding.
    pub fn end_point(&self, der: &[u8]) -> Option<Vec<u8>> {
        const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
        const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
        let rsa = self.signed_by.strip_prefix(RSA);
        let ecdsa = self.signed_by.strip_prefix(ECDSA);
        match (rsa, ecdsa) {
            (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Sha256::digest(der).to_vec()),
            (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(der).to_vec()),
            (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(der).to_vec()),
            (Some([14]), _) | (_, Some([3, 1])) => Some(Sha224::digest(der).to_vec()),
            _ => None,
        }
    }
}

/// `*.example.org` is any one label before `.example.org`, and nothing else is a wildcard.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix('*').filter(|s| s.len() > 1 && s.starts_with('.')) else { return false };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !label.is_empty() && suffix.get(1..).is_some_and(|s| s.eq_ignore_ascii_case(rest))
}

/// The first one, as PostgreSQL takes it.
fn common_name(subject: &[u8]) -> Option<String> {
    let attributes = elements(subject).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| elements(set));
    let mut names = attributes.filter_map(|(_, attribute)| {
        let (name, rest) = expect(OID, attribute)?;
        let (tag, value) = elements(rest).next()?;
        (name == COMMON_NAME && STRINGS.contains(&tag)).then(|| text(value))
    });
    names.next().flatten()
}

/// A name that holds a zero byte is an attempt to be read in two ways.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then(|| text.to_owned())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.ok().or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// A UTCTime or GeneralizedTime in the only form that certificates may have: in full, and UTC.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| -> Option<i64> { std::str::from_utf8(digits).ok()?.parse().ok() };
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let parts: Vec<i64> = rest.chunks(2).map(number).collect::<Option<_>>()?;
    let [month @ 1..=12, day @ 1..=31, hour, minute, second] = parts[..] else { return None };
    Some(((days(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
}

/// Days from 1970 to the first of a month: years are counted from March, so that the leap day is the last.
fn days(year: i64, month: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 - 719_468
}

/// The next element: its tag, its content, and what follows it.
fn next(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    next(input).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn optional(tag: u8, input: &[u8]) -> (Option<&[u8]>, &[u8]) {
    expect(tag, input).map_or((None, input), |(content, rest)| (Some(content), rest))
}

fn elements(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = next(input)?;
        input = rest;
        Some((tag, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(common_name: Option<&str>, names: &[&str]) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .expect("names that a certificate can hold");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "not a host");
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn hosts_are_matched_as_libpq_does() {
        let cases: [(Option<&str>, &[&str], &str, bool); 12] = [
            (None, &["db.example.org"], "DB.example.org", true),
            (None, &["db.example.org"], "xdb.example.org", false),
            (None, &["*.example.org"], "db.example.org", true),
            (None, &["*.example.org"], "example.org", false),
            (None, &["*.example.org"], "a.db.example.org", false),
            (Some("db"), &[], "db", true),
            (Some("db"), &["other"], "db", false),
            (Some("127.0.0.1"), &["other"], "127.0.0.1", true),
            (Some("127.0.0.1"), &["10.0.0.1"], "127.0.0.1", false),
            (Some("db"), &["10.0.0.1"], "db", true),
            (None, &["::1"], "::1", true),
            (None, &[], "db", false),
        ];
        for (common_name, names, host, expected) in cases {
            let certificate = Certificate::read(&issue(common_name, names)).expect("a certificate");
            assert_eq!(certificate.names(host), expected, "{common_name:?} {names:?} for {host}");
        }
    }

    #[test]
    fn the_binding_is_the_hash_that_signed_it() {
        let der = issue(Some("db"), &[]);
        let read = Certificate::read(&der).expect("a certificate");
        assert_eq!(read.end_point(&der), Some(Sha256::digest(&der).to_vec()));
        assert_eq!(Certificate { signed_by: vec![0x2b, 0x65, 0x70], ..read }.end_point(&der), None);
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(seconds(0x17, b"700101000000Z"), Some(0));
        assert_eq!(seconds(0x17, b"240229123456Z"), Some(1_709_210_096));
        assert_eq!(seconds(0x18, b"20991231235959Z"), Some(4_102_444_799));
        for bad in [&b"2402291234Z"[..], b"240229123456", b"241329123456Z", b"24022912345xZ", b""] {
            assert_eq!(seconds(0x17, bad), None);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_certificate_and_no_panic() {
        let der = issue(Some("db"), &["db", "10.0.0.1"]);
        assert!((0..der.len()).all(|cut| Certificate::read(&der[..cut]).is_none()));
        for at in 0..der.len() {
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            let _ = Certificate::read(&broken);
        }
    }
}
