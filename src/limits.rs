//! Every capacity of the gateway. Whatever is full answers with a code; nothing grows without one of these bounds.

use std::time::Duration;

/// Agents of one shard, connected or within their grace time.
pub const AGENTS_PER_SHARD: usize = 20_000;

/// Calls of one shard, ringing ones included.
pub const CALLS_PER_SHARD: usize = 10_000;

/// Browser transports of one agent: both directions, and again both while a newer socket replaces them.
pub const TRANSPORTS_PER_AGENT: usize = 6;

/// Consumers of one transport.
pub const CONSUMERS_PER_TRANSPORT: usize = 4;

/// SIP transactions of one shard.
pub const SIP_TRANSACTIONS_PER_SHARD: usize = 40_000;

/// A datagram, SIP messages included: a longer one is dropped. RFC 3261 section 18.1.1 wants SIP taken up to 65,535 bytes, but every buffer
/// would have to have room for them, those of media too.
pub const DATAGRAM_BYTES: usize = 8 * 1024;

/// Header lines of one SIP message: beyond it parsing costs more than any honest message is worth.
pub const SIP_HEADER_LINES: usize = 128;

/// Header fields of a call that are passed on to a client or to the PBX.
pub const CUSTOM_HEADERS: usize = 32;

/// Bytes of one custom header's name or value.
pub const CUSTOM_HEADER_BYTES: usize = 512;

/// A JSON payload of a client event.
pub const CLIENT_PAYLOAD_BYTES: usize = 64 * 1024;

/// Commands waiting for one shard; past it a request is `OVERLOADED`.
pub const MAILBOX: usize = 16 * 1024;

/// Commands that one tick takes from the mailbox, so that media is never starved by signalling.
pub const COMMANDS_PER_TICK: usize = 256;

/// Buffers that a shard keeps for reuse.
pub const IDLE_PACKETS: usize = 1024;

/// Events kept for a client that comes back.
pub const EVENTS_KEPT: usize = 512;

/// Ended calls remembered for late requests and for REST, each for [`ENDED_CALL_KEPT`].
pub const ENDED_CALLS_PER_SHARD: usize = 20_000;

/// How long an ended call is remembered: a hangup of it succeeds, `GET /sessions/:callId` still tells it.
pub const ENDED_CALL_KEPT: Duration = Duration::from_secs(300);

/// Digits queued on one call.
pub const DTMF_QUEUE: usize = 64;

/// How long a dial or an answer waits for the browser's media.
pub const MEDIA_READY: Duration = Duration::from_secs(5);

/// How long a transport may take from `connect-transport` to DTLS-connected.
pub const TRANSPORT_CONNECT: Duration = Duration::from_secs(30);

/// How long a pair of ports rests after a leg of its own gave it back.
pub const PORT_REST: Duration = Duration::from_secs(5);
