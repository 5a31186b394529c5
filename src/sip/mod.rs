//! SIP (RFC 3261) without I/O: messages, transactions, dialogs, digest authentication and a user agent on top of them.

mod count;
mod dialog;
mod digest;
mod event;
mod field;
pub mod ingress;
mod message;
mod normalise;
pub mod timers;
mod transaction;
mod user_agent;

pub use count::MessageCounts;
pub use event::{
    Address, IncomingCall, Invite, InviteFailure, OfferPending, Reason, ReasonProtocol, SessionKey, SipEvent, SipTransmit, UserAgentFull,
};
#[doc(hidden)]
pub use message::rewritten;
pub use user_agent::{Credentials, Interrupted, UserAgent, UserAgentConfig, UserAgentStats};

/// Whether a datagram is a message that a user agent would act on. For the bench of the parser alone.
#[doc(hidden)]
pub fn is_message(datagram: &[u8]) -> bool {
    message::Message::parse(datagram).is_ok()
}
