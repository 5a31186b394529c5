//! How the port range is split between the shards, and inside one shard.

use crate::ids::ShardId;
use crate::limits::CALLS_PER_SHARD;
use crate::net::PortPair;

/// The smallest slice that a shard can work with: one port for browsers and one pair for SIP legs.
pub const PORTS_PER_SHARD_MIN: u16 = 3;

/// A range of UDP ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub min: u16,
    pub max: u16,
}

impl PortRange {
    /// How many ports it has.
    pub fn count(self) -> u32 {
        u32::from(self.max) - u32::from(self.min) + 1
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.min..=self.max).contains(&port)
    }
}

/// What each shard binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    slices: Vec<PortSlice>,
}

/// The ports of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSlice {
    /// All browsers of the shard.
    pub browser: u16,
    /// The even port of the pair that SIP legs share: RTP here, RTCP on the port above.
    pub shared_rtp: u16,
    /// How many pairs follow the shared one, for legs that need a pair of their own.
    pub own_pairs: u16,
}

impl PortSlice {
    /// The pairs for legs that need one of their own, each named by its even port.
    pub fn own_pairs(self) -> impl Iterator<Item = PortPair> {
        (1..=self.own_pairs).map(move |index| PortPair(self.shared_rtp + 2 * index))
    }
}

impl PortPlan {
    /// Splits `range` evenly; `None` when a shard would get fewer than [`PORTS_PER_SHARD_MIN`].
    pub fn new(range: PortRange, shards: u16) -> Option<Self> {
        let width = u16::try_from(range.count() / u32::from(shards.max(1))).unwrap_or(u16::MAX);
        let slice = |shard: u16| slice(range.min + shard * width, width);
        (width >= PORTS_PER_SHARD_MIN).then(|| Self { slices: (0..shards).map(slice).collect() })
    }

    /// The slice of one shard; `None` when there is no such shard.
    pub fn slice(&self, shard: ShardId) -> Option<PortSlice> {
        self.slices.get(usize::from(shard.0)).copied()
    }

    /// All slices, in the order of the shards.
    pub fn slices(&self) -> &[PortSlice] {
        &self.slices
    }

    /// How many calls the ports carry when every call's far side has a media address of its own, as with FreeSWITCH: the shared pairs take
    /// them all, so it is the shards' limit.
    pub fn calls_max(&self) -> usize {
        self.slices.len() * CALLS_PER_SHARD
    }

    /// How many calls the ports carry at least: when all far sides share one media address, each leg but one a shard needs its own pair.
    pub fn calls_max_one_media_address(&self) -> usize {
        self.slices.iter().map(|slice| 1 + usize::from(slice.own_pairs)).sum()
    }
}

/// RTP wants an even port (RFC 3550 section 11), so the browsers get the port that has no partner.
fn slice(first: u16, width: u16) -> PortSlice {
    let pairs = (width - 1) / 2;
    let (browser, shared_rtp) = match first % 2 {
        0 => (first + 2 * pairs, first),
        _ => (first, first + 1),
    };
    PortSlice { browser, shared_rtp, own_pairs: pairs - 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_default_range_gives_one_shard_one_browser_port_and_fifty_pairs() {
        let plan = PortPlan::new(PortRange { min: 10_000, max: 10_100 }, 1).unwrap();
        assert_eq!(plan.slices(), [PortSlice { browser: 10_100, shared_rtp: 10_000, own_pairs: 49 }]);
        assert_eq!(plan.calls_max_one_media_address(), 50);
        assert_eq!(plan.calls_max(), CALLS_PER_SHARD);
    }

    #[test]
    fn no_port_is_given_twice_and_none_lies_outside_of_the_range() {
        for (min, max) in [(10_000, 10_100), (10_001, 10_100), (1, 65_535), (65_000, 65_535), (20_001, 20_099)] {
            for shards in 1..=16 {
                let range = PortRange { min, max };
                let Some(plan) = PortPlan::new(range, shards) else { continue };
                let mut seen = HashSet::new();
                for slice in plan.slices() {
                    let pairs = slice.own_pairs().map(|pair| pair.0).chain([slice.shared_rtp]);
                    let ports: Vec<u16> = pairs.flat_map(|even| [even, even + 1]).chain([slice.browser]).collect();
                    assert_eq!(slice.shared_rtp % 2, 0);
                    assert!(ports.iter().all(|port| range.contains(*port) && seen.insert(*port)), "{min}-{max} in {shards}");
                }
            }
        }
    }

    #[test]
    fn a_range_too_small_for_its_shards_is_refused() {
        assert_eq!(PortPlan::new(PortRange { min: 10_000, max: 10_004 }, 2), None);
        assert!(PortPlan::new(PortRange { min: 10_000, max: 10_005 }, 2).is_some());
    }
}
