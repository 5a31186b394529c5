//! What a [`UserAgent`](super::UserAgent) is asked and what it tells: plain data, no SIP grammar.

use std::fmt;
use std::net::SocketAddr;

use crate::net::LocalSocket;

slotmap::new_key_type! {
    /// One INVITE session (RFC 3261 sections 13 to 15), as caller or callee, from its INVITE until the event that ends it.
    pub struct SessionKey;
}

/// A SIP message to send.
#[derive(Clone, PartialEq, Eq)]
pub struct SipTransmit {
    /// The socket that it leaves from: a response leaves where its request came in (RFC 3581 section 4).
    pub socket: LocalSocket,
    /// Its destination.
    pub to: SocketAddr,
    /// The whole message.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SipTransmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SipTransmit({:?} to {}, {} bytes)", self.socket, self.to, self.bytes.len())
    }
}

/// Someone's SIP address as it stands in From or To: `"display" <sip:user@host>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The name shown to humans.
    pub display: Option<String>,
    /// The user part, unescaped; empty for an address that has none.
    pub user: String,
    /// The host part, with a port if it has one.
    pub host: String,
}

impl Address {
    /// An address without a display name.
    pub fn new(user: impl Into<String>, host: impl Into<String>) -> Self {
        Self { display: None, user: user.into(), host: host.into() }
    }
}

/// An INVITE to send.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where it is sent, whatever its URIs say: the configured peer.
    pub peer: SocketAddr,
    /// The Request-URI, for example `sip:9196@pbx.example.com`.
    pub target: String,
    /// The caller.
    pub from: Address,
    /// The called party.
    pub to: Address,
    /// Further header fields, in this order. Fields that the user agent makes itself are left out.
    pub headers: Vec<(String, String)>,
    /// The SDP offer; without one the offer is expected in the 200 (RFC 3261 section 13.2.1).
    pub body: Option<Vec<u8>>,
}

/// The cause numbers of a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonProtocol {
    /// A SIP status code.
    Sip,
    /// An ITU-T Q.850 cause.
    Q850,
}

/// Why a request ends a session (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whose numbers `cause` is of.
    pub protocol: ReasonProtocol,
    /// The cause.
    pub cause: u16,
    /// The words that came with it.
    pub text: Option<String>,
}

impl Reason {
    /// A Q.850 cause without words, for example 16, normal call clearing.
    pub fn q850(cause: u16) -> Self {
        Self { protocol: ReasonProtocol::Q850, cause, text: None }
    }

    /// A SIP status with words.
    pub fn sip(cause: u16, text: &str) -> Self {
        Self { protocol: ReasonProtocol::Sip, cause, text: Some(text.to_owned()) }
    }

    /// The Q.850 cause, if this is one.
    pub fn q850_cause(&self) -> Option<u16> {
        (self.protocol == ReasonProtocol::Q850).then_some(self.cause)
    }
}

/// No room for another session or transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SIP user agent is full")]
pub struct UserAgentFull;

/// An offer cannot be made now: another one is under way, or the session is not established (RFC 3261 section 14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another offer is pending")]
pub struct OfferPending;

/// A new call from the peer; nothing but 100 has been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingCall {
    /// The caller's user part (From), unescaped; empty if it has none.
    pub from_user: String,
    /// The caller's host part.
    pub from_host: String,
    /// The caller's display name.
    pub display_name: Option<String>,
    /// The user part of To, unescaped.
    pub to_user: String,
    /// The host part of To.
    pub to_host: String,
    /// The Request-URI as received.
    pub request_uri: String,
    /// The user part of the Request-URI, unescaped.
    pub request_user: String,
    /// The host part of the Request-URI.
    pub request_host: String,
    /// The Call-ID.
    pub call_id: String,
    /// Every header field that is not about routing or the body, names as received, in order.
    pub headers: Vec<(String, String)>,
    /// The SDP offer, if there is one.
    pub body: Option<Vec<u8>>,
    /// Who sent it.
    pub source: SocketAddr,
}

impl IncomingCall {
    /// The first header field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Why an INVITE of ours came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteFailure {
    /// A final response of 300 to 699.
    Rejected {
        /// The status code.
        status: u16,
        /// The reason phrase as received.
        phrase: String,
        /// The Reason field (RFC 3326), preferably its Q.850 cause.
        reason: Option<Reason>,
        /// The URI of the first Contact, with a redirection (RFC 3261 section 8.1.3.4).
        contact: Option<String>,
    },
    /// No answer at all until Timer B (RFC 3261 section 17.1.1.2), or no final one long after a provisional one.
    Timeout,
    /// The datagrams cannot be delivered.
    Unreachable,
    /// [`cancel`](super::UserAgent::cancel) was in time, or a 2xx crossed it and was hung up at once.
    Cancelled,
}

impl InviteFailure {
    /// The SIP status that stands for this failure.
    pub fn status(&self) -> u16 {
        match self {
            InviteFailure::Rejected { status, .. } => *status,
            InviteFailure::Timeout => 408,
            InviteFailure::Unreachable => 503,
            InviteFailure::Cancelled => 487,
        }
    }
}

/// What a user agent tells its owner. Bodies are SDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipEvent {
    /// A call came in.
    Incoming {
        /// The new session.
        session: SessionKey,
        /// What its INVITE said.
        call: Box<IncomingCall>,
    },
    /// The caller gave up before our answer; 487 has been sent. Session gone.
    Cancelled {
        /// The session.
        session: SessionKey,
        /// What the CANCEL said about it.
        reason: Option<Reason>,
    },
    /// The ACK to our 200 has come; it holds the answer if the 200 held the offer.
    Acknowledged {
        /// The session.
        session: SessionKey,
        /// The body.
        body: Option<Vec<u8>>,
    },
    /// A provisional response, 101 to 199, of any of the early dialogs.
    Progress {
        /// The session.
        session: SessionKey,
        /// The status code.
        status: u16,
        /// The body.
        body: Option<Vec<u8>>,
    },
    /// The first 2xx. The ACK has been sent and is sent again for each repetition; further forks are hung up.
    Answered {
        /// The session.
        session: SessionKey,
        /// The body.
        body: Option<Vec<u8>>,
        /// Its header fields, as in [`IncomingCall::headers`].
        headers: Vec<(String, String)>,
    },
    /// Our INVITE came to nothing. Session gone.
    Failed {
        /// The session.
        session: SessionKey,
        /// Why.
        failure: InviteFailure,
    },
    /// The peer makes an offer in mid-call (re-INVITE or UPDATE), or asks for one (no body):
    /// [`answer_offer`](super::UserAgent::answer_offer) is due.
    Reoffered {
        /// The session.
        session: SessionKey,
        /// The offer.
        body: Option<Vec<u8>>,
    },
    /// Our [`offer`](super::UserAgent::offer) was answered.
    OfferAnswered {
        /// The session.
        session: SessionKey,
        /// The answer.
        body: Option<Vec<u8>>,
    },
    /// Our [`offer`](super::UserAgent::offer) was refused; the session goes on as it was (RFC 3261 section 14.1).
    OfferRefused {
        /// The session.
        session: SessionKey,
        /// The status code.
        status: u16,
    },
    /// The peer hung up; its BYE has been answered. Session gone.
    Ended {
        /// The session.
        session: SessionKey,
        /// What the BYE said about it.
        reason: Option<Reason>,
    },
    /// The peer no longer knows the session (481), no longer answers (408), or never acknowledged our 200 (408). Session gone.
    Lost {
        /// The session.
        session: SessionKey,
        /// The status code.
        status: u16,
    },
    /// The peer asks us to call someone: [`respond_refer`](super::UserAgent::respond_refer) is due.
    Refered {
        /// The session.
        session: SessionKey,
        /// The URI of Refer-To.
        target: String,
    },
    /// Our REFER was accepted (202); [`SipEvent::Notified`] tells the rest.
    ReferAccepted {
        /// The session.
        session: SessionKey,
    },
    /// Our REFER was refused. A session that only waited for its reports is gone.
    ReferRefused {
        /// The session.
        session: SessionKey,
        /// The status code.
        status: u16,
    },
    /// How far the referred party has come (RFC 3515 section 2.4.5).
    Notified {
        /// The session.
        session: SessionKey,
        /// The status of its message/sipfrag body; 100 where it cannot be read.
        status: u16,
        /// No more will come.
        terminated: bool,
    },
    /// An INFO; it has been answered.
    Info {
        /// The session.
        session: SessionKey,
        /// Its Content-Type, without parameters, in lower case.
        content_type: String,
        /// Its body.
        body: Vec<u8>,
    },
    /// The result of [`options_ping`](super::UserAgent::options_ping).
    Pong {
        /// Who was asked.
        peer: SocketAddr,
        /// The status of the answer; `None` without one.
        status: Option<u16>,
    },
}
