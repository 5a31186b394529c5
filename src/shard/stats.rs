//! What a shard counts, in plain numbers: calls and how they went, and why datagrams were dropped.

use std::time::Duration;

use crate::call::error::Code;
use crate::call::event::{CallDirection, CallEvent, EndReason};
use crate::histogram::Histogram;
use crate::sip::MessageCounts;

/// What a shard holds right now, and what it has counted since its start.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Agents, connected or within their grace time.
    pub agents: usize,
    /// Agents with a socket.
    pub agents_connected: usize,
    pub transports: usize,
    pub calls: usize,
    pub sip_transactions: usize,
    pub sip_dialogs: usize,
    /// Pairs of ports that SIP legs have for their own.
    pub port_pairs_in_use: usize,
    pub deadlines: usize,
    /// Panics that were contained.
    pub panics: u64,
    /// Datagrams dropped, by reason; reasons that never happened are listed with 0.
    pub dropped: Vec<(&'static str, u64)>,
    pub outbound: CallFigures,
    pub inbound: CallFigures,
    pub sip_received: MessageCounts,
    pub sip_sent: MessageCounts,
}

/// The calls of one direction.
#[derive(Clone, Debug)]
pub struct CallFigures {
    pub started: u64,
    /// From the agent's dial or the PBX's INVITE to the answer.
    pub setup: Histogram<{ SETUP_BOUNDS.len() }>,
    /// By [`EndReason`], in their order.
    ended: [u64; EndReason::ALL.len()],
    failed: Vec<(Code, u64)>,
}

/// A predictive dialer has 2 s from the called party's answer to an agent's ear, so the buckets are narrow up to there; beyond it phones ring.
const SETUP_BOUNDS: [Duration; 14] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(750),
    Duration::from_secs(1),
    Duration::from_millis(1500),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Codes that calls fail with, listed with 0 until they do.
const FAILURES: [Code; 6] =
    [Code::MediaNotReady, Code::Overloaded, Code::SipRejected, Code::SipTimeout, Code::SipUnreachable, Code::UnsupportedCodec];

impl Default for CallFigures {
    fn default() -> Self {
        let failed = FAILURES.map(|code| (code, 0)).to_vec();
        Self { started: 0, setup: Histogram::new(&SETUP_BOUNDS), ended: [0; EndReason::ALL.len()], failed }
    }
}

impl CallFigures {
    pub(super) fn answered(&mut self, setup: Duration) {
        self.setup.record(setup);
    }

    /// Counts a call's one last event.
    pub(super) fn closed(&mut self, event: &CallEvent) {
        match event {
            CallEvent::Ended(ended) => self.ended[ended.reason as usize] += 1,
            CallEvent::Failed { code, .. } => match self.failed.iter_mut().find(|(known, _)| known == code) {
                Some((_, count)) => *count += 1,
                None => self.failed.push((*code, 1)),
            },
            CallEvent::Incoming(_)
            | CallEvent::Ringing { .. }
            | CallEvent::Answered { .. }
            | CallEvent::Held { .. }
            | CallEvent::Muted { .. }
            | CallEvent::Transferred { .. }
            | CallEvent::TransferFailed { .. }
            | CallEvent::DtmfReceived { .. } => debug_assert!(false, "no call ends with this"),
        }
    }

    /// Calls that were answered.
    pub fn answered_total(&self) -> u64 {
        self.setup.count()
    }

    /// Calls that are over, by result, `ended` or `failed` as their last event, and its reason or code.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let ended = EndReason::ALL.into_iter().zip(self.ended).map(|(reason, count)| ("ended", reason.as_str(), count));
        ended.chain(self.failed.iter().map(|&(code, count)| ("failed", code.as_str(), count)))
    }
}

/// Calls of both directions.
#[derive(Debug, Default)]
pub(super) struct CallCounts {
    pub outbound: CallFigures,
    pub inbound: CallFigures,
}

impl CallCounts {
    pub fn of(&mut self, direction: CallDirection) -> &mut CallFigures {
        match direction {
            CallDirection::Outbound => &mut self.outbound,
            CallDirection::Inbound => &mut self.inbound,
        }
    }

    pub fn started(&self) -> u64 {
        self.outbound.started + self.inbound.started
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_drop_and_to_end_has_its_own_place() {
        assert!(Drop::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
        assert!(EndReason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
    }

    #[test]
    fn a_call_is_counted_under_one_result() {
        let mut calls = CallFigures::default();
        let message = String::new();
        calls.closed(&CallEvent::Failed { message, code: Code::CallLimit, sip_code: None, sip_reason: None, q850: None });
        let counted: Vec<_> = calls.results().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("failed", "CALL_LIMIT", 1)]);
        assert!(calls.results().any(|result| result == ("failed", "SIP_TIMEOUT", 0)));
    }
}
