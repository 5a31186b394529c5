//! The bodies of the fuzz targets. Each takes arbitrary bytes and panics where something does not hold. `./dev soak fuzz` gives them to libFuzzer;
//! `tests/replay.rs` gives them every file of `corpus/<target>/` in an ordinary test.

mod bytes;
mod config;
mod datagram;
mod rtp;
mod sdp;
mod sip;
mod socket_io;
mod stage;
mod ufrag;

/// What takes the bytes of one run.
pub type Body = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Body); 7] = [
    ("datagram", datagram::run),
    ("sip", sip::run),
    ("sdp", sdp::run),
    ("rtp", rtp::run),
    ("ufrag", ufrag::run),
    ("socket_io", socket_io::run),
    ("config", config::run),
];

/// The body of the target with this name.
pub fn target(name: &str) -> Option<Body> {
    TARGETS.into_iter().find(|(known, _)| *known == name).map(|(_, body)| body)
}
