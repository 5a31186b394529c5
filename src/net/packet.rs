//! Buffers that datagrams live in from receive to send, reused so that the hot path allocates nothing.

use std::fmt;

use crate::limits::DATAGRAM_BYTES;

/// The longest datagram that is taken; of a longer one the kernel delivers the beginning ([`Packet::is_cut`]).
pub const MAX_DATAGRAM: usize = DATAGRAM_BYTES;

/// Room ahead of a received datagram, so that a header may grow in place (a header extension towards the browser).
pub const HEADROOM: usize = 64;

/// Room behind it, so that an authentication tag fits.
const TAILROOM: usize = 64;

const CAPACITY: usize = HEADROOM + MAX_DATAGRAM + TAILROOM;

/// One datagram in a buffer that has room ahead and behind. Moving it moves a pointer.
pub struct Packet {
    buffer: Box<[u8; CAPACITY]>,
    start: u16,
    end: u16,
    cut: bool,
}

impl Packet {
    fn new() -> Self {
        Self { buffer: Box::new([0; CAPACITY]), start: HEADROOM as u16, end: HEADROOM as u16, cut: false }
    }

    /// The bytes of the datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[usize::from(self.start)..usize::from(self.end)]
    }

    /// The bytes of the datagram, to change in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[usize::from(self.start)..usize::from(self.end)]
    }

    /// How many bytes the datagram has.
    pub fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// Whether the datagram has no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The whole room for a datagram, for the kernel to write into; [`Packet::set_received`] says how much it wrote.
    pub fn receive_room(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..HEADROOM + MAX_DATAGRAM]
    }

    /// Whether only the beginning of the datagram is here, the rest having found no room.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Makes the first `length` bytes of the receive room the datagram; longer is cut to the room.
    pub fn set_received(&mut self, length: usize) {
        self.cut = length > MAX_DATAGRAM;
        self.start = HEADROOM as u16;
        self.end = (HEADROOM + length.min(MAX_DATAGRAM)) as u16;
    }

    /// Copies `bytes` in as the datagram. `false`, and an empty datagram, when they do not fit.
    pub fn copy_from(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= MAX_DATAGRAM;
        self.set_received(if fits { bytes.len() } else { 0 });
        if fits {
            self.bytes_mut().copy_from_slice(bytes);
        }
        fits
    }

    /// Shortens the datagram to its first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length.min(MAX_DATAGRAM) as u16);
    }

    /// Drops the first `count` bytes; the room ahead grows by as many.
    pub fn advance(&mut self, count: usize) {
        self.start = self.end.min(self.start + count.min(MAX_DATAGRAM) as u16);
    }

    /// Puts `count` bytes ahead of the datagram, to be written by the caller. `false` when the room ahead is used up.
    #[must_use]
    pub fn prepend(&mut self, count: usize) -> bool {
        let fits = count <= usize::from(self.start);
        if fits {
            self.start -= count as u16;
        }
        fits
    }

    /// Puts `count` bytes behind the datagram, to be written by the caller. `false` when the room behind is used up.
    #[must_use]
    pub fn append(&mut self, count: usize) -> bool {
        let fits = count <= CAPACITY - usize::from(self.end);
        if fits {
            self.end += count as u16;
        }
        fits
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes)", self.len())
    }
}

/// Idle buffers of one shard, at most as many as it was made with: a burst beyond them is allocated and freed again.
#[derive(Debug)]
pub struct PacketPool {
    idle: Vec<Packet>,
    keep: usize,
}

impl PacketPool {
    /// A pool that keeps up to `keep` idle buffers, all of them made at once.
    pub fn new(keep: usize) -> Self {
        Self { idle: (0..keep).map(|_| Packet::new()).collect(), keep }
    }

    /// An empty packet.
    pub fn take(&mut self) -> Packet {
        let mut packet = self.idle.pop().unwrap_or_else(Packet::new);
        packet.set_received(0);
        packet
    }

    /// Takes a packet back for reuse.
    pub fn give_back(&mut self, packet: Packet) {
        if self.idle.len() < self.keep {
            self.idle.push(packet);
        }
    }

    /// How many packets lie idle.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_can_grow_and_shrink_in_place() {
        let mut packet = PacketPool::new(1).take();
        assert!(packet.copy_from(b"payload"));
        assert!(packet.prepend(4));
        packet.bytes_mut()[..4].copy_from_slice(b"head");
        assert!(packet.append(3));
        packet.bytes_mut()[11..].copy_from_slice(b"tag");
        assert_eq!(packet.bytes(), b"headpayloadtag");
        packet.advance(4);
        packet.truncate(7);
        assert_eq!(packet.bytes(), b"payload");
    }

    #[test]
    fn room_that_is_used_up_is_refused_not_overrun() {
        let mut packet = PacketPool::new(0).take();
        assert!(!packet.copy_from(&[0; MAX_DATAGRAM + 1]));
        assert!(packet.copy_from(&[0; MAX_DATAGRAM]));
        assert!(!packet.prepend(HEADROOM + 1));
        assert!(!packet.append(TAILROOM + 1));
        assert!(packet.append(TAILROOM));
        assert_eq!(packet.len(), MAX_DATAGRAM + TAILROOM);
    }

    #[test]
    fn the_pool_never_keeps_more_than_it_was_made_for() {
        let mut pool = PacketPool::new(2);
        let packets: Vec<_> = (0..5).map(|_| pool.take()).collect();
        packets.into_iter().for_each(|packet| pool.give_back(packet));
        assert_eq!(pool.idle(), 2);
    }
}
