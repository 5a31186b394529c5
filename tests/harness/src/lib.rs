//! What the gateway is tested against. Nothing in here shares code with what it tests, beyond the types of the wire.

pub mod browser;
mod dtls;
pub mod lab;
pub mod link;
pub mod live;
pub mod model;
