//! Session descriptions of the SIP side (RFC 8866) and their offer and answer (RFC 3264): one audio stream over RTP/AVP.

mod local;
mod remote;

pub use local::LocalDescription;
pub use remote::{RemoteAudio, RemoteDescription, RemoteFormat, RemoteFormatKind, parse};

use std::net::SocketAddr;

use crate::codec::Codec;

/// Which way media flows, as the one who says it sees it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways; what a description without a word on it means.
    #[default]
    SendRecv,
    /// From the speaker only: the other side is held.
    SendOnly,
    /// To the speaker only.
    RecvOnly,
    /// No way.
    Inactive,
}

impl Direction {
    /// Whether the one who says it sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the one who says it receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The direction of these two halves.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The same flow as the other side sees it.
    pub fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What remains of the direction that we want when the other side has said `theirs` (RFC 3264 section 6.1).
    pub fn limited_by(self, theirs: Direction) -> Self {
        Self::of(self.sends() && theirs.receives(), self.receives() && theirs.sends())
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// What an offer and its answer agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The audio codec, the same in both directions.
    pub codec: Codec,
    /// Its payload type in what we send.
    pub payload_type_out: u8,
    /// Its payload type in what we receive.
    pub payload_type_in: u8,
    /// Digits as RTP events, where both sides know them.
    pub telephone_event: Option<TelephoneEvent>,
    /// Where the peer receives RTP, and where its RTP comes from (RFC 4961). Unspecified (`0.0.0.0`) while it holds the old way.
    pub remote_rtp: SocketAddr,
    /// Where the peer receives RTCP.
    pub remote_rtcp: SocketAddr,
    /// Our direction.
    pub direction: Direction,
    /// Milliseconds of audio that the peer wants in a packet; 20 where it does not say.
    pub ptime: u32,
}

impl Negotiated {
    /// Whether this payload type, in what we receive, is the agreed telephone-event (RFC 4733).
    pub fn is_telephone_event(&self, payload_type: u8) -> bool {
        self.telephone_event.is_some_and(|event| event.payload_type_in == payload_type)
    }

    /// Whether the peer has put us on hold: it does not take our media (RFC 3264 section 8.4). To ask on an answer of ours to its offer,
    /// or on its answer to an offer in which we would send.
    pub fn is_held_by_peer(&self) -> bool {
        !self.direction.sends()
    }
}

/// Named telephone events (RFC 4733) of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TelephoneEvent {
    /// The payload type in what we send.
    pub payload_type_out: u8,
    /// The payload type in what we receive.
    pub payload_type_in: u8,
    /// The clock of their durations in Hz.
    pub clock: u32,
}

/// Why a session description cannot be used. Holds none of its text: that is a remote's and may name persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SdpError {
    /// Not a session description.
    #[error("malformed session description")]
    Malformed,
    /// No audio over plain RTP, or all of it refused with port 0.
    #[error("no usable audio stream")]
    NoUsableAudio,
    /// The address of the audio stream is missing or is not an IP address.
    #[error("no usable media address")]
    Address,
    /// No codec that both sides know.
    #[error("no common codec")]
    NoCommonCodec,
}

impl SdpError {
    /// The SIP status that refuses an offer with this fault (RFC 3261 section 21.4).
    pub fn sip_status(self) -> u16 {
        match self {
            SdpError::Malformed => 400,
            SdpError::NoUsableAudio | SdpError::Address | SdpError::NoCommonCodec => 488,
        }
    }
}

/// An offer has no codec of ours: 488 (RFC 3261 section 21.4.26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("no common codec")]
pub struct NoCommonCodec;

/// Milliseconds of audio in a packet where nothing else was said (RFC 3551 section 4.5).
const DEFAULT_PTIME: u32 = 20;

#[cfg(test)]
mod tests;
