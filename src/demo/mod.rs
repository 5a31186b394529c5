//! The built-in demo PBX: somebody to talk to on a machine without a telephone system.
//!
//! It is an ordinary SIP peer over UDP with RTP of its own: the gateway knows it by an address and nothing else. [`DemoPbx`] is pure
//! (datagrams and time in, datagrams out), so that the simulator uses the same PBX; [`start`] gives it sockets and a thread.

mod media;
mod pbx;
mod plan;
mod sounds;
#[cfg(test)]
mod tests;
#[cfg(feature = "driver")]
mod thread;

pub use pbx::{Config, DemoPbx, Dropped, Stats, Transmit, UdpSocketRole};
pub use plan::NUMBERS;
pub use sounds::Sounds;
#[cfg(feature = "driver")]
pub use thread::{Handle, start};
