//! Who may come in, and how: TLS towards clients, and the list of who is admitted from where.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// TLS towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    pub mode: TlsMode,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Authorities of the clients' own certificates; none: clients are not asked for one.
    pub ca_file: Option<PathBuf>,
    pub client_certificate: ClientCertificate,
    pub min_version: TlsVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    #[default]
    Disable,
    Allow,
    Require,
}

/// As pg_hba.conf's `clientcert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    #[default]
    Optional,
    VerifyCa,
    /// Its common name has to be the user's name, too.
    VerifyFull,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "TLSv1.2")]
    V1_2,
    #[serde(rename = "TLSv1.3")]
    V1_3,
}

/// One line of the list of who is admitted; what is left out admits everything of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    #[serde(default)]
    pub users: Vec<String>,
    #[serde(default)]
    pub networks: Vec<Network>,
    #[serde(default)]
    pub tls: TlsNeed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsNeed {
    #[default]
    Any,
    Required,
}

impl Allow {
    /// Whether a client of this name, from this address, is meant.
    pub fn admits(&self, user: &str, from: IpAddr, encrypted: bool) -> bool {
        (self.users.is_empty() || self.users.iter().any(|name| name == user))
            && (self.networks.is_empty() || self.networks.iter().any(|network| network.contains(from)))
            && (encrypted || self.tls == TlsNeed::Any)
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, String> {
        let error = || format!("\"{text}\" is no network; valid: 10.0.0.0/8, fd00::/8, or an address");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| error()))?;
        let network = Network { address, bits };
        match bits <= most {
            false => Err(error()),
            true if network.prefix(network.number()) != network.number() => {
                Err(format!("\"{text}\" has bits set beyond its prefix; a single address has no /{bits}"))
            }
            true => Ok(network),
        }
    }

    /// An IPv4 address that comes in by IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let other = Network { address, bits: self.bits };
        address.is_ipv4() == self.address.is_ipv4() && self.prefix(other.number()) == self.prefix(self.number())
    }

    /// The address in the leading bits of a number.
    fn number(&self) -> u128 {
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn prefix(&self, number: u128) -> u128 {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        number & mask
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Network::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A text that is not to be shown, whatever it is printed by.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.8", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
        ];
        for (network, address, expected) in cases {
            let network = Network::parse(network).expect(network);
            assert_eq!(network.contains(address.parse().expect(address)), expected, "{network:?} {address}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0/8", "::/129", "10.0.0.0/-1", "all"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_admits_by_user_network_and_encryption() {
        let line = Allow {
            users: vec!["app".into()],
            networks: vec![Network::parse("10.0.0.0/8").expect("a network")],
            tls: TlsNeed::Required,
        };
        let inside: IpAddr = [10, 0, 0, 1].into();
        assert!(line.admits("app", inside, true));
        assert!(!line.admits("app", inside, false));
        assert!(!line.admits("other", inside, true));
        assert!(!line.admits("app", [127, 0, 0, 1].into(), true));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Some(Secret("word".into()))), "Some(***)");
    }
}
