//! What a shard is told once, at its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::DialPolicy;
use crate::ids::ShardId;
use crate::webrtc::DtlsIdentity;
use crate::webrtc::ortc::IceServer;

/// Everything that a shard knows about its surroundings.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub shard: ShardId,
    /// One moment on both clocks: the core tells the time of day by adding the monotonic time that has passed since.
    pub origin: (Instant, SystemTime),
    /// Seed of all randomness of this shard; from the operating system in production, fixed in tests.
    pub seed: [u8; 32],
    /// The process's DTLS certificate.
    pub dtls: Arc<DtlsIdentity>,
    /// Where browsers reach this shard's one browser port: announced address and port, best first.
    pub candidates: Vec<SocketAddr>,
    /// Handed to browsers with each transport.
    pub ice_servers: Vec<IceServer>,
    /// This shard's own SIP address, as it stands in Via and Contact.
    pub sip_contact: SocketAddr,
    /// The address in our SDP.
    pub media_address: std::net::IpAddr,
    /// RTP port (even) of the shared pair.
    pub shared_pair: u16,
    /// RTP ports (even) of the pairs for legs that need their own.
    pub own_pairs: Vec<u16>,
    /// The trunk.
    pub trunk: Trunk,
    /// Rules for calls.
    pub policy: Policy,
}

/// The SIP peers and how we present ourselves to them.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Peers that calls are sent to, best first.
    pub peers: Vec<SocketAddr>,
    /// Host of the From and To and of the Request-URI; the peer's host where none is configured.
    pub domain: String,
    /// Digest credentials of the trunk.
    pub credentials: Option<crate::sip::Credentials>,
}

/// Rules and time-outs of calls (api.md section 7).
#[derive(Clone, Debug)]
pub struct Policy {
    /// Calls of one agent at a time.
    pub max_calls_per_agent: usize,
    /// How long an outbound call may ring.
    pub ring_timeout: Duration,
    /// How long an incoming call waits for its agent.
    pub incoming_timeout: Duration,
    /// How long a talking call may hear neither RTP nor RTCP from the PBX.
    pub media_timeout: Duration,
    /// How long an agent without socket and without media keeps its calls.
    pub resume_grace: Duration,
    /// How long an agent without socket keeps its calls while its media goes on.
    pub resume_media_max: Duration,
    /// Prefixes of header names that a client may send and is told; lower case.
    pub header_prefixes: Vec<String>,
    /// Which numbers may be dialled.
    pub dial: DialPolicy,
}
