//! A network between two machines that never existed: it delays, loses, reorders and repeats datagrams, the same way for the same seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// How bad a link is, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkQuality {
    /// What every datagram takes at least.
    pub delay: Duration,
    /// What a datagram takes more, at most: each its own share, so that datagrams sent closer together than this overtake each other.
    pub jitter: Duration,
    /// The share of datagrams that never arrive, 0 to 1.
    pub loss: f64,
    /// The share of datagrams that are held back by another `jitter` or 20 ms, whichever is longer, 0 to 1.
    pub reorder: f64,
    /// The share of datagrams that arrive twice, 0 to 1.
    pub duplicate: f64,
}

impl LinkQuality {
    /// A millisecond away, and nothing goes wrong.
    pub const PERFECT: Self = Self { delay: Duration::from_millis(1), jitter: Duration::ZERO, loss: 0.0, reorder: 0.0, duplicate: 0.0 };

    /// Nothing is lost, but little comes in order.
    pub const JITTERY: Self =
        Self { delay: Duration::from_millis(20), jitter: Duration::from_millis(50), loss: 0.0, reorder: 0.1, duplicate: 0.05 };

    /// What a call must survive: 10 % loss, 50 ms of jitter, reordering and repetition.
    pub const BAD: Self =
        Self { delay: Duration::from_millis(20), jitter: Duration::from_millis(50), loss: 0.1, reorder: 0.05, duplicate: 0.02 };
}

/// One direction of a link, with the datagrams that are under way.
#[derive(Debug)]
pub struct Link<T> {
    quality: LinkQuality,
    rng: ChaCha12Rng,
    under_way: BTreeMap<(Instant, u64), T>,
    sent: u64,
    lost: u64,
}

impl<T: Clone> Link<T> {
    /// An empty link. The same seed gives every datagram the same fate.
    pub fn new(quality: LinkQuality, seed: u64) -> Self {
        Self { quality, rng: ChaCha12Rng::seed_from_u64(seed), under_way: BTreeMap::new(), sent: 0, lost: 0 }
    }

    /// Changes the quality for what is sent from now on.
    pub fn set_quality(&mut self, quality: LinkQuality) {
        self.quality = quality;
    }

    /// Sends a datagram.
    pub fn send(&mut self, datagram: T, now: Instant) {
        // Every datagram draws the same numbers whatever comes of it, so that a change of one share moves no other.
        let [lost, held_back, repeated] =
            [self.quality.loss, self.quality.reorder, self.quality.duplicate].map(|share| self.rng.random_bool(share));
        let [first, second] = [(); 2].map(|()| self.quality.jitter.mul_f64(self.rng.random()));
        if lost {
            self.lost += 1;
            return;
        }
        let extra = if held_back { self.quality.jitter.max(HELD_BACK) } else { Duration::ZERO };
        if repeated {
            self.put(now + self.quality.delay + second, datagram.clone());
        }
        self.put(now + self.quality.delay + first + extra, datagram);
    }

    /// When the next datagram arrives.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<T> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// How many datagrams were lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn put(&mut self, at: Instant, datagram: T) {
        self.under_way.insert((at, self.sent), datagram);
        self.sent += 1;
    }
}

/// What a datagram that is held back waits at least: one frame of audio.
const HELD_BACK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(quality: LinkQuality, seed: u64) -> Vec<u32> {
        let start = Instant::now();
        let mut link = Link::new(quality, seed);
        (0..1_000).for_each(|number| link.send(number, start + Duration::from_millis(20) * number));
        std::iter::from_fn(|| link.receive(start + Duration::from_secs(60))).collect()
    }

    #[test]
    fn a_perfect_link_keeps_number_and_order() {
        assert_eq!(arrivals(LinkQuality::PERFECT, 1), (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_link_loses_reorders_and_repeats_as_its_seed_says() {
        let arrived = arrivals(LinkQuality::BAD, 1);
        assert_eq!(arrived, arrivals(LinkQuality::BAD, 1));
        assert_ne!(arrived, arrivals(LinkQuality::BAD, 2));
        let distinct: std::collections::BTreeSet<_> = arrived.iter().collect();
        assert!((860..940).contains(&distinct.len()), "{} of 1000 arrived", distinct.len());
        assert!(arrived.len() > distinct.len());
        assert!(arrived.windows(2).any(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let start = Instant::now();
        let mut link = Link::new(LinkQuality::PERFECT, 1);
        link.send((), start);
        assert_eq!(link.next_deadline(), Some(start + LinkQuality::PERFECT.delay));
        assert_eq!(link.receive(start), None);
        assert_eq!(link.receive(start + LinkQuality::PERFECT.delay), Some(()));
        assert_eq!(link.next_deadline(), None);
    }
}
