//! One outgoing stream out of whatever comes in.
//!
//! The receiver of the stream sees one SSRC, sequence numbers and timestamps that go on, whatever the sources do: a new SSRC, a call
//! after a call, a codec with another clock, digits and silence of our own in between. What the network lost on the way to us
//! stays a gap, so that the receiver conceals it and counts it.

use std::time::{Duration, Instant};

use super::clock::in_clock;
use super::header::{FIXED_HEADER, Header};
use crate::net::Packet;

/// Makes one outgoing stream.
#[derive(Debug)]
pub struct Rewriter {
    ssrc: u32,
    clock: u32,
    payload_types: [Option<(u8, u8)>; PAYLOAD_TYPES],
    mid: Mid,
    next: Next,
    source: Option<Source>,
}

/// What the stream goes on with.
#[derive(Debug)]
struct Next {
    /// The next sequence number, counted on past 16 bits so that order is plain.
    sequence: u64,
    /// The latest timestamp that was sent, and when; before the first packet the one to begin with.
    timestamp: u32,
    sent_at: Option<Instant>,
}

/// How the current source maps onto the stream.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// The first packet of this mapping: its sequence number, counted on past 16 bits, and the outgoing one that it became.
    first_in: u64,
    first_out: u64,
    /// The newest packet.
    newest: u64,
    newest_timestamp: u32,
    newest_at: Instant,
    newest_marked: bool,
    /// Outgoing timestamp minus incoming.
    timestamp_offset: u32,
    /// After a leap: the sequence number that would confirm that the source started anew (RFC 3550 A.1).
    after_leap: Option<u16>,
    /// A packet of our own went out since: the mapping of sequence numbers no longer holds, that of timestamps does.
    displaced: bool,
}

/// The `mid` header extension as bytes, ready to be copied (RFC 8843 section 15, RFC 8285 section 4.2).
#[derive(Debug)]
struct Mid {
    bytes: [u8; MID_BYTES],
    length: usize,
}

/// What became of a packet: what sender statistics need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its outgoing sequence number.
    pub sequence: u16,
    /// Its outgoing timestamp.
    pub timestamp: u32,
    /// Bytes of its payload.
    pub payload: usize,
}

/// Why a packet has no place in the outgoing stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RewriteError {
    /// Its payload type was not negotiated.
    #[error("unknown payload type")]
    UnknownPayloadType,
    /// It is from before the source that the stream now follows began: its place is taken.
    #[error("late packet")]
    Late,
    /// Its sequence number leapt; if the next one follows it, the source has started anew.
    #[error("sequence number leapt")]
    Leap,
    /// No room for its header.
    #[error("no room")]
    NoRoom,
}

impl RewriteError {
    /// The stable name under which such packets are counted.
    pub fn code(self) -> &'static str {
        match self {
            RewriteError::UnknownPayloadType => "rtp-payload-type",
            RewriteError::Late => "rtp-late",
            RewriteError::Leap => "rtp-leap",
            RewriteError::NoRoom => "rtp-no-room",
        }
    }
}

impl Rewriter {
    /// A stream that begins at `first_sequence`, of which the top bit is dropped (RFC 3711 section 3.3.1: it may not wrap too soon),
    /// and `first_timestamp`; all three should be random. Nothing passes until [`map`](Self::map) was called.
    pub fn new(ssrc: u32, first_sequence: u16, first_timestamp: u32) -> Self {
        Self {
            ssrc,
            clock: 8_000,
            payload_types: [None; PAYLOAD_TYPES],
            mid: Mid { bytes: [0; MID_BYTES], length: 0 },
            next: Next { sequence: u64::from(first_sequence & 0x7fff), timestamp: first_timestamp, sent_at: None },
            source: None,
        }
    }

    /// The stream's SSRC, which never changes.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Sets which incoming payload types pass and what they become, at most four, and the clock of the audio among them in Hz. Another
    /// clock begins a new mapping of timestamps from the time that has passed (RFC 7160 section 4.1).
    pub fn map(&mut self, clock: u32, payload_types: &[(u8, u8)]) {
        self.payload_types = [None; PAYLOAD_TYPES];
        self.payload_types.iter_mut().zip(payload_types).for_each(|(slot, &pair)| *slot = Some(pair));
        if self.clock != clock {
            self.clock = clock;
            self.source = None;
        }
    }

    /// Puts a `mid` header extension on every packet: `id` 1 to 14, up to 16 bytes. `false`, and none, when it does not fit.
    pub fn set_mid(&mut self, id: u8, mid: &str) -> bool {
        self.mid.length = 0;
        let text = mid.as_bytes();
        if !(1..=14).contains(&id) || text.is_empty() || text.len() > MID_LENGTH_MAX {
            return false;
        }
        let words = (1 + text.len()).div_ceil(4);
        self.mid.bytes = [0; MID_BYTES];
        self.mid.bytes[..4].copy_from_slice(&[0xbe, 0xde, 0, words as u8]);
        self.mid.bytes[4] = id << 4 | (text.len() - 1) as u8;
        self.mid.bytes[5..5 + text.len()].copy_from_slice(text);
        self.mid.length = 4 + 4 * words;
        true
    }

    /// The next incoming packet begins a new source even if its SSRC is the same: after a pause in which packets were not passed on, or for another
    /// call.
    pub fn switch_source(&mut self) {
        self.source = None;
    }

    /// Makes an incoming packet the next one of the stream, in place. CSRCs, header extensions and padding are dropped. `header` is the
    /// packet's own; whoever has changed the payload's length has changed it there.
    ///
    /// # Errors
    /// The packet has no place in the stream and is to be dropped.
    pub fn rewrite(&mut self, packet: &mut Packet, header: &Header, now: Instant) -> Result<Sent, RewriteError> {
        let pairs = self.payload_types.iter().flatten();
        let Some(payload_type) = pairs.into_iter().find(|pair| pair.0 == header.payload_type).map(|pair| pair.1) else {
            return Err(RewriteError::UnknownPayloadType);
        };
        let (sequence, timestamp, marker) = self.place(header, now)?;
        let payload = header.payload.len();
        packet.truncate(header.payload.end);
        let room = FIXED_HEADER + self.mid.length;
        match header.payload.start.checked_sub(room) {
            Some(spare) => packet.advance(spare),
            None => {
                if !packet.prepend(room - header.payload.start) {
                    return Err(RewriteError::NoRoom);
                }
            }
        }
        self.write_header(packet, Header { marker, payload_type, sequence, timestamp, ssrc: self.ssrc, payload: 0..0 });
        Ok(Sent { sequence, timestamp, payload })
    }

    /// Makes a packet of our own the next one of the stream: digits, silence. Take `timestamp` from [`timestamp_at`](Self::timestamp_at); packets of one
    /// event share it.
    ///
    /// # Errors
    /// The payload does not fit into a packet.
    pub fn make(
        &mut self,
        packet: &mut Packet,
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        payload: &[u8],
        now: Instant,
    ) -> Result<Sent, RewriteError> {
        if !packet.copy_from(payload) || !packet.prepend(FIXED_HEADER + self.mid.length) {
            return Err(RewriteError::NoRoom);
        }
        let sequence = self.next.sequence as u16;
        self.next.sequence += 1;
        self.next.advance(timestamp, now);
        if let Some(source) = &mut self.source {
            source.displaced = true;
        }
        self.write_header(packet, Header { marker, payload_type, sequence, timestamp, ssrc: self.ssrc, payload: 0..0 });
        Ok(Sent { sequence, timestamp, payload: payload.len() })
    }

    /// The stream's timestamp at `now`, for a packet of our own and for sender reports: the latest one sent and the time since.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        let since = self.next.sent_at.map_or(Duration::ZERO, |sent_at| now.saturating_duration_since(sent_at));
        self.next.timestamp.wrapping_add(in_clock(since, self.clock))
    }

    /// The clock of the stream's timestamps in Hz.
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// Where an incoming packet belongs: sequence number, timestamp, marker.
    fn place(&mut self, header: &Header, now: Instant) -> Result<(u16, u32, bool), RewriteError> {
        let clock = self.clock;
        let Some(source) = self.source.as_mut().filter(|source| source.ssrc == header.ssrc) else {
            return Ok(self.begin_source(header, now));
        };

        let step = i64::from(header.sequence.wrapping_sub(source.newest as u16) as i16);
        if !(-MISORDER_MAX..=DROPOUT_MAX).contains(&step) {
            if source.after_leap == Some(header.sequence) {
                return Ok(self.begin_source(header, now));
            }
            source.after_leap = Some(header.sequence.wrapping_add(1));
            return Err(RewriteError::Leap);
        }
        source.after_leap = None;

        let sequence_in = source.newest.wrapping_add_signed(step);
        if source.displaced {
            if step <= 0 {
                return Err(RewriteError::Late);
            }
            (source.first_in, source.first_out, source.displaced) = (sequence_in, self.next.sequence, false);
        }
        if sequence_in < source.first_in {
            return Err(RewriteError::Late);
        }
        let sequence_out = source.first_out + (sequence_in - source.first_in);

        let mut marker = false;
        if step > 0 {
            if source.leaps_in_time(header.timestamp, now, clock) {
                source.timestamp_offset = self.next.continue_at(now, clock).wrapping_sub(header.timestamp);
                marker = true;
            }
            // A source that marks every packet would make some receivers flush their buffers each time.
            marker |= header.marker && !source.newest_marked;
            source.newest = sequence_in;
            source.newest_timestamp = header.timestamp;
            source.newest_at = now;
            source.newest_marked = header.marker;
            self.next.sequence = sequence_out + 1;
        }
        let timestamp = header.timestamp.wrapping_add(source.timestamp_offset);
        if step > 0 {
            self.next.advance(timestamp, now);
        }
        Ok((sequence_out as u16, timestamp, marker))
    }

    /// Puts the first packet of a source right behind what was sent, in sequence and in time.
    fn begin_source(&mut self, header: &Header, now: Instant) -> (u16, u32, bool) {
        let sequence = self.next.sequence;
        let timestamp = self.next.continue_at(now, self.clock);
        // Far from zero, so that a reordered packet's number never is negative.
        let first_in = 1 << 32 | u64::from(header.sequence);
        self.source = Some(Source {
            ssrc: header.ssrc,
            first_in,
            first_out: sequence,
            newest: first_in,
            newest_timestamp: header.timestamp,
            newest_at: now,
            newest_marked: header.marker,
            timestamp_offset: timestamp.wrapping_sub(header.timestamp),
            after_leap: None,
            displaced: false,
        });
        self.next.sequence += 1;
        self.next.advance(timestamp, now);
        (sequence as u16, timestamp, true)
    }

    fn write_header(&self, packet: &mut Packet, header: Header) {
        let bytes = packet.bytes_mut();
        bytes[..FIXED_HEADER].copy_from_slice(&header.to_bytes());
        if self.mid.length > 0 {
            bytes[0] |= 0x10;
            bytes[FIXED_HEADER..FIXED_HEADER + self.mid.length].copy_from_slice(&self.mid.bytes[..self.mid.length]);
        }
    }
}

impl Next {
    /// The timestamp for what follows: as far on as time is, and at least one packet.
    fn continue_at(&self, now: Instant, clock: u32) -> u32 {
        match self.sent_at {
            Some(sent_at) => self.timestamp.wrapping_add(in_clock(now.saturating_duration_since(sent_at).max(PACKET_TIME), clock)),
            None => self.timestamp,
        }
    }

    /// Notes a sent timestamp if it is the latest so far. The same again, as an event's packets have it, stands for when it was first sent.
    fn advance(&mut self, timestamp: u32, now: Instant) {
        if self.sent_at.is_none() || timestamp.wrapping_sub(self.timestamp) as i32 > 0 {
            self.timestamp = timestamp;
            self.sent_at = Some(now);
        }
    }
}

impl Source {
    /// Whether a newer packet's timestamp is so far from the time that has passed that the source must have restarted its clock.
    fn leaps_in_time(&self, timestamp: u32, now: Instant, clock: u32) -> bool {
        let passed = in_clock(now.saturating_duration_since(self.newest_at), clock);
        let ahead = timestamp.wrapping_sub(self.newest_timestamp).wrapping_sub(passed) as i32;
        ahead.unsigned_abs() > in_clock(TIME_LEAP, clock)
    }
}

/// Payload types of one stream: a codec, telephone events, and one of each while a renegotiation is under way.
const PAYLOAD_TYPES: usize = 4;

/// What a packet holds where nothing better is known.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// `MAX_DROPOUT` of RFC 3550 A.1: a longer gap is a new start.
const DROPOUT_MAX: i64 = 3000;

/// `MAX_MISORDER` of RFC 3550 A.1.
const MISORDER_MAX: i64 = 100;

/// How far timestamps may stray from time before they count as started anew. Packets of a long telephone event all carry its first timestamp.
const TIME_LEAP: Duration = Duration::from_secs(10);

/// The longest `mid` of a one-byte header extension (RFC 8285 section 4.2).
const MID_LENGTH_MAX: usize = 16;

/// Extension header, element header, the longest `mid`, padding.
const MID_BYTES: usize = 4 + 20;

#[cfg(test)]
mod tests;
