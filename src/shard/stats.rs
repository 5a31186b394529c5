//! Why datagrams were dropped, counted by reason.

/// A reason to drop a datagram. None of them is worth a log line: anyone can cause them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Its first byte is of no protocol that we speak there (RFC 7983).
    Unclassified,
    /// STUN without a ufrag of ours, or not to be understood.
    StunUnroutable,
    /// STUN or DTLS that the transport's ICE or DTLS did not take.
    PeerRejected,
    /// DTLS or media of an address that no browser has validated (RFC 8445 section 7.3).
    UnvalidatedSource,
    /// Media ahead of the keys.
    NoKeys,
    /// Media that failed authentication or was a replay (RFC 3711 section 3.3).
    SrtpRejected,
    /// Not RTP or RTCP to be understood (RFC 3550).
    RtpMalformed,
    /// RTP of a stream or payload type that was not negotiated.
    RtpUnexpected,
    /// Media of another than the negotiated address of a SIP leg.
    SipMediaStranger,
    /// Media of a call that is held, or that its agent does not listen to just now.
    NotBridged,
    /// A datagram too long to be sent.
    TooLong,
    /// A datagram too long to be received whole.
    Cut,
}

impl Drop {
    const ALL: [Drop; 12] = [
        Drop::Unclassified,
        Drop::StunUnroutable,
        Drop::PeerRejected,
        Drop::UnvalidatedSource,
        Drop::NoKeys,
        Drop::SrtpRejected,
        Drop::RtpMalformed,
        Drop::RtpUnexpected,
        Drop::SipMediaStranger,
        Drop::NotBridged,
        Drop::TooLong,
        Drop::Cut,
    ];

    /// The reason's name in `/stats` and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Drop::Unclassified => "unclassified",
            Drop::StunUnroutable => "stun_unroutable",
            Drop::PeerRejected => "peer_rejected",
            Drop::UnvalidatedSource => "unvalidated_source",
            Drop::NoKeys => "no_keys",
            Drop::SrtpRejected => "srtp_rejected",
            Drop::RtpMalformed => "rtp_malformed",
            Drop::RtpUnexpected => "rtp_unexpected",
            Drop::SipMediaStranger => "sip_media_stranger",
            Drop::NotBridged => "not_bridged",
            Drop::TooLong => "too_long",
            Drop::Cut => "cut",
        }
    }
}

/// One counter for each reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Drops([u64; Drop::ALL.len()]);

impl Drops {
    /// One more.
    pub fn count(&mut self, reason: Drop) {
        self.0[reason as usize] += 1;
    }

    /// All counters by name.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Drop::ALL.into_iter().zip(self.0).map(|(reason, count)| (reason.as_str(), count))
    }
}
