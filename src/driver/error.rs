//! What can keep the gateway from starting. Each is one line that says what to do about it.

use std::io;
use std::net::SocketAddr;

use crate::ids::ShardId;

/// Memory that a shard's rings need to lock.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Why the driver could not start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A port is in use.
    #[error("{key}: {address}/udp is in use by another program: stop it or choose another port")]
    PortTaken { key: &'static str, address: SocketAddr },
    /// An address cannot be bound for another reason.
    #[error("{key}: cannot bind {address}/udp: {source}")]
    Bind { key: &'static str, address: SocketAddr, source: io::Error },
    /// The kernel does not let us use io_uring.
    #[error(
        "io_uring is forbidden here ({reason}): allow it by `sysctl kernel.io_uring_disabled=0`, and in a container by a seccomp profile with io_uring_setup, io_uring_enter and io_uring_register"
    )]
    IoUringForbidden { reason: &'static str },
    /// The kernel has no io_uring, or it fails otherwise.
    #[error("io_uring does not work here: {0}")]
    IoUring(io::Error),
    /// `RLIMIT_MEMLOCK` is below [`MEMLOCK_BYTES_MIN`].
    #[error(
        "the memlock limit is {limit} bytes and io_uring needs {MEMLOCK_BYTES_MIN}: raise it (`ulimit -l 8192`, `LimitMEMLOCK=8M`, docker `--ulimit memlock=8388608`)"
    )]
    MemlockTooSmall { limit: u64 },
    /// A host name has no address that our sockets can reach.
    #[error("{key}: cannot resolve {host}: {reason}")]
    Unresolved { key: &'static str, host: String, reason: String },
    /// The system has no address towards a peer.
    #[error("no local address routes to the SIP peer {peer}: {source}; set SIP_ANNOUNCED_IP")]
    NoRoute { peer: SocketAddr, source: io::Error },
    /// A shard's thread or executor could not be made.
    #[error("shard {shard} cannot start: {reason}")]
    Shard { shard: ShardId, reason: String },
    /// The system is out of threads or descriptors.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

impl DriverError {
    /// A failed bind(2) of what the configuration key `key` asks for.
    pub fn bind(key: &'static str, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => DriverError::PortTaken { key, address },
            _ => DriverError::Bind { key, address, source },
        }
    }
}
