//! Port pairs for SIP legs that cannot share: handed out, rested, never given to two legs at a time.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::PORT_REST;
use crate::net::PortPair;

/// The pairs of one shard. Pair 0 is the shared one; own pairs count from 1.
#[derive(Debug)]
pub struct Ports {
    shared: u16,
    own: Vec<u16>,
    /// Pairs free to use, each from the moment when its rest is over; the longest rested first.
    free: VecDeque<(PortPair, Option<Instant>)>,
    in_use: usize,
}

impl Ports {
    /// A shard's pairs, by their RTP (even) ports.
    pub fn new(shared: u16, own: Vec<u16>) -> Self {
        let free = (1..=own.len()).map(|n| (PortPair(n as u16), None)).collect();
        Self { shared, own, free, in_use: 0 }
    }

    /// The RTP port of a pair.
    pub fn rtp_port(&self, pair: PortPair) -> u16 {
        match pair {
            PortPair::SHARED => self.shared,
            PortPair(n) => self.own[usize::from(n) - 1],
        }
    }

    /// Takes a pair that nobody uses and that has rested; `None` when there is none.
    pub fn take(&mut self, now: Instant) -> Option<PortPair> {
        let &(pair, rested_at) = self.free.front()?;
        if rested_at.is_some_and(|at| at > now) {
            return None;
        }
        self.free.pop_front();
        self.in_use += 1;
        Some(pair)
    }

    /// Takes a pair back; it rests before another leg gets it, so that a late packet meets nobody.
    pub fn give_back(&mut self, pair: PortPair, now: Instant) {
        debug_assert_ne!(pair, PortPair::SHARED, "the shared pair is never handed out");
        self.in_use -= 1;
        self.free.push_back((pair, Some(now + PORT_REST)));
    }

    /// Takes a pair out of use for good: something else on this host has its ports.
    pub fn retire(&mut self, pair: PortPair) {
        debug_assert_ne!(pair, PortPair::SHARED);
        self.in_use -= 1;
    }

    /// How many own pairs are in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_rests_before_its_next_leg() {
        let now = Instant::now();
        let mut ports = Ports::new(20_002, vec![20_004]);
        let pair = ports.take(now).unwrap();
        assert_eq!((ports.rtp_port(pair), ports.rtp_port(PortPair::SHARED), ports.in_use()), (20_004, 20_002, 1));
        assert_eq!(ports.take(now), None);
        ports.give_back(pair, now);
        assert_eq!((ports.take(now), ports.in_use()), (None, 0));
        assert_eq!(ports.take(now + PORT_REST), Some(pair));
    }
}
