//! SIP as the RFCs have it, through the entry points of production: bytes go in as a datagram, the bytes that come out are read.
//!
//! `rfc4475` and `rfc5118` are the torture messages, each with the treatment that its section asks for. The others are what RFC 3261 wants
//! of every message: its forms (`syntax`), its methods and refusals (`requests`), its frame (`datagrams`).

mod datagrams;
mod edge;
mod message;
mod requests;
mod rfc4475;
mod rfc5118;
mod syntax;
mod user_agent;
