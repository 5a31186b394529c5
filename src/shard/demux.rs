//! Whose datagram is it? One hash look-up by the address that it came from.

use std::net::SocketAddr;

use rustc_hash::FxSeededState;
use std::collections::HashMap;

use crate::ids::{CallKey, TransportKey};
use crate::net::PortPair;

/// The shard's flows by remote address.
#[derive(Debug)]
pub struct Demux {
    /// Addresses that ICE has validated, and whose transport they belong to.
    browsers: HashMap<SocketAddr, TransportKey, FxSeededState>,
    /// Negotiated RTP addresses of the PBX side.
    rtp: HashMap<(PortPair, SocketAddr), CallKey, FxSeededState>,
    /// Negotiated RTCP addresses of the PBX side.
    rtcp: HashMap<(PortPair, SocketAddr), CallKey, FxSeededState>,
}

impl Demux {
    /// No flows. The seed keeps an address that a peer may choose from being made to collide.
    pub fn new(seed: u64) -> Self {
        let hasher = FxSeededState::with_seed(seed as usize);
        Self {
            browsers: HashMap::with_hasher(hasher.clone()),
            rtp: HashMap::with_hasher(hasher.clone()),
            rtcp: HashMap::with_hasher(hasher),
        }
    }

    /// The transport that has validated this address.
    pub fn browser(&self, from: SocketAddr) -> Option<TransportKey> {
        self.browsers.get(&from).copied()
    }

    /// The address is this transport's from now on.
    pub fn add_browser(&mut self, from: SocketAddr, transport: TransportKey) {
        self.browsers.insert(from, transport);
    }

    /// The address is no longer this transport's; another one that took it over keeps it.
    pub fn remove_browser(&mut self, from: SocketAddr, transport: TransportKey) {
        if self.browsers.get(&from) == Some(&transport) {
            self.browsers.remove(&from);
        }
    }

    /// The call whose leg on this pair hears this address.
    pub fn rtp(&self, pair: PortPair, from: SocketAddr) -> Option<CallKey> {
        self.rtp.get(&(pair, from)).copied()
    }

    /// The call whose leg on this pair has its RTCP there.
    pub fn rtcp(&self, pair: PortPair, from: SocketAddr) -> Option<CallKey> {
        self.rtcp.get(&(pair, from)).copied()
    }

    /// All addresses of browsers, for [`super::Shard::audit`].
    pub fn browsers(&self) -> impl Iterator<Item = (SocketAddr, TransportKey)> + '_ {
        self.browsers.iter().map(|(address, key)| (*address, *key))
    }

    /// All RTP addresses of the PBX side, for the same.
    pub fn legs_rtp(&self) -> impl Iterator<Item = ((PortPair, SocketAddr), CallKey)> + '_ {
        self.rtp.iter().map(|(at, key)| (*at, *key))
    }

    /// All RTCP addresses of the PBX side, for the same.
    pub fn legs_rtcp(&self) -> impl Iterator<Item = ((PortPair, SocketAddr), CallKey)> + '_ {
        self.rtcp.iter().map(|(at, key)| (*at, *key))
    }

    /// Whether another call already hears this RTP address on the pair.
    pub fn collides(&self, pair: PortPair, rtp: SocketAddr, call: CallKey) -> bool {
        self.rtp.get(&(pair, rtp)).is_some_and(|&other| other != call)
    }

    /// Adds a SIP leg's flow. The caller has asked [`Demux::collides`].
    pub fn add_leg(&mut self, pair: PortPair, rtp: SocketAddr, rtcp: SocketAddr, call: CallKey) {
        self.rtp.insert((pair, rtp), call);
        self.rtcp.entry((pair, rtcp)).or_insert(call);
    }

    /// Removes it.
    pub fn remove_leg(&mut self, pair: PortPair, rtp: SocketAddr, rtcp: SocketAddr, call: CallKey) {
        if self.rtp.get(&(pair, rtp)) == Some(&call) {
            self.rtp.remove(&(pair, rtp));
        }
        if self.rtcp.get(&(pair, rtcp)) == Some(&call) {
            self.rtcp.remove(&(pair, rtcp));
        }
    }

    /// Removes every flow of a call, by a search.
    pub fn forget_call(&mut self, call: CallKey) {
        self.rtp.retain(|_, &mut of| of != call);
        self.rtcp.retain(|_, &mut of| of != call);
    }

    /// Removes every address of a transport, by a search.
    pub fn forget_transport(&mut self, transport: TransportKey) {
        self.browsers.retain(|_, &mut of| of != transport);
    }
}
