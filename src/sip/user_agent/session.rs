//! What the user agent keeps: sessions, and requests on their way in and out.

use std::net::SocketAddr;
use std::time::Instant;

use crate::net::LocalSocket;
use crate::sip::dialog::Dialog;
use crate::sip::digest::Challenge;
use crate::sip::event::{Reason, SessionKey};
use crate::sip::message::Request;
use crate::sip::timers::Repeat;
use crate::sip::transaction::client::ClientTransaction;
use crate::sip::transaction::server::ServerTransaction;
use crate::sip::transaction::{ClientId, ServerId};

slotmap::new_key_type! {
    pub(super) struct ClientKey;
    pub(super) struct ServerKey;
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientKey),
    Server(ServerKey),
    Session(SessionKey),
}

/// A request of ours.
pub(super) struct Client {
    pub id: ClientId,
    pub transaction: ClientTransaction,
    pub request: Request,
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
    pub purpose: Purpose,
    /// How often this request has been sent with new credentials.
    pub tries: u8,
    /// The ACK to a failure.
    pub failure_ack: Option<Vec<u8>>,
    /// The ACK to each 2xx, by its To tag: one for each fork that answered.
    pub acks: Vec<Ack>,
    /// The dialog of a re-INVITE: its 2xx needs an ACK even when the session is gone.
    pub dialog: Option<Box<Dialog>>,
}

/// An ACK to a 2xx, kept to be repeated.
pub(super) struct Ack {
    pub remote_tag: String,
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
}

/// What a request of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Invite(SessionKey),
    Reinvite(SessionKey),
    Cancel,
    Bye,
    Refer(SessionKey),
    Info(SessionKey),
    Notify,
    Ping(SocketAddr),
}

impl Purpose {
    /// The session that has to live for this request to make sense.
    pub fn session(self) -> Option<SessionKey> {
        match self {
            Purpose::Invite(session) | Purpose::Reinvite(session) | Purpose::Refer(session) | Purpose::Info(session) => Some(session),
            Purpose::Cancel | Purpose::Bye | Purpose::Notify | Purpose::Ping(_) => None,
        }
    }

    /// Whether this is an INVITE.
    pub fn is_invite(self) -> bool {
        matches!(self, Purpose::Invite(_) | Purpose::Reinvite(_))
    }
}

/// A request of the peer's.
pub(super) struct Server {
    pub id: ServerId,
    pub transaction: ServerTransaction,
    pub request: Request,
    /// The To tag of our responses, if the request had none.
    pub local_tag: String,
    pub socket: LocalSocket,
    pub reply_to: SocketAddr,
    /// The last response sent.
    pub last: Option<Vec<u8>>,
    /// Under which this request is known to [`super::UserAgent`] for the detection of merged ones.
    pub merge: Option<MergeId>,
    /// The session that this INVITE made or belongs to.
    pub session: Option<SessionKey>,
}

/// What a request keeps that has come by two ways (RFC 3261 section 8.2.2.2). The Request-URI is part of it, so that a proxy
/// may fork one call to two of our users.
pub(super) type MergeId = (String, String, u32, String, String);

/// Which side sent the INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Caller,
    Callee,
}

/// An INVITE session.
pub(super) struct Session {
    pub role: Role,
    pub call_id: String,
    pub local_tag: String,
    /// The owner has let go of it or has been told its end: no more events.
    pub released: bool,
    pub state: State,
}

pub(super) enum State {
    /// Caller: no 2xx yet.
    Calling(Calling),
    /// Callee: no final response yet.
    Ringing(Ringing),
    /// Both: a 2xx went over.
    Established(Box<Established>),
    /// The call is over, but a REFER of ours is still being reported on (RFC 5057 section 4.2).
    Referring { dialog: Box<Dialog>, until: Instant },
}

pub(super) struct Calling {
    pub client: ClientKey,
    pub cancel: Cancel,
    pub challenges: Vec<Challenge>,
}

/// How far giving up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// To be sent as soon as a provisional response comes (RFC 3261 section 9.1).
    Wanted,
    /// Sent; without a final response the INVITE counts as cancelled at that time.
    Sent {
        give_up_at: Instant,
    },
}

pub(super) struct Ringing {
    pub server: ServerKey,
    pub dialog: Dialog,
}

pub(super) struct Established {
    pub dialog: Dialog,
    pub unacknowledged: Option<Unacknowledged>,
    pub offer: OwnOffer,
    /// Their re-INVITE or UPDATE that waits for our answer.
    pub reoffer: Option<ServerKey>,
    /// Their REFER that waits for our answer.
    pub refer: Option<ServerKey>,
    /// REFERs that we accepted; the last one's CSeq.
    pub referred: Option<Referred>,
    /// We sent a REFER and its NOTIFYs have not ended.
    pub referring: bool,
    /// Hang up as soon as the ACK comes (RFC 3261 section 15: a callee must not before).
    pub hangup: Option<Option<Reason>>,
}

impl Established {
    pub fn new(dialog: Dialog) -> Self {
        Self {
            dialog,
            unacknowledged: None,
            offer: OwnOffer::None,
            reoffer: None,
            refer: None,
            referred: None,
            referring: false,
            hangup: None,
        }
    }

    /// Whether we are a callee whose 200 has not been acknowledged: until then there must be no BYE (RFC 3261 section 15).
    pub fn awaits_first_ack(&self) -> bool {
        self.unacknowledged.as_ref().is_some_and(|ok| ok.initial)
    }
}

/// The REFERs accepted within a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referred {
    pub cseq: u32,
    pub count: u32,
}

/// A 2xx of ours that waits for its ACK (RFC 3261 section 13.3.1.4).
pub(super) struct Unacknowledged {
    pub cseq: u32,
    pub bytes: Vec<u8>,
    pub socket: LocalSocket,
    pub to: SocketAddr,
    pub repeat: Repeat,
    pub give_up_at: Instant,
    /// It answers the INVITE that made the session.
    pub initial: bool,
}

/// A re-INVITE of ours.
pub(super) enum OwnOffer {
    None,
    Sent {
        client: ClientKey,
        body: Vec<u8>,
        tries: u8,
    },
    /// It crossed one of theirs (491) and is made again later (RFC 3261 section 14.1).
    BackingOff {
        at: Instant,
        body: Vec<u8>,
        tries: u8,
    },
}

impl Session {
    /// When the session itself has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling(calling) => match calling.cancel {
                Cancel::Sent { give_up_at } => Some(give_up_at),
                Cancel::No | Cancel::Wanted => None,
            },
            State::Ringing(_) => None,
            State::Established(established) => {
                let unacknowledged = established.unacknowledged.as_ref().map(|ok| ok.repeat.at.min(ok.give_up_at));
                let offer = match &established.offer {
                    OwnOffer::BackingOff { at, .. } => Some(*at),
                    OwnOffer::None | OwnOffer::Sent { .. } => None,
                };
                unacknowledged.into_iter().chain(offer).min()
            }
            State::Referring { until, .. } => Some(*until),
        }
    }

    /// The established session, if it is one.
    pub fn established(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) => Some(established),
            State::Calling(_) | State::Ringing(_) | State::Referring { .. } => None,
        }
    }
}
