//! What goes into a shard and what comes out of it. Whoever drives one needs no more than this file and [`super::Shard`].

use std::net::SocketAddr;

use crate::call::command::{Answer, Command, Welcome};
use crate::call::event::Event;
use crate::ids::{AgentId, RequestId, SocketId, TenantId};
use crate::net::{Datagram, PortPair, Transmit};

/// Something that reached the shard.
#[derive(Debug)]
pub enum Input {
    /// A datagram on one of the shard's own sockets.
    Datagram(Datagram),
    /// A SIP request that arrived on the public socket and was routed here, with what the router made of its target.
    Ingress { datagram: Datagram, target: IngressTarget },
    /// Something asked by the front. With a request id it is answered by exactly one [`Output::Answer`].
    Command { request: Option<RequestId>, command: Command },
    /// The port pair of an [`Output::OpenPair`] could not be bound: something else on this host has one of its ports.
    PairFailed(PortPair),
    /// The network says that a SIP message of ours cannot be delivered to this address (RFC 3261 section 18.4).
    Unreachable(SocketAddr),
    /// [`super::Shard::next_deadline`] has passed.
    Timeout,
}

/// Whom a request on the public SIP socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressTarget {
    /// An agent of this shard.
    Agent(TenantId, AgentId),
    /// Nobody: answer with this status (404 unknown, 480 not connected, 485 ambiguous).
    Refuse(u16),
    /// Not an INVITE: the SIP layer alone decides.
    Any,
}

/// Something that the driver has to do for the shard, in the order given.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram, and give its buffer back to [`super::Shard::packets`].
    Transmit(Transmit),
    /// Answer a command that carried this request id.
    Answer { request: RequestId, answer: Answer },
    /// The socket has a peer: the first thing that its client is told (`connected`).
    Connected { socket: SocketId, welcome: Box<Welcome> },
    /// Tell a client. `number` is absent for events that are not counted.
    Event { socket: SocketId, number: Option<u64>, event: Event },
    /// Close a socket for good: another one has taken over.
    Disconnect { socket: SocketId },
    /// Cut a socket off so that its client comes back by itself.
    Reconnect { socket: SocketId },
    /// Bind both ports of this pair: RTP on `rtp_port`, RTCP on the one above.
    OpenPair { pair: PortPair, rtp_port: u16 },
    /// Close both sockets of this pair.
    ClosePair(PortPair),
    /// The agent's presence on this shard began or ended: where a call for it has to go.
    AgentPresent { tenant: TenantId, agent: AgentId, present: bool },
    /// The last output of a shard that panicked beyond repair: [`super::Shard::successor`] makes the one that goes on. All its sockets are to be
    /// cut off so that their clients come back by themselves, and what still waits for an answer gets none.
    Died,
}
