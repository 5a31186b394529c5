//! What we send: encrypt, and never use a nonce twice.

use std::fmt;

use super::cipher::{Cipher, ENCRYPTED};
use super::index::Window;
use super::kdf::{Purpose, SessionKeys};
use super::{INDEX_LENGTH, MasterKey, RtpHeader, STREAMS, SrtpError, rtcp_ssrc};
use crate::net::Packet;

/// The sending half of an association.
///
/// A stream's first sequence number should be below 32768: a peer that misses the first packets then still guesses the
/// roll-over counter right (RFC 3711 section 3.3.1).
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    /// Streams in the order of their first packet. None is ever dropped: that would forget which nonces were used.
    streams: [(u32, Window); STREAMS],
    stream_count: usize,
    /// One counter for all streams: each SRTCP packet still has a nonce of its own, and each stream's indices only grow.
    rtcp_index: u32,
}

impl Outbound {
    /// From the key that we send with.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            rtp: Cipher::new(&SessionKeys::derive(master, Purpose::Rtp)),
            rtcp: Cipher::new(&SessionKeys::derive(master, Purpose::Rtcp)),
            streams: [(0, Window::default()); STREAMS],
            stream_count: 0,
            rtcp_index: 0,
        }
    }

    /// Makes an RTP packet an SRTP packet. Packets may be out of order by up to 127; one that was sent before, or is too old
    /// to tell, is refused, since its nonce would be used twice.
    ///
    /// # Errors
    /// The packet is malformed or its index used up; nothing may be sent then.
    pub fn protect_rtp(&mut self, packet: &mut Packet) -> Result<(), SrtpError> {
        let header = RtpHeader::parse(packet.bytes())?;
        let place = self.place(header.ssrc)?;
        let window = &mut self.streams[place].1;
        let index = window.guess(header.sequence).ok_or(SrtpError::IndexReused)?;
        if !window.is_fresh(index) {
            return Err(SrtpError::IndexReused);
        }
        if !packet.append(self.rtp.tag_length()) {
            return Err(SrtpError::NoRoom);
        }
        // Used from here on, whatever happens below.
        window.insert(index);
        self.rtp.seal_rtp(packet.bytes_mut(), header.length, header.ssrc, index)
    }

    /// Makes an RTCP packet an SRTCP packet, encrypted.
    ///
    /// # Errors
    /// The packet is malformed, or 2^31 packets were sent; nothing may be sent then.
    pub fn protect_rtcp(&mut self, packet: &mut Packet) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet.bytes())?;
        let index = self.rtcp_index + 1;
        if index >= ENCRYPTED {
            return Err(SrtpError::KeyExhausted);
        }
        if !packet.append(self.rtcp.tag_length() + INDEX_LENGTH) {
            return Err(SrtpError::NoRoom);
        }
        self.rtcp_index = index;
        self.rtcp.seal_rtcp(packet.bytes_mut(), ssrc, index)
    }

    fn place(&mut self, ssrc: u32) -> Result<usize, SrtpError> {
        if let Some(place) = self.streams[..self.stream_count].iter().position(|(known, _)| *known == ssrc) {
            return Ok(place);
        }
        let place = self.stream_count;
        let Some(free) = self.streams.get_mut(place) else { return Err(SrtpError::TooManyStreams) };
        *free = (ssrc, Window::default());
        self.stream_count += 1;
        Ok(place)
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}
