//! What a peer sends: authenticate, decrypt, refuse replays.

use std::fmt;

use super::cipher::Cipher;
use super::index::Window;
use super::kdf::{Purpose, SessionKeys};
use super::{INDEX_LENGTH, MasterKey, RtpHeader, STREAMS, SrtpError, rtcp_ssrc};
use crate::net::Packet;

/// The receiving half of an association. All state changes come after authentication: a forgery changes nothing.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    rtp_streams: Streams,
    rtcp_streams: Streams,
}

impl Inbound {
    /// From the key that the peer sends with.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            rtp: Cipher::new(&SessionKeys::derive(master, Purpose::Rtp)),
            rtcp: Cipher::new(&SessionKeys::derive(master, Purpose::Rtcp)),
            rtp_streams: Streams::default(),
            rtcp_streams: Streams::default(),
        }
    }

    /// Makes an SRTP packet the RTP packet that it holds.
    ///
    /// # Errors
    /// The packet is malformed, forged or seen before.
    pub fn unprotect_rtp(&mut self, packet: &mut Packet) -> Result<(), SrtpError> {
        let header = RtpHeader::parse(packet.bytes())?;
        let window = self.rtp_streams.window(header.ssrc);
        let index = window.guess(header.sequence).ok_or(SrtpError::Replayed)?;
        if !window.is_fresh(index) {
            return Err(SrtpError::Replayed);
        }
        self.rtp.open_rtp(packet.bytes_mut(), header.length, header.ssrc, index)?;
        packet.truncate(packet.len() - self.rtp.tag_length());
        self.rtp_streams.insert(header.ssrc, index);
        Ok(())
    }

    /// Makes an SRTCP packet the RTCP packet that it holds.
    ///
    /// # Errors
    /// The packet is malformed, forged or seen before.
    pub fn unprotect_rtcp(&mut self, packet: &mut Packet) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet.bytes())?;
        let word = self.rtcp.rtcp_word(packet.bytes()).ok_or(SrtpError::Malformed)?;
        let index = u64::from(word & !super::cipher::ENCRYPTED);
        if !self.rtcp_streams.window(ssrc).is_fresh(index) {
            return Err(SrtpError::Replayed);
        }
        self.rtcp.open_rtcp(packet.bytes_mut(), ssrc, word)?;
        packet.truncate(packet.len() - self.rtcp.tag_length() - INDEX_LENGTH);
        self.rtcp_streams.insert(ssrc, index);
        Ok(())
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound")
    }
}

/// The replay windows of the streams heard last. A peer that makes a new stream for every call would fill any table, so a
/// new one takes the place of the one that was silent longest.
#[derive(Default)]
struct Streams {
    streams: [Stream; STREAMS],
    /// Where the last packet's stream is: nearly always the next one's too.
    latest: usize,
    packets: u64,
}

#[derive(Clone, Copy, Default)]
struct Stream {
    ssrc: u32,
    window: Window,
    /// The number of this stream's latest packet among all packets; 0 is a free place.
    last_heard: u64,
}

impl Streams {
    fn place(&self, ssrc: u32) -> Option<usize> {
        let is_it = |stream: &Stream| stream.ssrc == ssrc && stream.last_heard != 0;
        if is_it(&self.streams[self.latest]) { Some(self.latest) } else { self.streams.iter().position(is_it) }
    }

    /// The window of a stream; an empty one if it is new.
    fn window(&self, ssrc: u32) -> Window {
        self.place(ssrc).map_or_else(Window::default, |place| self.streams[place].window)
    }

    /// Notes an authenticated packet.
    fn insert(&mut self, ssrc: u32, index: u64) {
        self.packets += 1;
        let place = self.place(ssrc).unwrap_or_else(|| {
            let mut silent_longest = 0;
            for (place, stream) in self.streams.iter().enumerate() {
                if stream.last_heard < self.streams[silent_longest].last_heard {
                    silent_longest = place;
                }
            }
            self.streams[silent_longest] = Stream { ssrc, ..Stream::default() };
            silent_longest
        });
        self.latest = place;
        self.streams[place].last_heard = self.packets;
        self.streams[place].window.insert(index);
    }
}
