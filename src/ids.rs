//! Identifiers: every id that crosses a module boundary is a type of its own, so that the compiler checks what a name only promises.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A shard of this process, counted from 0; it owns one slice of the port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A Socket.IO connection, as the front numbers them; never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// A request of a client that waits for its acknowledgement; never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id! {
    /// The customer of the platform that an agent belongs to; always the token's claim.
    TenantId
}
text_id! {
    /// A human agent, unique within a tenant.
    AgentId
}
text_id! {
    /// The user account behind an agent; carried, never interpreted.
    UserId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads the id from the wire; `None` when it is no UUID, which is the same as an unknown id.
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::try_parse(text).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

uuid_id! {
    /// A call for as long as anyone remembers it (UUIDv7).
    CallId
}
uuid_id! {
    /// One agent's presence: lives across sockets that resume, ends with the agent's grace time (UUIDv7).
    PeerId
}
uuid_id! {
    /// A browser transport in mediasoup's sense: one ICE and DTLS association in one direction (UUIDv7).
    TransportId
}
uuid_id! {
    /// A stream: what the browser sends, or the one remote-audio stream offered to it (UUIDv7).
    ProducerId
}
uuid_id! {
    /// A browser's subscription to the remote-audio stream (UUIDv7).
    ConsumerId
}

slotmap::new_key_type! {
    /// An agent's place in its shard: slot and generation, so that a stale one finds nothing.
    pub struct AgentKey;
    /// A browser transport's place in its shard; its ICE ufrag carries it.
    pub struct TransportKey;
    /// A call's place in its shard.
    pub struct CallKey;
}
