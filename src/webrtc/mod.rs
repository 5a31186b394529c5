//! The browser side: ICE-lite and DTLS (RFC 8445, RFC 6347) with the SRTP keys taken out, and mediasoup-client's parameters.
//!
//! The only folder that names str0m and dimpl. Media never passes here: once a [`Peer`] is connected, its keys go to
//! [`crate::srtp`] and its datagrams of media to the call.

pub mod credentials;
mod dtls;
pub mod ortc;
mod peer;
mod stun;

pub use credentials::IceCredentials;
pub use dtls::{DtlsIdentity, IdentityError};
pub use peer::{CONSENT, Peer, PeerError, PeerOutput};
