//! A call: two legs, a browser's and the PBX's, joined by a bridge. What is asked of it, what it tells, how it lives and ends.

pub mod command;
pub mod error;
pub mod event;
pub mod number;
mod state;

pub use state::{Activity, Answering, Call, Control, ControlKind, Leaving, OfferPurpose, Phase, SipLeg, Told};
