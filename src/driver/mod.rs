//! The glommio shell: the only folder that names glommio, and the only one with unsafe code.
//!
//! [`Bound`] has every socket, [`spawn_shard`] gives a shard its thread, [`spawn_ingress`] serves the public SIP socket, [`ShardMailbox`] and
//! [`OutputSink`] lead in and out of a shard, [`Placement`] knows which agent is on which.

mod addresses;
mod bind;
mod check;
mod error;
mod figures;
mod ingress;
mod mailbox;
mod park;
mod placement;
mod run;
mod sockets;
mod sources;
#[cfg(test)]
mod tests;
mod threads;
mod udp;
mod unreachable;

pub use addresses::{candidates, local_towards, resolve};
pub use bind::Bound;
pub use check::check_machine;
pub use error::{DriverError, MEMLOCK_BYTES_MIN};
pub use figures::{ShardFigures, ThreadFigures};
pub use ingress::{IngressSeat, spawn as spawn_ingress};
pub use mailbox::{MailboxFull, OutputSink, ShardInbox, ShardMailbox, mailbox};
pub use placement::{Callee, Placement, Spread};
pub use run::{Seat, ShardExit};
pub use sockets::SharedSockets;
pub use sources::SipSources;
pub use threads::{ShardEnd, spawn as spawn_shard};
pub use udp::{Load, Socket};
