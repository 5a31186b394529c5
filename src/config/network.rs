//! Hosts and networks as they are written in the environment.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The SIP port where none is named (RFC 3261 section 19.1.2).
const SIP_PORT_DEFAULT: u16 = 5060;

/// A PBX: a host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SipPeer {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl SipPeer {
    /// Reads `host[:port]`, an IPv6 address with a port in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, rest.strip_prefix(':').map_or_else(|| rest.is_empty().then_some(None), |port| Some(Some(port)))?)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => SIP_PORT_DEFAULT,
        };
        (!host.is_empty() && host.len() <= 253 && host.chars().all(is_host)).then(|| Self { host: host.to_owned(), port })
    }

    /// Where it is, if it is written as an address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether it is certainly on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.address().is_some_and(|address| address.ip().is_loopback())
    }
}

/// An address range (RFC 4632): `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads an address, or an address and the length of its prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `address` lies in it; an IPv4 address that came through an IPv6 socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same =
            |own: u128, other: u128, bits: u8| u32::from(bits - self.prefix) >= u128::BITS || (own ^ other) >> (bits - self.prefix) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_hosts_with_or_without_a_port() {
        let peer = |host: &str, port| Some(SipPeer { host: host.to_owned(), port });
        assert_eq!(SipPeer::parse("pbx.example"), peer("pbx.example", 5060));
        assert_eq!(SipPeer::parse("10.0.0.1:5080"), peer("10.0.0.1", 5080));
        assert_eq!(SipPeer::parse("[2001:db8::1]:5080"), peer("2001:db8::1", 5080));
        assert_eq!(SipPeer::parse("2001:db8::1"), peer("2001:db8::1", 5060));
        assert_eq!(SipPeer::parse("[::1]"), peer("::1", 5060));
        for wrong in ["", ":5060", "pbx:0", "pbx:x", "pbx:70000", "sip:pbx", "[pbx]:1", "[::1]x", "a b"] {
            assert_eq!(SipPeer::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_is_certainly_here_is_loopback() {
        let loopback = |text| SipPeer::parse(text).unwrap().is_loopback();
        assert!(loopback("localhost") && loopback("127.0.0.2:5") && loopback("::1"));
        assert!(!loopback("pbx.example") && !loopback("10.0.0.1"));
    }

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        let contains = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.1.0.0/16", "10.1.255.1") && contains("10.1.0.0/16", "::ffff:10.1.0.1"));
        assert!(!contains("10.1.0.0/16", "10.2.0.1") && !contains("10.1.0.0/16", "::1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && contains("::/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::1"));
        assert_eq!(Network::parse("10.0.0.0/33"), None);
        assert_eq!(Network::parse("10.0.0/8"), None);
    }
}
