//! Datagrams: where they arrive, what they hold, and the pooled buffers that they live in.

mod classify;
mod packet;

pub use classify::{PacketKind, classify};
pub use packet::{HEADROOM, MAX_DATAGRAM, Packet, PacketPool};

use std::net::SocketAddr;

/// One of a shard's UDP sockets, by the job it does. The driver maps each to a file descriptor; the core never sees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalSocket {
    /// All browsers of this shard: STUN, DTLS, SRTP and SRTCP on one port (RFC 7983).
    Browser,
    /// This shard's own SIP port: our requests leave here, so their responses and later requests of the dialog come home.
    Sip,
    /// A duplicate of the public SIP socket, to answer a request that arrived there (RFC 3581 section 4).
    SipPublic,
    /// RTP towards the PBX on an even port.
    Rtp(PortPair),
    /// RTCP towards the PBX on the odd port above it.
    Rtcp(PortPair),
}

/// An even/odd pair of ports for the RTP and RTCP of SIP legs (RFC 3550 section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortPair(pub u16);

impl PortPair {
    /// The pair that every leg of the shard shares, told apart by the negotiated remote address.
    pub const SHARED: PortPair = PortPair(0);
}

/// A datagram that arrived, in a pooled buffer.
#[derive(Debug)]
pub struct Datagram {
    /// The socket that it arrived on.
    pub socket: LocalSocket,
    /// Who sent it.
    pub from: SocketAddr,
    /// Its bytes.
    pub packet: Packet,
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// The socket to send it from.
    pub socket: LocalSocket,
    /// Its destination.
    pub to: SocketAddr,
    /// Its bytes; the driver gives the buffer back to the shard's pool once they are sent.
    pub packet: Packet,
}
