//! The WebRTC-to-SIP gateway of the NexusDialer call-centre platform: a pure core and thin shells (see `ARCHITECTURE.md`).

// Layer 0: words and numbers.
pub mod codec;
pub mod histogram;
pub mod ids;
pub mod limits;
// Layer 1: datagrams.
pub mod net;
// Layer 2: the configuration and the protocols.
pub mod audio;
pub mod config;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod srtp;
// Layer 3: the browser side.
pub mod webrtc;
// Layer 4: calls.
pub mod call;
// Layer 5: the shard.
pub mod shard;
pub mod wire;
// Layer 6: the shells; they and what is above do I/O.
// The demo PBX itself is pure, and the simulator's PBX too; its sockets are behind the feature.
pub mod demo;
#[cfg(feature = "driver")]
pub mod driver;
// Layer 7: the front.
#[cfg(feature = "driver")]
pub mod front;
// Layer 8: everything joined together.
#[cfg(feature = "driver")]
pub mod start;
