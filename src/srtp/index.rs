//! Packet indices: the roll-over counter's guess and the replay window (RFC 3711 sections 3.3.1 and 3.3.2).

/// The highest RTP index: 32 bits of roll-over counter and 16 of sequence number.
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// Indices behind the highest that are still told apart.
const WINDOW: u64 = u128::BITS as u64;

/// Which indices of one stream were used. The same arithmetic serves both directions: a receiver refuses what it saw before, a
/// sender what it sent before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// The highest index so far; meaningless until `used` is not zero.
    highest: u64,
    /// Bit n stands for the index `highest - n`.
    used: u128,
}

impl Window {
    /// The index of a sequence number: the one nearest to the highest so far. `None` where that would lie before the first or
    /// after the last index of the key.
    pub(super) fn guess(&self, sequence: u16) -> Option<u64> {
        let sequence = u64::from(sequence);
        if self.used == 0 {
            return Some(sequence);
        }
        let (rollover, last) = (self.highest >> 16, self.highest & 0xffff);
        let rollover = if last < 0x8000 {
            if sequence > last + 0x8000 { rollover.checked_sub(1)? } else { rollover }
        } else if sequence < last - 0x8000 {
            rollover + 1
        } else {
            rollover
        };
        let index = rollover << 16 | sequence;
        (index <= RTP_INDEX_MAX).then_some(index)
    }

    /// Whether the index is new and not too old to tell.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        if self.used == 0 || index > self.highest {
            return true;
        }
        let age = self.highest - index;
        age < WINDOW && self.used & (1 << age) == 0
    }

    /// Notes an index as used. Only after authentication, else a forgery could move the window.
    pub(super) fn insert(&mut self, index: u64) {
        if self.used == 0 {
            (self.highest, self.used) = (index, 1);
        } else if index > self.highest {
            let ahead = index - self.highest;
            self.used = if ahead < WINDOW { self.used << ahead | 1 } else { 1 };
            self.highest = index;
        } else if self.highest - index < WINDOW {
            self.used |= 1 << (self.highest - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(indices: &[u64]) -> Window {
        let mut window = Window::default();
        indices.iter().for_each(|&index| window.insert(index));
        window
    }

    #[test]
    fn the_rollover_counter_follows_the_sequence_number_in_both_directions() {
        assert_eq!(Window::default().guess(65_535), Some(65_535));
        assert_eq!(after(&[65_535]).guess(0), Some(65_536));
        assert_eq!(after(&[65_536]).guess(65_535), Some(65_535));
        assert_eq!(after(&[0x1_7fff]).guess(0xffff), Some(0x1_ffff));
        assert_eq!(after(&[0x1_7ffe]).guess(0xffff), Some(0xffff));
        assert_eq!(after(&[0x1_8001]).guess(0), Some(0x2_0000));
        assert_eq!(after(&[0x1_8000]).guess(0), Some(0x1_0000));
    }

    #[test]
    fn no_index_lies_before_the_first_or_after_the_last() {
        assert_eq!(after(&[5]).guess(65_000), None);
        assert_eq!(after(&[RTP_INDEX_MAX]).guess(0), None);
        assert_eq!(after(&[RTP_INDEX_MAX]).guess(0xfffe), Some(RTP_INDEX_MAX - 1));
    }

    #[test]
    fn an_index_is_fresh_once() {
        let window = after(&[1000, 1002, 999]);
        for used in [999, 1000, 1002] {
            assert!(!window.is_fresh(used));
        }
        for fresh in [998, 1001, 1003, 5000] {
            assert!(window.is_fresh(fresh));
        }
    }

    #[test]
    fn what_the_window_cannot_tell_is_not_fresh() {
        let window = after(&[1000]);
        assert!(window.is_fresh(1000 - 127));
        assert!(!window.is_fresh(1000 - 128));
        let jumped = after(&[1000, 100_000]);
        assert!(!jumped.is_fresh(1000));
        assert!(jumped.is_fresh(99_999));
    }
}
