//! Who may send us SIP.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Network;

/// The sources that SIP is taken from (`SIP_ALLOW`); a datagram of anyone else is dropped unread.
#[derive(Debug)]
pub struct SipSources {
    networks: Option<Vec<Network>>,
    peers: Vec<IpAddr>,
    /// Datagrams dropped on the public socket, which is no shard's: the first one tells.
    dropped_in_public: AtomicU64,
}

impl SipSources {
    /// These networks, or only the peers themselves where none are given.
    pub fn new(networks: Option<Vec<Network>>, peers: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { networks, peers: peers.into_iter().map(|peer| peer.to_canonical()).collect(), dropped_in_public: AtomicU64::new(0) }
    }

    /// Counts a datagram of somebody else on the public socket.
    pub fn count_dropped_in_public(&self) {
        self.dropped_in_public.fetch_add(1, Ordering::Relaxed);
    }

    /// How many those were.
    pub fn dropped_in_public(&self) -> u64 {
        self.dropped_in_public.load(Ordering::Relaxed)
    }

    /// Whether SIP from this address is taken. The peers always are: they have to answer.
    pub fn allow(&self, source: IpAddr) -> bool {
        self.peers.contains(&source.to_canonical())
            || self.networks.as_ref().is_some_and(|networks| networks.iter().any(|network| network.contains(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_only_the_peers_are_heard_and_with_one_they_still_are() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let peers = SipSources::new(None, [ip("192.0.2.1")]);
        assert!(peers.allow(ip("192.0.2.1")) && peers.allow(ip("::ffff:192.0.2.1")));
        assert!(!peers.allow(ip("192.0.2.2")));
        let listed = SipSources::new(Network::parse("10.0.0.0/8").map(|network| vec![network]), [ip("192.0.2.1")]);
        assert!(listed.allow(ip("10.9.9.9")) && listed.allow(ip("192.0.2.1")));
        assert!(!listed.allow(ip("192.0.2.2")));
    }
}
